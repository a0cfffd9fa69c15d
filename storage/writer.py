"""The writer: one thread that owns the only read-write connection, and commits what is queued as one group.

A unit of work is a function that is given the database. The thread takes the write lock (BEGIN IMMEDIATE), runs every
queued unit in a savepoint of its own, commits, and only then tells the waiters: what is acknowledged is on disk, and
one bad unit does not sink the others. One commit (one fsync) serves them all: about 300 commits a second, but
thousands of units. Knows nothing of tables; `storage.migrations` does.

The same connection also runs every checkpoint: SQLite before 3.51.3 can lose pages when one connection checkpoints
while another commits (https://sqlite.org/wal.html#walresetbug).
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import sqlite_utils
import sqlite_utils.utils

from storage.errors import ConfigurationError, StorageError
from storage.rows import translated, value

log = logging.getLogger(__name__)

T = TypeVar("T")
Unit = Callable[[sqlite_utils.Database], T]

LOCK_WAIT = 5.0
"""Seconds to wait while another program (an operator's sqlite3) holds the write lock; then the waiters get Busy."""

IDLE = 2.0
"""Seconds without a write after which the log is folded back into the database file."""

MAX_GROUP = 256
"""Units in one commit at most, so that the first of them does not wait for a long queue."""

_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "wal_autocheckpoint": 1000, "secure_delete": 1}
"""Set and read back at start. synchronous 2 is FULL: a commit is flushed to the disk before it counts. secure_delete
overwrites what is deleted with zeros: a forgotten text is not left in the free pages of the file."""


@dataclass(frozen=True, slots=True)
class _Request:
    unit: Unit[Any]
    future: Future[Any]


@dataclass(frozen=True, slots=True)
class _Outcome:
    value: Any = None
    error: Exception | None = None

    def tell(self, future: Future[Any]) -> None:
        if self.error is None:
            future.set_result(self.value)
        else:
            future.set_exception(self.error)


