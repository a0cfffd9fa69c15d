"""The trainer's jobs: a run for each slot of the executor, owners in turn, and every accepted job ends visibly.

What happens is on disk (see `trainer.run_folder`), so a finished job outlives this process, and one that was not
finished when the process ended is reported as failed and worth another attempt. Knows nothing of HTTP, nor of how the
work is done: an executor does it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from storage.artifacts import read_manifest
from storage.errors import ArtifactError, Busy, Conflict, InvalidInput, NotFound, PupilError, StorageError
from trainer.attempt import Attempt
from trainer.executors.base import GRACE, Executor, Exit, Run
from trainer.protocol import JobSpec, JobStatus, RunState, learned
from trainer.run_folder import Result
from trainer.store import Store
from trainer.waiting import Queue

log = logging.getLogger(__name__)

INTERVAL = 0.1
"""Seconds between two looks at a running job's folder; an event reaches its reader at most this late."""

STALL_LIMIT = 900.0
"""Seconds without an event after which a run is taken for hung and ended."""


class Jobs:
    """`async with Jobs(store, executor) as jobs`. All methods are for one event loop."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        *,
        interval: float = INTERVAL,
        stall_limit: float = STALL_LIMIT,
        grace: float = GRACE,
    ) -> None:
        self._store = store
        self._executor = executor
        self._interval = interval
        self._stall_limit = stall_limit
        self._grace = grace
        self._active: dict[str, Attempt] = {}
        self._queue = Queue()
        self._arrived = asyncio.Event()
        self._submitting = asyncio.Lock()
        self._workers: list[asyncio.Task[None]] = []
        self._closing = False
        self.on_end: Callable[[], None] = lambda: None
        """Called after each job's end."""

    async def __aenter__(self) -> Jobs:
        self._workers = [asyncio.create_task(self._work()) for _ in range(self._executor.slots)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await self._executor.close()
        for job in list(self._active.values()):
            self._finish(job, _interrupted(job.spec.job_id))

    @property
    def waiting(self) -> int:
        return sum(job.state is RunState.WAITING for job in self._active.values())

    @property
    def running(self) -> int:
        return sum(job.state is RunState.RUNNING for job in self._active.values())

    @property
    def folders(self) -> list[Path]:
        """Run folders of the jobs that wait or run."""
        return [job.folder.path for job in self._active.values()]

    async def prepare(self) -> None:
        """A job is to be expected soon. Does nothing while there is one: the next will have to wait for its end."""
        if not self._active and not self._closing:
            await self._executor.prepare()

    async def submit(self, spec: JobSpec) -> JobStatus:
        """Accept a job. The same spec again is the same job; a higher attempt ends the lower one first.

        Raises:
            InvalidInput: an id or attempt that cannot be.
            Conflict: an older attempt, the same attempt with another spec, or files it needs are not here.
            Busy: this trainer is about to end.
        """
        if spec.attempt < 1:
            raise InvalidInput("A job's attempt is 1 or more.")
        async with self._submitting:
            if self._closing:
                raise Busy("This trainer is about to end. Try again in a moment.", retry_after=5.0)
            newest, known = self._newest(spec.job_id)
            if known is None or spec.attempt > newest:
                await self._accept(spec)
            elif spec.attempt < newest:
                raise Conflict(f"Attempt {spec.attempt} of job {spec.job_id} is over: attempt {newest} has begun.")
            elif known != spec:
                raise Conflict(f"Job {spec.job_id}, attempt {spec.attempt}, was submitted before with other content.")
        return await self.status(spec.job_id)

    async def status(self, job_id: str, after: int = 0, wait: float = 0.0) -> JobStatus:
        """State and the events after `after`, oldest first.

        Answers at once when there is a newer event or the job is over; else at the next change, or after `wait`
        seconds.

        Raises:
            NotFound: no such job here.
        """
        job = self._active.get(job_id)
        if job is None:
            return self._stored(job_id, after)
        if wait > 0 and not job.is_over and not job.has_news(after):
            await job.change(wait)
        return job.status(after)

    async def cancel(self, job_id: str) -> JobStatus:
        """End a job and answer its final status: cancelled, or what it had become before. Idempotent.

        Raises:
            NotFound: no such job here.
        """
        async with self._submitting:  # what is being accepted is among the active ones afterwards
            job = self._active.get(job_id)
        if job is not None:
            await self._cancel(job)
            return job.status(after=0)
        status = self._stored(job_id, after=0)
        for folder in self._store.job_folders(job_id).values():  # nobody will go on from there
            folder.clear()
        return status

    def _newest(self, job_id: str) -> tuple[int, JobSpec | None]:
        """The highest attempt that was ever accepted here and its spec; (0, None) if there is none."""
        folders = self._store.job_folders(job_id)
        return max(
            ((attempt, spec) for attempt, folder in folders.items() if (spec := folder.job())), default=(0, None)
        )

    async def _accept(self, spec: JobSpec) -> None:
        inputs = await self._inputs(spec)
        if (older := self._active.get(spec.job_id)) is not None:
            older.superseded = True
            await self._cancel(older)
        folder = self._store.job_folder(spec.job_id, spec.attempt)
        folder.create(spec, inputs)
        for _, before in sorted(self._store.job_folders(spec.job_id).items(), reverse=True):
            folder.take_checkpoint(before)
        job = self._active[spec.job_id] = Attempt(spec, folder)
        self._queue.add(job)
        self._queue.tell(self.running)
        self._arrived.set()
        log.info("job.accepted", extra={"job": spec.job_id, "attempt": spec.attempt})

    async def _inputs(self, spec: JobSpec) -> list[Path]:
        inputs = [self._store.snapshot(spec.snapshot)]
        if inputs[0] is None:
            raise Conflict(f"This trainer does not have the snapshot {spec.snapshot[:12]}. Send it first.")
        if spec.champion is not None:
            inputs.append(await self._store.whole(spec.champion))
        if inputs[-1] is None:
            raise Conflict(f"This trainer does not have the model {(spec.champion or '')[:12]}. Give it back first.")
        found = [*inputs, *await self._start(spec), await self._exported(spec)]
        return list(dict.fromkeys(path for path in found if path is not None))

    async def _start(self, spec: JobSpec) -> list[Path | None]:
        """The version that training begins at and the snapshots it has learned, as far as they are here.

        What is missing is no reason to refuse the job: it then begins at the base and says so.
        """
        folder = await self._store.whole(spec.start) if spec.start is not None else None
        if folder is None:
            return []
        with suppress(ArtifactError):
            return [folder, *(self._store.snapshot(each) for each in learned(read_manifest(folder).lineage))]
        return [folder]

    async def _exported(self, spec: JobSpec) -> Path | None:
        """The base as it is served, which was exported when a bot first asked for it: it saves the run that work."""
        return await self._store.exported(spec.base, "fp32" if spec.recipe.get("fp32") else "int8")

    def _stored(self, job_id: str, after: int) -> JobStatus:
        """Status of a job that is not in memory: it ended, or the trainer that ran it did."""
        attempt, spec = self._newest(job_id)
        if spec is None:
            raise NotFound(f"This trainer does not know the job {job_id}. Submit it again.")
        job = Attempt(spec, self._store.job_folder(job_id, attempt))
        self._settle(job, _interrupted(job_id))
        return job.status(after)

    async def _cancel(self, job: Attempt) -> None:
        job.cancelled = True
        if job.state is RunState.WAITING:
            self._finish(job, _cancelled(job))
        elif job.run is not None:
            await job.run.stop(self._grace)
        while not job.is_over:
            await job.change(self._grace)

    async def _work(self) -> None:
        while True:
            while (job := self._queue.take()) is not None:
                self._finish(job, await self._perform(job))
            self._arrived.clear()
            await self._arrived.wait()

    async def _perform(self, job: Attempt) -> Result:
        """Have the work done; the result to give if the run leaves none."""
        job.state = RunState.RUNNING
        job.notify()
        try:
            job.run = await self._executor.start(f"{job.spec.job_id}-{job.spec.attempt}", job.folder.path)
            if job.cancelled:  # while it was being started
                await job.run.stop(self._grace)
            return await self._follow(job, job.run)
        except PupilError as error:
            return Result(RunState.FAILED, error=str(error), retryable=True)
        except Exception:
            # One job may not end the queue for all others.
            log.exception("job.lost", extra={"job": job.spec.job_id})
            reason = f"The trainer met an error of its own with job {job.spec.job_id}; see its log."
            return Result(RunState.FAILED, error=reason, retryable=True)

    async def _follow(self, job: Attempt, run: Run) -> Result:
        """Pass events on until the run is over."""
        end = asyncio.create_task(run.wait())
        loop = asyncio.get_running_loop()
        last_event, stalled = loop.time(), False
        while not end.done():
            await asyncio.wait({end}, timeout=self._interval)
            if job.take_events() or run.waits:
                last_event = loop.time()
            elif loop.time() - last_event > self._stall_limit and not job.cancelled:
                stalled = True
                await run.stop(self._grace)
        if job.cancelled:
            return _cancelled(job)
        return _stalled(self._stall_limit) if stalled else _died(end.result(), job.folder.path)

    def _finish(self, job: Attempt, otherwise: Result) -> None:
        self._settle(job, otherwise)
        # From here on the disk answers; whoever waits holds the job and sees its end.
        del self._active[job.spec.job_id]
        self._queue.tell(self.running)
        log.info("job.ended", extra={"job": job.spec.job_id, "attempt": job.spec.attempt, "state": str(job.state)})
        self.on_end()

    def _settle(self, job: Attempt, otherwise: Result) -> None:
        """Make the outcome final: what the run wrote, else `otherwise`. Also when the disk is full."""
        try:
            job.folder.finish(otherwise)
            result = job.folder.result() or otherwise
            if result.artifact is not None:
                self._store.adopt(job.folder.outputs / result.artifact, result.artifact)
        except (StorageError, OSError) as error:
            log.error("job.unsettled", extra={"job": job.spec.job_id, "reason": str(error)})
            result = Result(RunState.FAILED, error=f"The outcome could not be stored: {error}", retryable=True)
        job.folder.clear(resumable=result.retryable)
        job.settle(result)


def _cancelled(job: Attempt) -> Result:
    return Result(RunState.CANCELLED, retryable=job.superseded)


def _interrupted(job_id: str) -> Result:
    reason = f"The trainer was stopped while job {job_id} was not finished."
    return Result(RunState.FAILED, error=reason, retryable=True)


def _stalled(limit: float) -> Result:
    return Result(RunState.FAILED, error=f"The training made no progress for {limit:.0f} s.", retryable=True)


def _died(ending: Exit, folder: Path) -> Result:
    reason = f"The training process {ending.how} before it was finished"
    if ending.out_of_memory:
        reason += (
            ", most likely because memory ran out. Lower batch or cache_bytes in the recipe, or give the trainer more "
            "memory."
        )
    else:
        reason += f"; see output.log in {folder} on the trainer."
    return Result(RunState.FAILED, error=reason, retryable=True)
