"""One message in a channel per training: it shows progress while the job runs and becomes the result at the end.

The board pulls updates from the training service and draws each job's newest one; it decides nothing about jobs. The
message is an ordinary one, kept by id: an interaction's token would end after 15 minutes. Its id is stored with the
job, so that after a restart the same message goes on. Discord throttles edits of messages older than an hour (error
30046), so a long training moves on to a new message before that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

import discord
from discord.utils import snowflake_time

from bot.chat.cards import Card
from bot.chat.sending import as_edit, as_message
from bot.chat.training_cards import job_card
from bot.services.people import timer
from bot.services.updates import JobUpdate

log = logging.getLogger(__name__)

MESSAGE_LIFE = 50 * 60.0
"""Seconds after which a training that still runs goes on in a new message."""
FIRST_DRAWING = 5.0
"""Seconds that whoever asked for a training waits for its message to appear."""
LAST_TRIES = 6
"""How often a result is tried again before it is given up (the job itself is not affected)."""


class Trainings(Protocol):
    """What the board needs of the training service."""

    def watch(self) -> AsyncIterator[JobUpdate]: ...
    async def unfinished(self) -> list[JobUpdate]: ...
    async def set_message(self, guild: str, job_id: str, channel_id: str, message_id: str) -> None: ...


@dataclass
class _Panel:
    """One job on the board."""

    newest: JobUpdate
    channel: int
    message: int | None
    posted_at: float
    """Unix time."""
    shown: Card | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    drawn: asyncio.Event = field(default_factory=asyncio.Event)
    """Set after the first attempt to draw, successful or not."""


class ProgressBoard:
    """All progress messages. After `start` it draws until `close`; the messages then stay as they are."""

    def __init__(
        self, client: discord.Client, trainings: Trainings, interval: float, life: float = MESSAGE_LIFE
    ) -> None:
        """`interval`: least seconds between two edits of one message; `life`: seconds a message is edited at most."""
        self._client = client
        self._trainings = trainings
        self._interval = interval
        self._life = life
        self._panels: dict[str, _Panel] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begins to watch, and takes up the trainings that were under way before."""
        self._spawn(self._follow())
        self._spawn(self._take_up())

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def show(self, update: JobUpdate, channel: str | None = None) -> str | None:
        """Puts a job on the board; the id of the channel where its message is, None where none could be written.

        `channel`: where to show a job that has no place yet, because a program asked for it.
        """
        panel = self._place(update, channel)
        if panel is None:
            return None
        await _either(panel.drawn, FIRST_DRAWING)
        return None if panel.message is None else str(panel.channel)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("progress.stopped", exc_info=error)

    async def _follow(self) -> None:
        async for update in self._trainings.watch():
            self._place(update)

    async def _take_up(self) -> None:
        # One turn of the loop, so that `_follow` listens already: an update in between is not missed.
        await asyncio.sleep(0)
        for update in await self._trainings.unfinished():
            if update.job.id not in self._panels:
                self._place(update)

    def _place(self, update: JobUpdate, fallback: str | None = None) -> _Panel | None:
        job = update.job
        panel = self._panels.get(job.id)
        if panel is None:
            channel = job.channel_id or update.classifier.settings.team_channel or fallback
            if channel is None:  # nobody asked for it in a channel, and the lead has named none
                return None
            message = int(job.message_id) if job.message_id else None
            posted_at = snowflake_time(message).timestamp() if message else 0.0
            panel = self._panels[job.id] = _Panel(update, int(channel), message, posted_at)
            self._spawn(self._keep(panel))
        panel.newest = update
        panel.changed.set()
        if job.state.is_final:
            panel.ended.set()
        return panel

    async def _keep(self, panel: _Panel) -> None:
        """Draws one job until it has ended."""
        try:
            while True:
                await panel.changed.wait()
                panel.changed.clear()
                final = panel.newest.job.state.is_final
                await (self._draw_last(panel) if final else self._draw(panel))
                panel.drawn.set()
                if final:
                    return
                await _either(panel.ended, self._interval)
        finally:
            panel.drawn.set()
            self._panels.pop(panel.newest.job.id, None)

    async def _draw_last(self, panel: _Panel) -> None:
        """The result matters more than a step: a Discord that is down for a while does not swallow it."""
        for attempt in range(LAST_TRIES):
            if await self._draw(panel):
                return
            await asyncio.sleep(min(60.0, self._interval * 2**attempt))
        log.error("progress.result_not_shown", extra={"job": panel.newest.job.id})

    async def _draw(self, panel: _Panel) -> bool:
        """Brings the message up to date. False: it did not work, and may the next time."""
        card = job_card(panel.newest)
        if card == panel.shown:
            return True
        try:
            await self._write(panel, card)
        except (discord.Forbidden, discord.NotFound):  # not allowed there, or the channel is gone
            log.warning("progress.not_allowed", extra={"job": panel.newest.job.id, "channel": panel.channel})
        except Exception as error:  # discord.py lets a malformed 429 through as KeyError
            log.warning("progress.not_shown", extra={"job": panel.newest.job.id, "error": repr(error)})
            return False
        panel.shown = card
        return True

    async def _write(self, panel: _Panel, card: Card) -> None:
        # A result is one edit, however old the message is; after a restart it is drawn once more.
        edits = panel.newest.job.state.is_final or time.time() - panel.posted_at < self._life
        if panel.message is not None and edits:
            try:
                await self._message(panel, panel.message).edit(**as_edit(card))
                return
            except discord.NotFound:  # somebody deleted it
                panel.message = None
            except discord.HTTPException as error:
                if error.code != 30046:
                    raise
        await self._post(panel, card)

    async def _post(self, panel: _Panel, card: Card) -> None:
        job, older = panel.newest.job, panel.message
        channel = self._client.get_partial_messageable(panel.channel, guild_id=int(job.guild))
        # Nobody is woken by what a clock began.
        message = await channel.send(**as_message(card), silent=job.requested_by == timer(job.guild).id)
        panel.message, panel.posted_at = message.id, time.time()
        await self._trainings.set_message(job.guild, job.id, str(panel.channel), str(message.id))
        if older is not None:
            note = Card("This training goes on in a newer message, below.")
            await self._message(panel, older).edit(**as_edit(note))

    def _message(self, panel: _Panel, message: int) -> discord.PartialMessage:
        guild = int(panel.newest.job.guild)
        return self._client.get_partial_messageable(panel.channel, guild_id=guild).get_partial_message(message)


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set or the time is over."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
