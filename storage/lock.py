"""One process per database: a lock on a file beside it that dies with its owner and tells who that is.

The lock is `flock` on `<database>.lock`, never on the database itself: closing any descriptor of that file would drop
the locks SQLite holds on it. The file stays behind (removing it would let two processes lock two files of one name).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from storage.errors import InstanceLocked, StorageError
from storage.files import file_errors


class InstanceLock:
    """Held from `take` to `release`, or until the process ends in whatever way."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(f"{database.name}.lock")
        self._descriptor: int | None = None

    def take(self) -> None:
        """Take the lock without waiting.

        Raises:
            InstanceLocked: names the process that has it.
            StorageError: the file cannot be made, or not written: the disk is full.
        """
        with file_errors(f"locking {self.path}"):
            # Not inherited by children (PEP 446), so a trainer that outlives the bot does not keep the bot's lock.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise InstanceLocked(
                f"The data in {self.path.parent} is in use by process {owner}. "
                "Stop that one first, or choose another data directory."
            ) from None
        self._descriptor = descriptor
        try:
            with file_errors(f"locking {self.path}"):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except StorageError:
            self.release()
            raise

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
