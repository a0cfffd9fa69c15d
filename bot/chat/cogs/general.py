"""/stats, /help and, for operators, /status."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

from discord import app_commands

from bot.chat import choices
from bot.chat.buttons import chosen, pressed
from bot.chat.cards import Button
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.help_cards import Described, help_card, topic_card
from bot.chat.insight_cards import forecast_words
from bot.chat.overview_cards import stats_card, status_card
from bot.chat.sending import begin, show
from bot.services.forecast import InTheMaking, NotMade
from bot.services.people import Role

AnyCommand: TypeAlias = "app_commands.Command[Any, ..., Any]"
OPERATORS = frozenset({"status"})


class General(PupilCog):
    @app_commands.command(description="What a classifier knows, how well it answers, and who teaches it.")
    @app_commands.describe(classifier="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def stats(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        await self._stats(interaction, classifier)

    @pressed(r"stats:(?P<classifier>[\w-]+)")
    async def stats_again(self, interaction: Interaction, classifier: str) -> None:
        await begin(interaction)
        await self._stats(interaction, classifier)

    async def _stats(self, interaction: Interaction, classifier: str | None) -> None:
        meant = await self.classifier(self.actor(interaction), classifier)
        schedule = await self.services.training.get_schedule(meant)
        stats = await self.services.classifiers.stats(meant)
        forecast = await self.services.forecast.of(meant)
        card = stats_card(stats, schedule, self.services.sureness.known(meant), forecast_words(forecast))
        if isinstance(forecast, InTheMaking | NotMade):
            card = replace(card, rows=((Button("Look again", f"stats:{meant.name}"),),))
        await show(interaction, card)

    @app_commands.command(description="Every command, and what teaching means.")
    async def help(self, interaction: Interaction) -> None:
        await show(interaction, help_card(self._commands(interaction)))

    @pressed(r"help")
    async def topic(self, interaction: Interaction) -> None:
        await begin(interaction)
        await show(interaction, topic_card(chosen(interaction), self._commands(interaction)))

    def _commands(self, interaction: Interaction) -> list[Described]:
        """Every command that this person can use."""
        everything = [
            Described(command.qualified_name, self._mention(command), command.description)
            for command in self.bot.tree.walk_commands()
            if not isinstance(command, app_commands.Group)
        ]
        is_operator = self.actor(interaction).role >= Role.OPERATOR
        return [command for command in everything if is_operator or command.name not in OPERATORS]

    def _mention(self, command: AnyCommand) -> str:
        """Clickable, where Discord has told the command's number."""
        number = self.bot.command_ids.get(command.qualified_name.partition(" ")[0])
        return f"</{command.qualified_name}:{number}>" if number else f"`/{command.qualified_name}`"

    @app_commands.command(description="How the bot is doing (operators).")
    async def status(self, interaction: Interaction) -> None:
        await begin(interaction)
        self.actor(interaction).require(Role.OPERATOR, "see the bot's state")
        await show(interaction, status_card(await self.services.status.status()))
