"""Which slot is due: missed ones once, the doubled hour once, the missing hour never."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from bot.services.slots import check_cron, latest_slot, next_slots, nominal
from storage.errors import InvalidInput

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def test_nothing_is_due_before_the_slot() -> None:
    assert latest_slot("0 3 * * *", "Europe/Berlin", "2026-11-24T03:00", at("2026-11-25T02:59")) is None


def test_due_at_the_minute_and_later() -> None:
    for moment in ("2026-11-25T03:00", "2026-11-25T03:07", "2026-11-25T18:00"):
        assert latest_slot("0 3 * * *", "Europe/Berlin", "2026-11-24T03:00", at(moment)) == "2026-11-25T03:00"


def test_after_a_long_sleep_only_the_newest_slot_is_due() -> None:
    assert latest_slot("0 3 * * *", "Europe/Berlin", "2026-08-01T03:00", at("2026-11-25T12:00")) == "2026-11-25T03:00"
    assert latest_slot("0 3 1 1 *", "UTC", "2020-01-01T03:00", datetime(2026, 11, 25, tzinfo=UTC)) == "2026-01-01T03:00"


def test_a_clock_set_back_makes_nothing_due_again() -> None:
    assert latest_slot("0 3 * * *", "Europe/Berlin", "2026-11-25T03:00", at("2026-11-24T12:00")) is None


def run_through(cron: str, zone: str, start: datetime, days: int, minutes: int = 10) -> list[str]:
    """Every slot taken by a clock that ticks every few minutes."""
    taken, last, now = [], nominal(start, zone), start
    while now < start + timedelta(days=days):
        if slot := latest_slot(cron, zone, last, now):
            taken.append(slot)
            last = slot
        now += timedelta(minutes=minutes)
    return taken


def test_the_hour_that_happens_twice_is_one_slot() -> None:
    taken = run_through("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC), 2)
    assert taken == ["2026-10-25T02:30", "2026-10-26T02:30"]


def test_the_hour_that_does_not_happen_is_skipped_or_moved_but_never_doubled() -> None:
    taken = run_through("30 2 * * *", "Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC), 2)
    assert taken[-1] == "2026-03-30T02:30"
    assert len(taken) == len({slot[:10] for slot in taken})


def test_next_runs_are_three_and_rise() -> None:
    runs = next_slots("0 3 * * *", "Europe/Berlin", at("2026-11-24T12:00"))
    assert [run.day for run in runs] == [25, 26, 27]


def test_the_next_runs_hold_the_hour_that_happens_twice_once() -> None:
    runs = next_slots("30 2 * * *", "Europe/Berlin", at("2026-10-24T12:00"))
    assert [run.day for run in runs] == [25, 26, 27]


@pytest.mark.parametrize(
    ("cron", "zone"), [("every night", "UTC"), ("61 3 * * *", "UTC"), ("0 3 30 2 *", "UTC"), ("0 3 * * *", "Mars/Base")]
)
def test_what_cannot_be_is_refused_in_words(cron: str, zone: str) -> None:
    with pytest.raises(InvalidInput, match=r"Use"):
        check_cron(cron, zone)
