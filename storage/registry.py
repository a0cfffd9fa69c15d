"""Model versions of a classifier, which of them is its champion, every change of that, and who starts from which.

The champion pointer changes by compare-and-set, together with the states and the history, in one transaction: two
promotions at the same moment cannot both win. Version 0, the base encoder, has no row. Knows nothing of files.
"""

from __future__ import annotations

import builtins  # inside the class, `list` is the method
import dataclasses
import json
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlite_utils

from storage.classifiers import by_id
from storage.database import Database
from storage.errors import Conflict, NotFound
from storage.records import ModelVersion, Promotion, VersionState, version_name
from storage.rows import row, rows, value

MOST_NAMED = 5
"""Versions that are named as possible instead of one that is not."""


class Registry:
    """Every method takes the guild first (`add`: inside the record) and sees no other guild's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, version: ModelVersion) -> ModelVersion:
        """Register a version as a candidate and return it with its number, the next one of the classifier.

        A version of the same job again returns the one that is there. `number` and `state` as given are ignored.

        Raises:
            NotFound: no such classifier.
        """
        return await self._db.write(lambda tables: _add(tables.conn, version))

    async def get(self, guild: str, classifier_id: int, number: int) -> ModelVersion:
        """Raises NotFound, also for another guild's and for version 0, which is not stored."""
        return await self._db.read(lambda connection: _find(connection, guild, classifier_id, number))

    async def list(self, guild: str, classifier_id: int) -> list[ModelVersion]:
        """Newest first."""
        return await self._db.read(lambda connection: _versions(connection, guild, classifier_id))

    async def champion(self, guild: str, classifier_id: int) -> int:
        """Number of the version that answers; 0: none was promoted, the base encoder answers.

        It may be damaged (see `mark_damaged`): then somebody has yet to promote another.
        """
        return await self._db.read(lambda connection: _champion(connection, guild, classifier_id))

    async def promote(
        self, guild: str, classifier_id: int, number: int, expected: int, by: str, reason: str, now: float
    ) -> Promotion:
        """Make `number` the champion if `expected` still is; 0 goes back to the base encoder.

        Raises:
            Conflict: another one is champion meanwhile, `number` is it already, it is damaged or its files are deleted.
            NotFound: no such classifier or version.
        """

        def unit(tables: sqlite_utils.Database) -> Promotion:
            by_id(tables.conn, guild, classifier_id)
            _check(tables.conn, guild, classifier_id, number, expected)
            _point(tables.conn, guild, classifier_id, number)
            added = tables.execute(
                "INSERT INTO promotions (guild, classifier_id, number, previous, by, reason, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (guild, classifier_id, number, expected, by, reason, now),
            )
            return Promotion(int(added.lastrowid or 0), guild, classifier_id, number, expected, by, reason, now)

        return await self._db.write(unit)

    async def promotions(self, guild: str, classifier_id: int) -> builtins.list[Promotion]:
        """Newest first."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT id, guild, classifier_id, number, previous, by, reason, created_at FROM promotions "
                "WHERE guild = ? AND classifier_id = ? ORDER BY id DESC",
                (guild, classifier_id),
            )
        )
        return [Promotion(*each) for each in found]

    async def mark_damaged(self, guild: str, classifier_id: int, number: int) -> None:
        """Note that the files of a version do not verify: it cannot be promoted until `mark_whole`. The pointer stays.

        One whose files were deleted stays what it was: their absence is no damage.

        Raises:
            NotFound: no such version.
        """

        def unit(tables: sqlite_utils.Database) -> None:
            _find(tables.conn, guild, classifier_id, number)
            tables.execute(
                "UPDATE versions SET state = 'damaged' WHERE guild = ? AND classifier_id = ? AND number = ? "
                "AND files_deleted_at IS NULL",
                (guild, classifier_id, number),
            )

        await self._db.write(unit)

    async def mark_whole(self, guild: str, classifier_id: int, number: int) -> None:
        """Note that the files of a damaged version verify again: somebody has put them back. Any other stays as it is.

        Raises:
            NotFound: no such version.
        """

        def unit(tables: sqlite_utils.Database) -> None:
            _find(tables.conn, guild, classifier_id, number)
            tables.execute(
                "UPDATE versions SET state = CASE "
                "WHEN number IN (SELECT number FROM champions WHERE guild = ?1 AND classifier_id = ?2) THEN 'champion' "
                "WHEN number IN (SELECT number FROM promotions WHERE guild = ?1 AND classifier_id = ?2) THEN 'retired' "
                "ELSE 'candidate' END WHERE guild = ?1 AND classifier_id = ?2 AND number = ?3 AND state = 'damaged'",
                (guild, classifier_id, number),
            )

        await self._db.write(unit)

    async def note_decision(self, guild: str, classifier_id: int, number: int, decision: str) -> None:
        """Replace the gate's reason: what it found out after the version was registered. Raises NotFound."""

        def unit(tables: sqlite_utils.Database) -> None:
            _find(tables.conn, guild, classifier_id, number)
            tables.execute(
                "UPDATE versions SET decision = ? WHERE guild = ? AND classifier_id = ? AND number = ?",
                (decision, guild, classifier_id, number),
            )

        await self._db.write(unit)

    async def base_on(self, guild: str, classifier_id: int, source: ModelVersion | None) -> None:
        """Let the trainings of a classifier start from a version of another one from now on; None: from the base again.

        While a job is active nothing changes, so that each of its attempts starts from the same place.

        Raises:
            NotFound: no such classifier or version, also for another guild's.
            Conflict: a job is active, or the version is damaged or its files are deleted.
        """

        def unit(tables: sqlite_utils.Database) -> None:
            _check_origin(tables.conn, guild, classifier_id, source)
            tables.execute("DELETE FROM origins WHERE guild = ? AND classifier_id = ?", (guild, classifier_id))
            if source is not None:
                tables.execute(
                    "INSERT INTO origins (guild, classifier_id, source_id, number) VALUES (?, ?, ?, ?)",
                    (guild, classifier_id, source.classifier_id, source.number),
                )

        await self._db.write(unit)

    async def check_source(self, guild: str, source: ModelVersion) -> None:
        """Raises NotFound or Conflict where no training can start from this version."""
        await self._db.read(lambda connection: _check_source(connection, guild, source))


