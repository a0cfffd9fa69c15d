"""The database as a whole: start, lock, durability, faults, group commit."""

from __future__ import annotations

import asyncio
import builtins
import hashlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils
import sqlite_utils.utils

from bot.cli import doctor
from bot.services.classifiers import NIGHTLY
from storage import migrations, writer
from storage.backup import check
from storage.database import Database
from storage.errors import (
    Busy,
    ConfigurationError,
    Conflict,
    DamagedFile,
    DiskFull,
    InstanceLocked,
    NewerDatabase,
    StorageError,
)
from storage.examples import Examples
from storage.reverts import Reverts
from storage.rows import rows, value
from storage.schedules import Schedules
from tests.fakes.small_disk import no_file_larger_than


def keep(key: str, text: str = "x") -> Any:
    def unit(tables: sqlite_utils.Database) -> str:
        tables.execute("INSERT INTO state (key, value) VALUES (?, ?)", (key, text))
        return key

    return unit


async def kept(db: Database) -> set[str]:
    return {key for (key,) in await db.read(lambda connection: rows(connection, "SELECT key FROM state"))}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "pupil.db"


async def test_the_connection_is_durable_and_checks_foreign_keys(path: Path) -> None:
    names = ("journal_mode", "synchronous", "foreign_keys")
    async with Database(path) as db:
        found = await db.write(lambda tables: [value(tables.conn, f"PRAGMA {name}") for name in names])
    assert found == ["wal", 2, 1]


async def test_every_table_is_strict(path: Path) -> None:
    async with Database(path) as db:
        loose = await db.read(
            lambda connection: rows(
                connection,
                "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT strict "
                "AND name NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
            )
        )
    assert [each["name"] for each in loose] == []


async def test_deleting_a_row_never_walks_a_whole_guild(path: Path) -> None:
    """SQLite looks for whoever refers to a row that goes: that needs an index on more than the guild."""
    async with Database(path) as db:
        referring = await db.read(
            lambda connection: rows(
                connection,
                'SELECT tables.name, keys.id, keys."from" AS field FROM pragma_table_list AS tables, '
                "pragma_foreign_key_list(tables.name) AS keys "
                "WHERE keys.\"table\" IN ('examples', 'label_events', 'predictions')",
            )
        )
        indexes = await db.read(
            lambda connection: rows(
                connection,
                "SELECT tables.name, list.name AS index_name, fields.name AS field FROM pragma_table_list AS tables, "
                "pragma_index_list(tables.name) AS list, pragma_index_info(list.name) AS fields "
                "WHERE NOT list.partial AND fields.seqno < 2",
            )
        )
    keys: dict[tuple[str, int], set[str]] = {}
    for each in referring:
        keys.setdefault((each["name"], each["id"]), set()).add(each["field"])
    beginnings: dict[tuple[str, str], set[str]] = {}
    for each in indexes:
        beginnings.setdefault((each["name"], each["index_name"]), set()).add(each["field"])
    assert len(keys) > 5
    for (table, _), fields in keys.items():
        usable = [first for (name, _), first in beginnings.items() if name == table and first <= fields]
        assert any(len(first) == 2 for first in usable), (table, fields)


async def test_what_was_written_is_there_after_a_restart(path: Path) -> None:
    async with Database(path) as db:
        await db.set_state("a", "1")
        await db.set_state("a", "2")
        assert await db.get_state("a") == "2"
        assert await db.get_state("b") is None
    assert not path.with_name("pupil.db-wal").exists()
    async with Database(path) as db:
        assert await db.get_state("a") == "2"


async def test_a_unit_that_fails_saves_nothing_and_sinks_no_other(path: Path) -> None:
    def half(tables: sqlite_utils.Database) -> None:
        keep("half")(tables)
        raise Conflict("changed meanwhile")

    async with Database(path) as db:
        units = [db.write(half) if number % 5 == 0 else db.write(keep(f"k{number}")) for number in range(50)]
        results = await asyncio.gather(*units, return_exceptions=True)
        assert sum(isinstance(result, Conflict) for result in results) == 10
        assert await kept(db) == {f"k{number}" for number in range(50) if number % 5}
        with pytest.raises(StorageError, match="UNIQUE"):
            await db.write(keep("k1"))


async def test_what_is_queued_shares_commits(path: Path) -> None:
    async with Database(path) as db:
        commits: list[str] = []
        await db.write(lambda tables: tables.conn.set_trace_callback(commits.append))
        await asyncio.gather(*(db.write(keep(f"k{number}")) for number in range(500)))
        await db.write(lambda tables: tables.conn.set_trace_callback(None))
        assert len(await kept(db)) == 500
    assert 1 <= sum(statement == "COMMIT" for statement in commits) <= 250


