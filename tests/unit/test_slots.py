"""Which slot is due: missed ones once, the doubled hour once, the missing hour never."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.cron import CronTrigger

from bot.services.slots import check_cron, check_quiet, is_quiet, latest_slot, next_slots, nominal, quiet_end
from storage.errors import InvalidInput

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def zulu(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


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


def test_after_a_time_that_was_never_shown_or_twice_the_next_slot_is_due_when_it_comes() -> None:
    skipped, again = "2026-03-29T02:30", "2026-10-25T02:30"
    assert latest_slot("*/30 * * * *", "Europe/Berlin", skipped, zulu("2026-03-29T00:59")) is None
    assert latest_slot("*/30 * * * *", "Europe/Berlin", skipped, zulu("2026-03-29T01:00")) == "2026-03-29T03:00"
    assert latest_slot("*/30 * * * *", "Europe/Berlin", again, zulu("2026-10-25T01:59")) is None
    assert latest_slot("*/30 * * * *", "Europe/Berlin", again, zulu("2026-10-25T02:00")) == "2026-10-25T03:00"


def test_a_slot_that_is_not_yet_due_is_worked_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    last = "2026-11-23T03:33"
    assert latest_slot("34 3 * * *", "UTC", last, zulu("2026-11-23T03:33")) is None
    with monkeypatch.context() as patched:
        patched.delattr(CronTrigger, "get_next_fire_time")
        assert latest_slot("34 3 * * *", "UTC", last, zulu("2026-11-23T03:33")) is None
    assert latest_slot("34 3 * * *", "UTC", last, zulu("2026-11-23T03:34")) == "2026-11-23T03:34"


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


@pytest.mark.parametrize(
    ("weekdays", "names"),
    [
        ("1", "Mon"),
        ("0", "Sun"),
        ("7", "Sun"),
        ("0,6", "Sat Sun"),
        ("1-5", "Mon Tue Wed Thu Fri"),
        ("5-7", "Fri Sat Sun"),
        ("0-7", "Mon Tue Wed Thu Fri Sat Sun"),
        ("*/2", "Tue Thu Sat Sun"),
        ("1-5/2", "Mon Wed Fri"),
        ("3/2", "Wed Fri"),
        ("fri,1", "Mon Fri"),
        ("mon-wed", "Mon Tue Wed"),
        ("*", "Mon Tue Wed Thu Fri Sat Sun"),
    ],
)
def test_weekdays_are_numbered_as_cron_numbers_them(weekdays: str, names: str) -> None:
    monday = datetime(2026, 11, 30, tzinfo=UTC)
    runs = next_slots(f"0 3 * * {weekdays}", "UTC", monday, 7)
    assert " ".join(f"{run:%a}" for run in runs if run < monday + timedelta(days=7)) == names


@pytest.mark.parametrize("weekdays", ["8", "1-8", "6-2", "*/0", "-1", "1,,2", "1-fri", ""])
def test_what_is_no_weekday_is_refused_in_words(weekdays: str) -> None:
    with pytest.raises(InvalidInput, match=r"is not a schedule: .* Use five fields"):
        check_cron(f"0 3 * * {weekdays}", "UTC")


# Quiet hours


@pytest.mark.parametrize(
    ("typed", "hours"),
    [
        ("22:00-07:00", "22:00-07:00"),
        (" 22 - 7 ", "22:00-07:00"),
        ("22:30–6:05", "22:30-06:05"),
        ("0:00-24:00", None),
        ("20-24:00", "20:00-00:00"),
        ("25:00-7", None),
        ("22:00-22:00", None),
        ("22-07:60", None),
        ("24:30-7", None),
        ("22:00", None),
        ("at night", None),
        ("22:00-07:00-09:00", None),
        ("-", None),
        ("٢٢:٠٠-٠٧:٠٠", None),
        ("`" * 500, None),
    ],
)
def test_quiet_hours_are_read_or_refused_in_words(typed: str, hours: str | None) -> None:
    if hours is not None:
        assert check_quiet(typed) == hours
        return
    with pytest.raises(InvalidInput, match=r"Write quiet hours like `22:00-07:00`, or `none`") as refused:
        check_quiet(typed)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("quiet", "within", "outside"),
    [
        ("22:00-07:00", ("22:00", "23:59", "00:00", "06:59"), ("07:00", "12:00", "21:59")),
        ("01:30-03:00", ("01:30", "02:59"), ("01:29", "03:00", "23:00")),
        ("20:00-00:00", ("20:00", "23:59"), ("00:00", "19:59")),
        ("00:00-23:59", ("00:00", "23:58"), ("23:59",)),
    ],
)
def test_quiet_hours_begin_with_their_begin_and_end_with_their_end(
    quiet: str, within: tuple[str, ...], outside: tuple[str, ...]
) -> None:
    assert all(is_quiet(quiet, "Europe/Berlin", at(f"2026-11-24T{time}")) for time in within)
    assert not any(is_quiet(quiet, "Europe/Berlin", at(f"2026-11-24T{time}")) for time in outside)
    assert not is_quiet(None, "Europe/Berlin", at("2026-11-24T03:00"))


CHANGES = {
    # Zone: (hour that is skipped or repeated, day it is skipped, day it is repeated)
    "Europe/Berlin": ("02:00-03:00", "2026-03-29", "2026-10-25"),
    "America/New_York": ("01:00-02:00", "2026-03-08", "2026-11-01"),
    "Australia/Lord_Howe": ("01:30-02:00", "2026-10-04", "2026-04-05"),
}


@pytest.mark.parametrize(
    ("zone", "cron", "quiet", "before", "runs"),
    [
        # The clocks go on while it is quiet: an hour less of it, half an hour on Lord Howe.
        ("Europe/Berlin", "30 23 * * *", "22:00-07:00", "2026-03-28T20:00", "2026-03-29T05:00"),
        ("America/New_York", "30 23 * * *", "22:00-07:00", "2026-03-08T02:00", "2026-03-08T11:00"),
        ("Australia/Lord_Howe", "30 23 * * *", "22:00-07:00", "2026-10-03T10:00", "2026-10-03T20:00"),
        # The clocks go back while it is quiet.
        ("Europe/Berlin", "30 23 * * *", "22:00-07:00", "2026-10-24T19:00", "2026-10-25T06:00"),
        ("America/New_York", "30 23 * * *", "22:00-07:00", "2026-11-01T01:00", "2026-11-01T12:00"),
        ("Australia/Lord_Howe", "30 23 * * *", "22:00-07:00", "2026-04-04T10:00", "2026-04-04T20:30"),
        # They end at a time that the clocks skip: with the change.
        ("Europe/Berlin", "30 23 * * *", "22:00-02:30", "2026-03-28T20:00", "2026-03-29T01:00"),
        ("America/New_York", "30 23 * * *", "22:00-02:30", "2026-03-08T02:00", "2026-03-08T07:00"),
        ("Australia/Lord_Howe", "30 23 * * *", "22:00-02:10", "2026-10-03T10:00", "2026-10-03T15:30"),
        # They end at a time that comes twice: the first time.
        ("Europe/Berlin", "30 23 * * *", "22:00-02:30", "2026-10-24T19:00", "2026-10-25T00:30"),
        ("America/New_York", "30 23 * * *", "22:00-01:30", "2026-11-01T01:00", "2026-11-01T05:30"),
        ("Australia/Lord_Howe", "30 23 * * *", "22:00-01:45", "2026-04-04T10:00", "2026-04-04T14:45"),
        # They are the hour that comes twice, both times; nothing of the hour that does not come.
        ("Europe/Berlin", "30 2 * * *", "02:00-03:00", "2026-10-24T19:00", "2026-10-25T02:00"),
        ("America/New_York", "30 1 * * *", "01:00-02:00", "2026-11-01T01:00", "2026-11-01T07:00"),
        ("Australia/Lord_Howe", "45 1 * * *", "01:30-02:00", "2026-04-04T10:00", "2026-04-04T15:30"),
        ("Europe/Berlin", "30 2 * * *", "02:00-03:00", "2026-03-28T20:00", "2026-03-29T01:30"),
        ("America/New_York", "30 2 * * *", "02:00-03:00", "2026-03-08T02:00", "2026-03-08T07:30"),
        ("Australia/Lord_Howe", "15 2 * * *", "02:00-02:30", "2026-10-03T10:00", "2026-10-03T15:45"),
    ],
)
def test_what_falls_into_quiet_hours_runs_when_they_end_also_where_clocks_change(
    zone: str, cron: str, quiet: str, before: str, runs: str
) -> None:
    assert next_slots(cron, zone, zulu(before), 1, quiet=quiet)[0] == zulu(runs)


def run_through_quietly(cron: str, zone: str, quiet: str, start: datetime, days: int) -> list[tuple[datetime, str]]:
    """When each slot was taken by a clock that ticks every ten minutes, as the training service does it."""
    taken, last, now = [], nominal(start, zone), start
    while now < start + timedelta(days=days):
        if not is_quiet(quiet, zone, now) and (slot := latest_slot(cron, zone, last, now)):
            taken.append((now, slot))
            last = slot
        now += timedelta(minutes=10)
    return taken


@pytest.mark.parametrize("way", [1, 2], ids=["clocks go on", "clocks go back"])
@pytest.mark.parametrize("zone", CHANGES)
@pytest.mark.parametrize("quiet", ["22:00-07:00", "the hour", "23:00-01:40", "01:40-05:00", "12:00-11:00"])
@pytest.mark.parametrize("cron", ["40 1 * * *", "20 2 * * *", "30 23 * * *", "0 */5 * * *"])
def test_no_slot_is_lost_or_doubled_and_the_runs_are_those_that_were_told(
    cron: str, quiet: str, zone: str, way: int
) -> None:
    hours = CHANGES[zone][0] if quiet == "the hour" else quiet
    change = datetime.fromisoformat(CHANGES[zone][way]).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    start = change - timedelta(days=1, hours=-12)
    taken = run_through_quietly(cron, zone, hours, start, 3)
    told = next_slots(cron, zone, start, len(taken), quiet=hours, last_slot=nominal(start, zone))
    assert [moment for moment, _ in taken] == told
    slots = [slot for _, slot in taken]
    assert slots == sorted(set(slots))
    assert not any(is_quiet(hours, zone, moment) for moment, _ in taken)
    if cron != "0 */5 * * *":  # one a day, and a day may wait for the next
        assert len(slots) >= 2
        assert len({slot[:10] for slot in slots}) == len(slots)


def test_a_slot_that_waits_already_is_told_first() -> None:
    now = at("2026-11-24T23:30")
    waiting = next_slots("0 23 * * *", "Europe/Berlin", now, quiet="22:00-07:00", last_slot="2026-11-23T23:00")
    assert [f"{run.astimezone(BERLIN):%d %H:%M}" for run in waiting] == ["25 07:00", "26 07:00", "27 07:00"]
    taken = next_slots("0 23 * * *", "Europe/Berlin", now, quiet="22:00-07:00", last_slot="2026-11-24T23:00")
    assert [f"{run.astimezone(BERLIN):%d %H:%M}" for run in taken] == ["26 07:00", "27 07:00", "28 07:00"]


def test_all_that_waits_is_one_run() -> None:
    runs = next_slots("*/30 * * * *", "Europe/Berlin", at("2026-11-24T21:20"), 3, quiet="22:00-07:00")
    assert [f"{run.astimezone(BERLIN):%d %H:%M}" for run in runs] == ["24 21:30", "25 07:00", "25 07:30"]


def test_what_comes_due_outside_of_quiet_hours_does_not_wait() -> None:
    assert quiet_end("22:00-07:00", "Europe/Berlin", at("2026-11-24T12:00:30")) == at("2026-11-24T12:00:30")
    assert quiet_end(None, "Europe/Berlin", at("2026-11-24T03:00")) == at("2026-11-24T03:00")
    assert quiet_end("22:00-07:00", "Europe/Berlin", at("2026-11-24T06:59:30")) == at("2026-11-24T07:00")
