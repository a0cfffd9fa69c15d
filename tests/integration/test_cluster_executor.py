"""The Ray executor against a pretended head: what it refuses and tells, and that nothing late gets into a folder."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from storage.errors import Conflict, InvalidInput, NotFound, TrainerUnavailable
from tests.fakes.fake_cluster import TOKEN, FakeCluster
from tests.fakes.fake_job import COMMAND
from tests.fakes.trainer_bench import KEY, Bench, appeared, bench, gone, is_alive, told_to_process
from trainer.children import child_environment
from trainer.executors import lending
from trainer.executors.base import Executor, Exit, Run
from trainer.executors.borrowing import Link, place
from trainer.executors.lending import Lending
from trainer.executors.ray import RayExecutor, key_from
from trainer.protocol import RunState
from trainer.run_folder import BaseTask, RunFolder
from trainer.transport import Transport

JOB, OTHER, THIRD = "a" * 8, "b" * 8, "c" * 8


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[FakeCluster]:
    (tmp_path / "cluster").mkdir()
    async with FakeCluster(tmp_path / "cluster") as cluster:
        yield cluster


def on(cluster: FakeCluster, **options: Any) -> RayExecutor:
    return RayExecutor(cluster.url, cluster.token_file, module=COMMAND[2:], **options)


@asynccontextmanager
async def trainer(tmp_path: Path, cluster: FakeCluster, **options: Any) -> AsyncIterator[Bench]:
    async with bench(tmp_path, on(cluster, **options), timeout=60) as served:
        yield served


# Who may be spoken to


async def test_an_open_cluster_is_refused_and_sent_nothing(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.is_open = True
    async with trainer(tmp_path, cluster) as served:
        await served.submit()
        outcome = await served.outcome()
    assert (outcome.state, outcome.retryable) == (RunState.FAILED, True)
    assert "answers without a token" in (outcome.error or "")
    assert cluster.submitted == []
    assert all(not authorization for _, _, authorization in cluster.requests)  # not even the token


async def test_a_cluster_that_was_opened_later_is_refused_too(cluster: FakeCluster, tmp_path: Path) -> None:
    async with trainer(tmp_path, cluster) as served:
        await served.submit()
        assert (await served.outcome()).state is RunState.SUCCEEDED
        cluster.is_open = True
        await served.submit(job=OTHER)
        assert "RAY_AUTH_MODE=token" in ((await served.outcome(OTHER)).error or "")
    assert cluster.submitted == [f"{JOB}-1"]


async def test_a_wrong_token_is_told_in_one_sentence(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.token_file.write_text("x" * 40)
    with pytest.raises(TrainerUnavailable, match=r"refuses the token in .*ray\.token"):
        await on(cluster).start("job-1", tmp_path)


async def test_a_token_that_others_may_read_is_refused(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.token_file.chmod(0o644)
    with pytest.raises(TrainerUnavailable, match="chmod 600"):
        await on(cluster).start("job-1", tmp_path)


async def test_a_cluster_that_is_away_is_worth_another_try(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(TOKEN)
    with pytest.raises(TrainerUnavailable, match="cannot be reached"):
        await RayExecutor("http://127.0.0.1:9", token).start("job-1", tmp_path)


async def test_no_secret_is_told_to_any_process(cluster: FakeCluster, tmp_path: Path) -> None:
    async with trainer(tmp_path, cluster) as served:
        await served.submit([["event", 0.1], ["sleep", 600]])
        work = await served.started()
        driver = cluster.driver(f"{JOB}-1")
        told = told_to_process(work) + told_to_process(driver)
        assert TOKEN.encode() not in told
        assert key_from(TOKEN).encode() not in told
        assert b"RAY_AUTH" not in told_to_process(work)
        assert TOKEN not in cluster.jobs[f"{JOB}-1"].entrypoint


async def serve(cluster: FakeCluster, folder: Path, *options: str) -> tuple[int | None, str]:
    """The service's exit code, None once it says that it is ready; and the line that it began or ended with."""
    command = [sys.executable, "-m", "trainer", "serve", "--port", "0", "--data", str(folder), "--executor", "ray"]
    command += ["--ray-address", cluster.url, "--ray-token-file", str(cluster.token_file), *options]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=child_environment())
    assert process.stdout is not None
    async with asyncio.timeout(120):
        first = (await process.stdout.readline()).decode()
        if first:
            process.terminate()
        _, errors = await process.communicate()
    return (None, first) if first else (process.returncode, errors.decode().splitlines()[-1])


