"""Two years of schedules in three time zones: the clocks change, the bot restarts and sleeps, its clock jumps.

The real service over a real database; only the training that it would ask for is written down instead. What should have
been taken is worked out here without a crontab, and what is quiet without the service's own functions.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
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
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
RESTARTS = 200


@dataclass(frozen=True)
class Team:
    zone: str
    night: str
    """When it trains."""
    quiet: str | None = None

    def due(self, now: datetime) -> str:
        """The newest slot at a moment: today's if its time has come, for the first time where it comes twice."""
        today = now.astimezone(ZoneInfo(self.zone)).date()
        nominal = datetime.fromisoformat(f"{today}T{self.night}").replace(tzinfo=ZoneInfo(self.zone))
        return f"{today if nominal.astimezone(UTC) <= now else today - timedelta(days=1)}T{self.night}"

    def is_quiet(self, now: datetime) -> bool:
        if self.quiet is None:
            return False
        local = now.astimezone(ZoneInfo(self.zone))
        first, last = ((int(time[:2]) * 60 + int(time[3:])) for time in self.quiet.split("-"))
        return (local.hour * 60 + local.minute - first) % 1440 < (last - first) % 1440


TEAMS = (
    # Each night lies in the hour that its zone's clocks skip or repeat; Lord Howe's change by half an hour.
    Team("Europe/Berlin", "02:30"),
    Team("America/New_York", "01:30"),
    Team("Australia/Lord_Howe", "01:45"),
    # Quiet hours over midnight, with the whole change in them; that end within the hour that changes; that begin there.
    Team("Europe/Berlin", "02:30", "22:00-07:00"),
    Team("America/New_York", "01:10", "23:00-01:40"),
    Team("Australia/Lord_Howe", "01:50", "01:45-05:15"),
    Team("Europe/Berlin", "23:15", "22:30-02:30"),
    Team("America/New_York", "12:00", "02:15-20:00"),
)


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


@pytest.mark.long
async def test_no_night_is_lost_and_none_is_taken_twice(tmp_path: Path) -> None:
    chance = random.Random(0)
    taken: dict[int, list[str]] = defaultdict(list)
    teams: dict[int, Team] = {}
    newest: dict[int, str] = {}
    held = 0
    now, lives = START, 0
    while now < END:
        async with Database(tmp_path / "pupil.db") as db:
            stores = Stores.over(db)
            if not teams:
                for team in TEAMS:
                    classifier = await stores.classifiers.create(GUILD, f"team-{len(teams)}", "maria", "base", 1.0)
                    teams[classifier.id] = team
                    cron = f"{int(team.night[3:])} {int(team.night[:2])} * * *"
                    first = newest[classifier.id] = team.due(now)
                    await stores.schedules.save(
                        Schedule(GUILD, classifier.id, cron, None, team.zone, True, first, team.quiet)
                    )
            service = Asking(stores, taken)
            life = now + (END - START) / RESTARTS * chance.uniform(0.5, 1.5)
            while now < min(life, END):
                # A clock that is wrong for one look: an hour or two, rarely a day, either way.
                far = 26 if chance.random() < 0.1 else 2
                wrong = timedelta(hours=chance.uniform(-far, far)) if chance.random() < 0.05 else timedelta()
                before = {number: len(taken[number]) for number in teams}
                await service.tick(now + wrong)
                for number, team in teams.items():
                    if team.is_quiet(now + wrong):
                        assert len(taken[number]) == before[number], f"{team} trained when it was quiet"
                        held += team.due(now + wrong) > newest[number]
                        continue
                    newest[number] = max(newest[number], team.due(now + wrong))
                    if taken[number]:
                        assert taken[number][-1] == newest[number], f"a night of {team} was lost at {now + wrong}"
                now += timedelta(hours=chance.expovariate(1 / 3))
        lives += 1
        if chance.random() < 0.2:
            now += timedelta(hours=chance.uniform(1, 100))  # the machine sleeps
    assert lives >= 0.8 * RESTARTS
    assert held > 500
    for number in teams:
        assert len(taken[number]) == len(set(taken[number])), "a night was taken twice"
        assert taken[number] == sorted(taken[number])
        assert len(taken[number]) > 550
