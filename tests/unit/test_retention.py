"""What a trainer deletes: the policy as a table, then real files, hard links, and a sweep that is killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from storage.artifacts import read_manifest, seal, verify
from storage.errors import ArtifactError
from tests.fakes.trainer_bench import make_snapshot
from trainer import retention
from trainer.protocol import JobSpec, RunState
from trainer.retention import CHECKPOINT, DAY, FETCH, LEFTOVER, RECENT, Item, Kind, Limits, Retention, what_goes
from trainer.run_folder import BaseTask, Result, RunFolder
from trainer.store import Store

NOW = 1e9
GB = 10**9
JOB = JobSpec("a" * 8, 1, "5" * 64, "tiny")


def item(name: str, age: float, kind: Kind = Kind.ARTIFACT, size: int = 1 * GB) -> Item:
    return Item(Path(name), kind, NOW - age, size)


def goes(*items: Item, used: int | None = None, days: float = 30, gigabytes: float = 20) -> str:
    total = sum(each.bytes for each in items) if used is None else used
    return "".join(each.path.name for each in what_goes(items, total, NOW, Limits(days, gigabytes)))


A, B, C = (item(name, age * DAY) for name, age in (("a", 20), ("b", 10), ("c", 1)))
OLD = item("o", 31 * DAY)


@pytest.mark.parametrize(
    ("items", "more", "gone"),
    [
        ((), {}, ""),
        ((A, B, C), {}, ""),
        ((A, B, C, OLD), {}, "o"),
        ((A, B, C), {"gigabytes": 2}, "a"),
        ((A, B, C), {"gigabytes": 1.5}, "ab"),
        ((A, B, C, OLD), {"gigabytes": 3}, "o"),
        ((A, B, C, OLD), {"gigabytes": 2}, "oa"),
        ((A, B, C), {"gigabytes": 2, "used": 10 * GB}, "abc"),
        ((replace(A, bytes=0), B, C), {"gigabytes": 1}, "b"),
        ((replace(A, needed=True), B, C), {"gigabytes": 1}, "bc"),
        ((replace(OLD, needed=True),), {}, ""),
        ((item("r", RECENT - 1),), {"gigabytes": 0.1}, ""),
        ((item("r", RECENT + 1),), {"gigabytes": 0.1}, "r"),
        ((item("f", -60),), {"gigabytes": 0.1, "days": 1}, ""),
        ((replace(A, awaited_since=NOW - FETCH + 1), B), {"gigabytes": 0.1}, "b"),
        ((replace(A, awaited_since=NOW - FETCH - 1), B), {"gigabytes": 1}, "a"),
        ((replace(OLD, awaited_since=NOW - DAY),), {}, ""),
        ((item("k", CHECKPOINT - 1, Kind.CHECKPOINT),), {}, ""),
        ((item("k", CHECKPOINT + 1, Kind.CHECKPOINT),), {}, "k"),
        ((item("k", 2 * DAY, Kind.CHECKPOINT),), {"days": 1}, "k"),
        ((item("k", 2 * DAY, Kind.CHECKPOINT), C), {"gigabytes": 1}, "k"),
        ((item("l", LEFTOVER - 1, Kind.LEFTOVER),), {}, ""),
        ((item("l", LEFTOVER + 1, Kind.LEFTOVER),), {}, "l"),
        ((item("d", 20 * DAY, Kind.FOLDER, 4000), C), {"gigabytes": 0.5}, "c"),
        ((item("d", 31 * DAY, Kind.FOLDER, 4000),), {}, "d"),
        ((item("s", 5 * DAY, Kind.SNAPSHOT), A), {"gigabytes": 1}, "a"),
        ((item("s", 31 * DAY, Kind.SNAPSHOT),), {}, "s"),
    ],
    ids=[
        *("nothing is there", "nothing is old", "the old one", "the oldest for space", "as many as it takes"),
        *("age makes the room", "age and space", "all that may go is not enough", "what frees nothing stays"),
        *("a job needs the oldest", "a job needs the old one", "used just now", "used an hour ago"),
        *("a clock that went back", "its bot has yet to fetch it", "its bot never came", "old and yet to be fetched"),
        *("checkpoint for a retry", "checkpoint too long", "fewer days than a checkpoint's", "checkpoint for space"),
        *("upload under way", "upload given up", "what tells a job's end frees no space", "job over long ago"),
        *("any kind, by last use", "old snapshot"),
    ],
)
def test_what_goes(items: tuple[Item, ...], more: dict[str, float], gone: str) -> None:
    assert goes(*items, **more) == gone  # type: ignore[arg-type]


# Real files


class Folder:
    """A trainer's folder with real artifacts; everything in it was last used `age` seconds ago."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.store.artifacts.mkdir(parents=True)
        self.store.snapshots.mkdir()
        self.active: list[Path] = []

    def artifact(self, text: str, age: float = 0.0, size: int = 1000) -> str:
        staging = self.store.root / "new.part"
        staging.mkdir()
        (staging / "config.json").write_text(text)
        (staging / "encoder.onnx").write_bytes(os.urandom(size))
        name = seal(staging, self.store.artifacts, "version", [], {"text": text}, 0.0)
        self.age(self.store.artifacts / name, age)
        return name

    def run(self, spec: JobSpec = JOB, result: Result | None = None, inputs: tuple[Path, ...] = ()) -> RunFolder:
        folder = self.store.job_folder(spec.job_id, spec.attempt)
        folder.create(spec, inputs)
        if result is not None:
            folder.finish(result)
            folder.clear(resumable=result.retryable)
        return folder

    def age(self, path: Path, age: float) -> None:
        for each in (*path.rglob("*"), path) if path.is_dir() and path.parent.name != "artifacts" else (path,):
            os.utime(each, (time.time() - age,) * 2)

    async def sweep(self, days: float = 30, bytes: float = 20 * GB) -> list[str]:
        gone = await Retention(self.store, Limits(days, bytes / 1e9), lambda: self.active).sweep()
        assert not list(self.store.root.rglob("*.part"))
        return [each.path.name for each in gone]

    def left(self) -> set[str]:
        return {path.name for path in self.store.artifacts.iterdir()}


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "trainer")


