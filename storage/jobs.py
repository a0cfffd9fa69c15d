"""Training jobs: the only truth about what is to be trained, by whom, and how far it is.

A job is executed at least once and takes effect exactly once. Its attempt number grows with every claim and fences off
whoever still works on an older one: their writes no longer match a row. Knows nothing of trainers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from typing import Any

import sqlite_utils

from storage.classifiers import by_id
from storage.database import Database
from storage.errors import Conflict, NotFound
from storage.records import FINAL_STATES, LEGAL_CHANGES, JobState, TrainingJob
from storage.rows import row, rows, value
from storage.turns import in_turn

CHANGEABLE = frozenset(
    {"not_before", "channel_id", "message_id", "last_event", "progress", "error", "artifact", "version"}
)
"""Fields that `Jobs.change` may set beside the state. The others say what the job is, and that does not change."""

LONGEST_PAUSE = 3600.0
"""Seconds. A job rests for less between two attempts; one that seems to rest for longer was told so by a clock that was
wrong, and is due."""
_ACTIVE = "state IN ('queued', 'leased', 'running', 'uploading')"
_VALID = "state NOT IN ('failed', 'cancelled', 'abandoned')"
COLUMNS = (
    "id, guild, classifier_id, key, snapshot, champion, state, attempt, requested_by, reason, created_at, updated_at, "
    "not_before, channel_id, message_id, last_event, progress, error, artifact, version"
)
"""Of the table, what a `TrainingJob` has: its turn in the queue is nobody else's business."""


class Jobs:
    """Every method takes the guild, first or in the job, and sees no other's rows.

    But `claim`, `due` and `unfinished` are about all guilds.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def create(self, job: TrainingJob) -> tuple[TrainingJob, bool]:
        """Store a job, unless it is there already: (the job, True), or (the one that stands for it, False).

        One stands for it if it trains the same (`key`) and did not fail, or if it is active for the same classifier.
        Two calls at the same moment make one job.

        Raises:
            NotFound: no such classifier.
        """
        return await self._db.write(lambda tables: _create(tables.conn, job))

    async def get(self, guild: str, job_id: str) -> TrainingJob:
        """Raises NotFound, also for another guild's."""
        return await self._db.read(lambda connection: _find(connection, guild, job_id))

    async def claim(self, now: float, besides: Collection[str] = ()) -> TrainingJob | None:
        """Lease the queued job whose turn it is; its attempt grows by one. None: none is due.

        Guilds have their turns one after the other, whoever had one most recently comes last; within a guild the
        oldest job comes first.

        Args:
            besides: guilds that are passed over.
        """

        def unit(tables: sqlite_utils.Database) -> TrainingJob | None:
            found = next((each for each in _due(tables.conn, now) if each[0] not in besides), None)
            if found is None:
                return None
            tables.execute(
                "UPDATE jobs SET state = 'leased', attempt = attempt + 1, updated_at = ?, "
                "turn = (SELECT max(turn) + 1 FROM jobs) WHERE guild = ? AND id = ?",
                (now, *found),
            )
            return _find(tables.conn, *found)

        return await self._db.write(unit)

    async def due(self, now: float) -> list[TrainingJob]:
        """Queued jobs of all guilds whose time has come, in the order in which they will be claimed."""
        return await self._db.read(lambda connection: [_find(connection, *found) for found in _due(connection, now)])

    async def change(self, job: TrainingJob, state: JobState, now: float, **fields: Any) -> TrainingJob:
        """Bring a job into `state` (its own, to write progress) and set `fields`; returns the job as it is now.

        Args:
            job: as the caller knows it. Its attempt must still be the newest.
            fields: see `CHANGEABLE`.

        Raises:
            Conflict: the attempt is stale, or the job is in a state from which that is not legal. Nothing was changed.
            NotFound: no such job.
        """
        if unknown := fields.keys() - CHANGEABLE:
            raise TypeError(f"these fields of a job do not change: {sorted(unknown)}")
        return await self._db.write(lambda tables: _change(tables.conn, job, state, now, fields))

    async def set_message(self, guild: str, job_id: str, channel_id: str, message_id: str) -> None:
        """Remember where its progress is shown; in any state. Raises NotFound."""

        def unit(tables: sqlite_utils.Database) -> None:
            _find(tables.conn, guild, job_id)
            tables.execute(
                "UPDATE jobs SET channel_id = ?, message_id = ? WHERE guild = ? AND id = ?",
                (channel_id, message_id, guild, job_id),
            )

        await self._db.write(unit)

    async def active(self, guild: str, classifier_id: int) -> TrainingJob | None:
        """The job that is waiting or being trained; there is one at most."""
        return await self._first(f"guild = ? AND classifier_id = ? AND {_ACTIVE}", guild, classifier_id)

    async def latest(self, guild: str, classifier_id: int) -> TrainingJob | None:
        """The newest job, in whatever state."""
        found = await self.list(guild, classifier_id, limit=1)
        return found[0] if found else None

    async def unfinished(self) -> list[TrainingJob]:
        """Active jobs of all guilds, oldest first: what to take up again when the program starts."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                f"SELECT {COLUMNS} FROM jobs WHERE {_ACTIVE} ORDER BY created_at, id",  # noqa: S608 - constants
            )
        )
        return [job_from(each) for each in found]

    async def list(self, guild: str, classifier_id: int, limit: int = 20) -> list[TrainingJob]:
        """Newest first."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                f"SELECT {COLUMNS} FROM jobs WHERE guild = ? AND classifier_id = ? "  # noqa: S608 - a constant
                "ORDER BY created_at DESC, rowid DESC LIMIT ?",
                (guild, classifier_id, limit),
            )
        )
        return [job_from(each) for each in found]

    async def _first(self, condition: str, *parameters: Any) -> TrainingJob | None:
        return await self._db.read(lambda connection: _first(connection, condition, *parameters))


