"""The schema, as numbered steps that only ever grow at the end.

Every table is STRICT and carries its guild as the first column of every key; foreign keys include it, so a row of one
guild cannot point to another's. Times are Unix seconds. Ids of Discord objects are text. A step that was released is
never edited: write the next one. The longer SQL of the steps stands in `storage.schema`.
"""

from __future__ import annotations

import sqlite3

import sqlite_utils
from sqlite_utils import Migrations

from storage.errors import DamagedFile, NewerDatabase
from storage.schema import learning_loop, mending, teaching, training

MIGRATIONS = Migrations("pupil")


def applied(db: sqlite_utils.Database) -> list[str]:
    return [step.name for step in MIGRATIONS.applied(db)]


def pending(db: sqlite_utils.Database) -> list[str]:
    return [step.name for step in MIGRATIONS.pending(db)]


def check_known(db: sqlite_utils.Database) -> None:
    """Refuse a database that this Pupil would misread. Writes nothing.

    Raises:
        NewerDatabase: it went through a step that is not in this file.
        DamagedFile: it has tables, but none of ours.
    """
    done = applied(db)
    unknown = {*done} - {*_names()}
    if unknown:
        raise NewerDatabase(
            f"The database was written by a newer Pupil (step {sorted(unknown)[0]}). Install that version again, "
            "or restore the backup that it made beside the database before it went on."
        )
    if not done and db.table_names():
        raise DamagedFile("The database file belongs to another program. Choose another data directory.")


def migrate(db: sqlite_utils.Database) -> None:
    """Apply what is pending: each step and the record of it in one transaction. Hold the instance lock."""
    MIGRATIONS.apply(db)


def _run(db: sqlite_utils.Database, script: str) -> None:
    """Statement by statement, by lines: the library looks for the ends by characters, a tenth of a second in all."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""
    if statement.strip():  # the last semicolon was left out
        db.execute(statement)


def _names() -> list[str]:
    return [step.name for step in MIGRATIONS._migrations]


@MIGRATIONS(name="0001_the_learning_loop")
def _the_learning_loop(db: sqlite_utils.Database) -> None:
    _run(db, learning_loop.CLASSIFIERS)
    _run(db, learning_loop.EXAMPLES)
    _run(db, learning_loop.CURRENT_LABELS)
    _run(db, learning_loop.PREDICTIONS)
    _run(db, learning_loop.JOBS)
    _run(db, learning_loop.VERSIONS)
    _run(db, learning_loop.STATE)


@MIGRATIONS(name="0002_based_on")
def _based_on(db: sqlite_utils.Database) -> None:
    _run(db, learning_loop.ORIGINS)


@MIGRATIONS(name="0003_cut_texts")
def _cut_texts(db: sqlite_utils.Database) -> None:
    db.execute("ALTER TABLE predictions ADD COLUMN cut INTEGER NOT NULL DEFAULT 0 CHECK (cut IN (0, 1))")


@MIGRATIONS(name="0004_outside_texts")
def _outside_texts(db: sqlite_utils.Database) -> None:
    db.execute("ALTER TABLE predictions ADD COLUMN outside INTEGER NOT NULL DEFAULT 0 CHECK (outside IN (0, 1))")


@MIGRATIONS(name="0005_pool_removal_merging")
def _pool_removal_merging(db: sqlite_utils.Database) -> None:
    _run(db, teaching.POOL_REMOVAL_MERGING)


@MIGRATIONS(name="0006_examples")
def _examples(db: sqlite_utils.Database) -> None:
    _run(db, teaching.IMPORTS_REMOVALS)


@MIGRATIONS(name="0007_curating")
def _curating(db: sqlite_utils.Database) -> None:
    _run(db, teaching.CURATING)


@MIGRATIONS(name="0008_insight")
def _insight(db: sqlite_utils.Database) -> None:
    _run(db, teaching.KEPT_LABELS)


@MIGRATIONS(name="0009_pins")
def _pins(db: sqlite_utils.Database) -> None:
    _run(db, teaching.PINS)


@MIGRATIONS(name="0010_setup_and_privacy")
def _setup_and_privacy(db: sqlite_utils.Database) -> None:
    _run(db, teaching.SETUP_AND_PRIVACY)


@MIGRATIONS(name="0011_rounds")
def _rounds(db: sqlite_utils.Database) -> None:
    _run(db, teaching.ROUNDS)


@MIGRATIONS(name="0012_quiet_hours")
def _quiet_hours(db: sqlite_utils.Database) -> None:
    _run(db, training.QUIET_HOURS)


@MIGRATIONS(name="0013_turns_and_files")
def _turns_and_files(db: sqlite_utils.Database) -> None:
    _run(db, training.TURNS_AND_FILES)


@MIGRATIONS(name="0014_feedback_of_an_event")
def _feedback_of_an_event(db: sqlite_utils.Database) -> None:
    _run(db, training.FEEDBACK_OF_AN_EVENT)


@MIGRATIONS(name="0015_nightly_for_all")
def _nightly_for_all(db: sqlite_utils.Database) -> None:
    _run(db, mending.NIGHTLY_FOR_ALL)


@MIGRATIONS(name="0016_keys_first")
def _keys_first(db: sqlite_utils.Database) -> None:
    _run(db, mending.KEYS_FIRST)


@MIGRATIONS(name="0017_places_of_a_round")
def _places_of_a_round(db: sqlite_utils.Database) -> None:
    _run(db, mending.PLACES_OF_A_ROUND)
