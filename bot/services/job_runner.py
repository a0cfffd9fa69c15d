"""Drives every training job to a visible outcome: queue → trainer → artifact → gate → swap.

The job table is the only truth, the trainer a replaceable runner. A job may be executed more than once (a trainer that
died, a bot that restarted); its effect happens once, because every write carries the attempt number and the champion
pointer is compared before it is set.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from bot.services.candidates import Candidates
from bot.services.patience import AWAY_SECONDS, Patience
from bot.services.promotion import PromotionService, has_passed, paired
from bot.services.serving import Serving
from bot.services.updates import JobUpdate, Updates
from storage.artifacts import read_manifest
from storage.errors import (
    ArtifactError,
    Busy,
    Conflict,
    DamagedFile,
    InvalidInput,
    NotFound,
    PupilError,
    StorageError,
    TrainerUnavailable,
    TrainingFailed,
)
from storage.records import (
    EvaluationReport,
    JobState,
    ModelVersion,
    PromotionDecision,
    TrainingJob,
    VersionState,
    version_name,
)
from storage.stores import Stores
from trainer.protocol import JobSpec, JobStatus, Progress, RunState, from_json, learned, to_json

log = logging.getLogger(__name__)

T = TypeVar("T")

ATTEMPTS = 3
TOGETHER = 4
"""Jobs that are followed at the same time; the trainer has its own queue."""
MOST_TOGETHER = 32
"""As many where many guilds wait: one that has no job under way gets a place beyond TOGETHER, so that no other, however
many trainings it asks for, keeps it from the trainer, which lets guilds run in turn."""


class Trainer(Protocol):
    """What the runner needs of `trainer.client.TrainerClient`."""

    async def warm(self) -> None: ...
    async def put_snapshot(self, path: Path) -> None: ...
    async def submit(self, spec: JobSpec) -> JobStatus: ...
    async def poll(self, job_id: str, after: int = 0, wait: float = 25.0) -> JobStatus: ...
    async def cancel(self, job_id: str) -> JobStatus | None: ...
    async def fetch_artifact(self, artifact_id: str, root: Path) -> Path: ...
    async def give_artifact(self, directory: Path) -> None: ...


class JobRunner:
    """`async with` runs it, from the first `wake` on. One task claims jobs; each claimed job has a task of its own."""

    def __init__(
        self,
        stores: Stores,
        promotion: PromotionService,
        candidates: Candidates,
        serving: Serving,
        trainer: Trainer,
        *,
        snapshots: Path,
        models: Path,
        recipe: dict[str, Any],
        seed: int,
        lease: float,
        hours: float,
        spare: bool,
    ) -> None:
        """`spare`: whether the trainer is told when a job is to be expected."""
        self.updates = Updates()
        self._jobs = stores.jobs
        self._classifiers = stores.classifiers
        self._registry = stores.registry
        self._privacy = stores.privacy
        self._promotion = promotion
        self._candidates = candidates
        self._serving = serving
        self._trainer = trainer
        self._snapshots = snapshots
        self._models = models
        self._recipe = recipe
        self._seed = seed
        self._lease = lease
        self._hours = hours
        self._spare = spare
        self._wake = asyncio.Event()
        self._driving: dict[str, asyncio.Task[None]] = {}
        self._guilds: dict[str, str] = {}
        """Whose each of them is."""
        self._ahead: dict[str, int] = {}
        """By job that waits, here or on the trainer: how many end before it begins."""
        self._loop: asyncio.Task[None] | None = None
        self._asides: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._loop = asyncio.create_task(self._claim_jobs(), name="claim jobs")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [task for task in (self._loop, *self._driving.values(), *self._asides) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """There may be a job to claim, or one that was under way when the bot stopped."""
        self._wake.set()

    def warm(self) -> None:
        """A job is to be expected soon: the trainer may get ready. Returns at once, and nothing depends on it."""
        if self._spare:
            self._aside(self._warm_trainer())

    async def announce(self, job: TrainingJob) -> None:
        """Tells the listeners where the job stands."""
        self.updates.publish(await self.update_of(job))

    async def update_of(self, job: TrainingJob) -> JobUpdate:
        """The whole story of a job, from what is stored."""
        classifier = await self._classifiers.by_id(job.guild, job.classifier_id)
        version = None
        if job.version is not None:
            version = await self._registry.get(job.guild, job.classifier_id, job.version)
        report = None if version is None else await asyncio.to_thread(from_json, EvaluationReport, version.report)
        passed = version is not None and has_passed(version.decision)
        return JobUpdate(
            job=job,
            classifier=classifier,
            serving=await self._serving.version_of(classifier),
            progress=None if job.progress is None else from_json(Progress, job.progress),
            decision=None if version is None or report is None else _decision(version, report, passed),
            passed=passed,
            report=report,
            version=version,
            ahead=None if job.state.is_final else self._ahead.get(job.id),
            pins=() if version is None else await self._promotion.pins(classifier, version.number),
        )

    async def cancel(self, job: TrainingJob) -> TrainingJob:
        """Ends the job here first, then on the trainer.

        Raises:
            Conflict: it has just ended by itself, or its version is here already and may go live at any moment.
        """
        versions = await self._registry.list(job.guild, job.classifier_id)
        if any(version.job_id == job.id for version in versions):
            raise Conflict(
                "The training is done and its version is being checked, so there is nothing left to stop. If it goes "
                "live and should not, roll back."
            )
        cancelled = await self._end_by_request(job)
        if (task := self._driving.get(job.id)) is not None:
            task.cancel()
        self._aside(self._tell_trainer(job.id))
        await self.announce(cancelled)
        log.info("training.cancelled", extra={"job": job.id})
        return cancelled

    async def _end_by_request(self, job: TrainingJob) -> TrainingJob:
        """Cancelled, also when a new attempt begins between reading the job and changing it."""
        while True:
            try:
                return await self._jobs.change(job, JobState.CANCELLED, time.time())
            except Conflict:
                current = await self._jobs.get(job.guild, job.id)
                if current.state.is_final or current.attempt == job.attempt:
                    raise
                job = current

    # Claiming

    async def _claim_jobs(self) -> None:
        await self._wake.wait()
        has_resumed = False
        while True:
            self._wake.clear()
            try:
                if not has_resumed:
                    await self._resume()
                    has_resumed = True
                while (job := await self._claim()) is not None:
                    self._start(job)
                await self._tell_places()
            except PupilError as error:  # a full disk, a busy database: no reason never to look again
                log.warning("queue.unread", extra={"why": str(error)})
            # A job that waits for its back-off is looked for again without being announced.
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self._wake.wait()

    async def _resume(self) -> None:
        """What was under way when the bot stopped: the trainer may still have it."""
        for job in await self._jobs.unfinished():
            if job.state is not JobState.QUEUED:
                self._start(job)

    async def _claim(self) -> TrainingJob | None:
        """The next job; once TOGETHER are under way, only of a guild that has none among them."""
        if len(self._driving) >= MOST_TOGETHER:
            return None
        besides = set(self._guilds.values()) if len(self._driving) >= TOGETHER else set()
        return await self._jobs.claim(time.time(), besides)

    async def _tell_places(self) -> None:
        """Those that still wait here hear how many are before them."""
        for place, job in enumerate(await self._jobs.due(time.time())):
            ahead = len(self._driving) + place
            if self._ahead.get(job.id) == ahead:
                continue
            self._ahead[job.id] = ahead
            update = await self.update_of(job)
            # Read again at last: a listener that has seen it cancelled must not see it wait after that.
            if (await self._jobs.get(job.guild, job.id)).state is JobState.QUEUED:
                self.updates.publish(update)

    def _start(self, job: TrainingJob) -> None:
        self._guilds[job.id] = job.guild
        task = asyncio.create_task(self._drive(job), name=f"job {job.id}")
        self._driving[job.id] = task
        task.add_done_callback(lambda _: self._ended(job.id))

    def _ended(self, job_id: str) -> None:
        self._driving.pop(job_id, None)
        self._guilds.pop(job_id, None)
        self._ahead.pop(job_id, None)
        self._wake.set()

    # Driving one attempt

    async def _drive(self, job: TrainingJob) -> None:
        try:
            await self._attempt(job)
        except Conflict as error:
            # A newer attempt, or an end that somebody else gave it: `_again` leaves both alone. Or the trainer lacks
            # what it was just given.
            log.info("job.refused", extra={"job": job.id, "attempt": job.attempt, "why": str(error)})
            await self._again(job, str(error))
        except (TrainerUnavailable, Busy) as error:
            await self._again(job, str(error))
        except (TrainingFailed, ArtifactError, InvalidInput, NotFound, StorageError) as error:
            await self._end(job, JobState.FAILED, str(error))
        except Exception:
            log.exception("job.crashed", extra={"job": job.id, "attempt": job.attempt})
            await self._again(job, "Something went wrong on our side; the log has the details.")

    async def _attempt(self, job: TrainingJob) -> None:
        """One claim, from handing it over to its outcome. Raises TrainerUnavailable where another attempt may help."""
        if job.state is JobState.UPLOADING and job.artifact is not None:  # as the bot that stopped has left it
            return await self._finish(job, job.artifact)
        spec = await self._spec(job)
        await self._patiently(job, lambda: self._hand_over(job, spec))
        if job.state is JobState.LEASED:
            job = await self._jobs.change(job, JobState.RUNNING, time.time(), last_event=0, error=None)
            await self.announce(job)
        patience = Patience(time.monotonic(), lease=self._lease, deadline=self._hours * 3600)
        while True:
            try:
                status = await self._trainer.poll(job.id, job.last_event, 10.0)
            except NotFound as error:
                # The trainer has lost the job, and with it the numbers of its events.
                raise TrainerUnavailable(f"The trainer does not know the job any more. {error}") from None
            except TrainerUnavailable as error:
                # It may be restarting: handing the same attempt over again is the same job.
                if patience.is_lost(time.monotonic()):
                    raise TrainerUnavailable(f"The trainer has not answered for {self._lease:.0f} s. {error}") from None
                await asyncio.sleep(min(1.0, self._lease / 10))
                await self._try_to_hand_over(job, spec)
                continue
            now = time.monotonic()
            patience.heard(now, waiting=status.state is RunState.WAITING)
            if self._note_place(status) and not status.events:
                await self.announce(job)
            if status.events:
                job = await self._note(job, status)
            if status.state is RunState.SUCCEEDED and status.artifact is not None:
                return await self._finish(job, status.artifact)
            self._raise_if_ended(status)
            if patience.is_over(now):
                raise TrainingFailed(
                    f"The training took more than {self._hours:g} hours and was stopped. An operator can give it more "
                    f"(`training_hours`), or a GPU."
                )

    async def _spec(self, job: TrainingJob) -> JobSpec:
        classifier = await self._classifiers.by_id(job.guild, job.classifier_id)
        champion, anew = None, False
        if job.champion:
            version = await self._registry.get(job.guild, job.classifier_id, job.champion)
            champion, anew = version.artifact, await self.forgotten_in(version) != 0
        return JobSpec(
            job_id=job.id,
            attempt=job.attempt,
            snapshot=job.snapshot,
            base=classifier.base,
            champion=champion,
            champion_version=version_name(job.champion),
            seed=self._seed,
            recipe=self._recipe,
            start=None if classifier.based_on is None else classifier.based_on.artifact,
            start_name="" if classifier.based_on is None else classifier.based_on.name,
            anew=anew,
            owner=job.guild,
        )

    async def forgotten_in(self, version: ModelVersion) -> int | None:
        """How many texts that the version's weights have learned were forgotten since, also those that it has from the
        versions it went on from. None: that is not known, because its files are damaged or gone."""
        try:
            manifest = await asyncio.to_thread(read_manifest, self._models / version.artifact)
        except ArtifactError:
            return None
        snapshots = {version.snapshot, *learned(manifest.lineage)}
        return sum([await self._privacy.forgotten_of(version.guild, snapshot) for snapshot in snapshots])

    async def _hand_over(self, job: TrainingJob, spec: JobSpec) -> None:
        await self._trainer.put_snapshot(self._snapshots / f"{spec.snapshot}.jsonl")
        if spec.start is not None:
            await self._give_start(job, spec.start)
        if spec.champion is not None:
            await self._trainer.give_artifact(self._models / spec.champion)
        self._note_place(await self._trainer.submit(spec))

    async def _patiently(self, job: TrainingJob, call: Callable[[], Awaitable[T]]) -> T:
        """Ask again for AWAY_SECONDS where the trainer cannot be reached; whoever waits for the job hears why."""
        failing_since, told = math.inf, ""
        while True:
            try:
                return await call()
            except TrainerUnavailable as error:
                failing_since = min(failing_since, time.monotonic())
                if time.monotonic() - failing_since > AWAY_SECONDS:
                    raise
                if told != str(error):
                    told = str(error)
                    await self.announce(await self._jobs.change(job, job.state, time.time(), error=told))
                    log.info("trainer.unreachable", extra={"job": job.id, "why": told})
            await asyncio.sleep(min(5.0, self._lease / 10))

    async def _give_start(self, job: TrainingJob, artifact: str) -> None:
        """The version that training begins at, and the snapshots it has learned, as far as they can be read.

        The trainer does without what it lacks, and says so: the same job must not become another one on its way.
        """
        try:
            manifest = await asyncio.to_thread(read_manifest, self._models / artifact)
            for snapshot in learned(manifest.lineage):
                await self._trainer.put_snapshot(self._snapshots / f"{snapshot}.jsonl")
            await self._trainer.give_artifact(self._models / artifact)
        except (ArtifactError, InvalidInput, OSError) as error:
            log.warning("start.missing", extra={"job": job.id, "artifact": artifact, "why": str(error)})

    async def _try_to_hand_over(self, job: TrainingJob, spec: JobSpec) -> None:
        try:
            await self._hand_over(job, spec)
        except TrainerUnavailable as error:
            log.info("trainer.unreachable", extra={"job": job.id, "why": str(error)})

    def _note_place(self, status: JobStatus) -> bool:
        """Remember the job's place in the trainer's queue; whether it is another than before."""
        before, waits = self._ahead.get(status.job_id), status.state is RunState.WAITING
        if waits:
            self._ahead[status.job_id] = status.ahead
        else:
            self._ahead.pop(status.job_id, None)
        return self._ahead.get(status.job_id) != before

    async def _note(self, job: TrainingJob, status: JobStatus) -> TrainingJob:
        """A report that cannot be stored now is left out: it is no reason to end a training."""
        newest = status.events[-1]
        try:
            job = await self._jobs.change(job, job.state, time.time(), progress=to_json(newest), last_event=newest.seq)
        except (StorageError, Busy) as error:
            log.warning("progress.unstored", extra={"job": job.id, "why": str(error)})
            return replace(job, last_event=newest.seq)
        await self.announce(job)
        return job

    def _raise_if_ended(self, status: JobStatus) -> None:
        if status.state is RunState.FAILED and status.retryable:
            raise TrainerUnavailable(status.error or "The training process ended without a word.")
        if status.state is RunState.FAILED:
            raise TrainingFailed(status.error or "The training failed.")
        if status.state is RunState.CANCELLED:
            raise TrainingFailed("The training was cancelled on the trainer.")

    # Outcomes

    async def _finish(self, job: TrainingJob, artifact: str) -> None:
        """The artifact comes home, the gate decides, and a better candidate goes live.

        A full disk, or a database that somebody else holds, is waited for: doing any of it twice is doing it once, and
        a training that is done must not be told as failed.
        """
        waiting_since = time.monotonic()
        while True:
            try:
                return await self._bring_home(await self._jobs.get(job.guild, job.id), artifact)
            except (StorageError, Busy) as error:
                if isinstance(error, DamagedFile) or time.monotonic() - waiting_since > AWAY_SECONDS:
                    raise
                log.warning("candidate.waits", extra={"job": job.id, "why": str(error)})
            await asyncio.sleep(min(5.0, self._lease / 10))

    async def _bring_home(self, job: TrainingJob, artifact: str) -> None:
        if job.state is not JobState.UPLOADING:
            job = await self._jobs.change(job, JobState.UPLOADING, time.time(), artifact=artifact)
        try:
            directory = await self._patiently(job, lambda: self._trainer.fetch_artifact(artifact, self._models))
        except NotFound as gone:  # the bot was away for longer than the trainer keeps what nobody fetches
            raise TrainerUnavailable(f"The trainer does not have the model any more. {gone}") from None
        made = await self._candidates.take_in(job, directory)
        job = await self._jobs.change(
            job, JobState.SUCCEEDED, time.time(), version=made.number, artifact=artifact, error=made.error
        )
        log.info("training.succeeded", extra={"job": job.id, "version": made.number, "promote": made.promoted})
        await self.announce(job)

    async def _again(self, job: TrainingJob, why: str) -> None:
        """Another attempt after a pause with jitter, or the end of the attempts."""
        if job.attempt >= ATTEMPTS:
            await self._end(job, JobState.ABANDONED, f"Given up after {ATTEMPTS} attempts. {why}")
            return
        pause = random.uniform(0.5, 1.0) * 5.0 * 2.0**job.attempt  # noqa: S311 - spreads retries
        await self._close(job, JobState.QUEUED, why, not_before=time.time() + pause)

    async def _end(self, job: TrainingJob, state: JobState, error: str) -> None:
        await self._close(job, state, error)
        self._aside(self._tell_trainer(job.id))

    async def _close(self, job: TrainingJob, state: JobState, why: str, **fields: Any) -> None:
        """Ends the attempt in the table. On a full disk, or while somebody else holds the database, that waits: nobody
        else would end it."""
        while True:
            try:
                current = await self._jobs.get(job.guild, job.id)
                if current.attempt == job.attempt:
                    await self.announce(await self._jobs.change(current, state, time.time(), error=why, **fields))
                    facts = {"job": job.id, "attempt": job.attempt, "state": state.value, "why": why}
                    log.info("job.changed", extra=facts)
                return
            except (StorageError, Busy) as error:
                log.warning("job.unchanged", extra={"job": job.id, "why": str(error)})
            except PupilError as error:
                log.warning("job.unchanged", extra={"job": job.id, "why": str(error)})
                return
            await asyncio.sleep(min(5.0, self._lease / 10))

    async def _tell_trainer(self, job_id: str) -> None:
        """Until it has heard: what it goes on with, nobody waits for, and the next training waits behind it."""
        pause = min(1.0, self._lease / 10)
        while True:
            try:
                await self._trainer.cancel(job_id)
                return
            except TrainerUnavailable as error:
                log.info("trainer.unreachable", extra={"job": job_id, "why": str(error)})
            except PupilError as error:  # it does not know the job
                log.info("trainer.not_told", extra={"job": job_id, "why": str(error)})
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, 60.0)

    async def _warm_trainer(self) -> None:
        try:
            await self._trainer.warm()
        except PupilError as error:
            log.info("trainer.not_warmed", extra={"why": str(error)})

    def _aside(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)


def _decision(version: ModelVersion, report: EvaluationReport, passed: bool) -> PromotionDecision:
    better, worse = paired(report.outcomes)
    was_live = version.state in {VersionState.CHAMPION, VersionState.RETIRED}
    return PromotionDecision(was_live and passed, version.decision, better, worse)