def _create(connection: sqlite3.Connection, job: TrainingJob) -> tuple[TrainingJob, bool]:
    by_id(connection, job.guild, job.classifier_id)
    standing = _first(connection, f"guild = ? AND key = ? AND {_VALID}", job.guild, job.key) or _first(
        connection, f"guild = ? AND classifier_id = ? AND {_ACTIVE}", job.guild, job.classifier_id
    )
    if standing is not None:
        return standing, False
    values = {column: getattr(job, column) for column in COLUMNS.split(", ")}
    connection.execute(
        f"INSERT INTO jobs ({COLUMNS}) VALUES ({', '.join(f':{column}' for column in values)})",  # noqa: S608 - constants
        values,
    )
    return job, True


def _due(connection: sqlite3.Connection, now: float) -> list[tuple[str, str]]:
    """(guild, id) of the queued jobs whose time has come, in turn."""
    found = rows(
        connection,
        "SELECT guild, id FROM jobs WHERE state = 'queued' AND (not_before <= ? OR not_before > ?) "
        "ORDER BY created_at, id",
        (now, now + LONGEST_PAUSE),
    )
    guilds = [each["guild"] for each in found]
    last = {guild: _last_turn(connection, guild) for guild in set(guilds)}
    return [(guilds[place], found[place]["id"]) for place in in_turn(guilds, last)]


def _last_turn(connection: sqlite3.Connection, guild: str) -> int:
    turn: int | None = value(connection, "SELECT max(turn) FROM jobs WHERE guild = ?", (guild,))
    return turn or 0


def _change(
    connection: sqlite3.Connection, job: TrainingJob, state: JobState, now: float, fields: dict[str, Any]
) -> TrainingJob:
    sources = _sources(state)
    assignments = "".join(f", {name} = :{name}" for name in sorted(fields))  # names of CHANGEABLE
    changed = connection.execute(
        f"UPDATE jobs SET state = :to, updated_at = :now{assignments} "  # noqa: S608 - constants and checked names
        f"WHERE guild = :guild AND id = :id AND attempt = :attempt AND state IN ({', '.join(sources)})",
        {**fields, "to": state, "now": now, "guild": job.guild, "id": job.id, "attempt": job.attempt},
    )
    current = _find(connection, job.guild, job.id)
    if changed.rowcount == 1:
        return current
    if current.attempt != job.attempt:
        raise Conflict(f"Attempt {job.attempt} of job {job.id} was given up; attempt {current.attempt} counts now.")
    raise Conflict(f"Job {job.id} is {current.state} and cannot become {state}.")


def _sources(state: JobState) -> list[str]:
    """The states, quoted, from which a job may come into `state` by a change.

    LEASED comes only from `claim`, which raises the attempt; a final state is never written again.
    """
    sources = {source for source, targets in LEGAL_CHANGES.items() if state in targets}
    if state is JobState.LEASED:
        sources = set()
    if state not in FINAL_STATES:
        sources.add(state)
    return [f"'{source}'" for source in sorted(sources)]


def _first(connection: sqlite3.Connection, condition: str, *parameters: Any) -> TrainingJob | None:
    found = row(connection, f"SELECT {COLUMNS} FROM jobs WHERE {condition}", parameters)  # noqa: S608 - constants
    return job_from(found) if found else None


def _find(connection: sqlite3.Connection, guild: str, job_id: str) -> TrainingJob:
    found = _first(connection, "guild = ? AND id = ?", guild, job_id)
    if found is None:
        raise NotFound(f"There is no training with the id {job_id} here.")
    return found


def job_from(found: sqlite3.Row) -> TrainingJob:
    """The job in a row of `COLUMNS`."""
    values = dict(found)
    return TrainingJob(**(values | {"state": JobState(values["state"])}))
