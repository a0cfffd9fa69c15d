"""The group /labels. The buttons of what it shows are in `curating`."""

from __future__ import annotations

import discord
from discord import app_commands
from discord.ext import commands

from bot.chat import choices
from bot.chat.buttons import pressed
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.cogs.curating import codebook
from bot.chat.curating_cards import change_preview_card, changes_card, revert_preview_card
from bot.chat.overview_cards import labels_card
from bot.chat.sending import begin, show
from bot.chat.text import code, counted, listed
from storage.errors import Conflict, InvalidInput
from storage.label_changes import ChangeKind

MOST_AT_ONCE = 25
WHICH = "Which classifier (the channel's, if left out)"


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
        waited = await self.services.proposing.save_waiting(actor, chosen)
        await show(interaction, Card(created_words(chosen.name, created, refused, waited)))

    @app_commands.command(name="list", description="The labels, and how many texts each of them has.")
    @app_commands.describe(classifier="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def show_all(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        await self._list(interaction, classifier)

    @pressed(r"labels:(?P<classifier>[\w-]+):(?P<page>\d{1,4})")
    async def turn(self, interaction: Interaction, classifier: str, page: str) -> None:
        await begin(interaction)
        await self._list(interaction, classifier, int(page))

    async def _list(self, interaction: Interaction, classifier: str | None, page: int = 0) -> None:
        chosen = await self.classifier(self.actor(interaction), classifier)
        await show(interaction, labels_card(chosen, await self.services.classifiers.labels(chosen), page))

    @app_commands.command(description="Give a label another name (leads). What was learned about it stays.")
    @app_commands.describe(label="Which label", new_name="Its new name", classifier=WHICH)
    @app_commands.autocomplete(label=choices.labels, classifier=choices.classifiers)
    async def rename(self, interaction: Interaction, label: str, new_name: str, classifier: str | None = None) -> None:
        await self._preview(interaction, classifier, ChangeKind.RENAME, label, words=new_name)

    @app_commands.command(description="Make one label of two (leads). It can be taken back.")
    @app_commands.describe(label="The label that goes", into="The label that stays", classifier=WHICH)
    @app_commands.autocomplete(label=choices.labels, into=choices.labels, classifier=choices.classifiers)
    async def merge(self, interaction: Interaction, label: str, into: str, classifier: str | None = None) -> None:
        await self._preview(interaction, classifier, ChangeKind.MERGE, label, into=into)

    @app_commands.command(description="Put a label away with its texts (leads). It can be brought back.")
    @app_commands.describe(label="Which label", classifier=WHICH)
    @app_commands.autocomplete(label=choices.labels, classifier=choices.classifiers)
    async def archive(self, interaction: Interaction, label: str, classifier: str | None = None) -> None:
        await self._preview(interaction, classifier, ChangeKind.ARCHIVE, label)

    @app_commands.command(description="Bring an archived or merged label back (leads).")
    @app_commands.describe(label="Which label", classifier=WHICH)
    @app_commands.autocomplete(label=choices.archived_labels, classifier=choices.classifiers)
    async def restore(self, interaction: Interaction, label: str, classifier: str | None = None) -> None:
        await self._preview(interaction, classifier, ChangeKind.RESTORE, label)

    @app_commands.command(description="Say what belongs under a label (leads); it helps the model.")
    @app_commands.describe(
        label="Which label", description="In a few words; left out: takes the description away", classifier=WHICH
    )
    @app_commands.autocomplete(label=choices.labels, classifier=choices.classifiers)
    async def describe(
        self, interaction: Interaction, label: str, description: str = "", classifier: str | None = None
    ) -> None:
        await self._preview(interaction, classifier, ChangeKind.DESCRIBE, label, words=description)

    async def _preview(
        self,
        interaction: Interaction,
        classifier: str | None,
        kind: ChangeKind,
        label: str,
        words: str = "",
        into: str = "",
    ) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        preview = await self.services.curation.preview(actor, chosen, kind, label, words, into)
        await show(interaction, change_preview_card(preview))

    @app_commands.command(description="What became of the labels: renamed, merged, archived, described, and by whom.")
    @app_commands.describe(classifier=WHICH)
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def history(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        chosen = await self.classifier(self.actor(interaction), classifier)
        await show(interaction, changes_card(chosen.name, await self.services.curation.history(chosen), 0))

    @app_commands.command(description="The codebook: why texts have their labels, as leads wrote it down.")
    @app_commands.describe(classifier=WHICH)
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def rules(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        await show(interaction, await codebook(self.services, actor, chosen, 0))

    @app_commands.command(description="Take back everything that one person labelled since a moment (leads).")
    @app_commands.describe(
        member="Whose labels", since="Since when: 2h, 3d, or a date like 2026-11-24 (UTC)", classifier=WHICH
    )
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def revert(
        self, interaction: Interaction, member: discord.User, since: str, classifier: str | None = None
    ) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        draft = await self.services.reverting.preview(actor, chosen, str(member.id), since)
        await show(interaction, revert_preview_card(draft, chosen.name, str(member.id)))


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


def created_words(classifier: str, created: list[str], refused: list[str], waited: int = 0) -> str:
    """What was created, with how many texts that had waited for it, then one line for each name that was not."""
    lines = [f"{code(classifier)} has the new {'label' if len(created) == 1 else 'labels'} " if created else ""]
    lines[0] += listed([code(name) for name in created], MOST_AT_ONCE)
    lines[0] += ". Teach with `/label`; `/ask` knows it already." if created else ""
    lines += [f"Saved {counted(waited, 'text')} that had been proposed with it."] if waited else []
    return "\n".join(filter(None, [*lines, *refused[:10], *_left_out(refused, 10)]))


def _left_out(refused: list[str], most: int) -> list[str]:
    return [f"and {len(refused) - most} more that could not be created"] if len(refused) > most else []
