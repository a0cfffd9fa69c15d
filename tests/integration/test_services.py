"""Labelling, asking, schedules and the lesson on a real database and engine; the trainer is scripted."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.app import System
from bot.inference.engine import Served
from bot.playground.objects import GUILD_ID
from bot.services.people import Actor, Role
from bot.services.training import Requested
from storage.errors import Conflict, InvalidInput, NotAllowed, NotFound, TrainerUnavailable
from storage.label_changes import ChangeKind
from storage.records import JobState, Schedule, Source, text_hash
from tests.fakes.fake_trainer import FakeTrainer, system_with
from tests.fakes.tiny_encoder import make_tiny_base

LEAD = Actor("1", "10", "maria", Role.LEAD)
ADA = Actor("1", "11", "ada")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def trainer(tmp_path: Path, base: Path) -> FakeTrainer:
    return FakeTrainer(tmp_path / "trainer", base)


@pytest.fixture
async def system(tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        yield system


def golden_text() -> str:
    """A text that the split's rule puts into the golden set."""
    texts = (f"a text that is kept aside, number {number}" for number in range(1000))
    return next(text for text in texts if is_golden(text))


def is_golden(text: str) -> bool:
    return int(hashlib.sha256(f"golden:{text_hash(text)}".encode()).hexdigest(), 16) % 10 == 0


async def test_label_counts_in_the_next_answer_and_undo_of_a_change_restores_the_label_before(system: System) -> None:
    services = system.services
    triage = await services.classifiers.create(LEAD, "triage", ["bug", "praise"])
    first = await services.labeling.label(ADA, triage, "the app  CRASHES", "BUG", Source.COMMAND)
    assert (first.label, first.previous, first.label_total) == ("bug", None, 1)
    changed = await services.labeling.label(ADA, triage, "The app crashes", "praise", Source.COMMAND)
    assert (changed.example_id, changed.previous) == (first.example_id, "bug")
    await system.serving.settle(triage)
    answer = await services.prediction.ask(ADA, triage, "the app crashes", Source.COMMAND)
    assert answer.version == "v0+1"
    assert answer.taught is not None
    assert answer.taught.label == "praise"
    # Once it serves, a label is taken in without anybody waiting for it.
    await services.labeling.label(ADA, triage, "wonderful, thank you", "praise", Source.COMMAND)
    async with asyncio.timeout(10):
        while (await services.prediction.ask(ADA, triage, "anything", Source.API)).version != "v0+2":
            await asyncio.sleep(0.02)
    undone = await services.labeling.undo(ADA, changed.event_id)
    assert undone is not None
    assert (undone.label, undone.now, undone.again) == ("praise", "bug", False)
    again = await services.labeling.undo(ADA)
    assert again is not None
    assert (again.label, again.now, again.again) == ("praise", "praise", True)


async def test_golden_text_is_told_as_taught_but_never_trained_on(system: System) -> None:
    triage = await system.services.classifiers.create(LEAD, "triage", ["bug", "praise"])
    receipt = await system.services.labeling.label(ADA, triage, golden_text(), "praise", Source.COMMAND)
    assert receipt.golden
    answer = await system.services.prediction.ask(ADA, triage, golden_text().upper(), Source.COMMAND)
    assert answer.taught is not None
    assert answer.taught.label == "praise"
    assert answer.label != "praise", "golden texts are in no head"
    confirmed = await system.services.prediction.right(LEAD, answer.id)
    assert confirmed is not None
    assert confirmed.label == "praise", "what stood first is what was right"
    stats = await system.services.classifiers.stats(triage)
    assert (stats.right, stats.wrong) == (0, 1), "the model itself had said something else"


async def test_unknown_label_names_the_nearest_and_stores_nothing(system: System) -> None:
    triage = await system.services.classifiers.create(LEAD, "triage", ["billing", "praise"])
    with pytest.raises(NotFound, match="Did you mean `billing`"):
        await system.services.labeling.label(ADA, triage, "twice charged", "biling", Source.COMMAND)
    assert sum(count.total for count in await system.services.classifiers.labels(triage)) == 0


