"""Trainings on a real Ray cluster of this host, whose nodes, drivers and workers are killed; see `make test-ray`."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from storage.artifacts import verify
from storage.errors import TrainerUnavailable
from storage.snapshots import write_snapshot
from tests.conftest import require_ray
from tests.fakes.fake_job import COMMAND
from tests.fakes.lessons import WORDS, make_snapshot
from tests.fakes.ray_cluster import RayCluster
from tests.fakes.tiny_encoder import make_tiny_encoder
from tests.fakes.trainer_bench import Bench, bench, gone
from trainer.executors.jobs_api import JobsApi
from trainer.executors.ray import RayExecutor
from trainer.protocol import JobSpec, Phase, Progress, RunState

pytestmark = [pytest.mark.slow, pytest.mark.ray]

JOB, OTHER = "a" * 8, "b" * 8
RECIPE = {
    "body_rate": 1e-3,
    "frozen_layers": 1,
    "name_weight": 1.0,
    "checkpoint_seconds": 1.0,
    "least_steps": 400,
}


@pytest.fixture
def executor(ray_cluster: RayCluster) -> RayExecutor:
    return RayExecutor(ray_cluster.url, ray_cluster.token_file, module=COMMAND[2:])


@pytest.fixture
def trains(ray_cluster: RayCluster) -> RayExecutor:
    return RayExecutor(ray_cluster.url, ray_cluster.token_file)


def real_job(folder: Path, job: str = JOB, **recipe: float) -> JobSpec:
    snapshot = write_snapshot(make_snapshot(), folder / "snapshots")
    base = make_tiny_encoder(folder / "base", texts=WORDS.values())
    return JobSpec(job, 1, snapshot, str(base), recipe=RECIPE | recipe)


async def give(served: Bench, spec: JobSpec) -> None:
    await served.client.put_snapshot(served.folder / "snapshots" / f"{spec.snapshot}.jsonl")
    await served.client.submit(spec)


async def until(served: Bench, job: str, phase: Phase) -> list[Progress]:
    """Events up to the first step of a phase."""
    events: list[Progress] = []
    while not any(event.phase is phase and event.step for event in events):
        status = await served.client.poll(job, events[-1].seq if events else 0, wait=20)
        assert status.state in (RunState.WAITING, RunState.RUNNING), (status, output_of(served, job, status.attempt))
        events += status.events
    return events


def output_of(served: Bench, job: str, attempt: int) -> str:
    path = served.run_file("output.log", job, attempt)
    return path.read_text()[-3000:] if path.exists() else ""


def processes(*words: str) -> list[int]:
    """Pids of those that have every word in their arguments."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
            if all(word in line for word in words) and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


async def test_a_cluster_without_a_token_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    require_ray()
    with RayCluster(token=False, nodes=0) as cluster:
        async with bench(tmp_path, RayExecutor(cluster.url, cluster.token_file), timeout=60) as served:
            await served.submit()
            outcome = await served.outcome()
        assert outcome.state is RunState.FAILED
        assert "RAY_AUTH_MODE=token" in (outcome.error or "")
        assert cluster.get("/api/jobs/") == b"[]"


