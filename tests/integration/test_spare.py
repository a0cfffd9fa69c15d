"""A process that waits for a run with its imports done: quicker where it is there, and no harm where it is not."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from storage.errors import TrainerUnavailable
from tests.fakes.fake_job import COMMAND, SPARE_COMMAND
from tests.fakes.tiny_encoder import make_tiny_encoder
from tests.fakes.trainer_bench import (
    KEY,
    appeared,
    bench,
    gone,
    is_alive,
    is_own_group,
    make_snapshot,
    told_to_process,
)
from trainer.children import NICENESS
from trainer.executors.spare import Spare
from trainer.executors.subprocess import SubprocessExecutor
from trainer.protocol import JobSpec, RunState
from trainer.run_folder import LOG, RunFolder

LONG = 60.0
"""Seconds that a busy machine may take for what is quick."""


def spare(loads: str = "nothing", **options: Any) -> Spare:
    return Spare([*SPARE_COMMAND[:-1], loads], **({"patience": LONG} | options))


@asynccontextmanager
async def executor_with(spare: Spare) -> AsyncIterator[SubprocessExecutor]:
    executor = SubprocessExecutor(COMMAND, spare=spare)
    try:
        yield executor
    finally:
        await executor.close()


def run_folder(folder: Path, script: list[Any] | None = None) -> RunFolder:
    snapshot, base = make_snapshot(folder / "snapshots"), make_tiny_encoder(folder / "base")
    made = RunFolder(folder / "run")
    made.create(JobSpec("a" * 8, 1, snapshot.stem, str(base), recipe={"script": script or []}), [snapshot])
    return made


async def pid_at_work(folder: RunFolder) -> int:
    return int(await appeared(folder.path / "pid", LONG))


async def finished(executor: SubprocessExecutor, folder: RunFolder) -> int:
    """Have the work done; pid of the process that did it."""
    assert (await (await executor.start("job-1", folder.path)).wait()).clean
    result = folder.result()
    assert result is not None
    assert result.state is RunState.SUCCEEDED, (result, (folder.path / LOG).read_text())
    return await pid_at_work(folder)


def waiting(spare: Spare) -> int:
    assert spare.pid is not None
    return spare.pid


async def stopped(pid: int) -> None:
    """Return once a process was stopped by SIGSTOP."""
    async with asyncio.timeout(LONG):
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            await asyncio.sleep(0.02)


# It does the run


@pytest.mark.parametrize("loads", ["nothing", "long", "fail"])
async def test_the_process_that_waits_does_the_run_also_half_through_its_imports(tmp_path: Path, loads: str) -> None:
    ready = spare(loads)
    async with executor_with(ready) as executor:
        await executor.prepare()
        pid = waiting(ready)
        assert await finished(executor, run_folder(tmp_path, [["event", 0.5]])) == pid
        assert ready.pid is None


async def test_it_is_a_child_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISCORD_TOKEN", "planted-secret")
    ready = spare()
    async with executor_with(ready) as executor:
        await executor.prepare()
        folder = run_folder(tmp_path, [["event", 0.5], ["sleep", 600]])
        run = await executor.start("job-1", folder.path)
        pid = await pid_at_work(folder)
        assert is_own_group(pid)
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)
        assert b"planted-secret" not in told_to_process(pid)
        assert not (await run.stop()).clean


async def test_what_it_prints_is_in_the_runs_log_and_nowhere_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with executor_with(spare()) as executor:
        await executor.prepare()
        folder = run_folder(tmp_path, [["crash"]])
        await (await executor.start("job-1", folder.path)).wait()
    assert json.loads((folder.path / LOG).read_text().splitlines()[-1])["event"] == "run.broken"
    assert "run.broken" not in "".join(capfd.readouterr())


async def test_two_who_prepare_get_one_process_and_the_second_run_starts_cold(tmp_path: Path) -> None:
    ready = spare()
    async with executor_with(ready) as executor:
        await asyncio.gather(*(executor.prepare() for _ in range(3)))
        pid = waiting(ready)
        await executor.prepare()
        assert waiting(ready) == pid
        folder = run_folder(tmp_path, [["event", 0.5]])
        assert await finished(executor, folder) == pid
        again = run_folder(tmp_path, [["event", 0.5]])
        assert await finished(executor, again) != pid


async def test_beside_a_run_none_is_prepared(tmp_path: Path) -> None:
    ready = spare()
    async with executor_with(ready) as executor:
        folder = run_folder(tmp_path, [["sleep", 600]])
        run = await executor.start("job-1", folder.path)
        await executor.prepare()
        assert ready.pid is None
        await run.stop()
        await executor.prepare()
        assert ready.pid is not None


# It never harms


async def test_where_it_was_killed_the_run_starts_cold(tmp_path: Path) -> None:
    ready = spare()
    async with executor_with(ready) as executor:
        await executor.prepare()
        pid = waiting(ready)
        os.kill(pid, signal.SIGKILL)
        assert await finished(executor, run_folder(tmp_path, [["event", 0.5]])) != pid


async def test_one_that_was_killed_is_replaced_when_the_next_run_comes_near(tmp_path: Path) -> None:
    ready = spare()
    async with executor_with(ready) as executor:
        await executor.prepare()
        pid = waiting(ready)
        os.kill(pid, signal.SIGKILL)
        assert await gone(pid, LONG)
        async with asyncio.timeout(LONG):
            while ready.pid in (None, pid):  # until the loop has heard of it
                await executor.prepare()
                await asyncio.sleep(0.02)
        assert await finished(executor, run_folder(tmp_path, [["event", 0.5]])) not in (None, pid)


async def test_one_that_hangs_is_killed_and_the_run_starts_cold_and_once(tmp_path: Path) -> None:
    ready = spare("stop", patience=0.5)
    async with executor_with(ready) as executor:
        await executor.prepare()
        pid = waiting(ready)
        await stopped(pid)
        folder = run_folder(tmp_path, [["event", 0.5]])
        assert await finished(executor, folder) != pid
        assert not is_alive(pid)
        assert len(folder.events().read()) == 2


async def test_a_run_folder_that_is_not_there_is_the_runs_trouble_and_ends_the_spare(tmp_path: Path) -> None:
    ready = spare()
    async with executor_with(ready) as executor:
        await executor.prepare()
        pid = waiting(ready)
        with pytest.raises(TrainerUnavailable):
            await executor.start("job-1", tmp_path / "nowhere")
        assert not is_alive(pid)


async def test_whoever_gives_up_starting_leaves_no_process_behind(tmp_path: Path) -> None:
    ready = spare("stop")
    async with executor_with(ready) as executor:
        await executor.prepare()
        pid = waiting(ready)
        await stopped(pid)
        start = asyncio.create_task(executor.start("job-1", run_folder(tmp_path).path))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        assert await gone(pid, LONG)


async def test_one_that_cannot_be_started_is_told_and_the_run_starts_cold(tmp_path: Path) -> None:
    async with executor_with(Spare([str(tmp_path / "nothing")])) as executor:
        with pytest.raises(TrainerUnavailable, match="No spare process"):
            await executor.prepare()
        await finished(executor, run_folder(tmp_path, [["event", 0.5]]))


# It ends


class Clock:
    """A sleep that ends when the test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.over = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self.over.wait()


