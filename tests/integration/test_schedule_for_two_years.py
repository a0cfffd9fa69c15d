"""Two years of a schedule in three time zones: the clocks change, the bot restarts and sleeps, its clock jumps.

The real service over a real database; only the training that it would ask for is written down instead. What should have
been taken is worked out here without a crontab.
"""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import pytest

from bot.services.people import Actor
from bot.services.training import NotYet, TrainingService
from storage.database import Database
from storage.records import Classifier, Schedule
from storage.stores import Stores

GUILD = "1"
NIGHTS = {"Europe/Berlin": "02:30", "America/New_York": "01:30", "Australia/Lord_Howe": "01:45"}
"""Each lies in the hour that its zone's clocks skip or repeat; Lord Howe's change by half an hour."""
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
RESTARTS = 200


class Asking(TrainingService):
    """Writes down what it would train."""

    def __init__(self, stores: Stores, taken: dict[int, list[str]]) -> None:
        super().__init__(stores, cast(Any, None), Path(), {}, 0)
        self._taken = taken

    async def request(
        self,
        actor: Actor,
        classifier: Classifier,
        reason: str = "",
        channel_id: str | None = None,
        *,
        asked: bool = True,
    ) -> NotYet:
        self._taken[classifier.id].append(reason.removeprefix("scheduled for "))
        return NotYet("this is a rehearsal")


def due(now: datetime, zone: str, night: str) -> str:
    """The newest slot at a moment: today's if its time has come, for the first time where it comes twice."""
    today = now.astimezone(ZoneInfo(zone)).date()
    come = datetime.fromisoformat(f"{today}T{night}").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) <= now
    return f"{today if come else today - timedelta(days=1)}T{night}"


@pytest.mark.slow
async def test_no_night_is_lost_and_none_is_taken_twice(tmp_path: Path) -> None:
    chance = random.Random(0)
    taken: dict[int, list[str]] = defaultdict(list)
    zones: dict[int, str] = {}
    newest: dict[int, str] = {}
    now, lives = START, 0
    while now < END:
        async with Database(tmp_path / "pupil.db") as db:
            stores = Stores.over(db)
            if not zones:
                for zone, night in NIGHTS.items():
                    classifier = await stores.classifiers.create(GUILD, f"team-{len(zones)}", "maria", "base", 1.0)
                    zones[classifier.id] = zone
                    cron = f"{int(night[3:])} {int(night[:2])} * * *"
                    first = newest[classifier.id] = due(now, zone, night)
                    await stores.schedules.save(Schedule(GUILD, classifier.id, cron, None, zone, True, first))
            service = Asking(stores, taken)
            life = now + (END - START) / RESTARTS * chance.uniform(0.5, 1.5)
            while now < min(life, END):
                # A clock that is wrong for one look: an hour or two, either way.
                wrong = timedelta(hours=chance.uniform(-2, 2)) if chance.random() < 0.05 else timedelta()
                await service.tick(now + wrong)
                for number, zone in zones.items():
                    newest[number] = max(newest[number], due(now + wrong, zone, NIGHTS[zone]))
                    if taken[number]:
                        assert taken[number][-1] == newest[number], f"a night in {zone} was lost at {now + wrong}"
                now += timedelta(hours=chance.expovariate(1 / 3))
        lives += 1
        if chance.random() < 0.2:
            now += timedelta(hours=chance.uniform(1, 100))  # the machine sleeps
    assert lives >= 0.8 * RESTARTS
    for number in zones:
        assert len(taken[number]) == len(set(taken[number])), "a night was taken twice"
        assert taken[number] == sorted(taken[number])
        assert len(taken[number]) > 600
