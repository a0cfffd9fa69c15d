"""What the trainer's tests share: a real server on loopback with pretended trainings, snapshots, specs, processes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.records import Source, Split
from storage.snapshots import SnapshotContent, SnapshotLabel, SnapshotRow, write_snapshot
from tests.fakes.fake_job import COMMAND
from tests.fakes.tiny_encoder import make_tiny_encoder
from trainer.client import TrainerClient
from trainer.executors.base import Executor
from trainer.executors.subprocess import SubprocessExecutor
from trainer.protocol import JobSpec, JobStatus, RunState
from trainer.retention import Limits
from trainer.server import serving
from trainer.store import Store

KEY = "k" * 32
FINAL = {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


@dataclass
class Bench:
    """A trainer and its client in one test."""

    client: TrainerClient
    store: Store
    folder: Path
    url: str

    def snapshot(self, text: str = "the app crashes") -> Path:
        return make_snapshot(self.folder / "out", text)

    async def submit(self, script: list[Any] | None = None, *, job: str = "a" * 8, attempt: int = 1) -> JobSpec:
        spec = self.spec(script, job=job, attempt=attempt)
        await self.client.put_snapshot(self.folder / "out" / f"{spec.snapshot}.jsonl")
        await self.client.submit(spec)
        return spec

    def spec(self, script: list[Any] | None = None, *, job: str = "a" * 8, attempt: int = 1) -> JobSpec:
        base = make_tiny_encoder(self.folder / "base")
        recipe = {} if script is None else {"script": script}
        return JobSpec(job, attempt, self.snapshot().stem, str(base), recipe=recipe)

    async def outcome(self, job: str = "a" * 8) -> JobStatus:
        """Poll as the bot does until the job is over; all its events."""
        events, after = [], 0
        while True:
            status = await self.client.poll(job, after, wait=5)
            events += status.events
            after = events[-1].seq if events else 0
            if status.state in FINAL:
                return JobStatus(
                    job, status.attempt, status.state, tuple(events), status.artifact, status.error, status.retryable
                )

    def run_file(self, name: str, job: str = "a" * 8, attempt: int = 1) -> Path:
        return self.store.job_folder(job, attempt).path / name

    async def started(self, job: str = "a" * 8, attempt: int = 1) -> int:
        """Pid of the job's process, once it works."""
        return int(await appeared(self.run_file("pid", job, attempt)))


@asynccontextmanager
async def bench(
    folder: Path,
    executor: Executor | None = None,
    timeout: float = 10.0,
    limits: Limits | None = None,
    **jobs_options: Any,
) -> AsyncIterator[Bench]:
    store = Store(folder / "trainer")
    executor = executor or SubprocessExecutor(COMMAND)
    options = {"interval": 0.02, "grace": 0.5} | jobs_options
    async with serving(store, executor, [KEY], limits=limits, jobs_options=options) as port:
        url = f"http://127.0.0.1:{port}"
        async with TrainerClient(url, KEY, timeout=timeout) as client:
            yield Bench(client, store, folder, url)


def make_snapshot(root: Path, text: str = "the app crashes") -> Path:
    labels = (SnapshotLabel(1, "bug", ""), SnapshotLabel(2, "praise", ""))
    rows = (
        SnapshotRow(1, text, "bug", Split.TRAIN, Source.COMMAND),
        SnapshotRow(2, "thank you", "praise", Split.TRAIN, Source.COMMAND),
    )
    return root / f"{write_snapshot(SnapshotContent('1', 'triage', labels, rows, 2), root)}.jsonl"


async def appeared(path: Path, limit: float = 60.0) -> str:
    """The text of a file that is about to be written."""
    deadline = time.monotonic() + limit
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path.name} did not appear"
        await asyncio.sleep(0.02)
    return path.read_text()


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not, once its last thread is gone and with it what it had open."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, *_ = fields = file.read().rpartition(")")[2].split()
            return state not in "ZX" or int(fields[17]) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


async def gone(pid: int, limit: float) -> bool:
    deadline = time.monotonic() + limit
    while is_alive(pid) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return not is_alive(pid)


def told_to_process(pid: int) -> bytes:
    """Everything that other users of the host could read of a process: its arguments and its environment."""
    return Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()


def is_own_group(pid: int) -> bool:
    return os.getpgid(pid) == pid