async def test_it_ends_when_nobody_needs_it_for_long_enough(tmp_path: Path) -> None:
    clock = Clock()
    ready = spare(idle=600.0, sleep=clock.sleep)
    async with executor_with(ready) as executor:
        await executor.prepare()
        pid = waiting(ready)
        await asyncio.sleep(0)
        await executor.prepare()  # its time begins anew
        await asyncio.sleep(0)
        assert clock.asked == [600.0, 600.0]
        assert is_alive(pid)
        clock.over.set()
        assert await gone(pid, LONG)
        assert await finished(executor, run_folder(tmp_path, [["event", 0.5]])) != pid


async def test_one_that_works_is_not_ended_for_being_idle(tmp_path: Path) -> None:
    clock = Clock()
    ready = spare(sleep=clock.sleep)
    async with executor_with(ready) as executor:
        await executor.prepare()
        await asyncio.sleep(0)
        folder = run_folder(tmp_path, [["event", 0.5], ["sleep", 0.5]])
        run = await executor.start("job-1", folder.path)
        clock.over.set()
        assert (await run.wait()).clean


async def test_closing_ends_it(tmp_path: Path) -> None:
    ready = spare()
    async with executor_with(ready) as executor:
        await executor.prepare()
        pid = waiting(ready)
    assert not is_alive(pid)


async def test_it_does_not_outlive_a_killed_bot_nor_its_trainer(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.fakes.trainer_process", "bot-before-a-training", str(tmp_path)]
    bot = subprocess.Popen(program)
    try:
        server = int(await appeared(tmp_path / "trainer.pid", LONG))
        (pid,) = map(int, Path(f"/proc/{server}/task/{server}/children").read_text().split())
        assert is_alive(pid)
    finally:
        bot.kill()
        bot.wait()
    assert await gone(pid, LONG)
    assert await gone(server, LONG)


# The trainer's route


async def test_a_bot_that_says_so_gets_its_job_done_by_the_process_that_waits(tmp_path: Path) -> None:
    ready = spare()
    async with bench(tmp_path, SubprocessExecutor(COMMAND, spare=ready)) as trainer:
        await trainer.client.warm()
        pid = waiting(ready)
        await trainer.submit([["sleep", 600]])
        assert await trainer.started() == pid
        await trainer.client.warm()  # while there is a job: nothing
        assert ready.pid is None
        await trainer.client.cancel("a" * 8)


async def test_a_trainer_without_spares_says_yes_and_does_nothing(tmp_path: Path) -> None:
    async with bench(tmp_path) as trainer:
        await trainer.client.warm()
        await trainer.submit()
        assert (await trainer.outcome()).state is RunState.SUCCEEDED


async def test_a_stranger_prepares_nothing(tmp_path: Path) -> None:
    ready = spare()
    async with bench(tmp_path, SubprocessExecutor(COMMAND, spare=ready)) as trainer:
        for headers in ({}, {"Authorization": f"Bearer {KEY}"}):
            async with aiohttp.ClientSession() as session:
                response = await session.post(f"{trainer.url}/v1/warm", headers=headers)
                assert response.status == 401
        assert ready.pid is None
