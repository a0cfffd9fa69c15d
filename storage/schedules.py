"""When each classifier retrains by itself, and which slot was taken last. Knows nothing of clocks.

The table is the schedule; a clock (`bot.scheduling`) only asks which slot is due and takes it here, so that a slot is
taken once: after a restart, a sleep of the machine, or a clock that went back.
"""

from __future__ import annotations

import builtins  # inside the class, `list` is the method
import re
import sqlite3

import sqlite_utils

from storage.classifiers import by_id
from storage.database import Database
from storage.errors import InvalidInput
from storage.records import Schedule
from storage.rows import row, rows

_COLUMNS = "guild, classifier_id, cron, after_labels, timezone, enabled, last_slot, quiet"
_SLOT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d", re.ASCII)
_TIME = r"([01]\d|2[0-3]):[0-5]\d"
_QUIET = re.compile(f"{_TIME}-{_TIME}", re.ASCII)


class Schedules:
    """Every method takes the guild first or inside the schedule; only `list` sees all guilds."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, guild: str, classifier_id: int) -> Schedule | None:
        found = await self._db.read(
            lambda connection: row(
                connection,
                f"SELECT {_COLUMNS} FROM schedules WHERE guild = ? AND classifier_id = ?",  # noqa: S608 - a constant
                (guild, classifier_id),
            )
        )
        return _schedule(found) if found else None

    async def tried_to(self, guild: str, classifier_id: int) -> int:
        """Id of the newest label event that any training has been asked for with; 0: none has.

        Labels are counted from there (`Schedule.after_labels`), so that a training that failed is not asked for again
        with each label.
        """
        return int(await self._db.get_state(_tried(guild, classifier_id)) or 0)

    async def note_tried(self, guild: str, classifier_id: int, event_id: int) -> None:
        await self._db.set_state(_tried(guild, classifier_id), str(event_id))

    async def save(self, schedule: Schedule) -> None:
        """Create or change a classifier's schedule.

        `last_slot` only moves forwards, so that a taken slot stays taken; in another time zone it is another clock's
        time and begins anew.

        Raises:
            NotFound: no such classifier. InvalidInput: `last_slot`, `after_labels` or `quiet` has no usable form.
        """
        if schedule.last_slot is not None:
            _check_slot(schedule.last_slot)
        if schedule.after_labels is not None and schedule.after_labels < 1:
            raise InvalidInput("Training after every so many labels needs a number of at least 1.")
        if schedule.quiet is not None and _QUIET.fullmatch(schedule.quiet) is None:
            raise InvalidInput(f"Quiet hours have the form 22:00-07:00, not {schedule.quiet!r}.")

        def unit(tables: sqlite_utils.Database) -> None:
            by_id(tables.conn, schedule.guild, schedule.classifier_id)
            tables.execute(
                f"INSERT INTO schedules ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "  # noqa: S608 - a constant
                "ON CONFLICT (guild, classifier_id) DO UPDATE SET cron = excluded.cron, "
                "after_labels = excluded.after_labels, timezone = excluded.timezone, enabled = excluded.enabled, "
                "quiet = excluded.quiet, last_slot = CASE WHEN timezone <> excluded.timezone THEN excluded.last_slot "
                "ELSE nullif(max(coalesce(last_slot, ''), coalesce(excluded.last_slot, '')), '') END",
                (
                    *(schedule.guild, schedule.classifier_id, schedule.cron, schedule.after_labels),
                    *(schedule.timezone, schedule.enabled, schedule.last_slot, schedule.quiet),
                ),
            )

        await self._db.write(unit)

    async def list(self) -> builtins.list[Schedule]:
        """Of all guilds, switched off ones included: what the clock is set by."""
        every = f"SELECT {_COLUMNS} FROM schedules ORDER BY guild, classifier_id"  # noqa: S608 - a constant
        return await self._db.read(lambda connection: [_schedule(each) for each in rows(connection, every)])

    async def take_slot(self, guild: str, classifier_id: int, slot: str) -> bool:
        """True for exactly one caller per slot, and only if the schedule is on and no later slot was taken.

        Args:
            slot: local nominal time, "2026-11-24T03:00".

        Raises:
            InvalidInput: `slot` has another form.
        """
        _check_slot(slot)

        def unit(tables: sqlite_utils.Database) -> bool:
            taken = tables.execute(
                "UPDATE schedules SET last_slot = ? WHERE guild = ? AND classifier_id = ? AND enabled = 1 "
                "AND (last_slot IS NULL OR last_slot < ?)",
                (slot, guild, classifier_id, slot),
            )
            return taken.rowcount == 1

        return await self._db.write(unit)

    async def give_back_slot(self, guild: str, classifier_id: int, taken: str, slot: str) -> bool:
        """The slot `taken`, if it is the last one, was not to be taken yet: the last one is `slot`.

        Raises:
            InvalidInput: `slot` has no usable form.
        """
        _check_slot(slot)

        def unit(tables: sqlite_utils.Database) -> bool:
            given = tables.execute(
                "UPDATE schedules SET last_slot = ? WHERE guild = ? AND classifier_id = ? AND last_slot = ?",
                (slot, guild, classifier_id, taken),
            )
            return given.rowcount == 1

        return await self._db.write(unit)


def _tried(guild: str, classifier_id: int) -> str:
    return f"tried:{guild}:{classifier_id}"


def _check_slot(slot: str) -> None:
    # Slots are compared as text, so they need the one form in which the order of texts is the order of times.
    if _SLOT.fullmatch(slot) is None:
        raise InvalidInput(f"A slot has the form 2026-11-24T03:00, not {slot!r}.")


def _schedule(found: sqlite3.Row) -> Schedule:
    values = dict(found)
    return Schedule(**(values | {"enabled": bool(values["enabled"])}))
