"""/labels create and list."""

from __future__ import annotations

from discord import app_commands
from discord.ext import commands

from bot.chat import choices
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.overview_cards import labels_card
from bot.chat.sending import begin, show
from bot.chat.text import code, listed
from storage.errors import Conflict, InvalidInput

MOST_AT_ONCE = 25


class LabelCommands(PupilCog, commands.GroupCog, group_name="labels", group_description="The labels of a classifier"):
    @app_commands.command(description="Add labels (leads). The bot can answer with them at once.")
    @app_commands.describe(
        names="One label, or several with commas: bug, question, praise",
        description="What belongs under it, in a few words; it helps the model (for a single label)",
        classifier="Which classifier (the channel's, if left out)",
    )
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def create(
        self, interaction: Interaction, names: str, description: str = "", classifier: str | None = None
    ) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        wanted = split_names(names)
        if description and len(wanted) > 1:
            raise InvalidInput("A description belongs to one label. Create the labels one by one, or describe none.")
        chosen = await self.classifier(actor, classifier)
        created, refused = [], []
        for name in wanted:
            try:
                created.append((await self.services.classifiers.create_label(actor, chosen, name, description)).name)
            except (Conflict, InvalidInput) as error:
                refused.append(str(error))
        await show(interaction, Card(created_words(chosen.name, created, refused)))

    @app_commands.command(name="list", description="The labels, and how many texts each of them has.")
    @app_commands.describe(classifier="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def show_all(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        chosen = await self.classifier(self.actor(interaction), classifier)
        await show(interaction, labels_card(chosen, await self.services.classifiers.labels(chosen)))


def split_names(names: str) -> list[str]:
    """ "bug, question ,, praise" → ["bug", "question", "praise"].

    Raises:
        InvalidInput: none, or too many at once.
    """
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not wanted:
        raise InvalidInput("Name at least one label, for example: bug, question, praise.")
    if len(wanted) > MOST_AT_ONCE:
        raise InvalidInput(f"These are {len(wanted)} labels; at most {MOST_AT_ONCE} can be created at once.")
    return wanted


def created_words(classifier: str, created: list[str], refused: list[str]) -> str:
    """What was created, then one line for each name that was not."""
    lines = [f"{code(classifier)} has the new {'label' if len(created) == 1 else 'labels'} " if created else ""]
    lines[0] += listed([code(name) for name in created], MOST_AT_ONCE)
    lines[0] += ". Teach with `/label`; `/ask` knows it already." if created else ""
    return "\n".join(filter(None, [*lines, *refused[:10], *_left_out(refused, 10)]))


def _left_out(refused: list[str], most: int) -> list[str]:
    return [f"and {len(refused) - most} more that could not be created"] if len(refused) > most else []
