"""When a schedule is due: pure functions of a crontab, a time zone and a clock reading.

A slot is named by its local nominal time without offset ("2026-10-25T02:30"): the hour that happens twice in autumn is
one slot, the one that does not happen in spring is none.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from storage.errors import InvalidInput

SLOT = "%Y-%m-%dT%H:%M"

_HORIZON = timedelta(days=9 * 366)
"""29 February comes at least once in nine years."""

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
        trigger = CronTrigger.from_crontab(cron, timezone=zone)
    except ValueError as error:
        raise InvalidInput(
            f"`{cron}` is not a schedule: {error}. Use five fields, for example `0 3 * * *` for 03:00 every day."
        ) from None
    # Without an end, the search for a date that never comes (30 February) walks to the year 9999.
    trigger.end_date = datetime.now(zone) + _HORIZON
    if trigger.get_next_fire_time(None, datetime.now(zone)) is None:
        raise InvalidInput(f"`{cron}` never comes due. Use five fields, for example `0 3 * * *` for 03:00 every day.")
    return trigger


def nominal(now: datetime, timezone: str) -> str:
    """The name that a slot at this moment would have."""
    return now.astimezone(check_timezone(timezone)).strftime(SLOT)


def latest_slot(cron: str, timezone: str, last_slot: str, now: datetime) -> str | None:
    """The newest slot after `last_slot` and not after `now`, or None. Slots before it are skipped, not queued."""
    trigger = check_cron(cron, timezone)
    for window in _WINDOWS:
        newest = _newest_between(trigger, now - window, now)
        if newest is not None:
            slot = newest.strftime(SLOT)
            return slot if slot > last_slot else None
    return None


def next_slots(cron: str, timezone: str, now: datetime, count: int = 3) -> list[datetime]:
    """The next runs, aware of the schedule's zone; the hour that happens twice is one of them."""
    trigger = check_cron(cron, timezone)
    runs: dict[str, datetime] = {}
    moment = now
    while len(runs) < count:
        run = trigger.get_next_fire_time(None, moment)
        if run is None:
            break
        runs.setdefault(run.strftime(SLOT), run)
        moment = _after(run)
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
