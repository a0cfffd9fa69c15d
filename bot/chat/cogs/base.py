"""What every cog needs: the services, who is asking, and which classifier is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import discord
from discord.ext import commands

from bot.chat.people import actor_of
from bot.services.people import Actor
from storage.records import Classifier

if TYPE_CHECKING:
    from bot.chat.client import PupilBot

Interaction: TypeAlias = "discord.Interaction[PupilBot]"


class PupilCog(commands.Cog):
    """A cog that talks to services."""

    def __init__(self, bot: PupilBot) -> None:
        self.bot = bot
        self.services = bot.services

    def actor(self, interaction: Interaction) -> Actor:
        """Who is asking, with the role Discord says they have now. Raises InvalidInput outside a server."""
        settings = self.services.setup.settings(str(interaction.guild_id))
        return actor_of(interaction, self.bot.operators, settings)

    async def classifier(self, actor: Actor, name: str | None) -> Classifier:
        """The one named, else the channel's, else the only one. Raises NotFound or InvalidInput."""
        return await self.services.classifiers.resolve(actor.guild, name, actor.channel)
