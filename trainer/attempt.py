"""One attempt of a job while it waits or runs: its events as they come, its outcome, and who waits for either.

Knows its folder, but neither the queue it stands in nor how the work is done.
"""

from __future__ import annotations

import asyncio

from trainer.executors.base import Run
from trainer.protocol import JobSpec, JobStatus, Progress, RunState
from trainer.run_folder import Result, RunFolder


class Attempt:
    def __init__(self, spec: JobSpec, folder: RunFolder) -> None:
        self.spec = spec
        self.folder = folder
        self.run: Run | None = None
        self.cancelled = False
        self.superseded = False
        """A later attempt ended this one, and goes on from its checkpoint."""
        self.result: Result | None = None
        self.state = RunState.WAITING
        self.ahead = 0
        """How many end before it begins, while it waits."""
        self._events: list[Progress] = []
        self._reader = folder.events()
        self._changed = asyncio.Event()

    @property
    def is_over(self) -> bool:
        return self.result is not None

    def has_news(self, after: int) -> bool:
        return bool(self._events) and self._events[-1].seq > after

    def take_events(self) -> bool:
        """Read what the run has written since; whether there was something."""
        new = self._reader.read()
        self._events.extend(new)
        if new:
            self.notify()
        return bool(new)

    def settle(self, result: Result) -> None:
        self.take_events()
        self.result, self.state = result, result.state
        self.notify()

    def stand(self, ahead: int) -> None:
        """Its place in the queue; whoever waits for a change hears of a new one."""
        if ahead != self.ahead:
            self.ahead = ahead
            self.notify()

    def notify(self) -> None:
        """Wake everybody who waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self, wait: float) -> None:
        """Return at the next change, or after `wait` seconds."""
        try:
            async with asyncio.timeout(wait):
                await self._changed.wait()
        except TimeoutError:
            return

    def status(self, after: int) -> JobStatus:
        result = self.result or Result(self.state)
        return JobStatus(
            job_id=self.spec.job_id,
            attempt=self.spec.attempt,
            state=self.state,
            events=tuple(event for event in self._events if event.seq > after),
            artifact=result.artifact,
            error=result.error,
            retryable=result.retryable,
            ahead=self.ahead if self.state is RunState.WAITING else 0,
        )
