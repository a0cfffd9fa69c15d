"""/classifier create, base, sure, use, list, settings, archive and restore; the buttons of archiving."""

from __future__ import annotations

from discord import app_commands
from discord.ext import commands

from bot.chat import choices
from bot.chat.buttons import pressed
from bot.chat.cards import Card
from bot.chat.classifier_cards import archive_card, archived_card, settings_card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.cogs.labels import MOST_AT_ONCE, split_names
from bot.chat.overview_cards import based_words, classifiers_card, source_words, sure_words
from bot.chat.sending import begin, show
from bot.chat.text import code, listed
from bot.chat.training_cards import schedule_words
from bot.services.people import Role
from bot.services.sureness import parse_precision
from storage.errors import UserError


class ClassifierCommands(
    PupilCog, commands.GroupCog, group_name="classifier", group_description="The classifiers of this server"
):
    @app_commands.command(description="Create a classifier (leads): a task with labels of its own.")
    @app_commands.describe(
        name="Short, lower case: triage",
        labels="Its first labels, with commas: bug, question, praise",
        based_on="Another classifier whose trained model its trainings start from: support, or support@v3",
    )
    @app_commands.autocomplete(based_on=choices.classifiers)
    async def create(self, interaction: Interaction, name: str, labels: str = "", based_on: str | None = None) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        wanted = split_names(labels) if labels.strip() else []
        created = await self.services.classifiers.create(actor, name, wanted, based_on)
        based = f" Its trainings start from {source_words(created.based_on)}." if created.based_on else ""
        if not wanted:
            await show(
                interaction, Card(f"Created {code(created.name)}.{based} Next: name its labels with `/labels create`.")
            )
            return
        named = listed([code(label) for label in wanted], MOST_AT_ONCE)
        await show(
            interaction,
            Card(
                f"Created {code(created.name)} with {named}. It answers from the names alone: try `/ask`. "
                f"Teach it with `/label`.{based}"
            ),
        )

    @app_commands.command(description="Start a classifier's trainings from what another one has learned (leads).")
    @app_commands.describe(
        name="Which classifier", on="The other one: support, or support@v3; none for the pretrained model"
    )
    @app_commands.autocomplete(name=choices.classifiers, on=choices.classifiers)
    async def base(self, interaction: Interaction, name: str, on: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        based = await self.services.classifiers.base_on(actor, await self.classifier(actor, name), on)
        await show(interaction, Card(based_words(based)))

    @app_commands.command(description="How sure a classifier has to be before it answers; leads choose.")
    @app_commands.describe(
        name="Which classifier",
        right="How many of 100 answers should be right: 95; none: the model's own threshold; left out: tells it",
    )
    @app_commands.autocomplete(name=choices.classifiers)
    async def sure(self, interaction: Interaction, name: str, right: str | None = None) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, name)
        if right is None:
            found = await self.services.sureness.of(chosen)
        else:
            found = await self.services.sureness.choose(actor, chosen, parse_precision(right))
        await show(interaction, Card(sure_words(chosen.name, found)))

    @app_commands.command(description="Make a classifier the one meant in this channel (leads).")
    @app_commands.describe(name="Which classifier")
    @app_commands.autocomplete(name=choices.classifiers)
    async def use(self, interaction: Interaction, name: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.services.classifiers.use(actor, actor.channel or "", name)
        await show(interaction, Card(f"In this channel and its threads, {code(chosen.name)} is meant from now on."))

    @app_commands.command(description="Everything that is set for a classifier.")
    @app_commands.describe(name="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(name=choices.classifiers)
    async def settings(self, interaction: Interaction, name: str | None = None) -> None:
        await begin(interaction)
        chosen = await self.classifier(self.actor(interaction), name)
        labels = await self.services.classifiers.labels(chosen)
        schedule = await self.services.training.get_schedule(chosen)
        await show(interaction, settings_card(chosen, labels, schedule))

    @app_commands.command(description="Put a classifier away (leads). Nothing is deleted; shows first what it means.")
    @app_commands.describe(name="Which classifier")
    @app_commands.autocomplete(name=choices.classifiers)
    async def archive(self, interaction: Interaction, name: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        actor.require(Role.LEAD, "archive a classifier")
        chosen = await self.classifier(actor, name)
        await show(interaction, archive_card(chosen, await self.services.classifiers.labels(chosen)))

    @pressed(r"archive-classifier:(?P<name>[\w-]+)")
    async def archive_now(self, interaction: Interaction, name: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        archived = await self.services.classifiers.archive(actor, await self.classifier(actor, name))
        await self.services.training.cancel(actor, archived)
        await show(interaction, archived_card(archived))

    @pressed(r"keep-classifier")
    async def keep(self, interaction: Interaction) -> None:
        await begin(interaction)
        await show(interaction, Card("Nothing was changed."))

    @app_commands.command(description="Bring an archived classifier back as it was (leads).")
    @app_commands.describe(name="Which one")
    @app_commands.autocomplete(name=choices.archived)
    async def restore(self, interaction: Interaction, name: str) -> None:
        await begin(interaction)
        await self._restore(interaction, name)

    @pressed(r"restore-classifier:(?P<name>[\w-]+)")
    async def undo_archive(self, interaction: Interaction, name: str) -> None:
        await begin(interaction)
        await self._restore(interaction, name)

    async def _restore(self, interaction: Interaction, name: str) -> None:
        restored = await self.services.classifiers.restore(self.actor(interaction), name)
        schedule = await self.services.training.get_schedule(restored)
        await show(interaction, Card(f"{code(restored.name)} is back as it was. {schedule_words(schedule)}"))

    @app_commands.command(name="list", description="The classifiers of this server.")
    async def show_all(self, interaction: Interaction) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        everything = await self.services.classifiers.list(actor.guild)
        try:
            default = (await self.classifier(actor, None)).name
        except UserError:  # several, and none is this channel's
            default = None
        await show(interaction, classifiers_card(everything, default))
