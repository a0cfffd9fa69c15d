"""Copy a database while it is in use, check the copy in another process, and put a copy back.

Copies are made by SQLite itself (VACUUM INTO) over a read-only connection, so writers go on meanwhile. The file of a
live database is never opened as a file: closing that descriptor would drop SQLite's locks on it. The check runs in a
process of its own (`python -m storage.backup FILE`) for the same reason, and because it may meet a damaged file.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from storage.errors import Conflict, DamagedFile, NotFound
from storage.files import PART, file_errors, sync_directory, sync_file
from storage.lock import InstanceLock
from storage.processes import PYTHON
from storage.rows import row, rows, translated, value

if TYPE_CHECKING:
    from storage.database import Database

OURS = {"classifiers", "labels", "examples", "label_events"}
"""Tables that every database of ours has; an empty file is a sound one for SQLite."""
CHECK_SECONDS = 600
"""A check that takes longer is given up: integrity_check reads about 100 MB a second."""


@dataclass(frozen=True, slots=True)
class Integrity:
    """What a check of a database file found."""

    problems: tuple[str, ...]
    """Of integrity_check and foreign_key_check, at most 10 each; empty: the file is sound."""
    counts: dict[str, int]
    """Rows by table."""


async def backup(db: Database, target: Path) -> Integrity:
    """Write a checked copy of `db` to `target`, which must not exist. Returns the check's result.

    `target` appears, whole and checked, or not at all. Writes that commit while it runs may or may not be in it.

    Raises:
        Conflict: `target` exists. DamagedFile: the copy does not verify. DiskFull, StorageError.
    """
    return await asyncio.to_thread(_backup, db.path, target)


def restore(copy: Path, database: Path) -> Path | None:
    """Put a backup in the place of `database`, whose files are kept beside it. No Pupil may run on it.

    A database that was set aside so can be put back the same way, with what its log holds.

    Returns:
        where the replaced database lies now; None if there was none.

    Raises:
        NotFound: no such backup. DamagedFile: it does not verify; nothing was changed.
        InstanceLocked: Pupil runs; nothing was changed.
    """
    if not copy.is_file():
        raise NotFound(f"There is no backup at {copy}.")
    with file_errors(f"restoring {database}"):
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # as a start would: people's texts are in it
    aside = database.with_name(f"{database.name}.restoring{PART}")
    lock = InstanceLock(database)
    lock.take()
    try:
        with file_errors(f"restoring {database}"):
            _copy_with_log(copy, aside)
        check_elsewhere(aside, copy)
        with file_errors(f"restoring {database}"):
            sync_file(aside)
            replaced = _set_aside(database)
            os.replace(aside, database)
            sync_directory(database.parent)
        return replaced
    finally:
        for part in _parts(aside):
            part.unlink(missing_ok=True)
        lock.release()


def copy_database(connection: sqlite3.Connection, target: Path) -> None:
    """Copy what `connection` sees to `target`, replacing it. Outside of a transaction.

    Raises:
        DiskFull, StorageError: `target` is what it was before.
    """
    aside = target.with_name(f"{target.name}.{secrets.token_hex(4)}{PART}")
    try:
        with file_errors(f"writing {target}"):
            aside.touch(mode=0o600)  # people's texts are in it
        connection.execute("VACUUM INTO ?", (str(aside),))
        with file_errors(f"writing {target}"):
            sync_file(aside)
            os.replace(aside, target)
            sync_directory(target.parent)
    except sqlite3.Error as error:
        raise translated(error) from error
    finally:
        aside.unlink(missing_ok=True)


def problems_of(connection: sqlite3.Connection, pragma: Literal["quick_check", "integrity_check"]) -> list[str]:
    """What SQLite finds wrong with its file, at most 10.

    Without what some versions of it say of a table as it was before step 0016, which is whole.
    """
    said, room = "NULL value in revert_events.revert_id", 0
    if row(connection, "SELECT 1 FROM sqlite_master WHERE name = 'revert_events'") is not None:
        room = value(connection, "SELECT count(*) FROM revert_events")  # it says so of each of them
    found = [each[0] for each in rows(connection, f"PRAGMA {pragma}({10 + room})") if each[0] != "ok"]
    # With the plus sign, the column is read and no declaration believed.
    if said in found and not value(connection, "SELECT count(*) FROM revert_events WHERE +revert_id IS NULL"):
        found = [each for each in found if each != said]
    return found[:10]


def check(path: Path) -> Integrity:
    """Read a whole database file that nobody writes to. A file that is no database is one problem."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            problems = problems_of(connection, "integrity_check")
            orphans = rows(connection, "PRAGMA foreign_key_check")[:10]
            problems += [f"a row of {row['table']} points to a missing row of {row['parent']}" for row in orphans]
            counts = _counts(connection)
            problems += [] if counts.keys() >= OURS else ["it is no database of Pupil"]
            return Integrity(tuple(problems), counts)
    except sqlite3.Error as error:
        return Integrity((str(error),), {})


