"""Every executor keeps the promises of `trainer.executors.base`. A new one joins by a line in EXECUTORS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.fake_cluster import FakeCluster
from tests.fakes.fake_job import COMMAND, SPARE_COMMAND
from tests.fakes.tiny_encoder import make_tiny_encoder
from tests.fakes.trainer_bench import appeared, gone, is_alive, make_snapshot
from trainer.executors.base import Executor
from trainer.executors.ray import RayExecutor
from trainer.executors.spare import Spare
from trainer.executors.subprocess import SubprocessExecutor
from trainer.protocol import JobSpec, RunState
from trainer.run_folder import RunFolder


@asynccontextmanager
async def on_this_host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Executor]:
    yield SubprocessExecutor(COMMAND)


@asynccontextmanager
async def with_a_spare(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Executor]:
    yield SubprocessExecutor(COMMAND, spare=Spare(SPARE_COMMAND))


@asynccontextmanager
async def on_a_pretended_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Executor]:
    async with FakeCluster(tmp_path) as cluster:
        yield RayExecutor(cluster.url, cluster.token_file, module=COMMAND[2:])


@asynccontextmanager
async def on_a_cluster(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Executor]:
    cluster = request.getfixturevalue("ray_cluster")
    yield RayExecutor(cluster.url, cluster.token_file, module=COMMAND[2:])


EXECUTORS = [
    pytest.param(on_this_host, id="subprocess"),
    pytest.param(with_a_spare, id="subprocess with a spare"),
    pytest.param(on_a_pretended_cluster, id="pretended-cluster"),
    pytest.param(on_a_cluster, id="ray", marks=[pytest.mark.slow, pytest.mark.ray]),
]


@pytest.fixture(params=EXECUTORS)
async def executor(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Executor]:
    async with request.param(request, tmp_path) as executor:
        await executor.prepare()
        try:
            yield executor
        finally:
            await executor.close()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def prepare(folder: RunFolder, script: list[Any] | None = None) -> RunFolder:
    snapshot = make_snapshot(folder.path.parent / "snapshots")
    base = make_tiny_encoder(folder.path.parent / "base")
    recipe = {} if script is None else {"script": script}
    folder.create(JobSpec("a" * 8, 1, snapshot.stem, str(base), recipe=recipe), [snapshot])
    return folder


async def test_work_leaves_events_result_and_artifact(executor: Executor, folder: RunFolder) -> None:
    prepare(folder)
    ending = await (await executor.start("job-1", folder.path)).wait()
    result = folder.result()
    assert ending.clean
    assert result is not None
    assert result.state is RunState.SUCCEEDED
    assert [event.seq for event in folder.events().read()] == [1, 2, 3, 4]
    assert (folder.outputs / str(result.artifact) / "manifest.json").is_file()


async def test_starting_the_same_run_twice_is_one_run(executor: Executor, folder: RunFolder) -> None:
    prepare(folder, [["sleep", 0.5]])
    runs = await asyncio.gather(*(executor.start("job-1", folder.path) for _ in range(3)))
    assert len({id(run) for run in runs}) == 1
    await runs[0].wait()
    assert len(folder.events().read()) == 1  # the first sign of life, once


async def test_stopping_ends_it_and_is_idempotent(executor: Executor, folder: RunFolder) -> None:
    run = await executor.start("job-1", prepare(folder, [["sleep", 60]]).path)
    await appeared(folder.path / "pid")
    began = time.monotonic()
    first, second = await asyncio.gather(run.stop(5), run.stop(5))
    assert first == second == await run.stop(5) == await run.wait()
    assert time.monotonic() - began < 4
    assert folder.result() is None


async def test_work_that_does_not_listen_is_killed_after_the_grace(executor: Executor, folder: RunFolder) -> None:
    run = await executor.start("job-1", prepare(folder, [["deaf"], ["event", 0.1], ["sleep", 60]]).path)
    while len(folder.events().read()) < 2:
        await asyncio.sleep(0.05)
    began = time.monotonic()
    ending = await run.stop(0.5)
    assert 0.4 < time.monotonic() - began < 5
    assert "SIGKILL" in ending.how
    assert not ending.out_of_memory


async def test_work_that_is_killed_is_noticed(executor: Executor, folder: RunFolder) -> None:
    ending = await (await executor.start("job-1", prepare(folder, [["kill"]]).path)).wait()
    assert not ending.clean
    assert folder.result() is None


async def test_grandchildren_end_with_the_work(executor: Executor, folder: RunFolder) -> None:
    run = await executor.start("job-1", prepare(folder, [["grandchild"], ["kill"]]).path)
    await run.wait()
    assert await gone(int((folder.path / "grandchild").read_text()), 2)


async def test_closing_ends_every_run(executor: Executor, folder: RunFolder) -> None:
    await executor.start("job-1", prepare(folder, [["sleep", 60]]).path)
    pid = int(await appeared(folder.path / "pid"))
    await executor.close()
    await executor.close()
    assert not is_alive(pid)


async def test_what_is_prepared_twice_or_beside_a_run_is_no_run(executor: Executor, folder: RunFolder) -> None:
    await executor.prepare()
    run = await executor.start("job-1", prepare(folder, [["sleep", 0.5]]).path)
    await executor.prepare()
    assert (await run.wait()).clean
    assert len(folder.events().read()) == 1  # done once, by one of them


async def test_waiting_can_be_given_up_without_harm_to_the_run(executor: Executor, folder: RunFolder) -> None:
    run = await executor.start("job-1", prepare(folder, [["sleep", 0.5]]).path)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run.wait()
    assert (await run.wait()).clean
