"""What somebody was shown before it happens: a button carries the draft's id, and the second click finds it done."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlite_utils

from storage.classifiers import by_id
from storage.database import Database
from storage.errors import NotFound
from storage.rows import row


@dataclass(frozen=True, slots=True)
class Draft:
    """`wanted` is the asker's own; `outcome` the id of what became of it, None: nothing yet."""

    id: int
    guild: str
    classifier_id: int
    wanted: dict[str, Any]
    by: str
    created_at: float
    outcome: int | None


class Drafts:
    """Every method takes the guild first and sees no other guild's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, guild: str, classifier_id: int, wanted: Mapping[str, Any], by: str, now: float) -> Draft:
        """Raises NotFound: no such classifier."""

        def unit(tables: sqlite_utils.Database) -> Draft:
            by_id(tables.conn, guild, classifier_id)
            added = tables.conn.execute(
                "INSERT INTO drafts (guild, classifier_id, wanted, by, created_at) VALUES (?, ?, ?, ?, ?)",
                (guild, classifier_id, json.dumps(dict(wanted), ensure_ascii=False), by, now),
            )
            return find_draft(tables.conn, guild, int(added.lastrowid or 0))

        return await self._db.write(unit)

    async def get(self, guild: str, draft_id: int) -> Draft:
        """Raises NotFound, also for another guild's."""
        return await self._db.read(lambda connection: find_draft(connection, guild, draft_id))


def find_draft(connection: sqlite3.Connection, guild: str, draft_id: int) -> Draft:
    """Raises NotFound, also for another guild's."""
    found = row(connection, "SELECT * FROM drafts WHERE guild = ? AND id = ?", (guild, draft_id))
    if found is None:
        raise NotFound("That preview is not known here any more. Use the command again.")
    wanted = json.loads(found["wanted"])
    at = (found["id"], found["guild"], found["classifier_id"])
    return Draft(*at, wanted, found["by"], found["created_at"], found["outcome"])


def confirmed(connection: sqlite3.Connection, guild: str, draft_id: int, outcome: int) -> None:
    """Note what became of a draft, in the unit of work that did it."""
    connection.execute("UPDATE drafts SET outcome = ? WHERE guild = ? AND id = ?", (outcome, guild, draft_id))
