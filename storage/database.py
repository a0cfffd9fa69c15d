"""The database of one Pupil: one process, one writer thread with group commit, read-only readers.

    async with Database(path) as db:
        event = await db.write(lambda tables: ...)     # acknowledged after its commit is on disk
        counts = await db.read(lambda connection: ...) # sees one consistent state

Only this module decides how the file is opened. Nothing else in the process may `open()` it, not even to read or hash
it: closing such a descriptor drops the locks that SQLite holds, and the next program deletes the log with the newest
commits in it. Copies are made by `storage.backup`. Knows no table but `state`; the repositories do.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import sqlite_utils

from storage import migrations
from storage.backup import copy_database, problems_of
from storage.errors import DamagedFile, StorageError
from storage.files import file_errors
from storage.lock import InstanceLock
from storage.rows import translated, value
from storage.writer import Unit, Writer, set_pragmas

log = logging.getLogger(__name__)

T = TypeVar("T")

READERS = 4
"""Threads that read. A read takes well under a millisecond, or half a second for all labels of a large classifier."""


class Database:
    """Every method may be called by any number of tasks at once, between `async with` and its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = InstanceLock(path)
        self._writer = Writer(path, self._prepare)
        self._readers = ThreadPoolExecutor(READERS, "pupil-reader")
        self._mine = threading.local()
        self._connections: list[sqlite3.Connection] = []

    async def __aenter__(self) -> Self:
        """Lock, check, back up if the schema is about to change, migrate.

        Raises:
            InstanceLocked: another process has it; the message names its pid.
            NewerDatabase, DamagedFile: nothing was changed.
            StorageError: the directory or disk does not allow it.
        """
        await asyncio.to_thread(self._open)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._close)

    async def write(self, unit: Unit[T]) -> T:
        """Run `unit` in the writer's thread, inside a savepoint; returns what it returns, after COMMIT.

        It is given the sqlite-utils database, must not end the transaction and must not wait for anything. What it
        raises is raised here, and then nothing of it was saved. Units run in the order of the calls. If the task is
        cancelled, the unit may or may not be saved.

        Raises:
            DiskFull, Busy (another program holds the lock for 5 s), StorageError: nothing was saved.
        """
        return await asyncio.wrap_future(self._writer.submit(unit))

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run `query` on a read-only connection in another thread; all its statements see the same state.

        It must fetch what it returns (`storage.rows` does): a cursor is dead when this returns.

        Raises:
            StorageError, DamagedFile
        """
        try:
            waiting = self._readers.submit(self._query, query)
        except RuntimeError:
            raise StorageError("The database is closed. Start Pupil again.") from None
        return await asyncio.wrap_future(waiting)

    async def get_state(self, key: str) -> str | None:
        """A remembered value of this installation, such as the hash of the synced commands."""
        found: str | None = await self.read(
            lambda connection: value(connection, "SELECT value FROM state WHERE key = ?", (key,))
        )
        return found

    async def set_state(self, key: str, value: str) -> None:
        def unit(tables: sqlite_utils.Database) -> None:
            tables.execute(
                "INSERT INTO state (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (key, value),
            )

        await self.write(unit)

    def _open(self) -> None:
        with file_errors(f"creating the data directory {self.path.parent}"):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.take()
        try:
            self._writer.start()
        except BaseException:
            self._lock.release()
            raise

    def _close(self) -> None:
        self._readers.shutdown()
        # Readers first: the last connection to close folds the log into the file, and only the writer may do that.
        for connection in self._connections:
            connection.close()
        self._writer.stop()
        self._lock.release()

    def _prepare(self, tables: sqlite_utils.Database) -> None:
        if problems := problems_of(tables.conn, "quick_check"):
            raise DamagedFile(f"The database {self.path} is damaged: {problems[0]}. Restore the newest backup.")
        migrations.check_known(tables)
        done, pending = migrations.applied(tables), migrations.pending(tables)
        if done and pending:
            copy_database(tables.conn, self.path.with_name(f"{self.path.name}.before-{pending[0]}"))
        set_pragmas(tables)
        migrations.migrate(tables)
        if pending:
            log.info("database.migrated", extra={"steps": len(pending), "newest": pending[-1]})

    def _query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection()
        try:
            connection.execute("BEGIN")
            try:
                return query(connection)
            finally:
                connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise translated(error) from error

    def _connection(self) -> sqlite3.Connection:
        """This thread's read-only connection."""
        connection: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            # Only this thread uses it; another one closes it, after this thread has ended.
            connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA query_only = ON")
            self._mine.connection = connection
            self._connections.append(connection)
        return connection
