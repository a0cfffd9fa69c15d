"""`pupil backup` and `pupil restore`: `storage.backup` on the database of this data directory."""

from __future__ import annotations

from pathlib import Path

from storage import backup
from storage.database import Database
from storage.errors import NotFound
from storage.settings import Settings

FILE = "pupil.db"
"""The database's name in its space."""


async def back_up(settings: Settings, target: Path) -> int:
    """Writes a checked copy to `target` and returns its number of rows. The bot may run meanwhile.

    Raises:
        NotFound: there is no database yet. DamagedFile, DiskFull, StorageError.
    """
    database = settings.space / FILE
    if not database.exists():
        raise NotFound(f"There is no database in {settings.space} yet.")
    found = await backup.backup(Database(database), target)
    return sum(found.counts.values())


def restore(settings: Settings, copy: Path) -> Path | None:
    """Puts `copy` in place; returns where the replaced database lies. Raises as `storage.backup.restore` does."""
    return backup.restore(copy, settings.space / FILE)