async def test_the_service_does_not_start_with_an_open_cluster(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.is_open = True
    code, told = await serve(cluster, tmp_path / "trainer")
    assert code == 1
    assert "answers without a token" in told


async def test_the_service_starts_with_a_cluster_that_asks_for_its_token(cluster: FakeCluster, tmp_path: Path) -> None:
    code, told = await serve(cluster, tmp_path / "trainer", "--ray-jobs", "2", "--ray-files", "127.0.0.1:0")
    assert (code, json.loads(told)["ready"]) == (None, True)


async def test_an_address_for_files_without_a_port_is_refused(cluster: FakeCluster, tmp_path: Path) -> None:
    code, told = await serve(cluster, tmp_path / "trainer", "--ray-files", "10.0.0.7")
    assert code == 1
    assert "10.0.0.7:8741" in told


# What is asked of the cluster


async def test_a_gpu_is_reserved_where_there_is_one_but_not_for_an_export(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.gpus = 2.0
    async with trainer(tmp_path, cluster, cpus=3) as served:
        await served.submit()
        await served.outcome()
    assert cluster.jobs[f"{JOB}-1"].resources == {"entrypoint_num_cpus": 3.0, "entrypoint_num_gpus": 1.0}
    executor, folder = on(cluster), RunFolder(tmp_path / "export")
    folder.create(BaseTask("nothing"))
    await (await executor.start("base-1", folder.path)).wait()
    await executor.close()
    assert cluster.jobs["base-1"].resources == {"entrypoint_num_cpus": 1.0}


async def test_several_workers_reserve_for_themselves(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.full = True
    executor, folder = on(cluster), RunFolder(tmp_path / "run")
    async with trainer(tmp_path, cluster) as served:
        spec = served.spec()
        spec.recipe["workers"] = 2
        folder.create(spec)
        await executor.start(f"{JOB}-1", folder.path)
    await executor.close()
    job = cluster.jobs[f"{JOB}-1"]
    assert job.resources == {}
    assert "--workers 2" in job.entrypoint


async def test_as_many_jobs_run_as_there_are_slots(cluster: FakeCluster, tmp_path: Path) -> None:
    async with trainer(tmp_path, cluster, slots=2) as served:
        for job in (JOB, OTHER, THIRD):
            await served.submit([["event", 0.1], ["sleep", 600]], job=job)
        await asyncio.gather(served.started(JOB), served.started(OTHER))
        assert [(await served.client.poll(job)).state for job in (JOB, OTHER, THIRD)] == [
            RunState.RUNNING,
            RunState.RUNNING,
            RunState.WAITING,
        ]
        await served.client.cancel(JOB)
        await served.started(THIRD)


class Waiting(Run):
    """Waits for a host for as many questions as it is told, then hangs."""

    def __init__(self, questions: int) -> None:
        self.left = questions
        self.stopped_with: int | None = None
        self._over = asyncio.Event()

    @property
    def waits(self) -> bool:
        self.left = max(0, self.left - 1)
        return self.left > 0

    async def wait(self) -> Exit:
        await self._over.wait()
        return Exit(False, "hung")

    async def stop(self, grace: float = 0.0) -> Exit:
        self.stopped_with = self.left
        self._over.set()
        return await self.wait()


class Hanging(Executor):
    def __init__(self, run: Waiting) -> None:
        self.run = run

    async def start(self, run_id: str, folder: Path) -> Run:
        return self.run

    async def close(self) -> None:
        pass


async def test_waiting_for_a_host_is_no_stall_but_hanging_is(tmp_path: Path) -> None:
    executor = Hanging(Waiting(50))
    async with bench(tmp_path, executor, interval=0.01, stall_limit=0.05) as served:
        await served.submit()
        assert "no progress" in ((await served.outcome()).error or "")
    assert executor.run.stopped_with == 0


async def test_a_job_that_the_cluster_gave_up_waiting_for_is_sent_again(cluster: FakeCluster, tmp_path: Path) -> None:
    cluster.full = True
    async with trainer(tmp_path, cluster) as served:
        await served.submit()
        await until(lambda: bool(cluster.submitted))
        cluster.give_up(f"{JOB}-1")
        await until(lambda: len(cluster.submitted) == 2)
        await cluster.make_room()
        assert (await served.outcome()).state is RunState.SUCCEEDED


async def test_a_job_that_waits_for_a_host_can_be_cancelled_and_never_begins(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    cluster.full = True
    async with trainer(tmp_path, cluster) as served:
        await served.submit()
        await until(lambda: bool(cluster.submitted))
        await served.client.cancel(JOB)
        assert (await served.outcome()).state is RunState.CANCELLED
        await cluster.make_room()
        job = cluster.jobs[f"{JOB}-1"]
        assert job.watch is not None
        await job.watch
        assert job.status == "FAILED"  # its ticket is void
        assert not served.run_file("events.jsonl").exists()


# What a worker lacks


async def test_hosts_without_pupil_are_told_how_to_get_it(cluster: FakeCluster, tmp_path: Path) -> None:
    path = tmp_path / "bin"
    path.mkdir()
    (path / "python").write_text("#!/bin/sh\necho \"/usr/bin/python: No module named 'trainer'\" >&2\nexit 1\n")
    (path / "python").chmod(0o755)
    cluster.path = str(path)
    async with trainer(tmp_path, cluster) as served:
        await served.submit()
        outcome = await served.outcome()
    assert (outcome.state, outcome.retryable) == (RunState.FAILED, False)
    assert "pip install 'pupil[train,ray]'" in (outcome.error or "")
    assert "No module named" in served.run_file("output.log").read_text()


async def test_another_version_is_told_in_one_sentence(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lending, "version", lambda: "0.0.9+old")
    async with trainer(tmp_path, cluster) as served:
        await served.submit()
        outcome = await served.outcome()
    assert (outcome.state, outcome.retryable) == (RunState.FAILED, False)
    assert "this trainer 0.0.9+old. Install the same on both." in (outcome.error or "")


# Lost and late


async def test_a_lost_host_ends_the_run_and_the_next_attempt_has_the_checkpoint(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    async with trainer(tmp_path, cluster) as served:
        await served.submit([["checkpoint"], ["event", 0.5], ["sleep", 600]])
        pid = await served.started()
        checkpoint = served.run_file("checkpoint")
        await until(lambda: any(checkpoint.glob("*")))
        cluster.lose_host(f"{JOB}-1")
        outcome = await served.outcome()
        assert (outcome.state, outcome.retryable) == (RunState.FAILED, True)
        assert "was lost with its host" in (outcome.error or "")
        assert await gone(pid, 30)
        await served.submit(attempt=2)
        outcome = await served.outcome()
        found = await served.client.fetch_artifact(outcome.artifact or "", tmp_path / "models")
        assert "of attempt" in (found / "README.md").read_text()


async def test_a_worker_that_slept_through_its_attempt_is_refused(cluster: FakeCluster, tmp_path: Path) -> None:
    async with trainer(tmp_path, cluster, slots=2) as served:
        await served.submit([["event", 0.1], ["sleep", 4]])
        pid = await served.started()
        keeper = parent_of(pid)
        os.kill(keeper, signal.SIGSTOP)
        try:
            cluster.jobs[f"{JOB}-1"].status = "FAILED"  # to the cluster that host is lost
            assert (await served.outcome()).retryable
            before = contents(served.run_file("").parent)
            await served.submit(attempt=2)
            assert (await served.outcome()).state is RunState.SUCCEEDED
        finally:
            os.kill(keeper, signal.SIGCONT)
        assert await gone(keeper, 60)  # refused, it ended by itself
        assert not is_alive(pid)
        assert contents(served.run_file("").parent)["1"] == before["1"]
        assert (await served.client.poll(JOB)).attempt == 2


async def test_workers_of_a_trainer_that_was_started_anew_end_by_themselves(
    cluster: FakeCluster, tmp_path: Path
) -> None:
    executor, folder = on(cluster), RunFolder(tmp_path / "run")
    async with trainer(tmp_path, cluster) as served:
        spec = served.spec([["event", 0.1], ["sleep", 600]])
    folder.create(spec, [tmp_path / "out" / f"{spec.snapshot}.jsonl"])
    run = await executor.start(f"{JOB}-1", folder.path)
    pid = int(await appeared(folder.path / "pid"))
    lent = executor._lending
    assert lent is not None
    lent._loans.clear()  # as after a start: nothing is remembered
    assert await gone(pid, 60)
    assert not (await run.wait()).clean
    await executor.close()


# The lent folder


@asynccontextmanager
async def lent() -> AsyncIterator[tuple[Lending, Transport]]:
    lending = Lending("127.0.0.1", 0, KEY)
    transport = Transport(f"http://127.0.0.1:{await lending.open()}", KEY, 60.0)
    transport.begin()
    try:
        yield lending, transport
    finally:
        await transport.close()
        await lending.close()


@pytest.mark.parametrize(
    "path",
    [
        "%2e%2e/escaped",
        "a/%2e%2e/%2e%2e/escaped",
        "%2Fetc/escaped",
        "inputs/x",
        "job.json",
        "staging/x",
        "a/b/c/d",
        "a%00b",
    ],
)
async def test_a_worker_writes_nowhere_else(tmp_path: Path, path: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    async with lent() as (lending, transport):
        loan = lending.lend(folder)
        with pytest.raises((InvalidInput, NotFound)):
            await transport.call("PUT", f"/v1/runs/{loan.ticket}/files/{path}", body=b"x")
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []


async def test_pieces_may_come_twice_but_not_too_early(tmp_path: Path) -> None:
    async with lent() as (lending, transport):
        home = f"/v1/runs/{lending.lend(tmp_path).ticket}/files/events.jsonl"
        for _ in range(2):
            await transport.call("PUT", f"{home}?at=0", body=b"one")
        await transport.call("PUT", f"{home}?at=2", body=b"e two")
        with pytest.raises(Conflict):
            await transport.call("PUT", f"{home}?at=99", body=b"three")
    assert (tmp_path / "events.jsonl").read_bytes() == b"one two"


async def test_the_older_checkpoint_goes_when_the_newer_one_is_there(tmp_path: Path) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    (home / "checkpoint").mkdir(parents=True)
    (home / "checkpoint" / "loop.1").write_bytes(b"first")
    away.mkdir()
    async with lent() as (lending, transport), Link(str(transport.url), KEY, lending.lend(home).ticket) as link:
        await link.fetch(away)
        assert (away / "checkpoint" / "loop.1").read_bytes() == b"first"
        (away / "checkpoint" / "loop.2").write_bytes(b"second")
        (away / "checkpoint" / "loop.1").unlink()
        (away / "checkpoint" / "loop.part").write_bytes(b"half")
        await link.bring_back(away)
        assert {path.name for path in (home / "checkpoint").iterdir()} == {"loop.2"}
        (away / "result.json").write_text("{}")
        await link.bring_back(away)
        assert not (home / "result.json").exists()
        await link.bring_back(away, over=True)
        assert (home / "result.json").exists()


async def test_a_run_that_is_over_takes_nothing_more(tmp_path: Path) -> None:
    async with lent() as (lending, transport):
        loan = lending.lend(tmp_path)
        loan.end(Exit(True, "ended with exit code 0"))
        for tail in ("files/result.json", "files/events.jsonl?at=0", "checkpoint", "exit"):
            with pytest.raises(NotFound):
                await transport.call("PUT", f"/v1/runs/{loan.ticket}/{tail}", body=b"{}")
    assert list(tmp_path.iterdir()) == []


def test_what_killed_runs_left_on_a_host_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with place("job-1") as living:
        left = living.parent / "job-0.left"
        shutil.copytree(living, left)
        for folder in (living, left):
            os.utime(folder, (0, 0))
        with place("job-2") as other:
            assert living.is_dir()
            assert other.is_dir()
            assert not left.exists()
    assert list(living.parent.iterdir()) == []


def test_a_folder_that_goes_while_what_is_left_is_looked_for_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with place("job-1") as living:
        gone = living.with_name("job-0.gone")
        gone.symlink_to(tmp_path / "nowhere")  # is listed, and is not there
        with place("job-2") as other:
            assert other.is_dir()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def contents(job: Path) -> dict[str, dict[str, bytes]]:
    """Attempt to path to bytes, output.log aside, which the trainer itself adds to."""
    return {
        attempt.name: {
            path.relative_to(attempt).as_posix(): path.read_bytes() for path in attempt.rglob("*") if path.is_file()
        }
        for attempt in job.iterdir()
    }