async def test_suggestions_put_the_models_guess_first_and_follow_what_is_typed(system: System) -> None:
    triage = await system.services.classifiers.create(LEAD, "triage", ["bug", "refund", "praise"])
    ranked = await system.services.labeling.suggest(triage, "refund the order", "")
    confidences = [confidence for _, confidence in ranked if confidence is not None]
    assert len(confidences) == 3
    assert confidences == sorted(confidences, reverse=True)
    assert [name for name, _ in await system.services.labeling.suggest(triage, "", "RA")] == ["praise"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("fine", "bug"), ("", "bug")], "Row 2: The text is empty"),
        ([("fine", "bug"), ("x" * 4001, "bug")], "Row 2: The text has 4,001 characters"),
        ([("fine", "bug"), ("half \ud83d", "bug")], "Row 2: The text holds characters that are no text"),
        ([("fine", "bug"), ("fine too", " ")], "Row 2 has no label"),
        ([("fine", "bug"), ("fine too", "b@g")], "Row 2: The label's name holds @.* Nothing was imported"),
        ([], "no rows"),
    ],
)
async def test_import_is_all_or_nothing(system: System, rows: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        await system.services.labeling.import_rows(LEAD, "triage", rows, Source.FILE)
    assert await system.stores.classifiers.list("1") == []


async def test_imports_at_the_same_moment_share_what_they_create(system: System) -> None:
    rows = [[(f"text {number} of {who}", "bug" if number % 2 else "praise") for number in range(9)] for who in range(4)]
    imports = [system.services.labeling.import_rows(LEAD, "triage", each, Source.FILE) for each in rows]
    await asyncio.gather(*imports)
    counts = await system.services.classifiers.labels(await system.services.classifiers.resolve("1", "triage"))
    assert {count.label.name: count.total for count in counts} == {"praise": 20, "bug": 16}


async def test_feedback_becomes_a_label_of_that_person_once(system: System) -> None:
    triage = await system.services.classifiers.create(LEAD, "triage", ["bug", "praise"])
    asked = await system.services.prediction.ask(ADA, triage, "it freezes", Source.COMMAND)
    for _ in range(2):  # a double click
        receipt = await system.services.prediction.wrong(ADA, asked.id, "bug")
        assert receipt is not None
        assert receipt.label_total == 1
    silent = await system.services.prediction.ask(ADA, triage, "somebody else's words", Source.MESSAGE)
    assert await system.services.prediction.right(ADA, silent.id) is None
    assert sum(count.total for count in await system.services.classifiers.labels(triage)) == 1
    stats = await system.services.classifiers.stats(triage)
    assert (stats.asked, stats.annotators) == (2, [(ADA.id, "ada", 1)])


async def test_a_change_is_one_more_label_whose_undo_brings_the_first_one_back(system: System) -> None:
    labeling = system.services.labeling
    triage = await system.services.classifiers.create(LEAD, "triage", ["bug", "idea"])
    first = await labeling.label(ADA, triage, "dark mode", "bug", Source.COMMAND)
    changed = await labeling.change(ADA, triage, first.event_id, "idea")
    assert (changed.label, changed.previous, changed.now) == ("idea", "bug", "idea")
    undone = await labeling.undo(ADA, changed.event_id)
    assert undone is not None
    assert undone.now == "bug"
    with pytest.raises(Conflict, match="taken back already"):
        await labeling.change(ADA, triage, changed.event_id, "idea")
    with pytest.raises(NotFound, match="that you gave"):
        await labeling.change(LEAD, triage, first.event_id, "idea")
    with pytest.raises(NotFound):
        await labeling.change(ADA, triage, first.event_id, "no such label")


async def test_a_change_that_may_not_be_stored_leaves_the_label_as_it_was(system: System) -> None:
    labeling = system.services.labeling
    triage = await system.services.classifiers.create(LEAD, "triage", ["bug", "idea"])
    first = await labeling.label(ADA, triage, "dark mode", "bug", Source.COMMAND)
    await system.services.privacy.opt_out(ADA)
    with pytest.raises(NotAllowed):
        await labeling.change(ADA, triage, first.event_id, "idea")
    assert await labeling.label_of(triage, "dark mode") == "bug"


async def test_an_answer_was_right_however_its_label_is_written_or_called_by_now(system: System) -> None:
    services = system.services
    triage = await services.classifiers.create(LEAD, "triage", ["bug"])
    asked = [await services.prediction.ask(ADA, triage, f"it broke {n}", Source.COMMAND) for n in range(3)]
    await services.prediction.wrong(ADA, asked[0].id, "BUG")
    preview = await services.curation.preview(LEAD, triage, ChangeKind.RENAME, "bug", "defect")
    await services.curation.confirm(LEAD, preview.draft_id)
    await services.prediction.wrong(ADA, asked[1].id, "defect")
    await services.classifiers.create_label(LEAD, triage, "idea")
    await services.prediction.wrong(ADA, asked[2].id, "idea")
    stats = await services.classifiers.stats(triage)
    assert (stats.right, stats.wrong) == (2, 1)


async def test_a_leads_label_settles_anew_what_a_lead_has_settled(system: System) -> None:
    labeling, suspects = system.services.labeling, system.services.suspects
    triage = await system.services.classifiers.create(LEAD, "triage", ["bug", "idea"])
    idea = (await system.services.classifiers.labels(triage))[1].label
    first = await labeling.label(ADA, triage, "dark mode", "idea", Source.COMMAND)
    await suspects.change(LEAD, triage, first.example_id, idea.id, "bug")
    mine = await labeling.label(LEAD, triage, "dark mode", "idea", Source.COMMAND)
    assert (mine.previous, mine.now, await labeling.label_of(triage, "dark mode")) == ("bug", "idea", "idea")
    undone = await labeling.undo(LEAD, mine.event_id)
    assert undone is not None
    assert undone.now == "bug"
    asked = await system.services.prediction.ask(LEAD, triage, "dark mode", Source.COMMAND)
    corrected = await system.services.prediction.wrong(LEAD, asked.id, "idea")
    assert corrected is not None
    assert corrected.now == "idea"
    again = await labeling.label(ADA, triage, "dark mode", "bug", Source.COMMAND)
    assert (again.now, again.ruled) == ("idea", "idea")


async def test_a_leads_import_settles_anew_what_a_lead_has_settled(system: System) -> None:
    services = system.services
    triage = await services.classifiers.create(LEAD, "triage", ["bug", "idea"])
    idea = (await services.classifiers.labels(triage))[1].label
    for text in ("dark mode", "light mode"):
        first = await services.labeling.label(ADA, triage, text, "idea", Source.COMMAND)
        await services.suspects.change(LEAD, triage, first.example_id, idea.id, "bug")
    preview = await services.imports.preview_file(LEAD, triage, b"text,label\ndark mode,idea\n", "fixed.csv")
    await services.imports.apply(LEAD, preview.token)
    assert await services.labeling.label_of(triage, "dark mode") == "idea"
    await services.labeling.import_rows(LEAD, "triage", [("light mode", "idea")], Source.API)
    assert await services.labeling.label_of(triage, "light mode") == "idea"
    await services.imports.undo(LEAD, preview.token)
    assert await services.labeling.label_of(triage, "dark mode") == "bug"


async def test_a_leads_label_settles_anew_also_where_it_had_to_be_created(system: System) -> None:
    services = system.services
    triage = await services.classifiers.create(LEAD, "triage", ["bug", "idea"])
    idea = (await services.classifiers.labels(triage))[1].label
    first = await services.labeling.label(ADA, triage, "site is down", "idea", Source.COMMAND)
    await services.suspects.change(LEAD, triage, first.example_id, idea.id, "bug")
    typed = await services.proposing.keep(LEAD, triage, "outage", "site is down", Source.COMMAND)
    await services.proposing.create(LEAD, typed.id)
    assert await services.labeling.label_of(triage, "site is down") == "outage"


async def test_a_receipt_names_the_archived_label_that_a_lead_has_chosen(system: System) -> None:
    services = system.services
    triage = await services.classifiers.create(LEAD, "triage", ["bug", "idea", "other"])
    other = next(count.label for count in await services.classifiers.labels(triage) if count.label.name == "other")
    first = await services.labeling.label(ADA, triage, "dark mode", "bug", Source.COMMAND)
    await services.labeling.label(LEAD, triage, "dark mode", "idea", Source.COMMAND)
    await services.conflicts.settle(LEAD, triage, first.example_id, other)
    draft = await services.curation.preview(LEAD, triage, ChangeKind.ARCHIVE, "other")
    await services.curation.confirm(LEAD, draft.draft_id)
    lost = await services.labeling.label(ADA, triage, "dark mode", "idea", Source.COMMAND)
    assert (lost.now, lost.ruled) == (None, "other")
    assert await services.conflicts.next(LEAD, triage) is None
    assert (await services.labeling.label(LEAD, triage, "dark mode", "idea", Source.COMMAND)).now == "idea"


async def test_one_server_does_not_see_the_other(system: System) -> None:
    triage = await system.services.classifiers.create(LEAD, "triage", ["bug", "praise"])
    asked = await system.services.prediction.ask(ADA, triage, "it freezes", Source.COMMAND)
    stranger = Actor("2", "10", "maria", Role.OPERATOR)
    for attempt in (
        system.services.prediction.right(stranger, asked.id),
        system.services.classifiers.resolve("2", "triage"),
        system.services.training.cancel_job(stranger, "00"),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert await system.services.labeling.undo(stranger) is None


async def test_classifier_is_found_by_channel_then_as_the_only_one_then_asked_for(system: System) -> None:
    classifiers = system.services.classifiers
    with pytest.raises(NotFound, match="/classifier create"):
        await classifiers.resolve("1", None)
    await classifiers.create(LEAD, "triage")
    assert (await classifiers.resolve("1", None)).name == "triage"
    await classifiers.create(LEAD, "mood")
    with pytest.raises(InvalidInput, match="`mood`, `triage`"):
        await classifiers.resolve("1", None, "c1")
    await classifiers.use(LEAD, "c1", "mood")
    assert (await classifiers.resolve("1", None, "c1")).name == "mood"


async def test_a_label_that_comes_while_its_classifier_is_brought_in_counts(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, heads = system.services, system.serving._memory._heads
    triage = await services.classifiers.create(LEAD, "triage", ["bug", "praise"])
    corrected, looked, go_on = heads.corrected, asyncio.Event(), asyncio.Event()

    async def corrected_late(served: Served) -> Served:
        found = await corrected(served)
        looked.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(heads, "corrected", corrected_late)
    asked = asyncio.create_task(services.prediction.ask(ADA, triage, "anything", Source.API))
    await looked.wait()  # for newer labels: there was none
    await services.labeling.label(ADA, triage, "it broke", "bug", Source.COMMAND)
    go_on.set()
    await asked
    async with asyncio.timeout(10):
        while await system.serving.version_of(triage) != "v0+1":
            await asyncio.sleep(0.02)


async def test_a_classifier_that_an_import_makes_is_retrained_nightly_like_any_other(system: System) -> None:
    made = (await system.services.labeling.import_rows(LEAD, "triage", [("it broke", "bug")], Source.API)).classifier
    other = await system.services.classifiers.create(LEAD, "mood")
    ours, others = [await system.services.training.get_schedule(each) for each in (made, other)]
    assert ours is not None
    assert others is not None
    assert (ours.cron, ours.enabled) == (others.cron, others.enabled) == ("0 3 * * *", True)


async def test_a_count_of_new_labels_starts_one_training(system: System) -> None:
    rows = [(f"text {number} about it", "bug" if number % 2 else "praise") for number in range(40)]
    receipt = await system.services.labeling.import_rows(LEAD, "triage", rows, Source.FILE)
    training = system.services.training
    await training.schedule(LEAD, receipt.classifier, None, 30, "UTC")
    now = datetime.now(UTC)
    for _ in range(3):
        await training.tick(now)
    update = await training.status(receipt.classifier)
    assert update is not None
    assert update.job.reason == "30 new labels"
    ended = await training.wait("1", update.job.id)
    assert ended.job.state is JobState.SUCCEEDED
    await training.tick(now)
    newest = await training.status(receipt.classifier)
    assert newest is not None
    assert newest.job.id == update.job.id, "what was trained is not new any more"


async def test_a_count_that_led_to_a_cancelled_training_does_not_ask_again_at_once(
    system: System, trainer: FakeTrainer
) -> None:
    trainer.gate.clear()
    rows = [(f"text {number} about it", "bug" if number % 2 else "praise") for number in range(40)]
    receipt = await system.services.labeling.import_rows(LEAD, "triage", rows, Source.FILE)
    training = system.services.training
    await training.schedule(LEAD, receipt.classifier, None, 30, "UTC")
    await training.tick(datetime.now(UTC))
    cancelled = await training.cancel(LEAD, receipt.classifier)
    assert cancelled is not None
    await training.tick(datetime.now(UTC))
    newest = await training.status(receipt.classifier)
    assert newest is not None
    assert newest.job.id == cancelled.id
    one = await system.services.labeling.label(LEAD, receipt.classifier, "one more", "bug", Source.COMMAND)
    assert one.until_training == 29, "what was asked for with the others is not near again"


async def test_slot_missed_while_the_bot_was_off_runs_once_after_the_restart(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(f"text {number} about it", "bug" if number % 2 else "praise") for number in range(40)]
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        receipt = await system.services.labeling.import_rows(LEAD, "triage", rows, Source.FILE)
        await system.services.training.schedule(LEAD, receipt.classifier, "0 3 * * *", None, "Europe/Berlin")
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        later = datetime.now(UTC) + timedelta(days=3)
        for _ in range(3):
            await system.services.training.tick(later)
        update = await system.services.training.status(receipt.classifier)
        assert update is not None
        assert update.job.reason.startswith("scheduled for")
        await system.services.training.wait("1", update.job.id)
        # The slot is used up, also when there is something new again.
        await system.services.labeling.label(LEAD, receipt.classifier, "one more", "bug", Source.COMMAND)
        await system.services.training.tick(later + timedelta(minutes=1))
        again = await system.services.training.status(receipt.classifier)
        assert again is not None
        assert again.job.id == update.job.id
        assert len(await system.services.promotion.versions(receipt.classifier)) == 1


async def test_a_clock_that_was_years_ahead_costs_no_night_after_it_is_right_again(system: System) -> None:
    training, triage = system.services.training, await system.services.classifiers.create(LEAD, "triage")
    await training.schedule(LEAD, triage, "0 3 * * *", None, "UTC")
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)

    async def taken_at(now: datetime) -> str | None:
        await training.tick(now)
        kept = await training.get_schedule(triage)
        return None if kept is None else kept.last_slot

    assert await taken_at(noon) == "2030-01-01T03:00"
    for minutes, years in ((1, -30), (2, 0), (3, -30)):  # a clock without a battery, now and then
        assert await taken_at(noon.replace(year=2030 + years) + timedelta(minutes=minutes)) == "2030-01-01T03:00"
    far = await taken_at(noon.replace(year=2034))
    assert far == "2034-01-01T03:00"
    assert [await taken_at(noon + timedelta(minutes=minutes)) for minutes in (4, 30, 63)] == [far, far, far]
    assert await taken_at(noon + timedelta(minutes=64)) == "2030-01-01T13:04"
    assert await taken_at(noon + timedelta(days=1)) == "2030-01-02T03:00"


async def test_quiet_hours_hold_back_what_starts_by_itself_and_nobody_who_asks(system: System) -> None:
    rows = [(f"text {number} about it", "bug" if number % 2 else "praise") for number in range(40)]
    receipt = await system.services.labeling.import_rows(LEAD, "triage", rows, Source.FILE)
    training, triage = system.services.training, receipt.classifier
    await training.schedule(LEAD, triage, None, 30, "Europe/Berlin", "22-7")
    for hour in (21, 23, 2, 5):  # 22:00 to 06:00 in Berlin
        await training.tick(datetime(2030, 1, 1, hour, tzinfo=UTC))
    assert await training.status(triage) is None
    await training.tick(datetime(2030, 1, 1, 6, tzinfo=UTC))
    update = await training.status(triage)
    assert update is not None
    assert update.job.reason == "30 new labels"
    await training.wait("1", update.job.id)
    # A slot that comes due within them is taken once, when they end.
    await system.services.labeling.import_rows(
        LEAD,
        "triage",
        [(f"more {number} about it", "bug" if number % 2 else "praise") for number in range(40)],
        Source.FILE,
    )
    await training.schedule(LEAD, triage, "0 3 * * *", None, "Europe/Berlin", "22:00-07:00")
    await training.tick(datetime(2030, 1, 2, 4, tzinfo=UTC))
    newest = await training.status(triage)
    assert newest is not None
    assert newest.job.id == update.job.id
    for minute in range(3):
        await training.tick(datetime(2030, 1, 2, 6, minute, tzinfo=UTC))
    newest = await training.status(triage)
    assert newest is not None
    assert newest.job.reason == "scheduled for 2030-01-02T03:00"
    await training.wait("1", newest.job.id)
    kept = await training.get_schedule(triage)
    assert kept is not None
    assert (kept.quiet, kept.last_slot) == ("22:00-07:00", "2030-01-02T03:00")
    # Whoever asks is not held back: every hour but one is quiet now.
    hour = datetime.now(UTC).hour
    await training.schedule(LEAD, triage, None, None, "UTC", f"{(hour - 11) % 24}-{(hour + 11) % 24}")
    await system.services.labeling.label(LEAD, triage, "one more about it", "bug", Source.COMMAND)
    asked = await training.request(LEAD, triage)
    assert isinstance(asked, Requested)
    await training.wait("1", asked.job.id)


async def test_nothing_is_said_to_start_soon_in_quiet_hours(system: System) -> None:
    rows = [(f"text {number} about it", "bug" if number % 2 else "praise") for number in range(40)]
    triage = (await system.services.labeling.import_rows(LEAD, "triage", rows, Source.FILE)).classifier
    training, labeling = system.services.training, system.services.labeling
    for quiet, left in ((None, 0), ("quiet", None)):
        hour = datetime.now(UTC).hour
        hours = quiet and f"{(hour - 11) % 24}-{(hour + 11) % 24}"
        await training.schedule(LEAD, triage, None, 30, "UTC", hours)
        receipt = await labeling.label(LEAD, triage, f"another {quiet} text", "bug", Source.COMMAND)
        assert receipt.until_training == left


async def test_a_schedule_that_cannot_be_read_holds_up_no_other(system: System) -> None:
    rows = [(f"text {number} about it", "bug" if number % 2 else "praise") for number in range(40)]
    first = (await system.services.labeling.import_rows(LEAD, "first", rows, Source.FILE)).classifier
    second = (await system.services.labeling.import_rows(LEAD, "second", rows, Source.FILE)).classifier
    training = system.services.training
    await system.stores.schedules.save(
        Schedule("1", first.id, "0 3 * * *", None, "Mars/Base", True, "2026-01-01T00:00")
    )
    await training.schedule(LEAD, second, None, 30, "UTC")
    await training.tick(datetime.now(UTC))
    update = await training.status(second)
    assert update is not None
    await training.wait("1", update.job.id)


async def test_without_base_and_trainer_labels_are_kept_and_the_answer_says_what_is_missing(
    system: System, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable(*_: object) -> Path:
        raise TrainerUnavailable("The trainer cannot be reached.")

    monkeypatch.setattr(trainer, "base_artifact", unreachable)
    triage = await system.services.classifiers.create(LEAD, "triage", ["bug", "praise"])
    with pytest.raises(TrainerUnavailable, match="once the trainer answers"):
        await system.services.prediction.ask(ADA, triage, "it crashes", Source.COMMAND)
    receipt = await system.services.labeling.label(ADA, triage, "it crashes", "bug", Source.COMMAND)
    assert receipt.guess is None
    monkeypatch.undo()
    answer = await system.services.prediction.ask(ADA, triage, "it crashes", Source.COMMAND)
    assert answer.version == "v0+1"


async def test_a_base_is_fetched_once_and_anew_when_it_is_exported_otherwise(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for export, fetched in ((1, 1), (1, 1), (2, 2), (2, 2)):
        monkeypatch.setattr("bot.services.serving.BASE_EXPORT", export)
        async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
            if not await system.services.classifiers.list(ADA.guild):
                await system.services.classifiers.create(LEAD, "triage", ["bug", "praise"])
            triage = await system.services.classifiers.resolve(ADA.guild, "triage")
            await system.services.prediction.ask(ADA, triage, "it crashes", Source.COMMAND)
        assert trainer.calls["base"] == fetched


async def test_the_lesson_teaches_no_classifier_that_it_has_not_made(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    someone = Actor(GUILD_ID, "local", "local", Role.OPERATOR)
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        own = await system.services.classifiers.create(someone, "triage", ["cat", "dog"])
        for call in (system.services.lesson.begin(someone), system.services.lesson.step(someone, "names")):
            with pytest.raises(Conflict, match="pupil demo --data FOLDER"):
                await call
        assert [count.label.name for count in await system.services.classifiers.labels(own)] == ["cat", "dog"]
        # A lesson that was under way before its classifier was remembered goes on.
        old = {"measured": {"names": {"correct": 1, "asked": 1, "version": "v0", "answers": {}}}, "job": None}
        await system.stores.database.set_state("lesson", json.dumps(old))
        assert await system.services.lesson.begin(someone) == own


async def test_lesson_goes_step_by_step_over_a_restart_and_leaves_out_what_was_labelled(
    tmp_path: Path, trainer: FakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    someone = Actor(GUILD_ID, "local", "local", Role.OPERATOR)
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        lesson = system.services.lesson
        with pytest.raises(Conflict, match="comes later"):
            await lesson.step(someone, "teach")
        with pytest.raises(NotFound, match="no step"):
            await lesson.step(someone, "dance")
        state = await lesson.step(someone, "names")
        assert [step["state"] for step in state["steps"]] == ["done", "ready", "locked", "locked"]
        triage = await system.services.classifiers.resolve(GUILD_ID, "triage")
        question, label = lesson.lesson.kept[0]
        await system.services.labeling.label(someone, triage, question, label, Source.COMMAND)
    async with system_with(trainer, tmp_path / "data", monkeypatch) as system:
        state = await system.services.lesson.step(someone, "teach")
        assert [step["asked"] for step in state["steps"][:2]] == [60, 59]
        assert [step["state"] for step in state["steps"]] == ["done", "done", "ready", "locked"]
        asked = await system.services.training.request(someone, triage)  # in the chat, not by the lesson's button
        assert isinstance(asked, Requested)
        await system.services.training.wait(GUILD_ID, asked.job.id)
        state = await system.services.lesson.step(someone, "train")
        assert [step["state"] for step in state["steps"]] == ["done", "done", "done", "ready"]


async def test_the_lesson_knows_its_labels_by_the_names_they_have_now(system: System) -> None:
    someone, services = Actor(GUILD_ID, "local", "local", Role.OPERATOR), system.services
    for step in ("names", "teach"):
        await services.lesson.step(someone, step)
    triage = await services.classifiers.resolve(GUILD_ID, "triage")
    labels = list(services.lesson.lesson.descriptions)
    for name in labels:
        preview = await services.curation.preview(someone, triage, ChangeKind.RENAME, name, f"{name} (new)")
        await services.curation.confirm(someone, preview.draft_id)
    await system.serving.settle(triage)
    kept = services.lesson.lesson.kept
    answered = {text: (await system.serving.answer(triage, text)).scores[0].label for text, _ in kept}
    right = {text for text, label in kept if answered[text] == f"{label} (new)"}
    measured = await services.lesson._measure(triage)
    assert measured.correct == len(right) > 0
    assert {text for text, label in kept if measured.answers[text] == label} == right
