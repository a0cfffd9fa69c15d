"""Tells a team in the morning that its training failed in the night. No commands."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import discord

from bot.chat.cogs.base import PupilCog
from bot.chat.sending import as_message
from bot.chat.training_cards import morning_card
from bot.services.updates import JobUpdate

log = logging.getLogger(__name__)


class Morning(PupilCog):
    async def cog_load(self) -> None:
        self._task = asyncio.create_task(self._listen(), name="morning news")

    async def cog_unload(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _listen(self) -> None:
        async for update in self.services.morning.watch():
            try:
                await self._tell(update)
                await self.services.morning.told(update)
            except Exception as error:  # Discord or the disk is away: the clock brings it again
                log.warning("morning.not_told", extra={"job": update.job.id, "error": repr(error)})

    async def _tell(self, update: JobUpdate) -> None:
        job = update.job
        channel = update.classifier.settings.team_channel or job.channel_id
        if channel is None:
            return
        place = self.bot.get_partial_messageable(int(channel), guild_id=int(job.guild))
        try:
            # The nonce keeps Discord from showing it twice when only the answer to the first try was lost.
            await place.send(**as_message(morning_card(update)), nonce=job.id[:25])
        except (discord.Forbidden, discord.NotFound):  # not allowed there, or the channel is gone
            log.warning("morning.not_allowed", extra={"job": job.id, "channel": channel})
