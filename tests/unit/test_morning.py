"""When a team is told of what failed in the night, through time zones and changed clocks."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.services.morning import when_to_tell

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    ("ended", "zone", "told"),
    [
        ("2026-11-24T03:10", "Europe/Berlin", "2026-11-24T08:00"),
        ("2026-11-24T22:00", "Europe/Berlin", "2026-11-25T08:00"),
        ("2026-11-24T23:59", "Europe/Berlin", "2026-11-25T08:00"),
        ("2026-11-24T06:59", "Europe/Berlin", "2026-11-24T08:00"),
        ("2026-11-24T07:00", "Europe/Berlin", None),
        ("2026-11-24T12:00", "Europe/Berlin", None),
        ("2026-11-24T21:59", "Europe/Berlin", None),
        ("2026-12-31T23:00", "Asia/Kolkata", "2027-01-01T08:00"),
        ("2026-03-28T23:00", "Europe/Berlin", "2026-03-29T08:00"),  # the night that lacks an hour
        ("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T08:00"),  # the hour that comes twice
    ],
)
def test_what_fails_at_night_is_told_at_eight(ended: str, zone: str, told: str | None) -> None:
    place = ZoneInfo(zone)
    at = when_to_tell(datetime.fromisoformat(ended).replace(tzinfo=place), place)
    assert (at and at.strftime("%Y-%m-%dT%H:%M")) == told


def test_the_same_moment_is_night_in_one_place_and_day_in_another() -> None:
    moment = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
    assert when_to_tell(moment, BERLIN) == datetime(2026, 11, 24, 7, 0, tzinfo=UTC)
    assert when_to_tell(moment, NEW_YORK) is None  # nine in the evening


def test_the_wait_is_an_hour_shorter_in_the_night_of_spring() -> None:
    midnight = datetime(2026, 3, 28, 23, 0, tzinfo=UTC)
    told = when_to_tell(midnight, BERLIN)
    assert told is not None
    assert (told.astimezone(UTC) - midnight).total_seconds() == 7 * 3600


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC)),
    st.sampled_from([BERLIN, NEW_YORK]),
)
def test_it_is_told_within_eleven_hours_and_at_eight_by_the_wall_clock(moment: datetime, zone: ZoneInfo) -> None:
    told = when_to_tell(moment, zone)
    if told is not None:
        assert (told.hour, told.minute) == (8, 0)
        assert 3600 <= (told.astimezone(UTC) - moment).total_seconds() <= 11 * 3600