async def test_a_reader_sees_one_state_and_cannot_write(path: Path) -> None:
    async with Database(path) as db:
        await db.write(keep("a"))
        started, written = threading.Event(), threading.Event()

        def twice(connection: sqlite3.Connection) -> tuple[int, int]:
            before = value(connection, "SELECT count(*) FROM state")
            started.set()
            written.wait(5)
            return before, value(connection, "SELECT count(*) FROM state")

        reading = asyncio.create_task(db.read(twice))
        await asyncio.to_thread(started.wait, 5)
        await db.write(keep("b"))
        written.set()
        assert await reading == (1, 1)
        with pytest.raises(StorageError, match="readonly"):
            await db.read(lambda connection: connection.execute("DELETE FROM state"))


async def test_a_cancelled_caller_harms_nobody(path: Path) -> None:
    async with Database(path) as db:
        tasks = [asyncio.create_task(db.write(keep(f"k{number}"))) for number in range(20)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(results[3], asyncio.CancelledError)
        assert {f"k{number}" for number in range(20) if number != 3} <= await kept(db)


async def test_a_crashed_writer_answers_everybody(path: Path) -> None:
    def crash(tables: sqlite_utils.Database) -> None:
        raise SystemExit("a mistake nobody thought of")

    async with Database(path) as db:
        units = [db.write(keep("before")), db.write(crash), *(db.write(keep(f"k{n}")) for n in range(300))]
        async with asyncio.timeout(10):
            results = await asyncio.gather(*units, return_exceptions=True)
        assert isinstance(results[1], StorageError)
        assert all(isinstance(result, StorageError | str) for result in results)
        acknowledged = {result for result in results if isinstance(result, str)}
        with pytest.raises(StorageError, match="closed"):
            await db.write(keep("later"))
        assert acknowledged <= await kept(db)


async def test_a_unit_that_commits_by_itself_is_told_so(path: Path) -> None:
    async with Database(path) as db:
        with pytest.raises(StorageError):
            await db.write(lambda tables: tables.conn.execute("COMMIT").rowcount)
        assert await db.write(keep("a")) == "a"


async def test_after_the_end_nothing_is_taken(path: Path) -> None:
    async with Database(path) as db:
        pass
    with pytest.raises(StorageError, match="closed"):
        await db.write(keep("a"))
    with pytest.raises(StorageError, match="closed"):
        await db.get_state("a")


async def test_what_was_queued_before_the_end_is_saved(path: Path) -> None:
    async with Database(path) as db:
        tasks = [asyncio.create_task(db.write(keep(f"k{number}"))) for number in range(300)]
        await asyncio.sleep(0)
    assert len(await asyncio.gather(*tasks)) == 300


async def test_an_operator_who_holds_the_lock_makes_writers_busy_not_stuck(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "LOCK_WAIT", 0.3)
    async with Database(path) as db:
        with closing(sqlite3.connect(path, isolation_level=None)) as operator:
            operator.execute("BEGIN IMMEDIATE")
            begun = time.monotonic()
            results = await asyncio.gather(*(db.write(keep(f"k{n}")) for n in range(5)), return_exceptions=True)
            assert time.monotonic() - begun < 2
            assert all(isinstance(result, Busy) for result in results)
            assert await kept(db) == set()
            operator.execute("ROLLBACK")
        assert await db.write(keep("after")) == "after"


async def test_what_a_unit_has_read_stays_true_until_it_wrote(path: Path) -> None:
    """With a lock taken only at the first write, another program could commit in between."""

    def unit(tables: sqlite_utils.Database) -> None:
        before = value(tables.conn, "SELECT count(*) FROM state")
        with (
            closing(sqlite3.connect(path, timeout=0)) as operator,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            operator.execute("INSERT INTO state (key, value) VALUES ('theirs', 'x')")
        keep(f"mine {before}")(tables)

    async with Database(path) as db:
        await db.write(unit)
        assert await kept(db) == {"mine 0"}


async def test_a_second_process_is_refused_and_told_who_has_it(path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from storage.database import Database\n"
        "async def main():\n    async with Database(Path(sys.argv[1])):\n        pass\n"
        "try:\n    asyncio.run(main())\nexcept Exception as error:\n    print(type(error).__name__, error)\n"
    )
    command = [sys.executable, "-c", program, str(path)]
    async with Database(path) as db:
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
        assert done.stdout.startswith("InstanceLocked")
        assert f"process {os.getpid()}." in done.stdout
        assert await db.write(keep("still mine")) == "still mine"
        with pytest.raises(InstanceLocked):
            await Database(path).__aenter__()
    assert (await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)).stdout == ""


async def test_a_newer_database_is_refused_and_left_alone(path: Path) -> None:
    async with Database(path) as db:
        later = ("9999_later", "pupil", "now")
        insert = "INSERT INTO _sqlite_migrations (name, migration_set, applied_at) VALUES (?, ?, ?)"
        await db.write(lambda tables: tables.execute(insert, later).rowcount)
    before = path.read_bytes()
    with pytest.raises(NewerDatabase, match="9999_later"):
        await Database(path).__aenter__()
    assert path.read_bytes() == before


@pytest.mark.parametrize("contents", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
async def test_a_damaged_file_is_refused_and_left_alone(path: Path, contents: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(contents)
    with pytest.raises(DamagedFile):
        await Database(path).__aenter__()
    assert path.read_bytes() == contents


async def test_another_programs_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(DamagedFile, match="another program"):
        await Database(path).__aenter__()


RELEASED = "0004_outside_texts"
"""The last step that a release went out with. Whoever releases moves it on, with the digest below."""
DIGEST = "4c28f43c16e3d5a5d7a7afd0fa9d565d16ea4877ca120e35f644ec0177572b56"


ONE_LABEL = """
INSERT INTO classifiers (id, guild, name, base, created_at, created_by) VALUES (1, 'g', 'c', 'b', 1, 'u');
INSERT INTO labels (id, guild, classifier_id, name, key, position) VALUES (1, 'g', 1, 'bug', 'bug', 1);
INSERT INTO examples (id, guild, classifier_id, text, hash, source, split, submitted_by, created_at)
VALUES (1, 'g', 1, 'It crashed', printf('%064d', 1), 'command', 'train', 'u', 1);
INSERT INTO label_events
(id, guild, classifier_id, example_id, annotator, kind, label_id, source, created_at)
VALUES (1, 'g', 1, 1, 'u', 'vote', 1, 'command', 1);
"""


def schema(tables: sqlite_utils.Database) -> list[tuple[Any, ...]]:
    query = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT GLOB '_sqlite*'"
    return sorted(map(tuple, tables.execute(query).fetchall()))


def released(path: Path, step: str = RELEASED) -> sqlite_utils.Database:
    """A database as the last release left it, or another step."""
    path.parent.mkdir(exist_ok=True)
    steps = migrations.MIGRATIONS._migrations
    tables = sqlite_utils.Database(path)
    following = [each.name for each in steps if each.name > step]
    migrations.MIGRATIONS.apply(tables, stop_before=following)
    return tables


def test_steps_stand_in_the_order_of_their_numbers() -> None:
    names = [step.name for step in migrations.MIGRATIONS._migrations]
    assert names == sorted(names)
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


def test_released_steps_are_never_edited(path: Path) -> None:
    tables = released(path)
    words = "\n".join(f"{kind} {name} {sql}" for kind, name, sql in schema(tables))
    tables.close()
    assert hashlib.sha256(words.encode()).hexdigest() == DIGEST


async def test_a_database_of_the_last_release_migrates_and_keeps_its_rows(path: Path) -> None:
    tables = released(path)
    with tables.conn:
        tables.conn.executescript(ONE_LABEL)
    tables.close()
    async with Database(path) as db:
        assert [each.label for each in await Examples(db).current("g", 1)] == ["bug"]
        # Nobody has switched its schedule off: an import had made it without one.
        assert [(each.classifier_id, each.cron) for each in await Schedules(db).list()] == [(1, NIGHTLY)]
        migrated = await db.write(schema)
    async with Database(path.with_name("fresh.db")) as db:
        assert await db.write(schema) == migrated


async def test_damage_that_is_none_keeps_nobody_from_starting(path: Path) -> None:
    """As SQLite 3.40 sees it in the table of reverts, as it was before step 0016."""
    tables = released(path, "0014_feedback_of_an_event")
    with tables.conn:
        tables.conn.executescript(
            ONE_LABEL
            + """
            INSERT INTO label_events
            (id, guild, classifier_id, example_id, annotator, kind, undoes, source, created_at)
            VALUES (2, 'g', 1, 1, 'u', 'retraction', 1, 'command', 2);
            INSERT INTO reverts (id, guild, classifier_id, annotator, since, by, created_at)
            VALUES (3, 'g', 1, 'u', 0, 'lead', 3);
            INSERT INTO revert_events (guild, revert_id, event_id) VALUES ('g', 3, 2);
            INSERT INTO kept_labels (guild, classifier_id, example_id, label_id, kept_by, created_at)
            VALUES ('g', 1, 1, 1, 'lead', 4);
            """
        )
    tables.close()
    assert check(path).problems == ()
    assert doctor._look_inside(path).is_fine
    async with Database(path) as db:
        revert = await Reverts(db).get("g", 3)
        assert (revert.labels, revert.annotator) == (1, "u")
        kept = await db.read(lambda connection: rows(connection, "SELECT * FROM kept_labels"))
        sound = await db.read(lambda connection: [each[0] for each in rows(connection, "PRAGMA integrity_check")])
    assert dict(kept[0]).items() >= {"example_id": 1, "classifier_id": 1, "label_id": 1, "kept_by": "lead"}.items()
    assert sound == ["ok"]
    assert check(path).problems == ()


async def test_the_key_comes_first_in_every_table_without_rowid(path: Path) -> None:
    """Else SQLite's check may find damage that is not there, and the bot would not start."""
    async with Database(path) as db:
        tables = await db.read(
            lambda connection: rows(connection, "SELECT name FROM sqlite_master WHERE sql LIKE '%WITHOUT ROWID%'")
        )
        assert len(tables) > 10
        for (name,) in tables:
            sql = f"PRAGMA table_info({name})"
            columns = await db.read(lambda connection, sql=sql: rows(connection, sql))
            keys = [each["pk"] for each in columns if each["pk"]]
            assert [each["pk"] for each in columns[: len(keys)]] == sorted(keys), name


async def test_before_a_migration_the_database_is_copied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Database(path) as db:
        await db.set_state("a", "before")
    later = sqlite_utils.Migrations("pupil")
    for step in migrations.MIGRATIONS._migrations:
        later(name=step.name)(step.fn)
    later(name="0002_later")(lambda tables: tables.execute("DELETE FROM state"))
    monkeypatch.setattr(migrations, "MIGRATIONS", later)
    async with Database(path) as db:
        assert await db.get_state("a") is None
    with closing(sqlite3.connect(path.with_name("pupil.db.before-0002_later"))) as copy:
        assert copy.execute("SELECT value FROM state").fetchall() == [("before",)]


async def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Database(path) as db:
        await db.set_state("a", "before")

    def broken(tables: sqlite_utils.Database) -> None:
        tables.execute("DELETE FROM state")
        tables.execute("SELECT * FROM nowhere")

    with monkeypatch.context() as patched:
        later = sqlite_utils.Migrations("pupil")
        for step in migrations.MIGRATIONS._migrations:
            later(name=step.name)(step.fn)
        later(name="0002_broken")(broken)
        patched.setattr(migrations, "MIGRATIONS", later)
        with pytest.raises(StorageError, match="nowhere"):
            await Database(path).__aenter__()
    async with Database(path) as db:
        assert await db.get_state("a") == "before"


async def test_a_second_sqlite_library_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_utils.utils, "sqlite3", object())
    with pytest.raises(ConfigurationError, match="pysqlite3"):
        await Database(path).__aenter__()


async def test_the_live_file_is_never_opened_as_a_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing such a descriptor drops SQLite's locks: another program would then delete the log (fcntl(2))."""
    opened: list[str] = []
    real, real_os = builtins.open, os.open

    def watch(name: Any, *arguments: Any, **options: Any) -> Any:
        opened.append(str(name))
        return real(name, *arguments, **options)

    def watch_os(name: Any, *arguments: Any, **options: Any) -> int:
        opened.append(str(name))
        return real_os(name, *arguments, **options)

    monkeypatch.setattr(builtins, "open", watch)
    monkeypatch.setattr(io, "open", watch)
    monkeypatch.setattr(os, "open", watch_os)
    from storage.backup import backup

    async with Database(path) as db:
        await db.write(keep("a"))
        await backup(db, path.with_name("copy.db"))
    assert f"{path}.lock" in opened
    assert str(path) not in opened


async def fill(db: Database, units: int = 400) -> tuple[set[str], list[BaseException]]:
    """(what was acknowledged, what was refused)"""
    results = await asyncio.gather(
        *(db.write(keep(f"big{number}", "x" * 20_000)) for number in range(units)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, BaseException)]
    return {result for result in results if isinstance(result, str)}, refused


async def test_a_disk_that_refuses_loses_nothing_acknowledged(path: Path) -> None:
    async with Database(path) as db:
        await db.write(keep("early"))
        with no_file_larger_than(3_000_000):
            acknowledged, refused = await fill(db)
            assert refused
            assert all(isinstance(error, StorageError) for error in refused)
            assert await kept(db) == {"early"} | acknowledged  # reads go on
        assert await db.write(keep("late")) == "late"  # and writes come back without a restart
    async with Database(path) as db:
        assert await kept(db) == {"early", "late"} | acknowledged


async def test_a_full_disk_is_told_by_its_name(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root, to mount a small disk")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", mount], capture_output=True)
    if done.returncode:
        pytest.skip("this machine does not allow to mount a small disk")
    try:
        async with Database(mount / "pupil.db") as db:
            acknowledged, refused = await fill(db)
            assert any(isinstance(error, DiskFull) for error in refused)
            assert all(isinstance(error, StorageError) for error in refused)
            assert await kept(db) == acknowledged
    finally:
        subprocess.run(["umount", mount], check=True)
