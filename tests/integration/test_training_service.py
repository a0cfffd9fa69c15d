"""Trainings from the request to the swap, on a real database and engine; the trainer's failures are scripted."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import bot.services.job_runner as job_runner
import bot.services.serving as serving_module
from bot.app import System
from bot.services.people import Actor, Role
from bot.services.training import NotYet, Requested
from storage.errors import ArtifactError, Busy, NotAllowed, TrainerUnavailable
from storage.records import Classifier, JobState, Source, VersionState
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
    for n in range(start, start + count):
        label = "bug" if n % 2 else "praise"
        await system.services.labeling.label(LEAD, classifier, f"text number {n}", label, Source.API)
    return classifier


async def train(system: System, classifier: Classifier) -> tuple[JobState, str | None]:
    asked = await system.services.training.request(LEAD, classifier)
    assert isinstance(asked, Requested), asked
    update = await system.services.training.wait("g", asked.job.id)
    return update.job.state, update.job.error


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


async def test_after_a_rollback_nothing_goes_live_until_a_lead_promotes_a_newer_version(system: System) -> None:
    classifier = await taught(system)
    await train(system, classifier)
    await system.services.promotion.rollback(LEAD, classifier)
    await train(system, await taught(system, 100, 4))
    assert (await system.serving.answer(classifier, "text")).number == 0
    await system.services.promotion.promote(LEAD, classifier, 2)
    await train(system, await taught(system, 200, 4))
    assert (await system.serving.answer(classifier, "text")).number == 3


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
    assert (await system.services.promotion.versions(classifier))[0].state is VersionState.CANDIDATE
    await system.services.promotion.promote(LEAD, classifier, 1)
    assert (await system.serving.answer(classifier, "text")).number == 1


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

            patch.setattr("bot.services.promotion.PromotionService.go_live", hang)
            asked = await system.services.training.request(LEAD, classifier)
            await reached.wait()
    assert isinstance(asked, Requested)
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        update = await system.services.training.wait("g", asked.job.id)
        assert update.job.state is JobState.SUCCEEDED
        assert [version.number for version in await system.services.promotion.versions(classifier)] == [1]
        assert (await system.serving.answer(classifier, "text")).number == 1