def _check_origin(connection: sqlite3.Connection, guild: str, classifier_id: int, source: ModelVersion | None) -> None:
    """Raise NotFound or Conflict unless trainings of the classifier may start from `source` from now on."""
    name = by_id(connection, guild, classifier_id)["name"]
    active = (
        "SELECT 1 FROM jobs WHERE guild = ? AND classifier_id = ? "
        "AND state IN ('queued', 'leased', 'running', 'uploading')"
    )
    if value(connection, active, (guild, classifier_id)) is not None:
        raise Conflict(f"A training of {name} is under way. Wait for its end or cancel it, then choose again.")
    if source is not None:
        _check_source(connection, guild, source)


def _check_source(connection: sqlite3.Connection, guild: str, source: ModelVersion) -> None:
    current = _find(connection, guild, source.classifier_id, source.number)
    if current.files_deleted_at is not None:
        raise Conflict(gone_words(current, _versions(connection, guild, source.classifier_id)))
    if current.state is VersionState.DAMAGED:
        raise Conflict(f"The files of {version_name(source.number)} are damaged. Choose another version.")


def _add(connection: sqlite3.Connection, version: ModelVersion) -> ModelVersion:
    by_id(connection, version.guild, version.classifier_id)
    if existing := row(
        connection, "SELECT * FROM versions WHERE guild = ? AND job_id = ?", (version.guild, version.job_id)
    ):
        return _version(existing)
    newest = value(
        connection,
        "SELECT coalesce(max(number), 0) FROM versions WHERE guild = ? AND classifier_id = ?",
        (version.guild, version.classifier_id),
    )
    added = dataclasses.replace(version, number=newest + 1, state=VersionState.CANDIDATE)
    connection.execute(
        "INSERT INTO versions (guild, classifier_id, number, artifact, job_id, snapshot, last_event_id, labels, "
        "decision, report, created_at, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(added.guild, added.classifier_id, added.number, added.artifact, added.job_id, added.snapshot),
            *(added.last_event_id, json.dumps(added.labels, ensure_ascii=False), added.decision, added.report),
            *(added.created_at, added.state),
        ),
    )
    return added


