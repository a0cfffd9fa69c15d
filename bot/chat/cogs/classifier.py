"""/classifier create, base, sure, use and list."""

from __future__ import annotations

from discord import app_commands
from discord.ext import commands

from bot.chat import choices
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.cogs.labels import MOST_AT_ONCE, split_names
from bot.chat.overview_cards import based_words, classifiers_card, source_words, sure_words
from bot.chat.sending import begin, show
from bot.chat.text import code, listed
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
