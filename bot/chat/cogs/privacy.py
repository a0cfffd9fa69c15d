"""/privacy show, export, forget and opt-out, and their buttons: for everyone, about oneself alone."""

from __future__ import annotations

import asyncio

from discord import app_commands
from discord.ext import commands

from bot.chat.buttons import pressed
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.privacy_cards import (
    CANCELLED,
    about_card,
    export_card,
    opted_card,
    preview_card,
    receipt_card,
)
from bot.chat.sending import begin, show
from storage.errors import NotAllowed


class PrivacyCommands(PupilCog, commands.GroupCog, group_name="privacy", group_description="Your own data"):
    @app_commands.command(name="show", description="What is stored about you here.")
    async def show_mine(self, interaction: Interaction) -> None:
        await begin(interaction)
        await show(interaction, about_card(await self.services.privacy.show(self.actor(interaction))))

    @app_commands.command(description="A file with everything that is stored about you here.")
    async def export(self, interaction: Interaction) -> None:
        await begin(interaction)
        await self._export(interaction)

    @pressed(r"privacy:export")
    async def export_pressed(self, interaction: Interaction) -> None:
        # A message of its own: the card that was pressed stays.
        await interaction.response.defer(ephemeral=True, thinking=True)
        await self._export(interaction)

    async def _export(self, interaction: Interaction) -> None:
        content = await self.services.privacy.export(self.actor(interaction))
        await show(interaction, await asyncio.to_thread(export_card, content))  # packing takes seconds

    @app_commands.command(description="Delete your texts, labels and questions. Shows first what that means.")
    async def forget(self, interaction: Interaction) -> None:
        await begin(interaction)
        await self._preview(interaction)

    @pressed(r"privacy:forget")
    async def forget_pressed(self, interaction: Interaction) -> None:
        await begin(interaction)
        await self._preview(interaction)

    async def _preview(self, interaction: Interaction) -> None:
        actor = self.actor(interaction)
        await show(interaction, preview_card(await self.services.privacy.preview(actor), actor.id))

    @pressed(r"forget:(?P<person>\w+)")
    async def forget_now(self, interaction: Interaction, person: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        if person != actor.id:
            raise NotAllowed("Only the person whose data it is can delete it. Use `/privacy forget` for your own.")
        await show(interaction, receipt_card(await self.services.privacy.forget(actor)))

    @pressed(r"privacy:keep")
    async def keep(self, interaction: Interaction) -> None:
        await begin(interaction)
        await show(interaction, Card(CANCELLED))

    @app_commands.command(name="opt-out", description="Store nothing of what you type from now on.")
    @app_commands.describe(off="True: store it again, so that you can label and teach")
    async def opt_out(self, interaction: Interaction, off: bool = False) -> None:
        await begin(interaction)
        await self._opt(interaction, out=not off)

    @pressed(r"privacy:(?P<way>out|in)")
    async def opt_pressed(self, interaction: Interaction, way: str) -> None:
        await begin(interaction)
        await self._opt(interaction, out=way == "out")

    async def _opt(self, interaction: Interaction, *, out: bool) -> None:
        actor = self.actor(interaction)
        await self.services.privacy.opt_out(actor, out=out)
        await show(interaction, opted_card(out=out))
