"""Labels renamed and merged after a real, tiny training: what was learned stays, the next one compares fairly."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.app import System
from bot.services.people import Actor, Role
from bot.services.training import Requested
from storage.artifacts import seal
from storage.label_changes import ChangeKind
from storage.records import Classifier, EvaluationReport, ModelVersion, Source, Split
from storage.snapshots import read_snapshot
from tests.fakes.fake_trainer import FakeTrainer, system_with
from tests.fakes.lessons import WORDS, make_snapshot, one_torch_thread
from tests.fakes.tiny_encoder import make_tiny_base, make_tiny_encoder
from trainer.learn import learn
from trainer.protocol import JobSpec, from_json

LEAD = Actor("1", "10", "maria", Role.LEAD)
RECIPE = {"body_rate": 1e-3, "frozen_layers": 1, "name_weight": 1.0}
TEXT = "my money charged refund again"


class TinyTrainer(FakeTrainer):
    """Trains for real, in this process."""

    network: Path

    def _train(self, spec: JobSpec) -> str:
        snapshot = read_snapshot(self.snapshots[spec.snapshot])
        self.root.mkdir(exist_ok=True)
        staging, champion = self.root / "real.part", self.root / spec.champion if spec.champion else None
        shutil.rmtree(staging, ignore_errors=True)
        learn(snapshot, self.network, champion, replace(spec, recipe=RECIPE), staging, lambda progress: None, "cpu")
        labels = [{"id": label.id, "name": label.name, "description": ""} for label in snapshot.labels]
        return seal(staging, self.root, "version", labels, {"job": spec.job_id, "snapshot": spec.snapshot}, 0.0)


@pytest.fixture
async def trainer(tmp_path: Path) -> TinyTrainer:
    one_torch_thread()
    trainer = TinyTrainer(tmp_path / "trainer", make_tiny_base(tmp_path / "base"))
    trainer.network = make_tiny_encoder(tmp_path / "network", texts=WORDS.values())
    return trainer


@pytest.fixture
async def system(tmp_path: Path, trainer: TinyTrainer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        yield system


async def train(system: System, triage: Classifier) -> ModelVersion:
    requested = await system.services.training.request(LEAD, triage)
    assert isinstance(requested, Requested)
    update = await system.services.training.wait(triage.guild, requested.job.id)
    assert update.version is not None, update.job.error
    return update.version


async def change(
    system: System, triage: Classifier, kind: ChangeKind, name: str, words: str = "", into: str = ""
) -> int:
    preview = await system.services.curation.preview(LEAD, triage, kind, name, words, into)
    return (await system.services.curation.confirm(LEAD, preview.draft_id)).change.id


async def answer(system: System, triage: Classifier) -> tuple[str, str, float]:
    await system.serving.settle(triage)
    found = await system.serving.answer(triage, TEXT)
    return found.scores[0].label, found.version, found.scores[0].confidence


@pytest.mark.slow
async def test_a_version_keeps_what_it_learned_through_a_rename_a_restart_and_the_next_training(
    system: System, trainer: TinyTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(row.text, row.label) for row in make_snapshot().rows]
    triage = (await system.services.labeling.import_rows(LEAD, "triage", rows, Source.FILE)).classifier
    version = await train(system, triage)
    if version.number != await system.stores.registry.champion("1", triage.id):
        await system.services.promotion.promote(LEAD, triage, version.number)
    label, name, confidence = await answer(system, triage)
    assert (label, name) == ("refund", "v1")
    change_id = await change(system, triage, ChangeKind.RENAME, "refund", "money back")
    assert await answer(system, triage) == ("money back", "v1", confidence)
    await change(system, triage, ChangeKind.MERGE, "praise", into="bug")
    merged = await answer(system, triage)
    assert merged[:2] == ("money back", "v1+1")
    more = [(row.text, {"refund": "money back"}.get(row.label, "bug")) for row in make_snapshot(seed=5).rows]
    await system.services.labeling.import_rows(LEAD, "triage", more, Source.FILE)
    second = await train(system, triage)
    report = from_json(EvaluationReport, second.report)
    assert {one.label for one in report.outcomes} == {"money back", "bug"}
    assert {one.champion for one in report.outcomes} == {"money back", "bug"}
    measured = [one for one in report.outcomes if one.split is Split.TRAIN]
    assert sum(one.champion == one.label for one in measured) / len(measured) > 0.8
    assert version.labels == ("bug", "refund", "praise")
    await system.services.curation.undo(LEAD, change_id)
    assert (await answer(system, triage))[0] == "refund"


@pytest.mark.slow
async def test_a_renamed_label_is_answered_by_its_new_name_after_a_restart(
    trainer: TinyTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(row.text, row.label) for row in make_snapshot().rows]
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        triage = (await system.services.labeling.import_rows(LEAD, "triage", rows, Source.FILE)).classifier
        version = await train(system, triage)
        if version.number != await system.stores.registry.champion("1", triage.id):
            await system.services.promotion.promote(LEAD, triage, version.number)
        _, _, confidence = await answer(system, triage)
        await change(system, triage, ChangeKind.RENAME, "refund", "money back")
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        assert await answer(system, triage) == ("money back", "v1", confidence)
