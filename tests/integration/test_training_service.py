"""Trainings from the request to the swap, on a real database and engine; the trainer's failures are scripted."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import bot.services.job_runner as job_runner
import bot.services.serving as serving_module
from bot.app import System, open_services
from bot.chat.training_cards import job_card
from bot.services.people import Actor, Role
from bot.services.serving import Prepared
from bot.services.slots import nominal
from bot.services.training import NotYet, Requested
from bot.services.trials import TrialService
from storage.errors import (
    ArtifactError,
    Busy,
    Conflict,
    DiskFull,
    InvalidInput,
    NotAllowed,
    NotFound,
    PupilError,
    TrainerUnavailable,
)
from storage.label_changes import ChangeKind
from storage.records import CandidateKind, Classifier, JobState, Schedule, Source, TrainingJob, Trial, VersionState
from storage.settings import load_settings
from tests.fakes.fake_trainer import FakeTrainer, report_of, system_with
from tests.fakes.tiny_encoder import make_tiny_base

LEAD = Actor("g", "1", "maria", Role.LEAD)
MEMBER = Actor("g", "2", "ada")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def trainer(tmp_path: Path, base: Path) -> FakeTrainer:
    return FakeTrainer(tmp_path / "trainer", base)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_runner.random, "uniform", lambda low, high: 0.0)


@pytest.fixture
async def system(tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        yield system


async def taught(system: System, start: int = 0, count: int = 60) -> Classifier:
    """Texts `start` to `start + count` labelled in turn; the classifier is made where it is missing."""
    if not await system.stores.classifiers.list("g"):
        await system.services.classifiers.create(LEAD, "triage", ["bug", "praise"])
    classifier = await system.stores.classifiers.get("g", "triage")
    if count:
        await teach(system, classifier, start, count, "text number")
    return classifier


async def teach(
    system: System, classifier: Classifier, start: int = 0, count: int = 60, text: str = "other text"
) -> None:
    """`count` texts labelled in turn, in one write."""
    rows = [(f"{text} {n}", "bug" if n % 2 else "praise") for n in range(start, start + count)]
    lead = replace(LEAD, guild=classifier.guild)
    await system.services.labeling.import_rows(lead, classifier.name, rows, Source.API)


async def train(system: System, classifier: Classifier) -> tuple[JobState, str | None]:
    asked = await system.services.training.request(LEAD, classifier)
    assert isinstance(asked, Requested), asked
    update = await system.services.training.wait("g", asked.job.id)
    return update.job.state, update.job.error


def training_files(tmp_path: Path) -> set[str]:
    return {path.stem for path in load_settings(data=tmp_path / "data").snapshots.iterdir()}


def spoil(tmp_path: Path, artifact: str) -> None:
    path = load_settings(data=tmp_path / "data").space / "models" / artifact / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:-10])


async def test_too_few_labels_and_members_are_refused_in_words(system: System) -> None:
    classifier = await taught(system, count=4)
    refused = await system.services.training.request(LEAD, classifier)
    assert isinstance(refused, NotYet)
    assert "Not enough labels" in refused.reason
    with pytest.raises(NotAllowed, match="lead"):
        await system.services.training.request(MEMBER, classifier)


async def test_second_request_joins_the_first_and_the_same_labels_are_not_trained_twice(
    system: System, trainer: FakeTrainer
) -> None:
    classifier = await taught(system)
    trainer.gate.clear()
    first = await system.services.training.request(LEAD, classifier)
    second = await system.services.training.request(LEAD, classifier)
    assert isinstance(first, Requested)
    assert isinstance(second, Requested)
    assert (second.job.id, second.joined, first.joined) == (first.job.id, True, False)
    trainer.gate.set()
    assert (await system.services.training.wait("g", first.job.id)).job.state is JobState.SUCCEEDED
    assert isinstance(await system.services.training.request(LEAD, classifier), NotYet)
    assert len(trainer.specs) == 1


async def test_two_requests_at_once_leave_one_training_file(
    system: System, trainer: FakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has looked for a training before the first stored its own, and a label came in between."""
    classifier = await taught(system)
    trainer.gate.clear()
    create = system.stores.jobs.create

    async def label_first(job: TrainingJob) -> tuple[TrainingJob, bool]:
        await system.services.labeling.label(LEAD, classifier, f"came with {job.id}", "bug", Source.API)
        return await create(job)

    monkeypatch.setattr(type(system.stores.jobs), "create", lambda self, job: label_first(job))
    one, other = await asyncio.gather(*(system.services.training.request(LEAD, classifier) for _ in range(2)))
    assert isinstance(one, Requested)
    assert isinstance(other, Requested)
    assert one.job.id == other.job.id
    assert {one.joined, other.joined} == {False, True}
    assert training_files(tmp_path) == {one.job.snapshot}
    trainer.gate.set()
    assert (await system.services.training.wait("g", one.job.id)).job.state is JobState.SUCCEEDED


