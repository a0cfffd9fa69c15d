"""Copies of a database that is in use, and the way back."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from storage.backup import backup, check, check_elsewhere, restore
from storage.database import Database
from storage.errors import Conflict, DamagedFile, InstanceLocked, NotFound
from storage.records import Source
from storage.snapshots import SnapshotContent, SnapshotLabel, SnapshotRow, write_snapshot
from tests.contract.conftest import GUILD, Store, make_triage


async def snapshot(store: Store, root: Path) -> str:
    """The id of a snapshot of the only classifier."""
    classifier = await store.classifiers.get(GUILD, "triage")
    labels = await store.classifiers.labels(GUILD, classifier.id)
    current = await store.examples.current(GUILD, classifier.id)
    content = SnapshotContent(
        guild=GUILD,
        classifier="triage",
        labels=tuple(SnapshotLabel(label.id, label.name, label.description) for label in labels),
        rows=tuple(SnapshotRow(row.example_id, row.text, row.label, row.split, row.source) for row in current),
        last_event_id=await store.examples.newest_event(GUILD, classifier.id),
    )
    return write_snapshot(content, root)


async def test_a_backup_on_a_new_host_gives_the_same_snapshot(tmp_path: Path) -> None:
    async with Database(tmp_path / "old" / "pupil.db") as db:
        store = Store.over(db)
        triage = await make_triage(store, GUILD)
        rows = [(f"text {number}", triage.bug.id) for number in range(300)]
        await store.examples.add_many(GUILD, triage.id, rows, "maria", Source.FILE, "b", 1.0)
        found = await backup(db, tmp_path / "copies" / "monday.db")
        before = await snapshot(store, tmp_path)
    assert (found.problems, found.counts["label_events"], found.counts["examples"]) == ((), 300, 300)
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["monday.db"]
    assert restore(tmp_path / "copies" / "monday.db", tmp_path / "new" / "pupil.db") is None
    async with Database(tmp_path / "new" / "pupil.db") as db:
        assert await snapshot(Store.over(db), tmp_path) == before


async def test_on_a_new_host_nobody_else_can_read_what_was_put_back(tmp_path: Path) -> None:
    async with Database(tmp_path / "pupil.db") as db:
        await backup(db, tmp_path / "copy.db")
    restore(tmp_path / "copy.db", tmp_path / "new" / "pupil.db")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    for copy in (tmp_path / "copy.db", tmp_path / "new" / "pupil.db"):
        assert copy.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", None])
async def test_what_is_no_database_of_ours_replaces_nothing(tmp_path: Path, content: bytes | None) -> None:
    """SQLite takes an empty file for a sound database, and another program's is one."""
    copy = tmp_path / "copy.db"
    if content is None:
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute("CREATE TABLE x (y)")
    else:
        copy.write_bytes(content)
    async with Database(tmp_path / "pupil.db"):
        pass
    before = (tmp_path / "pupil.db").read_bytes()
    with pytest.raises(DamagedFile, match="no database of Pupil"):
        restore(copy, tmp_path / "pupil.db")
    assert (tmp_path / "pupil.db").read_bytes() == before


async def test_writers_go_on_during_a_backup(tmp_path: Path) -> None:
    async with Database(tmp_path / "pupil.db") as db:
        await db.set_state("early", "1")
        copying = asyncio.create_task(backup(db, tmp_path / "copy.db"))
        written = 0
        while not copying.done():
            await db.set_state(f"k{written}", "1")
            written += 1
        found = await copying
        assert written > 1
        assert 1 <= found.counts["state"] <= written + 1


async def test_a_backup_overwrites_nothing(tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("precious")
    async with Database(tmp_path / "pupil.db") as db:
        with pytest.raises(Conflict):
            await backup(db, target)
    assert target.read_text() == "precious"


async def test_restoring_keeps_what_it_replaces(tmp_path: Path) -> None:
    path = tmp_path / "pupil.db"
    async with Database(path) as db:
        await db.set_state("a", "old")
        await backup(db, tmp_path / "copy.db")
        await db.set_state("a", "new")
        with pytest.raises(InstanceLocked):
            restore(tmp_path / "copy.db", path)
    replaced = restore(tmp_path / "copy.db", path)
    assert replaced is not None
    async with Database(path) as db:
        assert await db.get_state("a") == "old"
    async with Database(replaced) as db:
        assert await db.get_state("a") == "new"


async def test_what_was_set_aside_after_a_crash_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "pupil.db"
    async with Database(tmp_path / "old.db") as db:
        await backup(db, tmp_path / "copy.db")
    async with Database(tmp_path / "running.db") as db:
        await db.set_state("a", "in the log alone")
        for ending in ("", "-wal"):  # as a killed process leaves them
            shutil.copyfile(tmp_path / f"running.db{ending}", path.with_name(path.name + ending))
    replaced = restore(tmp_path / "copy.db", path)
    assert replaced is not None
    assert restore(replaced, path) is not None
    async with Database(path) as db:
        assert await db.get_state("a") == "in the log alone"
    assert replaced.with_name(f"{replaced.name}-wal").exists()  # it is copied, not used up
    assert not list(tmp_path.glob("*restoring*"))


async def test_a_log_of_the_replaced_database_is_not_taken_for_the_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "pupil.db"
    async with Database(path) as db:
        await backup(db, tmp_path / "copy.db")
    path.write_bytes(b"damaged" * 1000)
    path.with_name("pupil.db-wal").write_bytes(b"of the damaged one")
    replaced = restore(tmp_path / "copy.db", path)
    assert replaced is not None
    assert replaced.read_bytes() == b"damaged" * 1000
    assert not path.with_name("pupil.db-wal").exists()
    assert replaced.with_name(f"{replaced.name}-wal").read_bytes() == b"of the damaged one"
    async with Database(path) as db:
        assert await db.get_state("a") is None


async def test_a_damaged_copy_is_found_out_and_changes_nothing(tmp_path: Path) -> None:
    copy, path = tmp_path / "copy.db", tmp_path / "pupil.db"
    async with Database(tmp_path / "old.db") as db:
        await backup(db, copy)
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE TABLE t (x TEXT)")
        connection.executemany("INSERT INTO t VALUES (?)", [("word " * 200,)] * 200)
        connection.commit()
    assert check_elsewhere(copy).counts["t"] == 200
    data = bytearray(copy.read_bytes())
    data[-8192:-4096] = bytes(4096)
    copy.write_bytes(data)
    assert check(copy).problems
    with pytest.raises(DamagedFile):
        restore(copy, path)
    with pytest.raises(NotFound):
        restore(tmp_path / "nowhere.db", path)
    assert not path.exists()


async def test_a_log_without_a_database_is_moved_out_of_the_way(tmp_path: Path) -> None:
    async with Database(tmp_path / "old.db") as db:
        await backup(db, tmp_path / "copy.db")
    path = tmp_path / "pupil.db"
    path.with_name("pupil.db-wal").write_bytes(b"left by a restore that was interrupted")
    assert restore(tmp_path / "copy.db", path) is None
    assert not path.with_name("pupil.db-wal").exists()
