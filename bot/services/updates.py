"""Tells every listener what became of a job. Listeners pull; a slow one gets the newest update of each job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from bot.services.trials import TriedPin
from storage.records import Classifier, EvaluationReport, ModelVersion, PromotionDecision, TrainingJob
from trainer.protocol import Progress


@dataclass(frozen=True, slots=True)
class JobUpdate:
    """Where a job stands. `decision`, `report`, `version` and `pins` are there once it has succeeded."""

    job: TrainingJob
    classifier: Classifier
    serving: str
    """What answers for the classifier now: "v3+12"."""
    progress: Progress | None = None
    decision: PromotionDecision | None = None
    """What became of the version by the gate: `promote` is whether that made it live, then or later."""
    passed: bool = False
    """Whether the gate let the version in, whatever became of it."""
    report: EvaluationReport | None = None
    version: ModelVersion | None = None
    ahead: int | None = None
    """How many trainings end before this one begins; None: it does not wait, or that is not known."""
    pins: tuple[TriedPin, ...] = ()
    """What the version said to the pinned tests, the newly broken ones first; () where it was not asked."""


class Updates:
    """A broadcast of JobUpdates. Lives on one event loop."""

    def __init__(self) -> None:
        self._listeners: set[_Listener] = set()

    def publish(self, update: JobUpdate) -> None:
        for listener in self._listeners:
            listener.newest[update.job.id] = update
            listener.wake.set()

    def watch(self) -> AsyncIterator[JobUpdate]:
        """Every update from the moment of this call, until the caller stops iterating."""
        listener = _Listener()
        self._listeners.add(listener)
        return self._follow(listener)

    async def _follow(self, listener: _Listener) -> AsyncIterator[JobUpdate]:
        try:
            while True:
                await listener.wake.wait()
                listener.wake.clear()
                while listener.newest:
                    yield listener.newest.pop(next(iter(listener.newest)))
        finally:
            self._listeners.discard(listener)


class _Listener:
    def __init__(self) -> None:
        self.newest: dict[str, JobUpdate] = {}
        self.wake = asyncio.Event()
