"""Whether a training comes near, so that the trainer can get ready. Pure functions of a schedule and the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from bot.services.slots import is_quiet, latest_slot, next_slots, nominal, quiet_end
from storage.records import Schedule

AHEAD = timedelta(seconds=90)
"""Before a slot: longer than it takes to import the trainer's libraries on a busy machine, and several looks."""
LAST_SHARE = 0.1
"""Of the labels that a schedule waits for: the last of them come in one sitting more often than not."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a training will be for. Equal at every look at the same one, so that it can be acted upon once: also a count
    of labels that stands still for days, for which no trainer should be kept ready.
    """

    name: str
    counted: bool
    """A number of labels, not a time of day."""


def comes_near(schedule: Schedule, new: int, now: datetime) -> Occasion | None:
    """The training that comes near, or None. `new` is how many labels no training has been asked for with."""
    quiet, zone, last, then = schedule.quiet, schedule.timezone, schedule.last_slot, now + AHEAD
    if not schedule.enabled or (is_quiet(quiet, zone, now) and is_quiet(quiet, zone, then)):
        return None
    if schedule.cron is not None and latest_slot(schedule.cron, zone, last or "", then) is not None:
        soon = next_slots(schedule.cron, zone, now, count=1, quiet=quiet, last_slot=last)
        if soon and soon[0] - now <= AHEAD:
            return Occasion(nominal(soon[0], zone), counted=False)
    if schedule.after_labels is not None:
        missing = schedule.after_labels - new
        ends = quiet_end(quiet, zone, now)
        if ends > now:  # it is quiet: what counts is what waits for the end
            waits = missing <= 0 and ends - now <= AHEAD
            return Occasion(nominal(ends, zone), counted=True) if waits else None
        if new > 0 and 0 < missing <= max(1, round(LAST_SHARE * schedule.after_labels)):
            return Occasion(f"{new} of {schedule.after_labels} labels", counted=True)
    return None
