"""Examples that count nowhere: those in the pool, which nobody has labelled yet, and those that were removed.

These functions run inside a unit of work, on the writer's connection.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence

from storage.lookups import find_example
from storage.records import Source
from storage.rows import value


def put_in_pool(
    connection: sqlite3.Connection,
    guild: str,
    classifier_id: int,
    texts: Sequence[tuple[str, str]],
    by: str,
    source: Source,
    now: float,
    batch: str | None,
) -> int:
    """Add texts (text, hash) without a label; how many were new."""
    before = connection.total_changes
    connection.executemany(
        "INSERT INTO examples (guild, classifier_id, text, hash, source, submitted_by, created_at, batch) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (guild, classifier_id, hash) DO NOTHING",
        [(guild, classifier_id, text, hash, source, by, now, batch) for text, hash in texts],
    )
    return connection.total_changes - before


def take_from_pool(connection: sqlite3.Connection, guild: str, batch: str, by: str) -> int:
    """Delete what one import of this person put into the pool and nobody has labelled; how many texts."""
    deleted = connection.execute(
        "DELETE FROM examples WHERE guild = ? AND batch = ? AND submitted_by = ? AND split IS NULL RETURNING hash",
        (guild, batch, by),
    ).fetchall()
    drop_vectors(connection, guild, [hash for (hash,) in deleted])
    return len(deleted)


def drop_vectors(connection: sqlite3.Connection, guild: str, hashes: Collection[str]) -> None:
    """Delete the cached vectors of those of these texts that no example of the guild has any more."""
    if hashes:
        connection.execute(
            "DELETE FROM vectors WHERE guild = :guild AND hash IN (SELECT value FROM json_each(:hashes)) "
            "AND hash NOT IN (SELECT hash FROM examples WHERE guild = :guild)",
            {"guild": guild, "hashes": json.dumps(list(hashes))},
        )


def set_removed(
    connection: sqlite3.Connection, guild: str, example_id: int, by: str, now: float, *, removed: bool
) -> bool:
    """Remove an example or bring it back; False: it was so before. Nobody is asked about a removed one any more.

    Raises:
        NotFound: no such example in this guild.
    """
    example = find_example(connection, guild, example_id)
    done = connection.execute(
        "UPDATE examples SET removed_at = ? WHERE guild = ? AND id = ? AND (removed_at IS NULL) = ?",
        (now if removed else None, guild, example_id, removed),
    )
    if not done.rowcount:
        return False
    if removed:
        connection.execute(
            "DELETE FROM questions WHERE guild = ? AND classifier_id = ? AND example_id = ? AND outcome IS NULL",
            (guild, example.classifier_id, example_id),
        )
    connection.execute(
        "INSERT INTO removals (id, guild, classifier_id, example_id, by, removed, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (_take_event_id(connection), guild, example.classifier_id, example_id, by, removed, now),
    )
    return True


def _take_event_id(connection: sqlite3.Connection) -> int:
    """The next number of the label events, which none of them will have (https://sqlite.org/autoinc.html)."""
    name = "label_events"
    if not connection.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = ?", (name,)).rowcount:
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, 1)", (name,))
    return int(value(connection, "SELECT seq FROM sqlite_sequence WHERE name = ?", (name,)))
