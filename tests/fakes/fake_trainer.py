"""A trainer in this process: at once done, its artifact real, its report and its failures chosen by the test."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bot.app
from bot.app import System, open_system
from storage.artifacts import read_manifest, seal
from storage.errors import NotFound, PupilError
from storage.records import EvaluationReport, PairedOutcome, Split
from storage.settings import Settings, load_settings
from storage.snapshots import read_snapshot
from trainer.model.head import Head
from trainer.protocol import Health, JobSpec, JobStatus, RunState, learned, to_json


def report_of(better: int, worse: int = 0) -> EvaluationReport:
    """`better` rows that only the candidate has right and `worse` that only the champion has."""
    rows = [PairedOutcome(n, "bug", Split.TRAIN, "praise", "bug") for n in range(better)]
    rows += [PairedOutcome(better + n, "bug", Split.TRAIN, "bug", "praise") for n in range(worse)]
    total = max(1, better + worse)
    return EvaluationReport(tuple(rows), better / total, worse / total, 0.0, 0.0, (), (), 0.0, "v0", 10, 0)


class FakeTrainer:
    def __init__(self, root: Path, base: Path) -> None:
        self.root = root
        self.base = base
        self.report = report_of(5)
        self.poll_errors: list[PupilError] = []
        """Raised by the next polls, one each."""
        self.submit_errors: list[PupilError] = []
        """The same of the next times that a job is handed over."""
        self.fetch_errors: list[PupilError] = []
        self.cancel_errors: list[PupilError] = []
        self.goes_on = False
        """Whether trainings go on from the champion, as those of many rows do."""
        """The same of the next times that a version is fetched."""
        self.failure: tuple[str, bool] | None = None
        """(sentence, retryable) that every job ends with; None: it succeeds."""
        self.cold: PupilError | None = None
        """Raised when it is asked to warm up."""
        self.gate = asyncio.Event()
        """Jobs stay running until it is set."""
        self.gate.set()
        self.endless = False
        """Jobs run and never end."""
        self.place: int | None = None
        """While it is set, every job waits in the trainer's queue with that many ahead."""
        self.calls: Counter[str] = Counter()
        self.told: list[str] = []
        """What it was told of a job, in order."""
        self.specs: dict[str, JobSpec] = {}
        self.snapshots: dict[str, Path] = {}

    async def health(self) -> Health:
        return Health(1, "cpu", None, 0, 0)

    async def warm(self) -> None:
        self.calls["warm"] += 1
        self.told.append("warm")
        if self.cold is not None:
            raise self.cold

    async def put_snapshot(self, path: Path) -> None:
        self.told.append("snapshot")
        self.snapshots[path.stem] = path

    async def submit(self, spec: JobSpec) -> JobStatus:
        if self.submit_errors:
            raise self.submit_errors.pop(0)
        self.calls["submit"] += 1
        self.told.append("submit")
        self.specs[spec.job_id] = spec
        return JobStatus(spec.job_id, spec.attempt, RunState.WAITING)

    async def poll(self, job_id: str, after: int = 0, wait: float = 25.0) -> JobStatus:
        self.calls["poll"] += 1
        if self.poll_errors:
            raise self.poll_errors.pop(0)
        if job_id not in self.specs:
            raise NotFound(f"There is no job {job_id}.")
        spec = self.specs[job_id]
        if self.place is not None:
            await asyncio.sleep(0.01)  # a long poll that is short
            return JobStatus(job_id, spec.attempt, RunState.WAITING, ahead=self.place)
        await self.gate.wait()
        if self.endless:
            await asyncio.sleep(0)
            return JobStatus(job_id, spec.attempt, RunState.RUNNING)
        if self.failure is not None:
            return JobStatus(job_id, spec.attempt, RunState.FAILED, error=self.failure[0], retryable=self.failure[1])
        return JobStatus(job_id, spec.attempt, RunState.SUCCEEDED, artifact=self._train(spec))

    async def cancel(self, job_id: str) -> None:
        self.calls["cancel"] += 1
        if self.cancel_errors:
            raise self.cancel_errors.pop(0)

    async def give_artifact(self, directory: Path) -> None:
        self.calls["give"] += 1

    async def fetch_artifact(self, artifact_id: str, root: Path) -> Path:
        if self.fetch_errors:
            raise self.fetch_errors.pop(0)
        shutil.copytree(self.root / artifact_id, root / artifact_id, dirs_exist_ok=True)
        return root / artifact_id

    async def base_artifact(self, base: str, root: Path, precision: str = "int8") -> Path:
        self.calls["base"] += 1
        return root / seal(self._staging(root), root, "base", [], {}, 0.0)

    def _staging(self, root: Path) -> Path:
        staging = root / "fake.part"
        shutil.copytree(self.base, staging)
        return staging

    def _train(self, spec: JobSpec) -> str:
        content = read_snapshot(self.snapshots[spec.snapshot])
        self.root.mkdir(exist_ok=True)
        staging = self._staging(self.root)
        names = tuple(label.name for label in content.labels)
        Head(names, np.full((len(names), 32), 0.1, np.float32), np.zeros(len(names), np.float32), 1.0, 0.0).save(
            staging
        )
        (staging / "report.json").write_text(to_json(self.report))
        labels = [{"id": label.id, "name": label.name, "description": ""} for label in content.labels]
        went_on = spec.champion if self.goes_on and not spec.anew else spec.start
        before = () if went_on is None else learned(read_manifest(self.root / went_on).lineage)
        lineage = {"job": spec.job_id, "snapshot": spec.snapshot, "learned": [spec.snapshot, *before]}
        return seal(staging, self.root, "version", labels, lineage, 0.0)


@asynccontextmanager
async def system_with(
    trainer: FakeTrainer, data: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> AsyncIterator[System]:
    """The real system over `data` with this trainer; opened again it is the restarted bot."""

    @asynccontextmanager
    async def open_trainer(settings: Settings) -> AsyncIterator[FakeTrainer]:
        yield trainer

    monkeypatch.setattr(bot.app, "open_trainer", open_trainer)
    async with open_system(load_settings(**({"data": data, "base": "tiny", "lease": 1.0} | settings))) as system:
        yield system
