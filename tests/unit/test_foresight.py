"""When a training comes near: shortly before a slot, or with the last of the labels that are waited for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bot.services.foresight import AHEAD, Occasion, comes_near
from storage.records import Schedule

NIGHT = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
"""02:30 in Berlin, for the first of two times."""


def schedule(cron: str | None = None, after_labels: int | None = None, *, enabled: bool = True) -> Schedule:
    return Schedule("g", 1, cron, after_labels, "Europe/Berlin", enabled, "2026-10-24T02:30")


def near(planned: Schedule, new: int = 0, before: timedelta = timedelta()) -> Occasion | None:
    return comes_near(planned, new, NIGHT - before)


def test_a_slot_is_near_for_as_long_as_imports_may_take_and_is_one_occasion() -> None:
    nightly = schedule("30 2 * * *")
    assert near(nightly, before=AHEAD + timedelta(seconds=1)) is None
    looks = {near(nightly, before=timedelta(seconds=seconds)) for seconds in (90, 80, 40, 1)}
    assert looks == {Occasion("2026-10-25T02:30", counted=False)}


@pytest.mark.parametrize(
    ("wanted", "new", "is_near"),
    [(100, 89, False), (100, 90, True), (100, 99, True), (100, 100, False), (5, 3, False), (5, 4, True), (1, 0, False)],
)
def test_labels_are_near_with_the_last_tenth(wanted: int, new: int, is_near: bool) -> None:
    found = near(schedule(after_labels=wanted), new)
    assert (found is not None) == is_near
    assert found is None or found.counted


def test_the_same_count_is_the_same_occasion_and_one_more_label_is_another() -> None:
    counted = schedule(after_labels=100)
    assert near(counted, 95) == near(counted, 95, before=timedelta(days=3))
    assert near(counted, 95) != near(counted, 96)


def test_nothing_is_near_where_nothing_is_planned() -> None:
    assert near(schedule("30 2 * * *", 100, enabled=False), 99) is None
    assert near(schedule()) is None


def test_in_quiet_hours_their_end_is_what_comes_near() -> None:
    """Until 02:45 in Berlin, a quarter of an hour after `NIGHT`."""
    quiet = replace(schedule("30 2 * * *", 100), quiet="22:00-02:45")
    for new, labels in ((95, None), (100, Occasion("2026-10-25T02:45", counted=True))):
        counted = replace(quiet, cron=None)
        assert near(counted, new) is None
        assert near(counted, new, before=-timedelta(minutes=14)) == labels
    assert near(quiet) is None
    assert near(quiet, before=-timedelta(minutes=14)) == Occasion("2026-10-25T02:45", counted=False)
