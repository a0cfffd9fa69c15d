"""The bot's own disk: real artifacts and training files, deleted once nobody needs them, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

import bot.services.retention as retention_module
from bot.app import System
from bot.services.people import Actor, Role
from bot.services.training import Requested
from bot.services.trials import TrialService
from storage.artifacts import read_manifest, verify
from storage.errors import ArtifactError, Conflict, NotFound
from storage.records import Classifier, JobState, ModelVersion, Source, VersionState
from storage.settings import Settings, load_settings
from storage.snapshots import read_snapshot, snapshot_path, write_snapshot
from tests.fakes.fake_trainer import FakeTrainer, report_of, system_with
from tests.fakes.tiny_encoder import make_tiny_base

LEAD = Actor("g", "1", "maria", Role.LEAD)
KEEP = {"keep_versions": 1, "keep_days": 0}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def trainer(tmp_path: Path, base: Path) -> FakeTrainer:
    return FakeTrainer(tmp_path / "trainer", base)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(data=tmp_path / "data")


@pytest.fixture
async def system(tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    async with system_with(trainer, tmp_path / "data", monkeypatch, **KEEP) as system:
        yield system


async def trained(system: System, name: str = "triage", versions: int = 1) -> Classifier:
    """A classifier with that many more versions, each of 24 more labels; the last one is live."""
    known = {each.name: each for each in await system.stores.classifiers.list("g")}
    classifier = known.get(name) or await system.services.classifiers.create(LEAD, name, ["bug", "praise"])
    for _ in range(versions):
        there = sum(count.total for count in await system.stores.classifiers.label_counts("g", classifier.id))
        await teach(system, classifier, there, f"{name} text")
        asked = await system.services.training.request(LEAD, classifier)
        assert isinstance(asked, Requested), asked
        assert (await system.services.training.wait("g", asked.job.id)).job.state is JobState.SUCCEEDED
    return classifier


async def teach(system: System, classifier: Classifier, start: int, text: str = "text") -> None:
    """24 texts labelled in turn, in one write."""
    rows = [(f"{text} {n}", "bug" if n % 2 else "praise") for n in range(start, start + 24)]
    await system.services.labeling.import_rows(LEAD, classifier.name, rows, Source.API)


async def versions_of(system: System, classifier: Classifier) -> dict[int, ModelVersion]:
    return {each.number: each for each in await system.services.promotion.versions(classifier)}


def models(settings: Settings) -> set[str]:
    return {path.name for path in settings.models.iterdir()}


def snapshots(settings: Settings) -> set[str]:
    return {path.stem for path in settings.snapshots.iterdir()}


async def check(system: System, settings: Settings, classifier: Classifier) -> None:
    """Whatever answers is whole; what the rows say is what the disk says."""
    found = await versions_of(system, classifier)
    champion = await system.stores.registry.champion("g", classifier.id)
    if champion:
        assert found[champion].files_deleted_at is None
        verify(settings.models / found[champion].artifact)
    for version in found.values():
        assert (settings.models / version.artifact).is_dir() is (version.files_deleted_at is None)
    assert not list(settings.models.glob("*.part"))


async def test_files_of_old_versions_and_their_training_files_go(system: System, settings: Settings) -> None:
    classifier = await trained(system, versions=4)
    before = await versions_of(system, classifier)
    assert {each.artifact for each in before.values()} <= models(settings)
    await system.services.retention.sweep()
    found = await versions_of(system, classifier)
    assert [number for number, each in found.items() if each.files_deleted_at] == [2, 1], "v4 is live, v3 was before it"
    await check(system, settings, classifier)
    assert snapshots(settings) == {found[3].snapshot, found[4].snapshot}
    assert (await system.serving.answer(classifier, "text")).number == 4, "the base encoder's files stay, too"
    assert {number: replace(each, files_deleted_at=None) for number, each in found.items()} == before
    assert (await system.services.promotion.rollback(LEAD, classifier)).number == 3
    assert (await system.services.comparison.compare(classifier, 1, 4)).second.name == "v4", "reports are kept"


async def test_a_version_without_files_is_refused_with_what_is_possible(system: System, settings: Settings) -> None:
    classifier = await trained(system, versions=3)
    await system.services.retention.sweep()
    for change in (system.services.promotion.promote, system.services.promotion.rollback):
        with pytest.raises(Conflict, match=r"files of v1 were deleted on 20.* Possible are v3, v2\."):
            await change(LEAD, classifier, 1)
    assert (await versions_of(system, classifier))[1].state is VersionState.RETIRED
    assert (await system.serving.answer(classifier, "text")).number == 3


async def test_a_damaged_champion_steps_over_versions_without_files(
    tmp_path: Path,
    trainer: FakeTrainer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with system_with(trainer, tmp_path / "data", monkeypatch, **KEEP) as system:
        classifier = await trained(system, versions=3)
        await system.services.promotion.rollback(LEAD, classifier, 0)
        await system.services.promotion.promote(LEAD, classifier, 3)
        await system.services.retention.sweep()
        champion = (await versions_of(system, classifier))[3]
    path = settings.models / champion.artifact / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:-10])
    async with system_with(trainer, tmp_path / "data", monkeypatch, **KEEP) as system:
        assert (await system.serving.answer(classifier, "text")).number == 0
        states = {number: each.state for number, each in (await versions_of(system, classifier)).items()}
        assert states == {3: VersionState.DAMAGED, 2: VersionState.RETIRED, 1: VersionState.RETIRED}
    assert caplog.messages.count("version.damaged") == 1, "the others were not even tried"


async def test_what_a_start_has_learned_stays_with_it(system: System, trainer: FakeTrainer, settings: Settings) -> None:
    """v1 of `triage` is the start of `other`: its files stay, and the training file that it has learned."""
    triage = await trained(system)
    first = (await versions_of(system, triage))[1]
    await system.services.classifiers.create(LEAD, "other", ["bug", "praise"], "triage")
    await trained(system, versions=3)
    other = await trained(system, "other")
    await system.services.retention.sweep()
    assert [number for number, each in (await versions_of(system, triage)).items() if each.files_deleted_at] == [2]
    assert first.snapshot in snapshots(settings)
    trainer.snapshots.clear()
    await trained(system, "other")
    assert first.snapshot in trainer.snapshots, "a trainer that starts there needs it"
    await check(system, settings, other)


async def test_files_that_became_no_version_go(
    system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training is cancelled when its files are here already."""
    classifier = await trained(system)
    first, arrived = models(settings), asyncio.Event()

    async def wait(*_: object) -> object:
        arrived.set()
        return await asyncio.Event().wait()

    monkeypatch.setattr(type(system.stores.registry), "add", wait)
    await teach(system, classifier, 100)
    asked = await system.services.training.request(LEAD, classifier)
    assert isinstance(asked, Requested)
    await arrived.wait()
    await system.services.retention.sweep()
    assert len(models(settings) - first) == 1, "it may become a version"
    await system.services.training.cancel(LEAD, classifier)
    await system.services.retention.sweep()
    assert models(settings) == first
    await check(system, settings, classifier)


