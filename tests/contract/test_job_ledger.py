"""The job ledger under anything that can happen to it: workers that are late, clocks that jump, a process that dies.

A state machine draws the steps. A worker holds a job as it knew it when it claimed it; after a crash the old ones live
on, as a trainer would that comes back late. Whatever happens: a final job stays as it ended, attempts only grow and are
three at most, no stale write is accepted, a job becomes one version at most, which goes live once at most and only in
place of the champion it was compared with, and in the end every job ends.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bot.services.job_runner import ATTEMPTS
from storage.database import Database
from storage.errors import Conflict
from storage.records import FINAL_STATES, LEGAL_CHANGES, JobState, TrainingJob, VersionState
from storage.rows import rows
from tests.contract.conftest import GUILD, Store, make_job, make_triage, make_version

STEPS = ("upload", "register", "promote", "succeed")
"""What a finishing worker does, in this order; it can die after each."""
CLOCK = st.floats(0, 1e6)
"""Every step has a clock of its own: it jumps both ways."""


NAME = "pupil.db"


@cache
def empty_database() -> bytes:
    """With today's tables: to make them takes longer than ten steps."""

    async def make(path: Path) -> None:
        async with Database(path):
            pass

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(make(Path(folder) / NAME))
        return (Path(folder) / NAME).read_bytes()


