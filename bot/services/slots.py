"""When a schedule is due: pure functions of a crontab, a time zone, quiet hours and a clock reading.

A slot is named by its local nominal time without offset ("2026-10-25T02:30"): the hour that happens twice in autumn is
one slot, the one that does not happen in spring is none. Quiet hours go by what the clock on the wall shows at the
moment: what comes due within them waits, and whatever waits is one run when they end.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from storage.errors import InvalidInput

SLOT = "%Y-%m-%dT%H:%M"

_HORIZON = timedelta(days=9 * 366)
"""29 February comes at least once in nine years."""

_FAR = timedelta(days=2)
"""Clocks that jump by a day are nothing special; nor is what they have taken."""

# How far back a missed slot is looked for, nearest first: the newest one is all that counts.
_WINDOWS = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=366))


def check_timezone(name: str) -> ZoneInfo:
    """Raises InvalidInput unless `name` is in the time zone database ("Europe/Berlin")."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidInput(f"There is no time zone `{name}`. Use a name like `Europe/Berlin` or `UTC`.") from None


def check_cron(cron: str, timezone: str) -> CronTrigger:
    """Raises InvalidInput unless `cron` is a five-field crontab expression that can ever come due."""
    zone = check_timezone(timezone)
    try:
        trigger = CronTrigger.from_crontab(_with_named_weekdays(cron), timezone=zone)
    except ValueError as error:
        raise InvalidInput(
            f"`{cron}` is not a schedule: {error}. Use five fields, for example `0 3 * * *` for 03:00 every day."
        ) from None
    # Without an end, the search for a date that never comes (30 February) walks to the year 9999.
    trigger.end_date = datetime.now(zone) + _HORIZON
    if trigger.get_next_fire_time(None, datetime.now(zone)) is None:
        raise InvalidInput(f"`{cron}` never comes due. Use five fields, for example `0 3 * * *` for 03:00 every day.")
    return trigger


# As cron counts them; APScheduler 3 counts from Monday.
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")

_WEEKDAY_NUMBERS = re.compile(r"(?:\*(?=/)|(\d+)(?:-(\d+))?)(?:/(\d+))?")


def _with_named_weekdays(cron: str) -> str:
    """ "0 3 * * 5-7" → "0 3 * * fri,sat,sun". Raises ValueError where a number is no weekday."""
    fields = cron.split()
    if len(fields) == 5:  # else it is refused in words anyway
        fields[4] = ",".join(_weekday_names(part) for part in fields[4].split(","))
    return " ".join(fields)


def _weekday_names(part: str) -> str:
    """ "1-5/2" → "mon,wed,fri"; what holds no numbers stays as it is."""
    match = _WEEKDAY_NUMBERS.fullmatch(part)
    if match is None:
        return part
    first, step = int(match[1] or 0), int(match[3] or 1)
    last = int(match[2]) if match[2] else 6 if match[3] else first
    if not first <= last <= 7 or step < 1:
        raise ValueError(f"`{part}` are no weekdays, which are 0 (Sunday) to 6, and 7 is Sunday too")
    return ",".join(_WEEKDAYS[first : last + 1 : step])


_QUIET = re.compile(r"\s*(\d{1,2})(?::(\d\d))?\s*[-–—]\s*(\d{1,2})(?::(\d\d))?\s*", re.ASCII)

_LIKE_THIS = "Write quiet hours like `22:00-07:00`, or `none` for no quiet hours."


def check_quiet(quiet: str) -> str:
    """ "22-7" → "22:00-07:00". Raises InvalidInput unless it is from one time of day to another."""
    match = _QUIET.fullmatch(quiet)
    try:
        if match is None:
            raise ValueError
        begin, end = _time_of_day(match[1], match[2]), _time_of_day(match[3], match[4])
    except ValueError:
        raise InvalidInput(f"`{quiet[:30]}` is not from one time of day to another. {_LIKE_THIS}") from None
    if begin == end:
        raise InvalidInput(f"Quiet hours from {begin:%H:%M} to {end:%H:%M} could be none or all day. {_LIKE_THIS}")
    return f"{begin:%H:%M}-{end:%H:%M}"