class Writer:
    """`start`, any number of `submit` from any thread, `stop`.

    Args:
        prepare: called with the open connection, in the writer's thread, before the first unit (check, migrate).
    """

    def __init__(self, path: Path, prepare: Callable[[sqlite_utils.Database], None]) -> None:
        self._path = path
        self._prepare = prepare
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._accepting = False
        self._running: list[_Request] = []
        self._dirty = False
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, name="pupil-writer", daemon=True)

    def start(self) -> None:
        """Open the database and return when it is ready; whatever `prepare` raises is raised here."""
        self._thread.start()
        self._ready.result()

    def submit(self, unit: Unit[T]) -> Future[T]:
        """Queue a unit. Its future resolves after its commit is on disk; cancelling it before it ran drops it.

        Raises:
            StorageError: the writer has stopped.
        """
        future: Future[T] = Future()
        with self._gate:
            if not self._accepting:
                raise StorageError("Nothing was saved: the database is closed. Start Pupil again.")
            self._queue.put(_Request(unit, future))
        return future

    def stop(self) -> None:
        """Commit what is queued, fold the log into the file, close. Returns when the thread has ended."""
        with self._gate:
            self._accepting = False
            self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            db = open_writable(self._path)
        except Exception as error:
            self._ready.set_exception(translated(error))
            return
        try:
            self._prepare(db)
        except Exception as error:
            self._ready.set_exception(translated(error))
        else:
            self._accept(db)
        finally:
            db.close()

    def _accept(self, db: sqlite_utils.Database) -> None:
        with self._gate:
            self._accepting = True
        self._ready.set_result(None)
        try:
            self._serve(db)
        except BaseException:  # not even SystemExit may leave a waiter without an answer
            log.critical("writer.crashed", exc_info=True)
        finally:
            self._refuse_all()

    def _serve(self, db: sqlite_utils.Database) -> None:
        while True:
            try:
                first = self._queue.get(timeout=IDLE if self._dirty else None)
            except queue.Empty:
                self._checkpoint(db)
                continue
            if first is None:
                return
            self._commit(db, first)

    def _commit(self, db: sqlite_utils.Database, first: _Request) -> None:
        """Run `first` and what is queued by the time the lock is ours; tell the waiters after COMMIT."""
        self._running = [first]
        refusal = _begin(db)
        self._running = [request for request in (first, *self._queued(MAX_GROUP - 1)) if _claim(request)]
        try:
            if refusal is not None:
                raise refusal
            outcomes = [_attempt(db, request.unit) for request in self._running]
            db.conn.execute("COMMIT")
            self._dirty = True
        except (sqlite3.Error, StorageError) as error:
            # The transaction as a whole is lost (disk full, lock held elsewhere), so nobody's unit was saved.
            outcomes = self._abort(db, error)
        for request, outcome in zip(self._running, outcomes, strict=True):
            outcome.tell(request.future)
        self._running = []

    def _abort(self, db: sqlite_utils.Database, error: Exception) -> list[_Outcome]:
        log.error("commit.failed", extra={"units": len(self._running), "reason": str(error)})
        if db.conn.in_transaction:
            db.conn.execute("ROLLBACK")
        return [_Outcome(error=translated(error)) for _ in self._running]

    def _queued(self, limit: int) -> Iterator[_Request]:
        for _ in range(limit):
            try:
                request = self._queue.get_nowait()
            except queue.Empty:
                return
            if request is None:
                self._queue.put(None)  # stop: after this group
                return
            yield request

    def _checkpoint(self, db: sqlite_utils.Database) -> None:
        try:
            busy = value(db.conn, "PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            busy = 1
            log.warning("checkpoint.failed", extra={"reason": str(error)})
        self._dirty = bool(busy)  # a reader was in the way: once more after the next pause

    def _refuse_all(self) -> None:
        with self._gate:
            self._accepting = False
        for request in (*self._running, *self._queued(self._queue.qsize())):
            if request.future.running() or _claim(request):
                request.future.set_exception(
                    StorageError("It is not known whether this was saved: the writer failed. Start Pupil again.")
                )


def _begin(db: sqlite_utils.Database) -> sqlite3.Error | None:
    """Take the write lock, which may take LOCK_WAIT seconds; returns why it could not be had."""
    try:
        db.conn.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        return error
    return None


def _claim(request: _Request) -> bool:
    """From here on the request can no longer be cancelled. False: it was, before."""
    return request.future.set_running_or_notify_cancel()


def _attempt(db: sqlite_utils.Database, unit: Unit[Any]) -> _Outcome:
    """Run one unit in a savepoint.

    Raises:
        sqlite3.Error, StorageError: the transaction around it is gone, and with it the units before it.
    """
    try:
        with db.atomic():
            outcome = _Outcome(value=unit(db))
    except Exception as error:
        outcome = _Outcome(error=translated(error))
    if not db.conn.in_transaction:
        # A full disk makes SQLite roll back everything; a unit that commits by itself is a mistake in our code.
        cause = outcome.error.__cause__ if outcome.error else None
        raise cause if isinstance(cause, sqlite3.Error) else StorageError("A unit of work ended its transaction.")
    return outcome


def open_writable(path: Path) -> sqlite_utils.Database:
    """The read-write connection; only the writer's thread may use it.

    `isolation_level=None`: Python's driver never begins a transaction on its own, so nothing is left half-open by a
    statement nobody thought of as a write. `execute_plugins=False`: no third-party entry points run on our data.

    Raises:
        ConfigurationError: sqlite-utils uses another SQLite library than we do. Two of them on one file lose locks.
    """
    if sqlite_utils.utils.sqlite3 is not sqlite3:
        raise ConfigurationError(
            "The package pysqlite3 must not be installed beside Pupil. Run: pip uninstall pysqlite3"
        )
    connection = sqlite3.connect(path, timeout=LOCK_WAIT, isolation_level=None)
    return sqlite_utils.Database(connection, execute_plugins=False, strict=True)


def set_pragmas(db: sqlite_utils.Database) -> None:
    """Durability and foreign keys, read back: SQLite ignores a pragma that it does not like.

    Raises:
        StorageError: names the pragma that did not take (a network drive cannot do "wal").
    """
    for name, wanted in _PRAGMAS.items():
        value(db.conn, f"PRAGMA {name} = {wanted}")
        if (found := value(db.conn, f"PRAGMA {name}")) != wanted:
            raise StorageError(f"The database cannot work safely here: {name} is {found}, not {wanted}.")
