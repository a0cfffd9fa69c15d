"""Imports: kept between the preview and Apply, applied exactly once, taken back as a whole.

The token of an import is a secret of the person who made it, and the batch of the texts and labels that it brought.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlite_utils

from storage import events, removals, undoing
from storage.classifiers import by_id
from storage.database import Database
from storage.errors import NotFound
from storage.events import Vote
from storage.records import Source
from storage.rows import row, rows

Rows = Sequence[tuple[str, str | None]]
"""(text, label name); None: without a label."""


@dataclass(frozen=True, slots=True)
class StoredImport:
    guild: str
    token: str
    classifier_id: int
    by: str
    source: Source
    name: str
    """Of the file; "" when the texts were pasted."""
    left_out: int
    """Lines of the file that cannot be used."""
    created_at: float
    result: dict[str, Any] | None = None
    """What it did, as `apply` was told; None: it waits to be applied."""
    undone_at: float | None = None


@dataclass(frozen=True, slots=True)
class TakenBack:
    """What undoing an import took back."""

    labels: int
    pool: int
    """Texts that left the pool; those that somebody has labelled since stay."""


class Imports:
    """Every method takes the guild first and sees no other guild's rows, but `sweep`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def keep(self, waiting: StoredImport, content: str) -> None:
        """Keep an import that waits to be applied; `content` is what `encode` made of its rows.

        Raises:
            NotFound: no such classifier in its guild.
        """

        def unit(tables: sqlite_utils.Database) -> None:
            by_id(tables.conn, waiting.guild, waiting.classifier_id)
            tables.execute(
                "INSERT INTO imports (guild, token, classifier_id, by, source, name, left_out, rows, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(waiting.guild, waiting.token, waiting.classifier_id, waiting.by, waiting.source, waiting.name),
                    *(waiting.left_out, content, waiting.created_at),
                ),
            )

        await self._db.write(unit)

    async def get(self, guild: str, token: str) -> StoredImport:
        """Raises NotFound: there is none, or it was cancelled or swept away."""
        return await self._db.read(lambda connection: _find(connection, guild, token))

    async def content(self, guild: str, token: str) -> str | None:
        """What `keep` was given; None: it was applied. Raises NotFound as `get` does."""

        def query(connection: sqlite3.Connection) -> str | None:
            found = row(connection, "SELECT rows FROM imports WHERE guild = ? AND token = ?", (guild, token))
            if found is None:
                raise _missing()
            content: str | None = found["rows"]
            return content

        return await self._db.read(query)

    async def apply(
        self,
        guild: str,
        token: str,
        votes: Sequence[Vote],
        pool: Sequence[tuple[str, str]],
        result: dict[str, Any],
        now: float,
    ) -> bool:
        """Store votes and unlabelled texts (text, hash) and remember `result`, all or nothing.

        Returns False if it was applied before; then nothing is done. Raises NotFound as `get` does, or for a label.
        """

        def unit(tables: sqlite_utils.Database) -> bool:
            found = _find(tables.conn, guild, token)
            if found.result is not None:
                return False
            if votes:
                events.cast_many(tables.conn, votes)
            removals.put_in_pool(tables.conn, guild, found.classifier_id, pool, found.by, found.source, now, token)
            tables.execute(
                "UPDATE imports SET applied_at = ?, rows = NULL, result = ? WHERE guild = ? AND token = ?",
                (now, json.dumps(result), guild, token),
            )
            return True

        return await self._db.write(unit)

    async def undo(self, guild: str, token: str, now: float) -> TakenBack | None:
        """Take everything back that an import brought; None: that was done before. Raises NotFound as `get` does."""

        def unit(tables: sqlite_utils.Database) -> TakenBack | None:
            found = _find(tables.conn, guild, token)
            if found.undone_at is not None or found.result is None:
                return None
            labels = undoing.take_back_batch(tables.conn, guild, token, found.by, now)
            pool = removals.take_from_pool(tables.conn, guild, token, found.by)
            tables.execute("UPDATE imports SET undone_at = ? WHERE guild = ? AND token = ?", (now, guild, token))
            return TakenBack(labels, pool)

        return await self._db.write(unit)

    async def drop(self, guild: str, token: str) -> bool:
        """Forget an import that waits; False: there is none that waits."""

        def unit(tables: sqlite_utils.Database) -> bool:
            done = tables.conn.execute(
                "DELETE FROM imports WHERE guild = ? AND token = ? AND applied_at IS NULL", (guild, token)
            )
            return done.rowcount > 0

        return await self._db.write(unit)

    async def sweep(self, before: float) -> int:
        """Forget the imports of all guilds that have waited since before that time; how many."""

        def unit(tables: sqlite_utils.Database) -> int:
            done = tables.conn.execute("DELETE FROM imports WHERE applied_at IS NULL AND created_at < ?", (before,))
            return done.rowcount

        return await self._db.write(unit)


def encode(kept: Rows) -> str:
    return json.dumps(kept, ensure_ascii=False)


def decode(content: str) -> list[tuple[str, str | None]]:
    return [(text, label) for text, label in json.loads(content)]


def _find(connection: sqlite3.Connection, guild: str, token: str) -> StoredImport:
    found = rows(
        connection,
        "SELECT guild, token, classifier_id, by, source, name, left_out, created_at, result, undone_at "
        "FROM imports WHERE guild = ? AND token = ?",
        (guild, token),
    )
    if not found:
        raise _missing()
    (one,) = found
    return StoredImport(
        guild=one["guild"],
        token=one["token"],
        classifier_id=one["classifier_id"],
        by=one["by"],
        source=Source(one["source"]),
        name=one["name"],
        left_out=one["left_out"],
        created_at=one["created_at"],
        result=json.loads(one["result"]) if one["result"] else None,
        undone_at=one["undone_at"],
    )


def _missing() -> NotFound:
    return NotFound(
        "There is no such import here: it was cancelled, or its preview is too old. Import the texts again."
    )