async def test_another_token_is_refused_in_one_sentence(ray_cluster: RayCluster, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text("no" * 20)
    executor = RayExecutor(ray_cluster.url, token)
    with pytest.raises(TrainerUnavailable, match="refuses the token"):
        await executor.start("job-1", tmp_path)
    await executor.close()


async def test_ray_refuses_a_second_job_of_the_same_name(ray_cluster: RayCluster) -> None:
    api = JobsApi(ray_cluster.url, ray_cluster.token_file)
    taken = [await api.submit("once-1", "true", {"entrypoint_num_cpus": 1.0}) for _ in range(2)]
    assert taken == [True, False]
    await api.close()


async def test_a_cancelled_job_leaves_nothing_on_the_cluster(executor: RayExecutor, tmp_path: Path) -> None:
    async with bench(tmp_path, executor, timeout=60) as served:
        began = time.monotonic()
        await served.submit([["event", 0.1], ["sleep", 600]], job="c" * 8)
        pid = await served.started("c" * 8)
        tell("submit to a worker that works (without torch)", began)
        await served.client.cancel("c" * 8)
        outcome = await served.outcome("c" * 8)
    assert outcome.state is RunState.CANCELLED
    assert await gone(pid, 30)


@pytest.mark.parametrize("victim", ["driver", "worker"])
async def test_a_killed_program_ends_the_run_and_the_next_attempt_goes_on(
    executor: RayExecutor, tmp_path: Path, victim: str
) -> None:
    job = {"driver": "d", "worker": "e"}[victim] * 8
    async with bench(tmp_path, executor, timeout=60) as served:
        await served.submit([["checkpoint"], ["event", 0.3], ["sleep", 600]], job=job)
        pid = await served.started(job)
        checkpoint = served.run_file("checkpoint", job)
        async with asyncio.timeout(120):
            while not any(checkpoint.glob("*")):
                await asyncio.sleep(0.05)
        (driver,) = (each for each in processes("trainer.executors.ray\0work", f"{job}-1") if each != os.getppid())
        killed = time.monotonic()
        os.kill(driver if victim == "driver" else pid, signal.SIGKILL)
        outcome = await served.outcome(job)
        tell(f"{victim} killed to seen", killed)
        assert (outcome.state, outcome.retryable) == (RunState.FAILED, True), outcome
        assert await gone(pid, 30)
        await served.submit(job=job, attempt=2)
        outcome = await served.outcome(job)
        assert outcome.state is RunState.SUCCEEDED, outcome
        found = await served.client.fetch_artifact(outcome.artifact or "", tmp_path / "models")
        assert "of attempt" in (found / "README.md").read_text()


async def test_a_training_whose_node_is_lost_goes_on_elsewhere_and_makes_the_same_version(
    ray_cluster: RayCluster, trains: RayExecutor, tmp_path: Path
) -> None:
    spec = real_job(tmp_path)
    async with bench(tmp_path, trains, timeout=60) as served:
        began = time.monotonic()
        await give(served, replace(spec, job_id=OTHER))
        whole = await served.outcome(OTHER)
        assert whole.state is RunState.SUCCEEDED, (whole.error, output_of(served, OTHER, 1))
        tell("undisturbed, submit to done", began)

        await give(served, spec)
        await until(served, JOB, Phase.TRAINING)
        (pid,) = processes("run-job", f"{JOB}-1.")
        node = ray_cluster.node_of(pid)
        assert node in ray_cluster.nodes
        killed = time.monotonic()
        ray_cluster.kill_node(str(node))
        outcome = await served.outcome(JOB)
        assert (outcome.state, outcome.retryable) == (RunState.FAILED, True), outcome
        tell("one worker, node killed to seen", killed)
        assert await gone(pid, 30)

        await give(served, replace(spec, attempt=2))
        events = await until(served, JOB, Phase.TRAINING)
        tell("one worker, node killed to training again", killed)
        done = await served.outcome(JOB)
        tell("one worker, node killed to done", killed)
        assert done.state is RunState.SUCCEEDED, (done.error, output_of(served, JOB, 2))
        assert all(event.phase is Phase.TRAINING for event in events if event.step)  # nothing is measured again
        one = await served.client.fetch_artifact(whole.artifact or "", tmp_path / "models")
        other = await served.client.fetch_artifact(done.artifact or "", tmp_path / "models")
    for name in ("model.safetensors", "head.safetensors", "encoder.onnx", "evidence.json"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    ray_cluster.add_node()


async def test_two_workers_lose_a_node_and_finish_with_a_new_one(
    ray_cluster: RayCluster, trains: RayExecutor, tmp_path: Path
) -> None:
    spec = real_job(tmp_path, workers=2, least_steps=150)
    async with bench(tmp_path, trains, timeout=60) as served:
        began = time.monotonic()
        await give(served, spec)
        await until(served, JOB, Phase.TRAINING)
        tell("two workers, submit to training", began)
        killed = time.monotonic()
        ray_cluster.kill_node(ray_cluster.nodes[-1])
        outcome = await served.outcome(JOB)
        assert (outcome.state, outcome.retryable) == (RunState.FAILED, True), outcome
        tell("two workers, node killed to seen", killed)
        ray_cluster.add_node()
        tell("two workers, node killed to a new node", killed)

        await give(served, replace(spec, attempt=2))
        events = await until(served, JOB, Phase.TRAINING)
        tell("two workers, node killed to training again", killed)
        done = await served.outcome(JOB)
        tell("two workers, node killed to done", killed)
        assert done.state is RunState.SUCCEEDED, (done.error, output_of(served, JOB, 2))
        assert all(event.phase is Phase.TRAINING for event in events if event.step)
        verify(await served.client.fetch_artifact(done.artifact or "", tmp_path / "models"))


def tell(what: str, since: float) -> None:
    """A figure for the log; `pytest -s` shows it."""
    print(f"\nmeasured: {what}: {time.monotonic() - since:.1f} s")