def _time_of_day(hour: str, minute: str | None) -> time:
    """Raises ValueError: there is no such time. 24:00 is the midnight at the end of a day."""
    return time(0 if hour == "24" and not int(minute or 0) else int(hour), int(minute or 0))


def is_quiet(quiet: str | None, timezone: str, now: datetime) -> bool:
    """Whether the clock of that zone shows a time within the quiet hours; their end is not within them."""
    if quiet is None:
        return False
    shown = f"{now.astimezone(check_timezone(timezone)):%H:%M}"
    begin, _, end = quiet.partition("-")
    return begin <= shown < end if begin < end else not end <= shown < begin


def quiet_end(quiet: str | None, timezone: str, now: datetime) -> datetime:
    """When what comes due now may run: `now`, or the minute in which the quiet hours end, in UTC.

    Minute by minute: where clocks change, no arithmetic on times of day is right.
    """
    moment = now.astimezone(UTC)
    while is_quiet(quiet, timezone, moment):
        moment = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    return moment


def nominal(now: datetime, timezone: str) -> str:
    """The name that a slot at this moment would have."""
    return now.astimezone(check_timezone(timezone)).strftime(SLOT)


def is_far_ahead(slot: str, timezone: str, now: datetime) -> bool:
    """Whether a slot that was taken can only have been taken by a clock that was wrong, or the clock is wrong now."""
    return slot > nominal(now + _FAR, timezone)


def latest_slot(cron: str, timezone: str, last_slot: str, now: datetime) -> str | None:
    """The newest slot after `last_slot` and not after `now`, or None. Slots before it are skipped, not queued."""
    first = _first_after(cron, timezone, last_slot) if last_slot else None
    if first is not None and now < first:
        return None
    trigger = check_cron(cron, timezone)
    for window in _WINDOWS:
        newest = _newest_between(trigger, now - window, now)
        if newest is not None:
            slot = newest.strftime(SLOT)
            return slot if slot > last_slot else None
    return None


@lru_cache(maxsize=20_000)
def _first_after(cron: str, timezone: str, last_slot: str) -> datetime | None:
    """When the first slot after `last_slot` comes; None: not within `_HORIZON`.

    Kept, because a clock asks for each of thousands of schedules every few seconds and is nearly always too early.
    """
    trigger = check_cron(cron, timezone)
    named = datetime.fromisoformat(last_slot).replace(tzinfo=check_timezone(timezone))
    # Of a name that is shown twice, or never, the earlier moment: nothing before it has a later name.
    run = trigger.get_next_fire_time(None, min(named.replace(fold=fold).astimezone(UTC) for fold in (0, 1)))
    while run is not None and run.strftime(SLOT) <= last_slot:
        run = trigger.get_next_fire_time(None, _after(run))
    return None if run is None else run.astimezone(UTC)


def next_slots(
    cron: str, timezone: str, now: datetime, count: int = 3, *, quiet: str | None = None, last_slot: str | None = None
) -> list[datetime]:
    """The next runs, in UTC. The hour that happens twice is one of them, and so is all that waits for a quiet end.

    Args:
        last_slot: what was taken last; with it, a slot that waits already is counted in.
    """
    trigger = check_cron(cron, timezone)
    runs: dict[str, datetime] = {}
    moment = now
    if last_slot is not None and is_quiet(quiet, timezone, now) and latest_slot(cron, timezone, last_slot, now):
        moment = quiet_end(quiet, timezone, now)
        runs["waits"] = moment
        moment = _after(moment)
    while len(runs) < count:
        run = trigger.get_next_fire_time(None, moment)
        if run is None:
            break
        starts = quiet_end(quiet, timezone, run)
        runs.setdefault(run.strftime(SLOT), starts)
        moment = _after(starts)
    return list(runs.values())


def _newest_between(trigger: CronTrigger, start: datetime, end: datetime) -> datetime | None:
    newest = None
    run = trigger.get_next_fire_time(None, start)
    while run is not None and run <= end:
        newest = run
        run = trigger.get_next_fire_time(None, _after(run))
    return newest


def _after(run: datetime) -> datetime:
    """The next minute in real time: wall-clock arithmetic runs in circles where clocks change."""
    return run.astimezone(UTC) + timedelta(minutes=1)
