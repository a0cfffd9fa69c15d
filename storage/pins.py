"""Pinned tests: texts whose answer must never be anything else than a label. Knows nothing of models.

A pin is not an example. A removed one is kept, so that it can be put back and an old result can still be told.
"""

from __future__ import annotations

import builtins  # inside the class, `list` is the method
import json
import sqlite3
from collections.abc import Sequence

import sqlite_utils

from storage.database import Database
from storage.errors import Conflict, NotFound
from storage.events import clean_text
from storage.lookups import find_label
from storage.records import Pin, text_hash
from storage.rows import row, rows, value

MOST_PINS = 200
"""Pinned tests of one classifier: each is asked twice before a version goes live, about 10 ms."""

_NAMED = """
SELECT pin.*, label.name AS label, label.archived AS label_gone, coalesce(annotator.name, pin.pinned_by) AS name
FROM pins AS pin
JOIN labels AS given ON given.guild = pin.guild AND given.id = pin.label_id
JOIN labels AS label ON label.guild = pin.guild AND label.id = coalesce(given.merged_into, given.id)
LEFT JOIN annotators AS annotator ON annotator.guild = pin.guild AND annotator.id = pin.pinned_by
"""


class Pins:
    """Every method takes the guild first and sees no other guild's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(
        self, guild: str, classifier_id: int, text: str, label_id: int, by: str, now: float
    ) -> tuple[Pin, bool]:
        """Pin a text to a label; the pin, and whether it is new (the same pin again is the one that is there).

        Raises:
            InvalidInput: see `storage.events.clean_text`. NotFound: no such label in this classifier.
            Conflict: the text is pinned to another label, or there are MOST_PINS already.
        """
        text = clean_text(text)

        def unit(tables: sqlite_utils.Database) -> tuple[Pin, bool]:
            label = find_label(tables.conn, guild, classifier_id, label_id)
            if (existing := _of_text(tables.conn, guild, classifier_id, text_hash(text))) is not None:
                if existing.label == label.name:
                    return existing, False
                raise Conflict(
                    f"That text is pinned to `{existing.label}` already, by {existing.name}. Remove that pin first."
                )
            _check_room(tables.conn, guild, classifier_id)
            added = tables.execute(
                "INSERT INTO pins (guild, classifier_id, text, hash, label_id, pinned_by, at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (guild, classifier_id, text, text_hash(text), label_id, by, now),
            )
            return _find(tables.conn, guild, int(added.lastrowid or 0)), True

        return await self._db.write(unit)

    async def remove(self, guild: str, pin_id: int, now: float) -> Pin | None:
        """Take a pin away; None if that was done before. Raises NotFound, also for another guild's."""

        def unit(tables: sqlite_utils.Database) -> Pin | None:
            pin = _find(tables.conn, guild, pin_id)
            tables.execute("UPDATE pins SET removed_at = ? WHERE guild = ? AND id = ?", (now, guild, pin_id))
            return None if pin.removed else pin

        return await self._db.write(unit)

    async def restore(self, guild: str, pin_id: int) -> Pin | None:
        """Put a removed pin back; None if it is there.

        Raises:
            NotFound, also for another guild's. Conflict: its text was pinned anew, or there are MOST_PINS already.
        """

        def unit(tables: sqlite_utils.Database) -> Pin | None:
            pin = _find(tables.conn, guild, pin_id)
            if not pin.removed:
                return None
            if (newer := _of_text(tables.conn, guild, pin.classifier_id, text_hash(pin.text))) is not None:
                raise Conflict(f"That text was pinned anew meanwhile, to `{newer.label}`, by {newer.name}.")
            _check_room(tables.conn, guild, pin.classifier_id)
            tables.execute("UPDATE pins SET removed_at = NULL WHERE guild = ? AND id = ?", (guild, pin_id))
            return _find(tables.conn, guild, pin_id)

        return await self._db.write(unit)

    async def get(self, guild: str, pin_id: int) -> Pin:
        """Also a removed one. Raises NotFound, also for another guild's."""
        return await self._db.read(lambda connection: _find(connection, guild, pin_id))

    async def list(self, guild: str, classifier_id: int) -> builtins.list[Pin]:
        """Those that were not removed, newest first."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                f"{_NAMED} WHERE pin.guild = ? AND pin.classifier_id = ? AND pin.removed_at IS NULL "
                "ORDER BY pin.id DESC",
                (guild, classifier_id),
            )
        )
        return [_pin(each) for each in found]

    async def some(self, guild: str, classifier_id: int, ids: Sequence[int]) -> dict[int, Pin]:
        """By id, removed ones too; what is not there is left out."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                f"{_NAMED} WHERE pin.guild = ? AND pin.classifier_id = ? "  # noqa: S608 - of constants
                "AND pin.id IN (SELECT value FROM json_each(?))",
                (guild, classifier_id, json.dumps(builtins.list(ids))),
            )
        )
        return {each["id"]: _pin(each) for each in found}


def _of_text(connection: sqlite3.Connection, guild: str, classifier_id: int, hash: str) -> Pin | None:
    found = row(
        connection,
        f"{_NAMED} WHERE pin.guild = ? AND pin.classifier_id = ? AND pin.hash = ? AND pin.removed_at IS NULL",
        (guild, classifier_id, hash),
    )
    return None if found is None else _pin(found)


def _find(connection: sqlite3.Connection, guild: str, pin_id: int) -> Pin:
    found = row(connection, f"{_NAMED} WHERE pin.guild = ? AND pin.id = ?", (guild, pin_id))
    if found is None:
        raise NotFound("There is no such pinned test here. /pin list shows them.")
    return _pin(found)


def _check_room(connection: sqlite3.Connection, guild: str, classifier_id: int) -> None:
    count = "SELECT count(*) FROM pins WHERE guild = ? AND classifier_id = ? AND removed_at IS NULL"
    if value(connection, count, (guild, classifier_id)) >= MOST_PINS:
        raise Conflict(f"There are {MOST_PINS} pinned tests already, as many as fit. Remove one first.")


def _pin(found: sqlite3.Row) -> Pin:
    return Pin(
        id=found["id"],
        guild=found["guild"],
        classifier_id=found["classifier_id"],
        text=found["text"],
        label=found["label"],
        label_gone=bool(found["label_gone"]),
        pinned_by=found["pinned_by"],
        name=found["name"],
        at=found["at"],
        removed=found["removed_at"] is not None,
    )