async def test_old_things_of_every_kind_go_and_young_ones_stay(folder: Folder) -> None:
    old, young = folder.artifact("old", 31 * DAY), folder.artifact("young", 29 * DAY)
    snapshots = [make_snapshot(folder.store.snapshots, text) for text in ("old", "young")]
    folder.age(snapshots[0], 31 * DAY)
    over = folder.run(result=Result(RunState.SUCCEEDED, old))
    folder.age(over.path, 31 * DAY)
    later = folder.run(replace(JOB, job_id="b" * 8), result=Result(RunState.SUCCEEDED, young))
    sent = folder.store.artifacts / f"{'e' * 64}.part"
    sent.mkdir()
    folder.age(sent, 2 * DAY)
    assert sorted(await folder.sweep()) == sorted([old, snapshots[0].name, "1", sent.name])
    assert folder.left() == {young}
    assert snapshots[1].is_file()
    assert not over.path.parent.exists()
    assert later.result() == Result(RunState.SUCCEEDED, young)


async def test_a_checkpoint_is_kept_for_a_retry_but_not_for_ever(folder: Folder) -> None:
    killed = folder.run(result=Result(RunState.FAILED, retryable=True))
    killed.checkpoint.mkdir()
    (killed.checkpoint / "weights").write_bytes(b"x" * 1000)
    folder.age(killed.path, 2 * DAY)
    assert await folder.sweep() == []
    folder.age(killed.path, 4 * DAY)
    assert await folder.sweep() == ["checkpoint"]
    assert killed.result() is not None, "how the attempt ended is still known"


async def test_a_checkpoint_goes_when_space_is_short(folder: Folder) -> None:
    killed = folder.run(result=Result(RunState.FAILED, retryable=True))
    killed.checkpoint.mkdir()
    (killed.checkpoint / "weights").write_bytes(b"x" * 100_000)
    folder.age(killed.path, 2 * DAY)
    young = folder.artifact("young", DAY)
    assert await folder.sweep(bytes=50_000) == ["checkpoint"]
    assert folder.left() == {young}


async def test_what_a_run_left_that_died_with_its_trainer_goes_after_a_day(folder: Folder) -> None:
    champion = folder.artifact("champion")
    run = folder.run(inputs=(folder.store.artifacts / champion,))
    run.staging.mkdir()
    (run.staging / "encoder.onnx").write_bytes(b"half")
    folder.age(run.path, 2 * DAY)
    assert sorted(await folder.sweep()) == ["inputs", "staging"]
    assert run.job() == JOB
    verify(folder.store.artifacts / champion)


async def test_what_a_job_that_waits_was_given_stays_and_is_counted_once(folder: Folder) -> None:
    champion, other = folder.artifact("champion", 40 * DAY, 50_000), folder.artifact("other", DAY, 50_000)
    snapshot = make_snapshot(folder.store.snapshots)
    folder.age(snapshot, 40 * DAY)
    run = folder.run(inputs=(folder.store.artifacts / champion, snapshot))
    folder.active = [run.path]
    folder.age(run.path, 40 * DAY)
    folder.age(snapshot, 40 * DAY)
    assert await folder.sweep(bytes=120_000) == [], "two of 50,000 bytes, one of them linked twice"
    assert await folder.sweep(bytes=90_000) == [other]
    assert folder.left() == {champion}
    assert snapshot.is_file()
    folder.active = []
    assert {champion, snapshot.name} <= {*await folder.sweep()}


async def test_what_is_linked_from_elsewhere_frees_nothing_so_another_goes(folder: Folder) -> None:
    linked, other = folder.artifact("linked", 3 * DAY, 50_000), folder.artifact("other", DAY, 50_000)
    left = folder.run(inputs=(folder.store.artifacts / linked,))  # by a run that died with its trainer just now
    folder.age(folder.store.artifacts / linked, 3 * DAY)
    assert await folder.sweep(bytes=90_000) == [other]
    assert left.inputs.is_dir()