def _check(connection: sqlite3.Connection, guild: str, classifier_id: int, number: int, expected: int) -> None:
    """Raise Conflict or NotFound unless `number` may take over from `expected`."""
    current = _champion(connection, guild, classifier_id)
    if current != expected:
        raise Conflict(
            f"{version_name(current)} is live meanwhile, not {version_name(expected)}. Nothing was changed; look again."
        )
    if number == current:
        raise Conflict(f"{version_name(number)} is live already.")
    wanted = _find(connection, guild, classifier_id, number) if number else None
    if wanted is not None and wanted.files_deleted_at is not None:
        raise Conflict(gone_words(wanted, _versions(connection, guild, classifier_id)))
    if wanted is not None and wanted.state is VersionState.DAMAGED:
        raise Conflict(f"The files of {version_name(number)} are damaged, so it cannot go live. Train again.")


def _point(connection: sqlite3.Connection, guild: str, classifier_id: int, number: int) -> None:
    at = (guild, classifier_id)
    # A damaged champion stays damaged: only "champion" becomes "retired".
    connection.execute(
        "UPDATE versions SET state = 'retired' WHERE guild = ? AND classifier_id = ? AND state = 'champion'", at
    )
    connection.execute("DELETE FROM champions WHERE guild = ? AND classifier_id = ?", at)
    if number:
        connection.execute("INSERT INTO champions (guild, classifier_id, number) VALUES (?, ?, ?)", (*at, number))
        connection.execute(
            "UPDATE versions SET state = 'champion' WHERE guild = ? AND classifier_id = ? AND number = ?", (*at, number)
        )


def _champion(connection: sqlite3.Connection, guild: str, classifier_id: int) -> int:
    number: int | None = value(
        connection, "SELECT number FROM champions WHERE guild = ? AND classifier_id = ?", (guild, classifier_id)
    )
    return number or 0


def _find(connection: sqlite3.Connection, guild: str, classifier_id: int, number: int) -> ModelVersion:
    found = row(
        connection,
        "SELECT * FROM versions WHERE guild = ? AND classifier_id = ? AND number = ?",
        (guild, classifier_id, number),
    )
    if found is None:
        raise NotFound(f"There is no version {version_name(number)} of this classifier.")
    return _version(found)


def _versions(connection: sqlite3.Connection, guild: str, classifier_id: int) -> list[ModelVersion]:
    found = rows(
        connection,
        "SELECT * FROM versions WHERE guild = ? AND classifier_id = ? ORDER BY number DESC",
        (guild, classifier_id),
    )
    return [_version(each) for each in found]


def way_back(promotions: Sequence[Promotion], number: int) -> list[int]:
    """The versions to go back to from `number`, nearest first, each older than the one before and live at some time.

    What was rolled back is newer than what it was rolled back to, so it is not among them. `promotions`: newest first.
    """
    found = []
    for promotion in promotions:
        if promotion.previous < number:
            number = promotion.previous
            found.append(number)
    return found


def gone_words(version: ModelVersion, every: Sequence[ModelVersion]) -> str:
    """Why a version cannot be chosen whose files are deleted, and which of `every`, newest first, still can."""
    day = datetime.fromtimestamp(version.files_deleted_at or 0.0, UTC).date().isoformat()
    possible = [
        version_name(each.number)
        for each in every
        if each.files_deleted_at is None and each.state is not VersionState.DAMAGED
    ]
    others = f"Possible are {', '.join(possible[:MOST_NAMED])}" if possible else "There is no other with files"
    more = " and older ones" if len(possible) > MOST_NAMED else ""
    return (
        f"The files of {version_name(version.number)} were deleted on {day}, because it was old and not in use: only "
        f"its report is left. {others}{more}."
    )


def _version(found: sqlite3.Row) -> ModelVersion:
    return ModelVersion(
        guild=found["guild"],
        classifier_id=found["classifier_id"],
        number=found["number"],
        artifact=found["artifact"],
        job_id=found["job_id"],
        snapshot=found["snapshot"],
        last_event_id=found["last_event_id"],
        labels=tuple(json.loads(found["labels"])),
        decision=found["decision"],
        report=found["report"],
        created_at=found["created_at"],
        state=VersionState(found["state"]),
        files_deleted_at=found["files_deleted_at"],
    )