def check_elsewhere(path: Path, named: Path | None = None) -> Integrity:
    """`check` in another process. Errors speak of `named`, which `path` is a copy of.

    Raises:
        DamagedFile: it found a problem, or did not end well.
    """
    named = named or path
    command = [*PYTHON, "-m", "storage.backup", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=CHECK_SECONDS, check=True)
        found = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise DamagedFile(f"The copy {named} could not be checked ({error}). Do not rely on it.") from error
    if found["problems"]:
        raise DamagedFile(f"The copy {named} is damaged: {found['problems'][0]}. Do not rely on it.")
    return Integrity((), found["counts"])


def _backup(database: Path, target: Path) -> Integrity:
    if target.exists():
        raise Conflict(f"{target} exists already and was left as it is. Choose another name.")
    with file_errors(f"writing {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
    unchecked = target.with_name(f"{target.name}.{secrets.token_hex(4)}{PART}")
    try:
        with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            copy_database(connection, unchecked)
        found = check_elsewhere(unchecked)
        with file_errors(f"writing {target}"):
            os.replace(unchecked, target)
            sync_directory(target.parent)
    finally:
        unchecked.unlink(missing_ok=True)
    return found


def _counts(connection: sqlite3.Connection) -> dict[str, int]:
    names = [row["name"] for row in rows(connection, "SELECT name FROM sqlite_schema WHERE type = 'table'")]
    # The names come from the schema and are quoted; a table name cannot be a parameter.
    return {
        name: value(connection, f'SELECT count(*) FROM "{name}"')  # noqa: S608
        for name in sorted(names)
        if not name.startswith(("sqlite_", "_"))
    }


def _set_aside(database: Path) -> Path | None:
    """Rename a database together with its log, which must never be taken for the log of the new one.

    Not opened before: SQLite would delete the log of a damaged database, and the newest labels may be in it. The
    database goes first, because a log without one is harmless.
    """
    kept = database.with_name(f"{database.name}.replaced-{secrets.token_hex(4)}")
    existed = database.exists()
    for part, there in zip(_parts(database), _parts(kept), strict=True):
        if part.exists():
            part.rename(there)
    return kept if existed else None


def _copy_with_log(database: Path, target: Path) -> None:
    """Copy a database that nobody uses. What its log holds, as after a crash, is in the copy, which has none."""
    for part, copied in zip(_parts(database)[:2], _parts(target), strict=False):
        copied.unlink(missing_ok=True)
        if part.exists():
            copied.touch(mode=0o600)  # people's texts are in it
            shutil.copyfile(part, copied)
    with suppress(sqlite3.DatabaseError), closing(sqlite3.connect(target)) as connection:  # the check will tell
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _parts(database: Path) -> tuple[Path, Path, Path]:
    """The file, its log, and the index of that."""
    return database, database.with_name(f"{database.name}-wal"), database.with_name(f"{database.name}-shm")


if __name__ == "__main__":
    print(json.dumps(asdict(check(Path(sys.argv[1])))))
