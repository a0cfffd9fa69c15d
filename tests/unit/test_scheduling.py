"""Wake-ups by a clock on the wall, also when somebody puts it back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from apscheduler.schedulers import base as scheduler_module
from apscheduler.triggers import interval as trigger_module

from bot import scheduling


class Clock(datetime):
    """The time of day, as far as APScheduler and we can tell."""

    ahead = timedelta(hours=2)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + cls.ahead


async def test_a_clock_that_is_put_back_stops_no_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (scheduling, scheduler_module, trigger_module):
        monkeypatch.setattr(module, "datetime", Clock)
    ticks: asyncio.Queue[datetime] = asyncio.Queue()
    async with scheduling.timers(ticks.put, seconds=0.05):
        await asyncio.wait_for(ticks.get(), 20)
        monkeypatch.setattr(Clock, "ahead", timedelta(0))
        async with asyncio.timeout(20):
            while (await ticks.get()) > datetime.now(UTC) + timedelta(hours=1):
                pass
            await ticks.get()  # and it goes on
