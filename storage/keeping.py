"""Whose files are no longer kept: the decision as rows, before anything is deleted. Knows nothing of files.

A version whose files go keeps its row, its report and its decision; it cannot answer any more. The decision and the
champion pointer change in one writer, each looking at the other: a version that goes live keeps its files, one whose
files go does not go live.
"""

from __future__ import annotations

import sqlite_utils

from storage.database import Database
from storage.rows import rows

_ACTIVE = "state IN ('queued', 'leased', 'running', 'uploading')"
_OF_CLASSIFIER = "guild = :guild AND classifier_id = :classifier"
_CHAMPION = f"coalesce((SELECT number FROM champions WHERE {_OF_CLASSIFIER}), 0)"  # noqa: S608 - of a constant
_MAY_GO = f"""
SELECT number FROM versions
WHERE {_OF_CLASSIFIER} AND files_deleted_at IS NULL AND created_at < :before
AND number NOT IN (
    SELECT previous FROM promotions WHERE {_OF_CLASSIFIER} AND number = {_CHAMPION} ORDER BY id DESC LIMIT 1
)
AND number NOT IN (
    SELECT previous FROM promotions WHERE {_OF_CLASSIFIER} AND previous < {_CHAMPION} ORDER BY id DESC LIMIT 1
)
AND number NOT IN (SELECT number FROM versions WHERE {_OF_CLASSIFIER} ORDER BY number DESC LIMIT :keep)
AND number NOT IN (SELECT number FROM champions WHERE {_OF_CLASSIFIER})
AND number NOT IN (SELECT number FROM origins WHERE guild = :guild AND source_id = :classifier)
AND number NOT IN (SELECT champion FROM jobs WHERE {_OF_CLASSIFIER} AND {_ACTIVE})
AND coalesce(job_id, '') NOT IN (SELECT id FROM jobs WHERE {_OF_CLASSIFIER} AND {_ACTIVE})
ORDER BY number
"""  # noqa: S608 - of constants, as the next
_UNNEEDED_SNAPSHOTS = f"""
SELECT DISTINCT snapshot FROM jobs WHERE updated_at < :before
AND snapshot NOT IN (SELECT snapshot FROM jobs WHERE {_ACTIVE} OR updated_at >= :before)
AND snapshot NOT IN (SELECT snapshot FROM versions WHERE files_deleted_at IS NULL)
"""  # noqa: S608
_UNUSED = f"""
SELECT DISTINCT artifact FROM jobs WHERE artifact IS NOT NULL AND updated_at < :before
AND artifact NOT IN (SELECT artifact FROM jobs WHERE artifact IS NOT NULL AND ({_ACTIVE} OR updated_at >= :before))
AND artifact NOT IN (SELECT artifact FROM versions)
"""  # noqa: S608


class Keeping:
    """What takes the guild first sees no other's rows; the rest is about all guilds: they share a disk."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def classifiers(self) -> list[tuple[str, int]]:
        """(guild, id) of all that have versions, archived ones too."""
        found = await self._db.read(
            lambda connection: rows(connection, "SELECT DISTINCT guild, classifier_id FROM versions ORDER BY 1, 2")
        )
        return [(guild, classifier_id) for guild, classifier_id in found]

    async def let_go(self, guild: str, classifier_id: int, keep: int, before: float, now: float) -> list[int]:
        """Decide whose files go and note it; returns the numbers. None of these goes:

        the newest `keep`, what was made from `before` on, the champion, the version that was live before it, the one
        that a rollback goes to, what trainings of another classifier start from, and what an active job compares with
        or has made.
        """
        at = {"guild": guild, "classifier": classifier_id, "keep": keep, "before": before}

        def unit(tables: sqlite_utils.Database) -> list[int]:
            going = rows(tables.conn, _MAY_GO, at)
            tables.conn.executemany(
                "UPDATE versions SET files_deleted_at = ? WHERE guild = ? AND classifier_id = ? AND number = ?",
                [(now, guild, classifier_id, each["number"]) for each in going],
            )
            return [each["number"] for each in going]

        return await self._db.write(unit)

    async def gone(self) -> list[str]:
        """Artifacts that no version has any more: their files are to be deleted, where they are not yet."""
        return await self._artifacts(
            "files_deleted_at IS NOT NULL",
            "AND artifact NOT IN (SELECT artifact FROM versions WHERE files_deleted_at IS NULL)",
        )

    async def unused(self, before: float) -> list[str]:
        """Artifacts that no version has: their jobs were cancelled while they came here, and ended before `before`."""
        found = await self._db.read(lambda connection: rows(connection, _UNUSED, {"before": before}))
        return [each["artifact"] for each in found]

    async def kept(self) -> list[str]:
        """Artifacts of the versions that keep their files."""
        return await self._artifacts("files_deleted_at IS NULL")

    async def unneeded_snapshots(self, before: float) -> list[str]:
        """Training files of jobs that ended before `before`, which no active job and no version with files names.

        What a version began with may still be needed: the lineage in its files tells.
        """
        found = await self._db.read(lambda connection: rows(connection, _UNNEEDED_SNAPSHOTS, {"before": before}))
        return [each["snapshot"] for each in found]

    async def named_snapshots(self) -> set[str]:
        """Training files of all jobs, whatever became of them, and of all versions."""
        found = await self._db.read(
            lambda connection: rows(connection, "SELECT snapshot FROM jobs UNION SELECT snapshot FROM versions")
        )
        return {each["snapshot"] for each in found}

    async def bases(self, export: int) -> list[str]:
        """Artifacts of the base encoders that may answer, in any precision (noted by `bot.services.serving`).

        Args:
            export: how the trainer exports them now; one that was exported otherwise answers no more.
        """
        found = await self._db.read(
            lambda connection: rows(connection, "SELECT value FROM state WHERE key LIKE ?", (f"base:{export}:%",))
        )
        return [each["value"] for each in found]

    async def vector_encoders(self) -> list[tuple[str, str]]:
        """(guild, digest of the encoder) of all vectors that are cached."""
        found = await self._db.read(
            lambda connection: rows(connection, "SELECT DISTINCT guild, encoder FROM vectors ORDER BY 1, 2")
        )
        return [(guild, encoder) for guild, encoder in found]

    async def drop_vectors(self, guild: str, encoder: str) -> int:
        """Delete the cached vectors that an encoder has made for this guild; how many."""

        def unit(tables: sqlite_utils.Database) -> int:
            dropped = tables.execute("DELETE FROM vectors WHERE guild = ? AND encoder = ?", (guild, encoder))
            return dropped.rowcount

        return await self._db.write(unit)

    async def _artifacts(self, condition: str, more: str = "") -> list[str]:
        found = await self._db.read(
            lambda connection: rows(
                connection,
                f"SELECT DISTINCT artifact FROM versions WHERE {condition} {more}",  # noqa: S608 - constants
            )
        )
        return [each["artifact"] for each in found]