class Ledger(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        memory = Path("/dev/shm")  # 15,000 steps: nothing here depends on a disk that lasts
        self.folder = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.lives = 0
        self.place.mkdir()
        (self.place / NAME).write_bytes(empty_database())
        self.workers: list[TrainingJob] = []
        self.ended: dict[str, JobState] = {}
        self.attempts: dict[str, int] = {}
        self.asked = 0
        self.open()
        self.triage = self.run(make_triage(self.store, GUILD))

    def run(self, call: Any) -> Any:
        return self.runner.run(call)

    def open(self) -> None:
        self.db = Database(self.place / NAME)
        self.run(self.db.__aenter__())
        self.store = Store.over(self.db)

    @property
    def place(self) -> Path:
        """Where the files of this life are."""
        return self.folder / str(self.lives)

    def worker(self, number: int) -> TrainingJob:
        return self.workers[number % len(self.workers)]

    def current(self, job: TrainingJob) -> TrainingJob:
        return self.run(self.store.jobs.get(GUILD, job.id))  # type: ignore[no-any-return]

    @rule(same=st.booleans(), now=CLOCK)
    def ask(self, same: bool, now: float) -> None:
        self.asked += not same
        champion = self.run(self.store.registry.champion(GUILD, self.triage.id))
        fields = {"key": f"labels {self.asked}", "champion": champion, "created_at": now}
        job = make_job(self.triage.classifier, f"job {self.asked} at {now}", **fields)
        self.run(self.store.jobs.create(job))

    @rule(now=CLOCK)
    def claim(self, now: float) -> None:
        """Hypothesis leaves some rules out of some runs, so that this one sees to its own job."""
        if not self.run(self.store.jobs.unfinished()):
            self.ask(same=False, now=now)
        job = self.run(self.store.jobs.claim(now))
        if job is not None:
            assert job.attempt == self.attempts.get(job.id, 0) + 1, "a new attempt has a new number"
            self.workers.append(job)

    @rule(now=CLOCK)
    def try_again(self, now: float) -> None:
        """The lease is over: the attempt is given up and the next one claimed; whoever works on it does not know."""
        for job in self.run(self.store.jobs.unfinished()):
            self._give_up(job, now)
        self.claim(now=now)

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, 99), retryable=st.booleans(), now=CLOCK)
    def fail(self, number: int, retryable: bool, now: float) -> None:
        """A worker's training failed. What may pass is tried again, the same labels would fail the same way."""
        job = self.worker(number)
        before = self.current(job)
        try:
            self._give_up(job, now) if retryable else self.run(self.store.jobs.change(job, JobState.FAILED, now))
        except Conflict:
            assert before.attempt != job.attempt or before.state in {*FINAL_STATES, JobState.QUEUED}
            assert self.current(job) == before
        else:
            assert before.attempt == job.attempt, "a stale attempt ended the job"

    def _give_up(self, job: TrainingJob, now: float) -> None:
        """As the bot does it: three attempts, then it is over."""
        if job.state is JobState.QUEUED:
            return
        if job.attempt >= ATTEMPTS:
            self.run(self.store.jobs.change(job, JobState.ABANDONED, now))
        else:
            self.run(self.store.jobs.change(job, JobState.QUEUED, now, not_before=0.0))

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, 99), expected=st.integers(0, 3), now=CLOCK)
    def promote_without_looking(self, number: int, expected: int, now: float) -> None:
        """A worker's version, by somebody who believes that `expected` is champion: the pointer is compared first."""
        version = self.run(self.store.registry.add(make_version(self.triage.classifier, self.worker(number).id)))
        champion = self.run(self.store.registry.champion(GUILD, self.triage.id))
        if version.state is not VersionState.CANDIDATE:
            return
        try:
            self.run(
                self.store.registry.promote(GUILD, self.triage.id, version.number, expected, "gate", "better", now)
            )
        except Conflict:
            assert expected != champion
        else:
            assert expected == champion, "it took the place of a version that it was not compared with"

    @rule(now=CLOCK)
    def roll_back(self, now: float) -> None:
        """A lead steps back to the base while trainings go on that were to be compared with the champion."""
        champion = self.run(self.store.registry.champion(GUILD, self.triage.id))
        if champion:
            self.run(self.store.registry.promote(GUILD, self.triage.id, 0, champion, "lead", "rolled back", now))

    @precondition(lambda self: self.workers)
    @rule(
        number=st.integers(0, 99),
        state=st.sampled_from([state for state in JobState if state is not JobState.SUCCEEDED]),
        now=CLOCK,
        wait=st.floats(0, 1e5),
    )
    def change(self, number: int, state: JobState, now: float, wait: float) -> None:
        job = self.worker(number)
        if state is JobState.QUEUED and job.attempt >= ATTEMPTS:
            return  # how often it is tried is up to the bot: see `_give_up`
        before = self.current(job)
        legal = state in LEGAL_CHANGES[before.state] or (state is before.state and state not in FINAL_STATES)
        try:
            self.run(self.store.jobs.change(job, state, now, not_before=now + wait))
        except Conflict:
            assert not (legal and before.attempt == job.attempt and state is not JobState.LEASED)
            assert self.current(job) == before
        else:
            assert before.attempt == job.attempt, "a stale write was accepted"
            assert legal or state is JobState.LEASED

    @precondition(lambda self: self.workers)
    @rule(number=st.integers(0, 99), dies_after=st.sampled_from([None, *STEPS]), now=CLOCK)
    def finish(self, number: int, dies_after: str | None, now: float) -> None:
        """As the bot does it, in this order, whether or not this worker's attempt still counts."""
        job = self.worker(number)
        try:
            for step in STEPS:
                job = self._step(job, step, now)
                if step == dies_after:
                    return
        except Conflict:
            pass

    def _step(self, job: TrainingJob, step: str, now: float) -> TrainingJob:
        jobs, registry = self.store.jobs, self.store.registry
        match step:
            case "upload":
                state = self.current(job).state
                if state is JobState.LEASED:
                    job = self.run(jobs.change(job, JobState.RUNNING, now))
                return self.run(jobs.change(job, JobState.UPLOADING, now))  # type: ignore[no-any-return]
            case "register":
                self.run(registry.add(make_version(self.triage.classifier, job.id)))
            case "promote":
                version = self._version_of(job)
                if version["state"] == "candidate":
                    champion = self.run(registry.champion(GUILD, self.triage.id))
                    if champion == job.champion:
                        self.run(
                            registry.promote(GUILD, self.triage.id, version["number"], champion, "gate", "better", now)
                        )
            case "succeed":
                number = self._version_of(job)["number"]
                return self.run(jobs.change(job, JobState.SUCCEEDED, now, version=number))  # type: ignore[no-any-return]
        return job

    def _version_of(self, job: TrainingJob) -> Any:
        return self.read("SELECT number, state FROM versions WHERE job_id = ?", job.id)[0]

    @rule()
    def crash(self) -> None:
        """The files as they are at this moment, without a farewell, opened by another process; the workers live on."""
        before = self.place
        self.lives += 1
        self.place.mkdir()
        for path in before.glob(f"{NAME}*"):
            if path.suffix != ".lock":
                shutil.copy(path, self.place / path.name)
        self.run(self.db.__aexit__(None, None, None))
        self.open()

    def read(self, sql: str, *parameters: Any) -> list[Any]:
        found: list[Any] = self.run(self.db.read(lambda connection: rows(connection, sql, parameters)))
        return found

    @invariant()
    def the_ledger_is_sound(self) -> None:
        """One look for all of it: after every step, a look takes longer than the step."""
        self.run(self.db.read(self.check))

    def check(self, connection: sqlite3.Connection) -> None:
        self.check_jobs(rows(connection, "SELECT id, state, attempt FROM jobs"))
        self.check_promotions(rows(connection, "SELECT number, previous, by FROM promotions ORDER BY id"))
        versions = rows(connection, "SELECT job_id FROM versions WHERE job_id IS NOT NULL")
        assert len({found["job_id"] for found in versions}) == len(versions), "a job became two versions"
        pointer = rows(connection, "SELECT number FROM champions")
        assert sum(found["number"] for found in pointer) == self.champion

    def check_jobs(self, jobs: list[Any]) -> None:
        """What ended stays as it ended, attempts only grow, and one job is active at most."""
        for found in jobs:
            state, name = JobState(found["state"]), found["id"]
            assert found["attempt"] <= ATTEMPTS
            assert self.ended.get(name, state) is state
            assert found["attempt"] >= self.attempts.get(name, 0)
            self.attempts[name] = found["attempt"]
            if state in FINAL_STATES:
                self.ended[name] = state
        assert sum(JobState(found["state"]) not in FINAL_STATES for found in jobs) <= 1

    def check_promotions(self, promotions: list[Any]) -> None:
        """Each version took the place of the one before it, and went live once by itself."""
        self.champion = 0
        for found in promotions:
            assert found["previous"] == self.champion
            self.champion = found["number"]
        by_gate = [found["number"] for found in promotions if found["by"] == "gate"]
        assert len(set(by_gate)) == len(by_gate), "a version went live twice"

    def teardown(self) -> None:
        """A bot that is left in peace brings every job to its end."""
        try:
            for job in self.run(self.store.jobs.unfinished()):
                self._give_up(job, 0.0)
            while (job := self.run(self.store.jobs.claim(1e9))) is not None:
                for step in STEPS:
                    job = self._step(job, step, 1e9)
            states = {JobState(found["state"]) for found in self.read("SELECT state FROM jobs")}
            assert states <= FINAL_STATES
        finally:
            self.run(self.db.__aexit__(None, None, None))
            self.runner.close()
            shutil.rmtree(self.folder)


@pytest.mark.long
class TestLedger(Ledger.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(
        max_examples=300, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )
