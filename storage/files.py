"""Files that are either whole or absent: write aside, fsync, rename, fsync the directory; and their sha256.

Knows nothing of what the files mean. Never touches a live database (see `storage.database`, "descriptors").
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storage.errors import DiskFull, StorageError

PART = ".part"
"""Ending of everything that is not finished yet; left-overs of a crash carry it and may be deleted."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Numbers of the errors that say: no room."""


@contextmanager
def file_errors(doing: str) -> Iterator[None]:
    """Translate OSError into StorageError or DiskFull; `doing` begins the sentence: "writing /x/y"."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in FULL:
            raise DiskFull(f"There is no room for {doing} ({reason}). Free some space and try again.") from error
        raise StorageError(f"The operating system refused {doing}: {reason}.") from error


def write_whole(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write `data` so that, whatever happens, `path` is what it was before or holds all of it, on disk.

    Raises:
        DiskFull, StorageError
    """
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PART}")
    with file_errors(f"writing {path}"):
        try:
            with open(aside, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
            sync_directory(path.parent)
        except BaseException:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
            raise


def sync_file(path: Path) -> None:
    """Have the contents of an existing file on disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Have the names in a directory on disk: without it a renamed file may be gone after a power cut."""
    if os.name != "nt":  # Windows cannot open a directory, and its NTFS journals the rename by itself
        sync_file(path)


def sha256_of(path: Path) -> str:
    """sha256 hex of a file's bytes, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
