"""Reading rows: three small functions for readers and writers alike, and what SQLite's errors mean in ours.

Every function fetches all rows before it returns: a cursor that stays open pins the write-ahead log.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from storage.errors import Busy, DamagedFile, DiskFull, PupilError, StorageError

Parameters = Sequence[Any] | Mapping[str, Any]


def rows(connection: sqlite3.Connection, sql: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
    """All rows of a query, addressed by column name."""
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    return cursor.execute(sql, parameters).fetchall()


def row(connection: sqlite3.Connection, sql: str, parameters: Parameters = ()) -> sqlite3.Row | None:
    """The first row of a query, or None."""
    return next(iter(rows(connection, sql, parameters)), None)


def value(connection: sqlite3.Connection, sql: str, parameters: Parameters = ()) -> Any:
    """The first column of the first row of a query, or None."""
    found = row(connection, sql, parameters)
    return None if found is None else found[0]


def translated(error: Exception) -> Exception:
    """Our error for one of SQLite's; anything else (also our own) is returned as it is.

    Codes: https://sqlite.org/rescode.html; the low byte is the family.
    """
    if isinstance(error, PupilError) or not isinstance(error, sqlite3.Error):
        return error
    ours = _meaning(error)
    ours.__cause__ = error
    return ours


def _meaning(error: sqlite3.Error) -> PupilError:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_FULL:
            return DiskFull("Nothing was saved: the disk is full. Free some space and try again.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Busy("Nothing was saved: another program holds the database. Try again in a moment.", retry_after=5)
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return DamagedFile(f"The database is damaged ({error}). Stop Pupil and restore the newest backup.")
        case sqlite3.SQLITE_IOERR:
            return StorageError(f"Nothing was saved: the disk refused ({error}). Check its space and health.")
        case _:
            return StorageError(f"Nothing was saved: the database refused ({error}).")
