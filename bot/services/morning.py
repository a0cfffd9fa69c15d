"""A training that failed in the night is told in the morning, once.

While it fails, its message in the team channel says so, silently. Who sleeps then finds one plain sentence at eight,
or when the bot comes back in the course of a day.
What is told is stored (`storage.guilds`), so a restart neither repeats nor loses it. A clock wakes this service; the
chat asks it what there is to tell.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from bot.services.people import timer
from bot.services.slots import check_timezone
from bot.services.updates import JobUpdate
from storage.errors import InvalidInput, PupilError
from storage.records import TrainingJob
from storage.stores import Stores

log = logging.getLogger(__name__)

NIGHT_FROM, NIGHT_UNTIL = time(22), time(7)
"""Local time, in the zone of the schedule. What fails by day is seen when it fails."""
TOLD_AT = time(8)
STALE = timedelta(days=2)
"""What failed longer ago is told no more: the bot was off, and there are newer trainings to speak of."""


def when_to_tell(ended: datetime, zone: ZoneInfo) -> datetime | None:
    """Eight o'clock after the night in which something ended (aware, of any zone); None: it was by day."""
    local = ended.astimezone(zone)
    if NIGHT_UNTIL <= local.time() < NIGHT_FROM:
        return None
    morning = local.date() + timedelta(days=1) if local.time() >= NIGHT_FROM else local.date()
    return datetime.combine(morning, TOLD_AT, zone)


class MorningNews:
    def __init__(self, stores: Stores, update_of: Callable[[TrainingJob], Awaitable[JobUpdate]]) -> None:
        """`update_of` tells the whole story of a job."""
        self._guilds = stores.guilds
        self._schedules = stores.schedules
        self._update_of = update_of
        self._woken = asyncio.Event()
        self._now = datetime.now(UTC)

    async def tick(self, now: datetime) -> None:
        """Called by a clock; calling it twice does nothing more."""
        self._now = now
        self._woken.set()

    async def watch(self) -> AsyncIterator[JobUpdate]:
        """What there is to tell, for one listener: whoever does not report it `told` gets it again at the next tick."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                news = await self.due(self._now)
            except PupilError as error:
                log.warning("morning.not_read", extra={"why": str(error)})
                continue
            for update in news:
                yield update

    async def due(self, now: datetime) -> list[JobUpdate]:
        """Failed trainings of the schedule whose morning has come, the newest of each classifier."""
        newest: dict[tuple[str, int], TrainingJob] = {}
        for job in await self._guilds.failed((now - STALE).timestamp(), timer("").id):
            zone = await self._zone(job)
            at = when_to_tell(datetime.fromtimestamp(job.updated_at, UTC), zone)
            # Where the bot was away in the morning it is told later, but not in the next night.
            if at is not None and at <= now and TOLD_AT <= now.astimezone(zone).time() < NIGHT_FROM:
                newest[job.guild, job.classifier_id] = job
        updates = [await self._update_of(job) for job in newest.values()]
        return [update for update in updates if not update.classifier.archived]

    async def told(self, update: JobUpdate) -> None:
        """The team knows, also of what failed before it in that night."""
        job = update.job
        for other in await self._guilds.failed(job.updated_at - STALE.total_seconds(), timer("").id):
            of_the_same = (other.guild, other.classifier_id) == (job.guild, job.classifier_id)
            if of_the_same and other.updated_at <= job.updated_at:
                await self._guilds.told(job.guild, other.id, self._now.timestamp())
        log.info("morning.told", extra={"job": job.id})

    async def _zone(self, job: TrainingJob) -> ZoneInfo:
        schedule = await self._schedules.get(job.guild, job.classifier_id)
        try:
            return check_timezone(schedule.timezone if schedule else "UTC")
        except InvalidInput:  # a zone that this machine does not know
            return ZoneInfo("UTC")