async def test_earlier_attempts_of_a_job_that_waits_stay(folder: Folder) -> None:
    first = folder.run(result=Result(RunState.FAILED, retryable=True))
    first.checkpoint.mkdir()
    folder.age(first.path, 40 * DAY)
    folder.active = [folder.run(replace(JOB, attempt=2)).path]
    assert await folder.sweep() == []
    assert first.checkpoint.is_dir()


async def test_an_artifact_waits_for_its_bot_whatever_the_space(folder: Folder) -> None:
    made = folder.artifact("made", 2 * DAY, 50_000)
    over = folder.run(result=Result(RunState.SUCCEEDED, made))
    folder.age(over.path, 2 * DAY)
    assert await folder.sweep(bytes=1000) == []
    names = [*read_manifest(folder.store.artifacts / made).files, "manifest.json"]
    for name in names[:-1]:
        folder.store.artifact_file(made, name)
    folder.age(folder.store.artifacts / made, 2 * DAY)
    assert await folder.sweep(bytes=1000) == [], "one file is missing to it"
    folder.store.artifact_file(made, names[-1])
    assert await folder.sweep(bytes=1000) == [], "fetched just now: a download that broke goes on"
    folder.age(folder.store.artifacts / made, 2 * DAY)
    assert await folder.sweep(bytes=1000) == [made]


async def test_an_artifact_nobody_comes_for_goes_after_three_days(folder: Folder) -> None:
    made = folder.artifact("made", 4 * DAY, 50_000)
    over = folder.run(result=Result(RunState.SUCCEEDED, made))
    folder.age(over.path, 4 * DAY)
    assert await folder.sweep(bytes=1000) == [made]


async def test_what_is_asked_for_while_a_sweep_looks_stays(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, given, other = (folder.artifact(text, 40 * DAY) for text in ("asked", "given", "other"))
    decide = retention.what_goes

    def meanwhile(*arguments: object) -> list[Item]:
        going = decide(*arguments)  # type: ignore[arg-type]
        folder.store.artifact(asked)
        folder.active = [folder.run(inputs=(folder.store.artifacts / given,)).path]
        return going

    monkeypatch.setattr(retention, "what_goes", meanwhile)
    assert await folder.sweep() == [other]
    assert folder.left() == {asked, given}


async def test_an_export_that_is_used_stays_with_the_folder_that_tells_its_id(folder: Folder) -> None:
    made, export = folder.artifact("base", 40 * DAY), folder.store.base_folder("tiny", "int8")
    export.create(BaseTask("tiny"))
    export.finish(Result(RunState.SUCCEEDED, made))
    folder.age(export.path, 40 * DAY)
    assert await folder.store.exported("tiny", "int8") == folder.store.artifacts / made
    assert await folder.sweep() == []
    assert await folder.store.exported("tiny", "int8") is not None
    folder.age(export.path, 40 * DAY)
    assert await folder.sweep() == [export.path.name], "else this test shows nothing"


SWEEP = """
import asyncio, os, signal, sys
from pathlib import Path
from trainer.retention import Limits, Retention
from trainer.store import Store

count, unlink = 0, os.unlink
def die(*arguments, **options):
    global count
    count += 1
    if count == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    unlink(*arguments, **options)
os.unlink = die
asyncio.run(Retention(Store(Path(sys.argv[1])), Limits(), lambda: []).sweep())
"""


@pytest.mark.parametrize("at", [1, 2, 3, 5, 8])
async def test_a_sweep_that_is_killed_leaves_whole_things(folder: Folder, at: int) -> None:
    for number in range(3):
        folder.artifact(f"old {number}", 40 * DAY)
    kept = folder.artifact("young", DAY)
    killed = subprocess.run([sys.executable, "-c", SWEEP, str(folder.store.root), str(at)], timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL
    whole = [path for path in folder.store.artifacts.iterdir() if not path.name.endswith(".part")]
    for path in whole:
        verify(path)
    assert kept in {path.name for path in whole}
    async with folder.store.opened():
        assert {path.name for path in folder.store.artifacts.iterdir()} == {path.name for path in whole}
    await folder.sweep()
    assert folder.left() == {kept}


async def test_the_harness_sees_half_a_thing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the renaming, a deletion that breaks off leaves a directory that does not verify."""
    made = folder.artifact("old", 40 * DAY)

    def half(path: Path, **options: object) -> None:
        (path / "config.json").unlink()

    same: Callable[[Path], Path] = lambda path: path  # noqa: E731
    monkeypatch.setattr(retention, "_set_aside", same)
    monkeypatch.setattr(shutil, "rmtree", half)
    await Retention(folder.store, Limits(), lambda: []).sweep()
    with pytest.raises(ArtifactError):
        verify(folder.store.artifacts / made)
