"""/stats, /help and, for operators, /status."""

from __future__ import annotations

from collections.abc import Iterator

from discord import app_commands

from bot.chat import choices
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.insight_cards import forecast_words
from bot.chat.overview_cards import help_card, stats_card, status_card
from bot.chat.sending import begin, show
from bot.services.people import Role

OPERATORS = frozenset({"status"})


class General(PupilCog):
    @app_commands.command(description="What a classifier knows, how well it answers, and who teaches it.")
    @app_commands.describe(classifier="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def stats(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        chosen = await self.classifier(self.actor(interaction), classifier)
        schedule = await self.services.training.get_schedule(chosen)
        stats = await self.services.classifiers.stats(chosen)
        forecast = forecast_words(await self.services.forecast.of(chosen))
        await show(interaction, stats_card(stats, schedule, self.services.sureness.known(chosen), forecast))

    @app_commands.command(description="Every command, and what teaching means.")
    async def help(self, interaction: Interaction) -> None:
        topics: dict[str, list[tuple[str, str]]] = {}
        for heading, mention, description in self._commands(self.actor(interaction).role):
            topics.setdefault(heading, []).append((mention, description))
        await show(interaction, help_card(list(topics.items())))

    def _commands(self, role: Role) -> Iterator[tuple[str, str, str]]:
        """(heading, clickable mention, description) of every command that somebody of this role can use."""
        for command in self.bot.tree.walk_commands():
            if isinstance(command, app_commands.Group) or (
                command.qualified_name in OPERATORS and role < Role.OPERATOR
            ):
                continue
            root = command.root_parent
            top = (root or command).name
            number = self.bot.command_ids.get(top)
            mention = f"</{command.qualified_name}:{number}>" if number else f"`/{command.qualified_name}`"
            yield "Asking and teaching" if root is None else root.description, mention, command.description

    @app_commands.command(description="How the bot is doing (operators).")
    async def status(self, interaction: Interaction) -> None:
        await begin(interaction)
        self.actor(interaction).require(Role.OPERATOR, "see the bot's state")
        await show(interaction, status_card(await self.services.status.status()))