async def test_a_job_that_cannot_be_stored_leaves_no_training_file(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = await taught(system)

    async def full(*_: object) -> object:
        raise DiskFull("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(type(system.stores.jobs), "create", full)
        with pytest.raises(DiskFull):
            await system.services.training.request(LEAD, classifier)
    assert training_files(tmp_path) == set()
    assert await train(system, classifier) == (JobState.SUCCEEDED, None)
    with monkeypatch.context() as patched:
        patched.setattr(type(system.stores.jobs), "create", full)
        patched.setattr(type(system.stores.registry), "list", nothing)
        with pytest.raises(DiskFull):
            await system.services.training.request(LEAD, classifier)
    assert len(training_files(tmp_path)) == 1, "the same file is of the training before"


async def nothing(*_: object) -> list[object]:
    return []


@pytest.mark.parametrize("asked", [True, False])
async def test_labels_that_were_taken_back_are_a_reason_to_train(system: System, asked: bool) -> None:
    classifier = await taught(system)
    for n in range(20):
        await system.services.labeling.label(MEMBER, classifier, f"vandalised {n}", "bug", Source.API)
    assert (await train(system, classifier))[0] is JobState.SUCCEEDED
    preview = await system.services.reverting.preview(LEAD, classifier, MEMBER.id, "1h")
    await system.services.reverting.confirm(LEAD, preview.draft_id)
    again = await system.services.training.request(LEAD, classifier, asked=asked)
    assert isinstance(again, Requested)
    assert again.new_since == 20
    assert (await system.services.training.wait("g", again.job.id)).job.state is JobState.SUCCEEDED
    assert isinstance(await system.services.training.request(LEAD, classifier, asked=asked), NotYet)


async def test_forgotten_labels_are_a_reason_to_train_until_a_version_is_without_them(
    system: System, trainer: FakeTrainer
) -> None:
    classifier = await taught(system)
    for n in range(3):
        await system.services.labeling.label(MEMBER, classifier, f"mine {n}", "bug", Source.API)
    trainer.gate.clear()
    first = await system.services.training.request(LEAD, classifier)
    assert isinstance(first, Requested)
    await system.services.privacy.forget(MEMBER)  # while they are being learned
    trainer.gate.set()
    assert (await system.services.training.wait("g", first.job.id)).job.state is JobState.SUCCEEDED
    again = await system.services.training.request(LEAD, classifier)
    assert isinstance(again, Requested)
    assert again.new_since == 3
    assert (await system.services.training.wait("g", again.job.id)).job.state is JobState.SUCCEEDED
    assert isinstance(await system.services.training.request(LEAD, classifier), NotYet)


async def test_what_a_version_knows_from_the_one_it_went_on_from_is_a_reason_to_train_once_it_is_forgotten(
    system: System, trainer: FakeTrainer
) -> None:
    trainer.goes_on = True
    classifier = await taught(system)
    mine = await system.services.labeling.label(MEMBER, classifier, "mine", "bug", Source.API)
    await train(system, classifier)
    await system.services.labeling.undo(MEMBER, mine.event_id)
    await train(system, await taught(system, 100))
    assert (await system.serving.answer(classifier, "text")).number == 2
    receipt = await system.services.privacy.forget(MEMBER)
    assert receipt.learned == ("triage v1", "triage v2")
    assert (await train(system, classifier))[0] is JobState.SUCCEEDED, "as the receipt says"
    assert isinstance(await system.services.training.request(LEAD, classifier), NotYet)


@pytest.mark.parametrize("kind", [ChangeKind.MERGE, ChangeKind.ARCHIVE])
async def test_a_label_that_is_gone_is_a_reason_to_train_and_a_description_is_none(
    system: System, kind: ChangeKind
) -> None:
    classifier = await taught(system)
    await system.services.labeling.import_rows(LEAD, "triage", [(f"idea {n}", "idea") for n in range(3)], Source.FILE)
    assert (await train(system, classifier))[0] is JobState.SUCCEEDED

    async def change(kind: ChangeKind, words: str = "", into: str = "") -> None:
        preview = await system.services.curation.preview(LEAD, classifier, kind, "idea", words, into)
        await system.services.curation.confirm(LEAD, preview.draft_id)

    await change(ChangeKind.DESCRIBE, "what could be")
    assert isinstance(await system.services.training.request(LEAD, classifier), NotYet)
    await change(kind, into="praise" if kind is ChangeKind.MERGE else "")
    assert await train(system, classifier) == (JobState.SUCCEEDED, None)
    assert isinstance(await system.services.training.request(LEAD, classifier), NotYet)


@pytest.mark.parametrize(("kind", "back"), [(ChangeKind.MERGE, None), (ChangeKind.ARCHIVE, ChangeKind.RESTORE)])
async def test_a_label_that_came_back_with_its_texts_is_a_reason_to_train(
    system: System, kind: ChangeKind, back: ChangeKind | None
) -> None:
    classifier = await taught(system)
    await system.services.labeling.import_rows(LEAD, "triage", [(f"idea {n}", "idea") for n in range(7)], Source.FILE)

    async def change(kind: ChangeKind, into: str = "", words: str = "") -> int:
        preview = await system.services.curation.preview(LEAD, classifier, kind, "idea", words, into)
        return (await system.services.curation.confirm(LEAD, preview.draft_id)).change.id

    gone = await change(kind, "praise" if kind is ChangeKind.MERGE else "")
    assert await train(system, classifier) == (JobState.SUCCEEDED, None)
    assert isinstance(await system.services.training.request(LEAD, classifier), NotYet)
    if back is None:
        await system.services.curation.undo(LEAD, gone)
    else:
        await change(back)
    again = await system.services.training.request(LEAD, classifier)
    assert isinstance(again, Requested)
    assert again.new_since == 7
    await system.services.training.wait("g", again.job.id)
    assert isinstance(await system.services.training.request(LEAD, classifier), NotYet)
    renamed = await change(ChangeKind.RENAME, words="wish")
    assert isinstance(await system.services.training.request(LEAD, classifier), NotYet), "it is known by another name"
    await teach(system, classifier, 200, 4)
    assert await train(system, classifier) == (JobState.SUCCEEDED, None)
    await system.services.curation.undo(LEAD, renamed)
    assert isinstance(await system.services.training.request(LEAD, classifier), NotYet), "and by its old one"


async def test_what_answers_is_told_also_before_it_is_in_memory(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        classifier = await taught(system)
        await train(system, classifier)
        trainer.failure = ("The training diverged.", False)
        await teach(system, classifier, 100, 4)
        assert await train(system, classifier) == (JobState.FAILED, "The training diverged.")
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        assert (await system.services.classifiers.stats(classifier)).version == "v1"
        assert [update.serving for update in await system.services.training.unfinished()] == ["v1"]


@pytest.mark.parametrize("retryable", [True, False])
async def test_a_failure_that_may_pass_is_tried_three_times_and_another_once(
    system: System, trainer: FakeTrainer, retryable: bool
) -> None:
    trainer.failure = ("It broke.", retryable)
    state, error = await train(system, await taught(system))
    assert state is (JobState.ABANDONED if retryable else JobState.FAILED)
    assert "It broke." in (error or "")
    assert trainer.calls["submit"] == (3 if retryable else 1)


async def test_an_unreachable_trainer_is_waited_for(system: System, trainer: FakeTrainer) -> None:
    trainer.poll_errors = [TrainerUnavailable("Nobody answers.")] * 2
    assert await train(system, await taught(system)) == (JobState.SUCCEEDED, None)


async def test_a_disk_that_was_full_for_a_moment_leaves_no_job_behind(
    system: System, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, trouble = system.stores.jobs.claim, [DiskFull("The disk is full.")] * 2

    async def claim_or_not(*arguments: object) -> TrainingJob | None:
        if trouble:
            raise trouble.pop()
        return await claim(*arguments)

    monkeypatch.setattr(system.stores.jobs, "claim", claim_or_not)
    assert await train(system, await taught(system)) == (JobState.SUCCEEDED, None)
    assert not trouble


async def test_a_training_that_never_ends_is_stopped_and_not_tried_again(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PUPIL_TRAINING_HOURS", "1e-9")
    trainer.endless = True
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system, asyncio.timeout(60):
        state, error = await train(system, await taught(system))
        assert state is JobState.FAILED
        assert "more than 1e-09 hours" in (error or "")
        while not trainer.calls["cancel"]:
            await asyncio.sleep(0)
    assert trainer.calls["submit"] == 1


@pytest.mark.parametrize(
    ("errors", "state"), [("submit_errors", JobState.LEASED), ("fetch_errors", JobState.UPLOADING)]
)
async def test_a_trainer_that_is_away_costs_no_attempt_and_the_job_says_what_it_waits_for(
    system: System, trainer: FakeTrainer, errors: str, state: JobState
) -> None:
    """Also when the training is over: its model is still there."""
    to_come = [TrainerUnavailable("Nobody answers.")] * 1000
    setattr(trainer, errors, to_come)
    asked = await system.services.training.request(LEAD, await taught(system))
    assert isinstance(asked, Requested)
    async with asyncio.timeout(60):
        while len(to_come) > 995:  # more often than there are attempts
            await asyncio.sleep(0.01)
    waiting = await system.services.training.job("g", asked.job.id)
    assert (waiting.job.state, waiting.job.attempt, waiting.job.error) == (state, 1, "Nobody answers.")
    to_come.clear()
    ended = (await system.services.training.wait("g", asked.job.id)).job
    assert (ended.state, ended.attempt, ended.error) == (JobState.SUCCEEDED, 1, None)


async def test_a_trainer_that_is_away_hears_later_that_a_training_is_cancelled(
    system: System, trainer: FakeTrainer
) -> None:
    """Else it goes on with it, and the next training waits behind it."""
    trainer.gate.clear()
    trainer.cancel_errors = [TrainerUnavailable("Nobody answers.")] * 3
    asked = await system.services.training.request(LEAD, await taught(system))
    assert isinstance(asked, Requested)
    await system.services.training.cancel_job(LEAD, asked.job.id)
    async with asyncio.timeout(60):
        while trainer.calls["cancel"] < 4:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    assert trainer.calls["cancel"] == 4, "once it has heard, that is enough"


@pytest.mark.parametrize(
    ("where", "trouble"),
    [
        ("registry.add", Busy("The database is in use.")),
        ("registry.promote", DiskFull("The disk is full.")),
        ("jobs.change", DiskFull("The disk is full.")),
        ("jobs.change", Busy("The database is in use.")),
    ],
)
async def test_a_database_that_is_out_of_order_for_a_moment_fails_no_training_that_is_done(
    system: System, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch, where: str, trouble: PupilError
) -> None:
    store, name = where.split(".")
    real, left = getattr(getattr(system.stores, store), name), [trouble] * 2

    async def call(*arguments: Any, **fields: Any) -> Any:
        if left and (name != "change" or arguments[1] is JobState.SUCCEEDED):
            raise left.pop()
        return await real(*arguments, **fields)

    monkeypatch.setattr(getattr(system.stores, store), name, call)
    classifier = await taught(system)
    assert await train(system, classifier) == (JobState.SUCCEEDED, None)
    assert (left, trainer.calls["submit"]) == ([], 1)
    assert (await system.serving.answer(classifier, "text")).number == 1
    assert len(await system.services.promotion.versions(classifier)) == 1


async def test_a_model_that_is_at_home_needs_no_trainer_after_a_restart(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        classifier, change, reached = await taught(system), system.stores.jobs.change, asyncio.Event()

        async def change_or_die(job: TrainingJob, state: JobState, *rest: Any, **fields: Any) -> TrainingJob:
            if state is JobState.SUCCEEDED:
                reached.set()
                await asyncio.Event().wait()
            return await change(job, state, *rest, **fields)

        monkeypatch.setattr(system.stores.jobs, "change", change_or_die)
        asked = await system.services.training.request(LEAD, classifier)
        assert isinstance(asked, Requested)
        await reached.wait()
    trainer.submit_errors = [TrainerUnavailable("Nobody answers.")] * 10_000
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system, asyncio.timeout(60):
        ended = (await system.services.training.wait("g", asked.job.id)).job
        assert (ended.state, ended.attempt) == (JobState.SUCCEEDED, 1)
        assert (await system.serving.answer(classifier, "text")).number == 1


async def test_a_cancelled_training_changes_nothing(system: System, trainer: FakeTrainer) -> None:
    classifier = await taught(system)
    trainer.gate.clear()
    asked = await system.services.training.request(LEAD, classifier)
    assert isinstance(asked, Requested)
    assert await system.services.training.cancel(LEAD, classifier) is not None
    trainer.gate.set()
    update = await system.services.training.wait("g", asked.job.id)
    assert update.job.state is JobState.CANCELLED
    assert await system.services.promotion.versions(classifier) == []


async def test_a_better_candidate_answers_and_a_worse_one_is_kept(system: System, trainer: FakeTrainer) -> None:
    classifier = await taught(system)
    await train(system, classifier)
    assert (await system.serving.answer(classifier, "text")).number == 1
    trainer.report = report_of(0, worse=5)
    await train(system, await taught(system, 100, 4))
    assert (await system.serving.answer(classifier, "text")).number == 1
    assert (await system.services.promotion.versions(classifier))[0].state is VersionState.CANDIDATE
    await system.services.promotion.promote(LEAD, classifier, 2)
    told = await system.services.training.status(classifier)
    assert told is not None
    assert told.decision is not None
    assert (told.decision.promote, told.passed) == (False, False), "a lead made it live, not the gate"


async def test_after_a_rollback_nothing_goes_live_until_a_lead_promotes_a_newer_version(system: System) -> None:
    classifier = await taught(system)
    await train(system, classifier)
    await system.services.promotion.rollback(LEAD, classifier)
    await train(system, await taught(system, 100, 4))
    assert (await system.serving.answer(classifier, "text")).number == 0
    await system.services.promotion.promote(LEAD, classifier, 2)
    await train(system, await taught(system, 200, 4))
    assert (await system.serving.answer(classifier, "text")).number == 3


async def test_a_second_rollback_goes_further_back(system: System) -> None:
    promotion = system.services.promotion
    classifier = await taught(system)
    await train(system, classifier)
    await train(system, await taught(system, 100, 4))
    assert [(await promotion.rollback(LEAD, classifier)).number for _ in range(2)] == [1, 0]
    assert await promotion.rests(classifier)
    with pytest.raises(NotFound, match="no version before v0"):
        await promotion.rollback(LEAD, classifier)


async def test_damaged_champion_at_start_steps_back_and_automatic_promotion_goes_on(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        classifier = await taught(system)
        await train(system, classifier)
        await train(system, await taught(system, 100, 4))
        newest = (await system.services.promotion.versions(classifier))[0]
    spoil(tmp_path, newest.artifact)
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        assert (await system.serving.answer(classifier, "text")).number == 1
        assert (await system.services.promotion.promotions(classifier))[0].number == 1
        assert (await system.services.promotion.versions(classifier))[0].state is VersionState.DAMAGED
        assert not await system.services.promotion.rests(classifier)


async def test_what_was_rolled_back_does_not_answer_when_files_are_damaged(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        classifier = await taught(system)
        for start in (100, 200, 300):
            await train(system, await taught(system, start, 4))
        await system.services.promotion.rollback(LEAD, classifier)  # v3 was no good
        versions = {version.number: version for version in await system.services.promotion.versions(classifier)}
    spoil(tmp_path, versions[2].artifact)
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        assert (await system.serving.answer(classifier, "text")).number == 1


async def test_a_database_that_is_held_by_another_program_leaves_no_job_behind(
    system: System, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a report that cannot be stored nor an end that has to wait."""
    change, refusals = system.stores.jobs.change, Counter[JobState]()

    async def held(job: TrainingJob, state: JobState, *rest: Any, **fields: Any) -> TrainingJob:
        refusals[state] += 1
        if state is not JobState.LEASED and refusals[state] <= (1 if state is JobState.RUNNING else 3):
            raise Busy("The database is in use by another program.")
        return await change(job, state, *rest, **fields)

    monkeypatch.setattr(system.stores.jobs, "change", held)
    trainer.failure = ("It cannot be learned.", False)
    assert await train(system, await taught(system)) == (JobState.FAILED, "It cannot be learned.")
    assert (refusals[JobState.QUEUED], refusals[JobState.FAILED]) == (4, 4)


async def test_damaged_candidate_leaves_the_champion_answering_and_is_marked(
    tmp_path: Path, system: System, trainer: FakeTrainer
) -> None:
    classifier = await taught(system)
    trainer.report = report_of(0)
    await train(system, classifier)
    spoil(tmp_path, (await system.services.promotion.versions(classifier))[0].artifact)
    with pytest.raises(ArtifactError):
        await system.services.promotion.promote(LEAD, classifier, 1)
    assert (await system.serving.answer(classifier, "text")).number == 0
    assert (await system.services.promotion.versions(classifier))[0].state is VersionState.DAMAGED
    with pytest.raises(Conflict, match="The files of v1 are damaged"):  # known now: whoever asks again can put it right
        await system.services.promotion.promote(LEAD, classifier, 1)


async def test_a_candidate_that_cannot_be_loaded_is_not_called_ready(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(directory: Path) -> None:
        raise ArtifactError("It does not answer as its canary says.")

    classifier = await taught(system)
    await system.serving.ensure(classifier)
    monkeypatch.setattr(serving_module, "load", wrong)
    assert (await train(system, classifier))[0] is JobState.SUCCEEDED
    told = await system.services.training.status(classifier)
    assert told is not None
    card = job_card(told)
    assert (card.title or "").startswith("The files of v1 are damaged")
    assert "It could not go live: It does not answer as its canary says." in card.body
    assert not [button for row in card.rows for button in row if "Promote" in str(button)]


async def test_a_version_that_is_being_checked_is_not_cancelled(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there and may go live at any moment, and "nothing changed" would not be true."""
    classifier = await taught(system)
    checking, going_on = asyncio.Event(), asyncio.Event()
    hold = TrialService.hold

    async def held(self: TrialService, prepared: Prepared) -> Trial:
        checking.set()
        await going_on.wait()
        return await hold(self, prepared)

    monkeypatch.setattr(TrialService, "hold", held)
    asked = await system.services.training.request(LEAD, classifier)
    assert isinstance(asked, Requested)
    await checking.wait()
    with pytest.raises(Conflict, match="nothing left to stop"):
        await system.services.training.cancel(LEAD, classifier)
    going_on.set()
    assert (await system.services.training.wait("g", asked.job.id)).job.state is JobState.SUCCEEDED
    assert (await system.serving.answer(classifier, "text")).number == 1


async def test_what_comes_home_to_an_archived_classifier_waits(system: System, trainer: FakeTrainer) -> None:
    classifier = await taught(system)
    trainer.gate.clear()
    asked = await system.services.training.request(LEAD, classifier)
    assert isinstance(asked, Requested)
    await system.services.classifiers.archive(LEAD, classifier)
    trainer.gate.set()
    update = await system.services.training.wait("g", asked.job.id)
    assert update.decision is not None
    assert not update.decision.promote
    assert "was archived during the training" in update.decision.reason
    assert await system.stores.registry.champion("g", classifier.id) == 0


async def test_one_goes_back_only_to_what_was_live(system: System, trainer: FakeTrainer) -> None:
    classifier = await taught(system)
    trainer.report = report_of(0, 5)
    await train(system, classifier)
    with pytest.raises(Conflict, match="v1 was never live"):
        await system.services.promotion.rollback(LEAD, classifier, 1)
    with pytest.raises(NotFound):
        await system.services.promotion.rollback(LEAD, classifier, 9)


async def test_a_damaged_version_whose_files_were_put_back_goes_live_when_a_lead_promotes_it(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = load_settings(data=tmp_path / "data").space / "models"
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        classifier = await taught(system)
        await train(system, classifier)
    kept = models.rename(tmp_path / "kept")  # the database came back first, the models later
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        assert (await system.serving.answer(classifier, "text")).number == 0
        assert "put the files back and promote v1" in system.serving.warning(classifier.id)
        for path in kept.iterdir():
            if not (models / path.name).exists():
                path.rename(models / path.name)
        await system.services.promotion.promote(LEAD, classifier, 1)
        assert (await system.serving.answer(classifier, "text")).number == 1
        assert (await system.services.promotion.versions(classifier))[0].state is VersionState.CHAMPION
        assert system.serving.warning(classifier.id) == ""
        await system.services.promotion.rollback(LEAD, classifier)
        assert system.serving.warning(classifier.id) == "", "nothing is damaged any more"


async def test_a_version_with_damaged_files_is_made_again_of_the_same_labels(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        classifier = await taught(system)
        await train(system, classifier)
        (first,) = await system.services.promotion.versions(classifier)
    spoil(tmp_path, first.artifact)
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        assert (await system.serving.answer(classifier, "text")).number == 0
        assert "A new training makes a version that is whole" in system.serving.warning(classifier.id)
        shutil.rmtree(trainer.root)  # the trainer has nothing of it left
        again = await system.services.training.request(LEAD, classifier, asked=False)
        assert isinstance(again, Requested)
        assert (await system.services.training.wait("g", again.job.id)).job.state is JobState.SUCCEEDED
        assert (await system.serving.answer(classifier, "text")).number == 2
        assert isinstance(await system.services.training.request(LEAD, classifier), NotYet)


async def test_short_memory_is_told_and_marks_no_version_damaged(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def short(directory: Path) -> None:
        raise Busy("It needs 50 MB of memory.")

    classifier = await taught(system)
    await system.serving.ensure(classifier)
    with monkeypatch.context() as patch:
        patch.setattr(serving_module, "load", short)
        state, error = await train(system, classifier)
    assert state is JobState.SUCCEEDED
    assert "50 MB" in (error or "")
    told = await system.services.training.status(classifier)
    assert told is not None
    assert "It could not go live: It needs 50 MB of memory." in job_card(told).body
    assert (await system.services.promotion.versions(classifier))[0].state is VersionState.CANDIDATE
    await system.services.promotion.promote(LEAD, classifier, 1)
    assert (await system.serving.answer(classifier, "text")).number == 1


async def test_all_who_wait_for_a_base_hear_at_once_that_the_trainer_is_away(
    system: System, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifiers = [await system.services.classifiers.create(LEAD, name, ["bug", "praise"]) for name in ("one", "two")]

    async def away(*_: object) -> Path:
        trainer.calls["base"] += 1
        await asyncio.sleep(0.2)
        raise TrainerUnavailable("The trainer cannot be reached.")

    monkeypatch.setattr(trainer, "base_artifact", away)
    asking = [system.serving.answer(classifier, "text") for classifier in classifiers for _ in range(5)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(answer) for answer in answers] == [TrainerUnavailable] * 10
    assert trainer.calls["base"] == 1


@pytest.mark.parametrize("harm", ["cut", "empty"])
async def test_damaged_base_encoder_is_fetched_again(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        classifier = await taught(system, count=2)
        await system.serving.ensure(classifier)
    (folder,) = (load_settings(data=tmp_path / "data").space / "models").iterdir()
    if harm == "cut":
        spoil(tmp_path, folder.name)
    else:
        shutil.rmtree(folder)
        folder.mkdir()
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        assert (await system.serving.answer(classifier, "text")).number == 0
    assert trainer.calls["base"] == 2


async def test_crash_between_registering_and_promoting_is_taken_up_after_the_start(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        classifier = await taught(system)
        with monkeypatch.context() as patch:
            reached = asyncio.Event()

            async def hang(self: object, *arguments: object) -> None:
                reached.set()
                await asyncio.Event().wait()

            patch.setattr("bot.services.promotion.PromotionService.pass_gate", hang)
            asked = await system.services.training.request(LEAD, classifier)
            await reached.wait()
    assert isinstance(asked, Requested)
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        update = await system.services.training.wait("g", asked.job.id)
        assert update.job.state is JobState.SUCCEEDED
        assert [version.number for version in await system.services.promotion.versions(classifier)] == [1]
        assert (await system.serving.answer(classifier, "text")).number == 1


async def test_a_command_without_a_bot_leaves_trainings_alone_until_it_asks_for_one(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.gate.clear()
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        asked = await system.services.training.request(LEAD, await taught(system))
        assert isinstance(asked, Requested)
        while (await system.services.training.job("g", asked.job.id)).job.state is not JobState.RUNNING:
            await asyncio.sleep(0.01)
    trainer.gate.set()
    settings = load_settings(data=tmp_path / "data", base="tiny", lease=1.0)
    async with open_services(settings) as services:  # as `pupil labels list`
        classifier = await services.classifiers.resolve("g", "triage")
        await asyncio.sleep(0.2)
        job = (await services.training.job("g", asked.job.id)).job
        assert (job.state, job.attempt, trainer.calls["submit"]) == (JobState.RUNNING, 1, 1)
        again = await services.training.request(LEAD, classifier)  # as `pupil train`
        assert isinstance(again, Requested)
        assert again.joined
        assert (await services.training.wait("g", asked.job.id)).job.state is JobState.SUCCEEDED


@pytest.mark.parametrize("method", ["submit", "fetch_artifact"])
async def test_what_the_trainer_has_deleted_meanwhile_is_another_attempt(
    system: System, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """The champion between its giving and the job, or the new version before it was fetched."""
    lost = {
        "submit": Conflict("This trainer does not have the model aa. Give it back first."),
        "fetch_artifact": NotFound("This trainer has no file manifest.json of the model aa."),
    }
    real, failures = getattr(trainer, method), [lost[method]]

    async def once(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return await real(*arguments)

    monkeypatch.setattr(trainer, method, once)
    classifier = await taught(system)
    asked = await system.services.training.request(LEAD, classifier)
    assert isinstance(asked, Requested)
    async with asyncio.timeout(60):
        update = await system.services.training.wait("g", asked.job.id)
    assert (update.job.state, update.job.attempt) == (JobState.SUCCEEDED, 2)
    assert (await system.serving.answer(classifier, "text")).number == 1


class TestFairness:
    """Many trainings of one guild beside those of others, and what people are told while theirs waits."""

    async def test_ten_trainings_of_one_guild_keep_no_other_from_the_trainer(
        self, system: System, trainer: FakeTrainer
    ) -> None:
        trainer.gate.clear()
        for number in range(10):
            await ask(system, "g", f"triage-{number}")
        await submitted(trainer, job_runner.TOGETHER)
        mine = [(await ask(system, guild, "mine")).id for guild in ("h", "i")]
        await submitted(trainer, job_runner.TOGETHER + 2)
        assert [spec.job_id for spec in trainer.specs.values()][-2:] == mine
        assert [spec.owner for spec in trainer.specs.values()] == ["g"] * 4 + ["h", "i"]
        await ask(system, "h", "another")
        assert not await submitted(trainer, job_runner.TOGETHER + 3, seconds=1.5), "h has its place already"
        trainer.gate.set()
        await submitted(trainer, 13)
        rest = [spec.owner for spec in trainer.specs.values()][6:]
        assert "h" in rest[:2], "g's turn was longer ago, but it has one only"

    async def test_there_is_an_end_to_the_places(
        self, system: System, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(job_runner, "TOGETHER", 1)
        monkeypatch.setattr(job_runner, "MOST_TOGETHER", 2)
        trainer.gate.clear()
        for guild in "ghi":
            await ask(system, guild, "mine")
        await submitted(trainer, 2)
        assert not await submitted(trainer, 3, seconds=1.5)
        trainer.gate.set()
        assert await submitted(trainer, 3)

    async def test_who_waits_here_or_on_the_trainer_hears_how_many_are_ahead(
        self, system: System, trainer: FakeTrainer
    ) -> None:
        training = system.services.training
        trainer.place = 7
        jobs = [await ask(system, "g", f"triage-{number}") for number in range(job_runner.TOGETHER + 2)]
        on_the_trainer, here = jobs[0], jobs[-1]
        await told(system, on_the_trainer, 7)
        await told(system, here, job_runner.TOGETHER + 1)
        updates = training.watch()
        trainer.place = 3
        async with asyncio.timeout(60):
            while True:
                update = await anext(updates)
                if update.job.id == on_the_trainer.id:
                    break
        assert (update.ahead, update.job.state) == (3, JobState.RUNNING)
        trainer.place = None
        assert [(await training.wait("g", job.id)).job.state for job in jobs] == [JobState.SUCCEEDED] * len(jobs)
        assert (await training.job("g", here.id)).ahead is None

    async def test_a_cancelled_training_does_not_wait_any_more(self, system: System, trainer: FakeTrainer) -> None:
        trainer.gate.clear()
        jobs = [await ask(system, "g", f"triage-{number}") for number in range(job_runner.TOGETHER + 2)]
        await told(system, jobs[-1], job_runner.TOGETHER + 1)
        await system.services.training.cancel_job(LEAD, jobs[-2].id)
        await told(system, jobs[-1], job_runner.TOGETHER)
        assert (await system.services.training.job("g", jobs[-2].id)).ahead is None

    async def test_whether_a_run_stands_still_is_for_the_trainer_to_say(
        self, system: System, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It may run on a cluster that has no host free for it yet."""
        now = [time.monotonic()]
        monkeypatch.setattr(job_runner, "time", SimpleNamespace(time=time.time, monotonic=lambda: now[0]))
        trainer.endless = True
        job = await ask(system, "g", "triage")
        while trainer.calls["poll"] < 5:
            await asyncio.sleep(0.01)
        now[0] += 5 * 3600
        polls = trainer.calls["poll"]
        while trainer.calls["poll"] < polls + 5:
            await asyncio.sleep(0.01)
        assert trainer.calls["cancel"] == 0
        trainer.endless = False
        assert (await system.services.training.wait("g", job.id)).job.attempt == 1


async def ask(system: System, guild: str, name: str) -> TrainingJob:
    """A training of a new classifier; it may wait."""
    lead = replace(LEAD, guild=guild)
    classifier = await system.services.classifiers.create(lead, name, ["bug", "praise"])
    await teach(system, classifier, count=24, text=f"{name} text")
    asked = await system.services.training.request(lead, classifier)
    assert isinstance(asked, Requested), asked
    return asked.job


async def submitted(trainer: FakeTrainer, count: int, seconds: float = 60.0) -> bool:
    """Whether the trainer has got that many jobs, waiting for it."""
    try:
        async with asyncio.timeout(seconds):
            while len(trainer.specs) < count:
                await asyncio.sleep(0.01)
    except TimeoutError:
        return False
    return True


async def told(system: System, job: TrainingJob, ahead: int) -> None:
    """Returns once the job is said to have that many ahead."""
    async with asyncio.timeout(60):
        while (await system.services.training.job(job.guild, job.id)).ahead != ahead:
            await asyncio.sleep(0.01)


class TestBasedOn:
    """What one classifier has learned, carried over to another of the same guild."""

    async def test_its_trainings_start_from_the_version_that_was_live_then(
        self, system: System, trainer: FakeTrainer
    ) -> None:
        triage = await taught(system)
        await train(system, triage)
        other = await system.services.classifiers.create(LEAD, "other", ["bug", "praise"], "triage")
        first = (await system.services.promotion.versions(triage))[0]
        await train(system, await taught(system, 100, 4))  # triage goes on; what was carried over stays
        assert (await system.stores.registry.champion("g", triage.id)) == 2
        await teach(system, other)
        trainer.snapshots.clear()
        await train(system, other)
        assert first.snapshot in trainer.snapshots, (
            "what the start has learned is no evidence, so the trainer must know"
        )
        spec = list(trainer.specs.values())[-1]
        assert (spec.start, spec.start_name, spec.champion) == (first.artifact, "triage v1", None)
        assert trainer.calls["give"] == 2  # triage's champion for its second training, and now the start
        assert [spec.start for spec in list(trainer.specs.values())[:-1]] == [None, None]
        assert (await system.serving.answer(other, "text")).number == 1

    async def test_another_start_is_another_training_also_of_the_same_labels(
        self, system: System, trainer: FakeTrainer
    ) -> None:
        _, other = await two_trained(system)
        assert isinstance(await system.services.training.request(LEAD, other), NotYet)
        based = await system.services.classifiers.base_on(LEAD, other, "triage@v1")
        assert (await train(system, based))[0] is JobState.SUCCEEDED
        again = await system.services.training.request(LEAD, based)
        assert isinstance(again, NotYet)
        assert again.reason.startswith("Nothing is new since v2")
        back = await system.services.classifiers.base_on(LEAD, based, "none")
        assert back.based_on is None
        assert (await train(system, back))[0] is JobState.SUCCEEDED
        assert [bool(spec.start) for spec in trainer.specs.values()] == [False, False, True, False]

    async def test_only_leads_decide_and_only_about_their_own_guild(self, system: System) -> None:
        _, other = await two_trained(system)
        with pytest.raises(NotAllowed, match="lead"):
            await system.services.classifiers.base_on(MEMBER, other, "triage")
        stranger = Actor("h", "9", "sam", Role.LEAD)
        with pytest.raises(NotFound, match=r"no classifier triage\. There is none yet"):
            await system.services.classifiers.create(stranger, "mine", ["a", "b"], "triage")
        assert await system.services.classifiers.list("h") == []
        mine = await system.services.classifiers.create(stranger, "mine", ["a", "b"])
        with pytest.raises(NotFound, match=r"no classifier triage\. There are: mine"):
            await system.services.classifiers.base_on(stranger, mine, "triage@v1")
        with pytest.raises(NotFound):
            await system.services.classifiers.base_on(stranger, other, "none")
        assert (await system.stores.classifiers.by_id("g", other.id)).based_on is None

    @pytest.mark.parametrize(
        ("on", "error", "words"),
        [
            ("nobody", NotFound, "no classifier nobody"),
            ("triage@v7", NotFound, "no version v7"),
            ("triage@latest", InvalidInput, "like support@v3"),
            ("triage@v0", InvalidInput, "pretrained model itself"),
            ("other@v1", InvalidInput, "based on itself"),
        ],
    )
    async def test_what_cannot_be_carried_over_is_refused_in_words(
        self, system: System, on: str, error: type[Exception], words: str
    ) -> None:
        _, other = await two_trained(system)
        with pytest.raises(error, match=words):
            await system.services.classifiers.base_on(LEAD, other, on)
        assert (await system.stores.classifiers.by_id("g", other.id)).based_on is None

    async def test_an_instant_version_and_another_base_have_nothing_to_give(
        self, system: System, trainer: FakeTrainer
    ) -> None:
        _, other = await two_trained(system)
        trainer.report = replace(report_of(5), kind=CandidateKind.INSTANT)
        await train(system, await taught(system, 100, 4))
        with pytest.raises(InvalidInput, match="v2 of `triage` answers with the pretrained encoder"):
            await system.services.classifiers.base_on(LEAD, other, "triage")
        with pytest.raises(InvalidInput, match="another pretrained model"):
            await system.services.classifiers.base_on(LEAD, replace(other, base="wide"), "triage@v1")

    async def test_a_version_that_cannot_be_carried_over_leaves_no_half_made_classifier(self, system: System) -> None:
        triage, _ = await two_trained(system)
        await system.stores.registry.mark_damaged("g", triage.id, 1)
        with pytest.raises(Conflict, match="The files of v1 are damaged"):
            await system.services.classifiers.create(LEAD, "third", ["bug", "praise"], "triage@v1")
        assert {one.name for one in await system.services.classifiers.list("g")} == {"triage", "other"}

    async def test_while_it_trains_the_choice_waits(self, system: System, trainer: FakeTrainer) -> None:
        _, other = await two_trained(system)
        await teach(system, other, 200, 4)
        trainer.gate.clear()
        asked = await system.services.training.request(LEAD, other)
        assert isinstance(asked, Requested)
        with pytest.raises(Conflict, match="A training of other is under way"):
            await system.services.classifiers.base_on(LEAD, other, "triage")
        trainer.gate.set()
        await system.services.training.wait("g", asked.job.id)
        await system.services.classifiers.base_on(LEAD, other, "triage")

    async def test_a_start_whose_files_are_gone_stops_no_training(
        self, system: System, trainer: FakeTrainer, tmp_path: Path
    ) -> None:
        _, other = await two_trained(system)
        based = await system.services.classifiers.base_on(LEAD, other, "triage")
        assert based.based_on is not None
        shutil.rmtree(load_settings(data=tmp_path / "data").space / "models" / based.based_on.artifact)
        told = "base, because the files of triage v1 are damaged or gone"
        trainer.report = replace(report_of(5), started_from=told)
        await teach(system, other, 200, 4)
        assert await train(system, other) == (JobState.SUCCEEDED, None)
        assert list(trainer.specs.values())[-1].start == based.based_on.artifact
        newest = (await system.services.promotion.versions(other))[0]
        assert newest.decision.endswith(f"Training began at the {told}.")


async def two_trained(system: System) -> tuple[Classifier, Classifier]:
    """`triage` and `other`, each with its v1."""
    triage = await taught(system)
    other = await system.services.classifiers.create(LEAD, "other", ["bug", "praise"])
    await teach(system, other)
    for classifier in (triage, other):
        await train(system, classifier)
    return triage, other


async def test_a_tick_over_many_schedules_lets_others_have_their_turns(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    last = nominal(now, "UTC")
    many = [Schedule("g", number, "0 3 * * *", None, "UTC", True, last) for number in range(1, 201)]

    async def every() -> list[Schedule]:
        return many

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    monkeypatch.setattr(system.stores.schedules, "list", every)
    turns, other = 0, asyncio.create_task(turn())
    await system.services.training.tick(now - timedelta(minutes=1))
    other.cancel()
    assert turns >= len(many)
