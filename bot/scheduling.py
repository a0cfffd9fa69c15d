"""APScheduler as a clock: it wakes the schedule, our own table knows what is due, nothing else is kept in it.

Every wake-up takes the same path whether the machine slept, the bot restarted or the clock jumped: the training
service compares its table with the time it is. A wake-up that comes late or twice changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobExecutionEvent
from apscheduler.schedulers.asyncio import AsyncIOScheduler

log = logging.getLogger(__name__)

Tick = Callable[[datetime], Awaitable[None]]


@asynccontextmanager
async def timers(*ticks: Tick, seconds: float = 10.0) -> AsyncIterator[None]:
    """Calls each `tick(now)` every few seconds, never the same one twice at a time, also at once."""
    scheduler = AsyncIOScheduler(timezone=UTC)

    async def wake(tick: Tick) -> None:
        await tick(datetime.now(UTC))

    for number, tick in enumerate(ticks):
        scheduler.add_job(
            wake,
            "interval",
            args=(tick,),
            seconds=seconds,
            id=f"tick {number}",
            next_run_time=datetime.now(UTC),
            misfire_grace_time=None,  # the default of one second drops the run after a short stall
            coalesce=True,
            max_instances=1,
        )
    # APScheduler waits by the clock on the wall: put back by an hour, it would wake nobody for an hour.
    watch = asyncio.create_task(_keep_near(scheduler, seconds), name="timers")
    scheduler.add_listener(_note, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
    scheduler.start()
    try:
        yield
    finally:
        watch.cancel()
        scheduler.shutdown(wait=False)


async def _keep_near(scheduler: AsyncIOScheduler, seconds: float) -> None:
    """Brings every wake-up that a clock put back has left far ahead to now."""
    while True:
        await asyncio.sleep(seconds)
        now = datetime.now(UTC)
        for job in scheduler.get_jobs():
            if job.next_run_time - now > timedelta(seconds=2 * seconds):
                log.warning("clock.put_back", extra={"job": job.id})
                job.modify(next_run_time=now)


def _note(event: JobExecutionEvent) -> None:
    error = getattr(event, "exception", None)
    log.warning("tick.skipped", extra={"code": event.code}, exc_info=error)
