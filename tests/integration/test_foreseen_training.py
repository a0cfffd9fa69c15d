"""The trainer is told when a training comes near: by a person, by the clock, by the number of labels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.app import System
from bot.services.slots import next_slots
from bot.services.training import Requested
from storage.errors import NotFound, PupilError, TrainerUnavailable
from storage.records import Classifier, JobState
from tests.fakes.fake_trainer import FakeTrainer, system_with
from tests.fakes.tiny_encoder import make_tiny_base
from tests.integration.test_training_service import LEAD, taught, train

NIGHTLY = "30 2 * * *"


@pytest.fixture
def trainer(tmp_path: Path) -> FakeTrainer:
    return FakeTrainer(tmp_path / "trainer", make_tiny_base(tmp_path / "base"))


@pytest.fixture
async def system(tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        yield system


async def warmed(trainer: FakeTrainer) -> int:
    """How often the trainer was told, once all that was under way has happened."""
    for _ in range(10):  # what was begun aside needs the loop, but no time
        await asyncio.sleep(0)
    return trainer.calls["warm"]


async def before_a_slot(system: System, classifier: Classifier, *, seconds: float) -> datetime:
    """A nightly schedule, and a moment so long before its next slot."""
    await system.services.training.schedule(LEAD, classifier, NIGHTLY, None)
    (night,) = next_slots(NIGHTLY, "UTC", datetime.now(UTC), count=1)
    await system.services.training.tick(night - timedelta(seconds=120))
    return night - timedelta(seconds=seconds)


async def test_somebody_who_asks_has_the_trainer_told_before_it_gets_the_snapshot(
    system: System, trainer: FakeTrainer
) -> None:
    trainer.gate.clear()
    asked = await system.services.training.request(LEAD, await taught(system))
    assert isinstance(asked, Requested)
    trainer.gate.set()
    await system.services.training.wait("g", asked.job.id)
    assert trainer.told[:3] == ["warm", "snapshot", "submit"]


@pytest.mark.parametrize("trouble", [TrainerUnavailable("away"), NotFound("an older trainer")])
async def test_a_trainer_that_cannot_be_told_trains_all_the_same(
    system: System, trainer: FakeTrainer, trouble: PupilError
) -> None:
    trainer.cold = trouble
    assert (await train(system, await taught(system)))[0] is JobState.SUCCEEDED
    assert trainer.calls["warm"] == 1


async def test_a_refused_training_tells_the_trainer_nothing(system: System, trainer: FakeTrainer) -> None:
    await system.services.training.request(LEAD, await taught(system, count=4))
    assert await warmed(trainer) == 0


async def test_shortly_before_a_slot_it_is_told_once(system: System, trainer: FakeTrainer) -> None:
    now = await before_a_slot(system, await taught(system), seconds=80)
    assert await warmed(trainer) == 0
    for seconds in range(0, 70, 10):
        await system.services.training.tick(now + timedelta(seconds=seconds))
    assert await warmed(trainer) == 1


async def test_before_a_slot_with_nothing_to_train_on_it_is_not_told(system: System, trainer: FakeTrainer) -> None:
    classifier = await taught(system)
    await train(system, classifier)
    told = await warmed(trainer)
    await system.services.training.tick(await before_a_slot(system, classifier, seconds=80))
    assert await warmed(trainer) == told


async def test_the_last_labels_before_a_training_tell_it_once_each(system: System, trainer: FakeTrainer) -> None:
    classifier = await taught(system, count=50)
    await system.services.training.schedule(LEAD, classifier, None, 60)
    now = datetime.now(UTC)
    counts = []
    for start in (50, 54, 55, 59):  # texts that are taught by then
        await taught(system, start=50, count=start - 50)
        for _ in range(3):
            await system.services.training.tick(now)
        counts.append(await warmed(trainer))
    assert counts == [0, 1, 2, 3]


async def test_whoever_wants_no_spare_process_has_the_trainer_told_nothing(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with system_with(trainer, tmp_path / "other", monkeypatch, spare=False) as system:
        assert (await train(system, await taught(system)))[0] is JobState.SUCCEEDED
        assert await warmed(trainer) == 0