async def test_cached_vectors_go_with_the_last_files_of_their_encoder(
    system: System, trainer: FakeTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """v1 has the encoder of the base; v2, v3 and v4 have one of their own each."""

    async def encoders() -> list[str]:
        return [encoder for _, encoder in await system.stores.keeping.vector_encoders()]

    classifier = await system.services.classifiers.create(LEAD, "triage", ["bug", "praise"])
    await teach(system, classifier, 0, "triage text")
    await system.serving.settle(classifier)
    (first,) = await encoders()
    added = [first]
    await trained(system)
    for seed in (2, 3, 4):
        trainer.base = make_tiny_base(tmp_path / f"tiny {seed}", seed=seed)
        await trained(system)
        await system.services.labeling.label(LEAD, classifier, f"one more with {seed}", "bug", Source.API)
        await system.serving.settle(classifier)
        added += set(await encoders()) - set(added)
    assert len(added) == 4
    with monkeypatch.context() as patched:
        patched.setattr(retention_module, "_encoders", broken)
        await system.services.retention.sweep()
    assert set(await encoders()) == set(added), "a manifest that cannot be read may be of an encoder in use"
    await system.services.retention.sweep()
    assert set(await encoders()) == {added[0], added[2], added[3]}, "v4 is live, v3 was before it"
    monkeypatch.setattr(retention_module, "BASE_EXPORT", 99)  # an update that exports the base otherwise
    await system.services.retention.sweep()
    assert set(await encoders()) == {added[2], added[3]}


def broken(*_: object) -> set[str]:
    raise ArtifactError("The manifest cannot be read.")


async def test_lineage_keeps_what_rows_do_not_name(
    system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of a kept version say what its encoder has learned: here also the training file of v1."""
    classifier = await trained(system, versions=3)
    found = await versions_of(system, classifier)
    real = read_manifest

    def with_history(directory: Path) -> object:
        manifest = real(directory)
        if directory.name == found[3].artifact:
            return replace(manifest, lineage={"learned": [found[1].snapshot, found[3].snapshot]})
        return manifest

    monkeypatch.setattr(retention_module, "read_manifest", with_history)
    await system.services.retention.sweep()
    await check(system, settings, classifier)
    assert found[1].snapshot in snapshots(settings)


async def test_training_files_of_which_no_training_came_go(system: System, settings: Settings) -> None:
    """As a kill leaves them between the file and the row of the job."""
    classifier = await trained(system)
    (needed,) = snapshots(settings)
    content = read_snapshot(snapshot_path(settings.snapshots, needed))
    write_snapshot(replace(content, last_event_id=0), settings.snapshots)
    (settings.snapshots / f"{'0' * 64}.jsonl").write_text("damaged")
    (settings.snapshots / "notes.txt").write_text("somebody else's")
    await system.services.retention.sweep()
    assert snapshots(settings) == {needed, "notes"}
    (settings.snapshots / "notes.txt").unlink()
    await check(system, settings, classifier)


async def test_a_training_under_way_keeps_its_files(system: System, trainer: FakeTrainer, settings: Settings) -> None:
    classifier = await trained(system, versions=2)
    trainer.gate.clear()
    await teach(system, classifier, 100)
    asked = await system.services.training.request(LEAD, classifier)
    assert isinstance(asked, Requested)
    await system.services.promotion.rollback(LEAD, classifier, 0)
    await system.services.promotion.promote(LEAD, classifier, 1)  # v2, which it compares with, is not the one before
    await system.services.retention.sweep()
    assert asked.job.snapshot in snapshots(settings)
    await check(system, settings, classifier)
    assert all(each.files_deleted_at is None for each in (await versions_of(system, classifier)).values())
    trainer.gate.set()
    assert (await system.services.training.wait("g", asked.job.id)).job.state is JobState.SUCCEEDED


async def test_a_failed_training_asked_for_again_finds_its_training_file(
    system: System, trainer: FakeTrainer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is there already, and unneeded, at the moment in which the same labels are to be trained again."""
    classifier = await trained(system)
    trainer.failure = ("It broke.", False)
    await teach(system, classifier, 100)
    asked = await system.services.training.request(LEAD, classifier)
    assert isinstance(asked, Requested)
    assert (await system.services.training.wait("g", asked.job.id)).job.state is JobState.FAILED
    trainer.failure = None
    create, sweeps = system.stores.jobs.create, []

    async def sweep_first(*arguments: object) -> object:
        sweeps.append(asyncio.create_task(system.services.retention.sweep()))
        await asyncio.sleep(0.2)  # it would be done by now
        return await create(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(type(system.stores.jobs), "create", lambda self, job: sweep_first(job))
    again = await system.services.training.request(LEAD, classifier)
    assert isinstance(again, Requested)
    assert again.job.snapshot == asked.job.snapshot
    await asyncio.gather(*sweeps)
    assert asked.job.snapshot in snapshots(settings)
    assert (await system.services.training.wait("g", again.job.id)).job.state is JobState.SUCCEEDED


@pytest.mark.parametrize("when", ["before the pointer", "while it is read"])
async def test_a_version_whose_files_go_does_not_go_live(
    system: System, settings: Settings, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    classifier = await trained(system, versions=3)
    hold, prepare = TrialService.hold, system.serving.prepare

    async def after(self: TrialService, *arguments: object) -> object:
        await system.services.retention.sweep()
        return await hold(self, *arguments)  # type: ignore[arg-type]

    async def during(classifier: Classifier, version: ModelVersion | None) -> object:
        await system.services.retention.sweep()
        return await prepare(classifier, version)

    if when == "before the pointer":
        monkeypatch.setattr(TrialService, "hold", after)
    else:
        monkeypatch.setattr(type(system.serving), "prepare", lambda self, *arguments: during(*arguments))
    with pytest.raises(Conflict, match="files of v1 were deleted"):
        await system.services.promotion.promote(LEAD, classifier, 1)
    assert (await system.serving.answer(classifier, "text")).number == 3
    assert (await versions_of(system, classifier))[1].state is VersionState.RETIRED, "gone is not damaged"
    await check(system, settings, classifier)


async def test_a_version_that_is_live_keeps_its_files_and_so_do_those_of_a_race(
    system: System, settings: Settings
) -> None:
    classifier = await trained(system, versions=4)
    for wanted, pause in ((1, 0.0), (2, 0.001), (3, 0.005), (1, 0.02), (4, 0.0)):

        async def later(pause: float = pause) -> None:
            await asyncio.sleep(pause)
            await system.services.retention.sweep()

        done, _ = await asyncio.gather(
            system.services.promotion.promote(LEAD, classifier, wanted), later(), return_exceptions=True
        )
        assert not isinstance(done, BaseException) or isinstance(done, Conflict)
        await check(system, settings, classifier)
        live = await system.stores.registry.champion("g", classifier.id)
        assert (await system.serving.answer(classifier, "text")).number == live


async def test_a_crash_after_the_decision_is_made_good_at_the_start(
    tmp_path: Path, trainer: FakeTrainer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with system_with(trainer, tmp_path / "data", monkeypatch, **KEEP) as system:
        classifier = await trained(system, versions=3)
        first = (await versions_of(system, classifier))[1]
        assert await system.stores.keeping.let_go("g", classifier.id, 1, time.time(), time.time()) == [1]
        assert first.artifact in models(settings)
    half = settings.snapshots / f"{first.snapshot}.jsonl.01234567.part"
    half.write_text("every text of the server")
    async with system_with(trainer, tmp_path / "data", monkeypatch, **KEEP) as system:
        await check(system, settings, classifier)
        assert first.artifact not in models(settings)
        assert not half.exists()


async def test_the_clock_wakes_it_once_a_day_and_the_defaults_keep_ten(
    tmp_path: Path, trainer: FakeTrainer, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime, timedelta

    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        swept: list[float] = []
        real = system.services.retention.sweep

        async def sweep() -> None:
            swept.append(time.time())
            await real()

        monkeypatch.setattr(system.services.retention, "sweep", sweep)
        classifier = await trained(system, versions=2)
        now = datetime(2026, 5, 1, tzinfo=UTC)
        for hours in (0, 1, 23, 24, 25, 49):
            await system.services.retention.tick(now + timedelta(hours=hours))
        assert len(swept) == 3
        await check(system, settings, classifier)
        assert all(each.files_deleted_at is None for each in (await versions_of(system, classifier)).values())


async def test_forgetting_reaches_training_files_of_which_no_training_came(system: System, settings: Settings) -> None:
    await trained(system)
    (needed,) = snapshots(settings)
    content = read_snapshot(snapshot_path(settings.snapshots, needed))
    write_snapshot(replace(content, last_event_id=0), settings.snapshots)
    elsewhere = write_snapshot(replace(content, guild="h"), settings.snapshots)
    receipt = await system.services.privacy.forget(LEAD)
    assert (receipt.learned, receipt.waiting) == (("triage v1",), 0)
    assert snapshots(settings) == {elsewhere}, "it is not about this server"


async def test_forgetting_names_no_version_that_has_no_files(
    system: System, trainer: FakeTrainer, settings: Settings
) -> None:
    """What is left of it is a report; nothing that has learned from the person's texts."""
    classifier = await trained(system)
    trainer.report = report_of(5)
    await trained(system, versions=3)
    await system.services.retention.sweep()
    receipt = await system.services.privacy.forget(LEAD)
    assert receipt.learned == ("triage v3", "triage v4")
    assert receipt.unknown == ()
    assert snapshots(settings) == set(), "those with forgotten texts are gone, as ever"
    await check(system, settings, classifier)


async def test_old_answers_of_the_api_go_and_are_counted(system: System) -> None:
    services = system.services
    triage = await services.classifiers.create(LEAD, "triage", ["bug", "praise"])
    first, newest = [await services.prediction.ask(LEAD, triage, "it broke", Source.API) for _ in range(2)]
    await services.retention.sweep()
    with pytest.raises(NotFound, match="Ask again"):
        await services.prediction.get("g", first.id)
    assert (await services.prediction.get("g", newest.id)).id == newest.id
    assert (await services.classifiers.stats(triage)).asked == 2
