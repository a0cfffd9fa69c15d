"""Labels that count at once: what a refit is made of, and when it happens. Real database, real fit, fake encoder."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from bot.inference import heads
from bot.inference.engine import Engine, Served
from bot.inference.instant import InstantMemory
from storage.classifiers import Classifiers
from storage.database import Database
from storage.drafts import Drafts
from storage.errors import Busy, NotFound, StorageError
from storage.events import falls_golden
from storage.examples import ChangedText, Examples
from storage.label_changes import ChangeKind, LabelChanges, WantedChange
from storage.privacy import Privacy
from storage.records import Classifier, Label, LabelledText, ModelVersion, Source, Split, text_hash
from storage.writes import Writes
from tests.fakes.fake_encoder import FakeEncoder, Gate, until
from trainer.model.head import Head

GUILD = "g1"
LABELS = ("bug", "praise")


class WatchedExamples(Examples):
    """Counts the readings of the rows, and can hold or fail them, those of corrections likewise."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.readings = 0
        self.hold: asyncio.Event | None = None
        self.failures: list[Exception] = []
        self.changes_read = 0
        self.hold_changes: asyncio.Event | None = None
        self.uncorrectable = False

    async def newest_changes(self, guild: str, classifier_id: int, since: int, limit: int) -> list[ChangedText]:
        changes = await super().newest_changes(guild, classifier_id, since, limit)
        self.changes_read += 1
        if self.hold_changes is not None:
            await self.hold_changes.wait()
        if self.uncorrectable:
            raise StorageError("no changes today")
        return changes

    async def current(self, guild: str, classifier_id: int) -> list[LabelledText]:
        self.readings += 1
        rows = await super().current(guild, classifier_id)
        if self.hold is not None:
            await self.hold.wait()
        if self.failures:
            raise self.failures.pop()
        return rows


class Team:
    """One classifier of one guild, with everything it takes to teach it and ask it."""

    def __init__(self, db: Database, engine: Engine, debounce: float = 0.0) -> None:
        self.db = db
        self.engine = engine
        self.examples = WatchedExamples(db)
        self.classifiers = Classifiers(db)
        self.memory = InstantMemory(self.examples, self.classifiers, engine, debounce=debounce)
        self.encoder = FakeEncoder(dimensions=32)
        self.labels: dict[str, Label] = {}
        self.classifier: Classifier

    async def begin(self, *labels: str, name: str = "triage") -> None:
        self.classifier = await self.classifiers.create(GUILD, name, "u1", "base", 1.0)
        for label in labels:
            await self.add(label)

    async def add(self, label: str) -> None:
        self.labels[label] = await self.classifiers.add_label(GUILD, self.classifier.id, label)

    async def teach(self, text: str, label: str) -> Split | None:
        result = await self.examples.add_label(
            GUILD, self.classifier.id, text, self.labels[label].id, "u1", Source.COMMAND, 1.0
        )
        return result.example.split

    async def serve(self, version: ModelVersion | None = None, head: Head | None = None) -> Served:
        served = await self.memory.refit(self.classifier, version, self.encoder, head)
        self.engine.serve(served)
        return served

    async def undo(self) -> None:
        history = await Writes(self.db).history(GUILD, "u1")
        event = next(write.event for write in history if write.stands)
        await self.examples.retract(GUILD, event.id, "u1", 2.0)

    async def remove(self, label: str) -> None:
        await self.db.write(
            lambda tables: tables.conn.execute("UPDATE labels SET archived = 1 WHERE name = ?", (label,))
        )
        del self.labels[label]

    async def settle(self) -> None:
        await asyncio.wait_for(self.memory.settle(self.classifier.id), 20)

    async def refitted(self) -> None:
        """Returns after a refit that had not begun yet; fails as it does."""
        await asyncio.wait_for(asyncio.shield(self.memory._ask(self.classifier.id)), 20)

    @property
    def current(self) -> Served:
        served = self.engine.current(self.classifier.id)
        assert served is not None
        return served

    async def ask(self, text: str) -> tuple[str, str]:
        answer = await self.engine.answer(self.classifier.id, text)
        return answer.scores[0].label, answer.version

    async def confidences(self, text: str) -> dict[str, float]:
        answer = await self.engine.answer(self.classifier.id, text)
        return {score.label: score.confidence for score in answer.scores}

    def version(self, number: int, last_event_id: int = 0) -> ModelVersion:
        labels = tuple(self.labels)
        return ModelVersion(
            GUILD, self.classifier.id, number, "a" * 64, None, "b" * 64, last_event_id, labels, "", "{}", 1.0
        )

    def head(self, *favourite: str) -> Head:
        """A version's head that answers `favourite` to everything."""
        bias = np.array([5.0 if label in favourite else 0.0 for label in self.labels], np.float32)
        weight = np.full((len(self.labels), self.encoder.dimensions), 0.01, np.float32)
        return Head(tuple(self.labels), weight, bias, 1.0, 0.0)


@pytest.fixture
async def team(tmp_path: Path) -> AsyncIterator[Team]:
    async with Database(tmp_path / "pupil.db") as db, Engine(threads=1) as engine:
        team = Team(db, engine)
        async with team.memory:
            yield team


@pytest.fixture
async def slow(tmp_path: Path) -> AsyncIterator[Team]:
    """No refit comes by itself."""
    async with Database(tmp_path / "pupil.db") as db, Engine(threads=1) as engine:
        team = Team(db, engine, debounce=3600.0)
        async with team.memory:
            yield team


async def test_before_any_label_it_answers_from_the_names_of_the_labels(team: Team) -> None:
    await team.begin("crash_report", "praise")
    await team.serve()
    assert await team.ask("crash report") == ("crash_report", "v0")


async def test_the_first_label_moves_the_answer_towards_it_and_the_version_says_so(team: Team) -> None:
    await team.begin(*LABELS)
    await team.serve()
    before = await team.confidences("zebra umbrella")
    await team.teach("zebra umbrella", "bug")
    team.memory.touch(team.classifier.id)
    await team.settle()
    assert (await team.confidences("zebra umbrella"))["bug"] > before["bug"] + 0.1
    assert (await team.ask("zebra umbrella"))[1] == "v0+1"


async def test_a_classifier_without_labels_begins_to_answer_with_its_first(team: Team) -> None:
    await team.begin()
    await team.serve()
    with pytest.raises(NotFound, match="/labels create"):
        await team.ask("hello")
    await team.add("bug")
    team.memory.touch(team.classifier.id)
    await team.settle()
    assert await team.ask("hello") == ("bug", "v0")


async def test_golden_texts_take_no_part_in_the_fit(team: Team) -> None:
    await team.begin(*LABELS)
    splits = {f"text number {index}": await team.teach(f"text number {index}", "bug") for index in range(40)}
    golden = {text for text, split in splits.items() if split is Split.GOLDEN}
    await team.serve()
    assert golden
    assert not golden & set(team.encoder.texts)
    assert splits.keys() - golden <= set(team.encoder.texts)


async def test_without_newer_labels_a_version_serves_with_its_own_head(team: Team) -> None:
    await team.begin(*LABELS)
    await team.teach("zebra", "bug")
    newest = await team.examples.newest_event(GUILD, team.classifier.id)
    own = team.head("praise")
    served = await team.serve(team.version(3, newest), own)
    assert served.head is own
    assert await team.ask("zebra") == ("praise", "v3")


async def test_newer_labels_correct_a_versions_head_and_are_counted(team: Team) -> None:
    await team.begin(*LABELS)
    await team.teach("trained on this", "praise")
    newest = await team.examples.newest_event(GUILD, team.classifier.id)
    for text in ("zebra one", "zebra two", "zebra three"):
        await team.teach(text, "bug")
    await team.serve(team.version(3, newest), team.head("praise"))
    assert await team.ask("zebra one") == ("bug", "v3+3")
    assert await team.ask("trained on this") == ("praise", "v3+3")


async def test_labels_that_a_version_learned_and_that_are_taken_back_are_unlearned_and_counted(team: Team) -> None:
    await team.begin(*LABELS)
    for text in ("thank you", "zebra umbrella"):
        await team.teach(text, "praise" if text == "thank you" else "bug")
    newest = await team.examples.newest_event(GUILD, team.classifier.id)
    own = team.head("bug")
    await team.serve(team.version(3, newest), own)
    await team.undo()
    assert not await team.memory._catch_up(team.classifier.id), "only the refit can forget"
    assert team.current.version == "v3+1"
    await team.settle()
    assert team.current.version == "v3+1"
    assert not np.array_equal(team.current.head.bias, own.bias)
    assert (await team.ask("thank you"))[0] == "praise"
    await team.teach("zebra umbrella", "bug")
    await team.settle()
    assert team.current.version == "v3+1"


async def test_a_label_that_a_version_was_not_trained_with_is_among_its_answers(team: Team) -> None:
    await team.begin(*LABELS)
    own = team.head("praise")
    await team.add("refund")
    await team.serve(team.version(3), own)
    answer = await team.engine.answer(team.classifier.id, "refund")
    assert {score.label for score in answer.scores} == {"bug", "praise", "refund"}
    assert answer.version == "v3+1"


async def test_a_text_is_encoded_once_also_over_a_restart(team: Team, tmp_path: Path) -> None:
    await team.begin(*LABELS)
    for index in range(10):
        await team.teach(f"text {index}", "bug")
    await team.serve()
    encoded = len(team.encoder.texts)
    async with Engine(threads=1) as engine:
        restarted = InstantMemory(team.examples, team.classifiers, engine)
        again = await restarted.refit(team.classifier, None, team.encoder, None)
    assert len(team.encoder.texts) == encoded
    assert np.array_equal(again.head.weight, team.engine.current(team.classifier.id).head.weight)  # type: ignore[union-attr]


@pytest.mark.parametrize("damaged", [b"", b"abc", np.full(32, np.nan, "<f4").tobytes()])
async def test_a_damaged_cached_vector_is_computed_again(team: Team, damaged: bytes) -> None:
    await team.begin(*LABELS)
    await team.teach("text", "bug")
    good = await team.serve()
    await team.db.write(lambda tables: tables.conn.execute("UPDATE vectors SET vector = ?", (damaged,)))
    async with Engine(threads=1) as engine:
        again = await InstantMemory(team.examples, team.classifiers, engine).refit(
            team.classifier, None, team.encoder, None
        )
    assert np.array_equal(again.head.weight, good.head.weight)


async def test_the_newest_examples_are_used_where_there_are_too_many(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "MOST_ROWS", 3)
    await team.begin(*LABELS)
    train = [text for text in map(str, range(20)) if await team.teach(text, "bug") is Split.TRAIN]
    await team.serve()
    assert [text for text in team.encoder.texts if text in train] == train[-3:]


async def test_of_too_many_examples_each_label_keeps_its_newest(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are often sorted by label."""
    monkeypatch.setattr(heads, "MOST_ROWS", 5)
    await team.begin(*LABELS)
    train: dict[str, list[str]] = {"bug": [], "praise": []}
    for label, texts in train.items():
        for text in (f"{label} {index}" for index in range(20)):
            if await team.teach(text, label) is Split.TRAIN:
                texts.append(text)
    await team.serve()
    used = [text for text in team.encoder.texts if text in {*train["bug"], *train["praise"]}]
    assert used == [*train["bug"][-2:], *train["praise"][-3:]]


async def test_an_old_text_that_was_put_right_is_among_the_newest(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MOST_ROWS", 5)
    await team.begin(*LABELS)
    assert await team.teach("zebra umbrella", "praise") is Split.TRAIN
    for index in range(20):
        await team.teach(f"text {index}", "praise")
    newest = await team.examples.newest_event(GUILD, team.classifier.id)
    await team.serve(team.version(3, newest), team.head("praise"))
    await team.teach("zebra umbrella", "bug")
    await team.settle()
    await team.refitted()
    assert await team.ask("zebra umbrella") == ("bug", "v3+1")


async def test_many_touches_are_few_refits(team: Team) -> None:
    await team.begin(*LABELS)
    await team.serve()
    team.examples.readings = 0
    team.examples.hold = asyncio.Event()
    for index in range(30):
        await team.teach(f"text {index}", "bug")
        team.memory.touch(team.classifier.id)
    assert team.examples.readings == 1
    team.examples.hold.set()
    await team.refitted()
    assert team.examples.readings == 2
    assert (await team.ask("text 1"))[1] == "v0+30"


async def test_settle_waits_for_every_label_that_was_acknowledged_before_it(team: Team) -> None:
    await team.begin(*LABELS)
    await team.serve()

    async def annotator(number: int) -> None:
        for index in range(5):
            await team.teach(f"text {number} {index}", "bug")
            acknowledged = await team.examples.newest_event(GUILD, team.classifier.id)
            if number % 2:  # the other half forgets to touch
                team.memory.touch(team.classifier.id)
            await team.settle()
            current = team.engine.current(team.classifier.id)
            assert current is not None
            assert current.newest_event >= acknowledged

    await asyncio.gather(*(annotator(number) for number in range(6)))
    assert (await team.ask("text"))[1] == "v0+30"


async def test_settle_returns_at_once_when_there_is_nothing_to_wait_for(team: Team) -> None:
    await team.begin(*LABELS)
    await team.settle()  # nothing serves
    await team.serve()
    team.examples.readings = 0
    await team.settle()
    assert team.examples.readings == 0


async def test_a_refit_of_a_version_that_was_swapped_out_is_dropped_and_done_for_the_new_one(team: Team) -> None:
    await team.begin(*LABELS)
    await team.serve()
    next_version = await team.memory.refit(team.classifier, team.version(1), team.encoder, team.head("praise"))
    team.examples.hold = asyncio.Event()
    team.examples.readings = 0
    await team.teach("zebra", "bug")
    team.memory.touch(team.classifier.id)
    await until(lambda: team.examples.readings == 1)
    await team.memory.go_live(next_version)
    team.examples.hold.set()
    await team.settle()
    assert await team.ask("zebra") == ("bug", "v1+1")


async def test_a_label_that_comes_between_refit_and_swap_takes_part_when_the_version_goes_live(team: Team) -> None:
    await team.begin(*LABELS)
    prepared = await team.memory.refit(team.classifier, team.version(1), team.encoder, team.head("praise"))
    await team.teach("zebra", "bug")
    team.examples.hold = asyncio.Event()  # no refit helps
    await team.memory.go_live(prepared)
    assert await team.ask("zebra") == ("bug", "v1+1")


async def test_what_was_loaded_takes_no_place_of_a_version_that_went_live_meanwhile(team: Team) -> None:
    """A bot that starts loads the champion of a moment ago, and a training that was waiting promotes the next."""
    await team.begin(*LABELS)
    loaded = await team.memory.refit(team.classifier, None, team.encoder, None)
    newer = await team.memory.refit(team.classifier, team.version(1), team.encoder, team.head("praise"))
    assert team.engine.current(team.classifier.id) is None  # who loads sees that nothing answers yet
    await asyncio.gather(team.memory.go_live(newer), team.memory.go_live(loaded, unless_served=True))
    assert team.current is newer


async def test_what_was_loaded_answers_where_nothing_else_does(team: Team) -> None:
    await team.begin(*LABELS)
    loaded = await team.memory.refit(team.classifier, None, team.encoder, None)
    await team.memory.go_live(loaded, unless_served=True)
    assert team.current is loaded


async def test_a_version_goes_live_also_where_newer_labels_cannot_be_read_and_a_refit_follows(team: Team) -> None:
    await team.begin(*LABELS)
    prepared = await team.memory.refit(team.classifier, team.version(1), team.encoder, team.head("praise"))
    await team.teach("zebra", "bug")
    team.examples.uncorrectable = True
    await team.memory.go_live(prepared)
    assert team.current is prepared
    team.examples.uncorrectable = False
    await until(lambda: team.current.version == "v1+1")


async def test_an_answer_follows_its_label_long_before_the_refit(slow: Team) -> None:
    await slow.begin(*LABELS)
    fitted = await slow.serve()
    for count, (text, label) in enumerate([("zebra umbrella", "bug"), ("zebra lemon", "praise")], start=1):
        await slow.teach(text, label)
        slow.memory.touch(slow.classifier.id)
        await until(lambda count=count: slow.current.revision == count)  # type: ignore[misc]
        assert (await slow.confidences(text))[label] > 0.7
    assert (await slow.ask("zebra umbrella")) == ("bug", "v0+2")
    assert fitted.revision == 0
    assert slow.examples.readings == 1


async def test_a_correction_says_what_a_refit_would_say_whatever_happens_to_the_labels(slow: Team) -> None:
    await slow.begin(*LABELS)
    await slow.teach("old text", "bug")
    fitted = await slow.serve()
    await slow.examples.add_label(GUILD, slow.classifier.id, "x", slow.labels["bug"].id, "u2", Source.COMMAND, 1.0)

    async def check(text: str, label: str) -> None:
        await slow.settle()
        would_be = await slow.memory.refit(slow.classifier, None, slow.encoder, None)
        assert await slow.ask(text) == (label, would_be.version)
        assert slow.current.head.labels == would_be.head.labels
        assert slow.current.newest_event == would_be.newest_event

    await slow.teach("zebra", "bug")
    await check("zebra", "bug")
    await slow.teach("zebra", "praise")
    await check("zebra", "praise")
    await slow.undo()
    await check("zebra", "bug")
    await slow.teach("old text", "praise")
    await check("old text", "praise")
    await slow.add("refund")
    await slow.teach("lemon tree", "refund")
    await check("lemon tree", "refund")
    await slow.remove("praise")
    await slow.teach("lemon zebra", "refund")
    slow.memory.touch(slow.classifier.id)
    await until(lambda: slow.current.head.labels == ("bug", "refund"))
    assert fitted.head.labels == LABELS


async def test_a_refit_follows_a_correction_also_where_nobody_touched(team: Team) -> None:
    await team.begin(*LABELS)
    await team.serve()
    await team.teach("zebra", "bug")
    await team.settle()
    await until(lambda: type(team.current) is Served)
    assert await team.ask("zebra") == ("bug", "v0+1")


async def test_what_was_undone_was_never_there(slow: Team) -> None:
    await slow.begin(*LABELS)
    await slow.teach("old text", "bug")
    fitted = await slow.serve()
    await slow.teach("zebra", "praise")
    await slow.settle()
    assert not np.array_equal(slow.current.head.weight, fitted.head.weight)
    await slow.undo()
    await slow.settle()
    assert np.array_equal(slow.current.head.weight, fitted.head.weight)
    assert slow.current.version == fitted.version


async def test_a_label_of_the_fit_that_is_undone_waits_for_the_refit(team: Team) -> None:
    await team.begin(*LABELS)
    before = await team.serve()
    await team.teach("zebra", "bug")
    await team.refitted()
    await team.undo()
    await team.settle()
    assert np.array_equal(team.current.head.weight, before.head.weight)


async def test_more_labels_than_a_correction_holds_wait_for_the_refit(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "MOST_NEWER", 3)
    await team.begin(*LABELS)
    await team.serve()
    for index in range(6):
        await team.teach(f"text {index}", "bug")
    readings = team.examples.readings
    await team.settle()
    assert team.examples.readings > readings
    assert team.current.version == "v0+6"


async def test_golden_texts_take_no_part_in_a_correction(slow: Team) -> None:
    await slow.begin(*LABELS)
    fitted = await slow.serve()
    texts = (f"text number {index}" for index in range(1000))
    golden = next(text for text in texts if falls_golden(text_hash(text)))
    assert await slow.teach(golden, "bug") is Split.GOLDEN
    await slow.settle()
    assert golden not in slow.encoder.texts
    assert np.array_equal(slow.current.head.weight, fitted.head.weight)
    assert slow.current.newest_event == await slow.examples.newest_event(GUILD, slow.classifier.id)


async def test_a_label_of_the_fit_that_was_deleted_is_unlearned(team: Team) -> None:
    await team.begin(*LABELS)
    before = await team.serve()
    await team.teach("zebra", "bug")
    await team.refitted()
    await Privacy(team.db).forget(GUILD, "u1", {})
    await asyncio.wait_for(team.memory.relearn(team.classifier.id), 20)
    assert np.array_equal(team.current.head.weight, before.head.weight)
    assert team.current.version == before.version


async def test_a_refit_that_read_before_a_deletion_does_not_bring_it_back(team: Team) -> None:
    await team.begin(*LABELS)
    before = await team.serve()
    team.examples.hold = first = asyncio.Event()
    await team.teach("zebra", "bug")
    team.memory.touch(team.classifier.id)
    await until(lambda: team.examples.readings == 2)
    await Privacy(team.db).forget(GUILD, "u1", {})
    unlearned = asyncio.create_task(team.memory.relearn(team.classifier.id))
    await asyncio.sleep(0)
    first.set()
    await asyncio.wait_for(unlearned, 20)
    assert np.array_equal(team.current.head.weight, before.head.weight)


async def test_a_version_that_was_prepared_before_a_deletion_does_not_bring_it_back(team: Team) -> None:
    await team.begin(*LABELS)
    before = await team.serve()
    await team.teach("zebra", "bug")
    prepared = await team.memory.refit(team.classifier, None, team.encoder, None)  # it is on trial, say
    await Privacy(team.db).forget(GUILD, "u1", {})
    await asyncio.wait_for(team.memory.relearn(team.classifier.id), 20)
    await team.memory.go_live(prepared)
    assert np.array_equal(team.current.head.weight, before.head.weight)
    assert team.current.version == before.version


async def test_a_deletion_while_a_classifier_comes_into_memory_counts(team: Team) -> None:
    await team.begin(*LABELS)
    before = await team.memory.refit(team.classifier, None, team.encoder, None)
    await team.teach("zebra", "bug")
    prepared = await team.memory.refit(team.classifier, None, team.encoder, None)
    await team.teach("zebra umbrella", "praise")  # what it goes live with is read once more, and that takes a while
    team.examples.hold_changes = landing = asyncio.Event()
    loading = asyncio.create_task(team.memory.go_live(prepared, unless_served=True))
    await until(lambda: team.examples.changes_read == 1)
    await Privacy(team.db).forget(GUILD, "u1", {})
    await asyncio.wait_for(team.memory.relearn(team.classifier.id), 20)  # nothing serves yet
    landing.set()
    await asyncio.wait_for(loading, 20)
    assert np.array_equal(team.current.head.weight, before.head.weight)


async def test_a_refit_that_began_before_a_label_does_not_hide_it(team: Team) -> None:
    await team.begin(*LABELS)
    await team.serve()
    team.examples.hold = first = asyncio.Event()
    await team.teach("zebra", "bug")
    team.memory.touch(team.classifier.id)
    await until(lambda: team.examples.readings == 2)
    await team.teach("zebra umbrella", "praise")
    team.memory.touch(team.classifier.id)
    await until(lambda: team.current.revision == 2)
    corrected = team.current
    team.examples.hold = asyncio.Event()  # for the refit after this one
    first.set()
    await until(lambda: team.current is not corrected)
    assert await team.ask("zebra umbrella") == ("praise", "v0+2")
    team.examples.hold.set()
    await until(lambda: type(team.current) is Served)
    assert await team.ask("zebra umbrella") == ("praise", "v0+2")


async def test_a_landing_refit_and_a_label_take_turns(team: Team) -> None:
    await team.begin(*LABELS)
    await team.serve()
    team.examples.hold = first = asyncio.Event()
    refit = asyncio.create_task(team.refitted())
    await until(lambda: team.examples.readings == 2)
    await team.teach("zebra", "bug")
    team.examples.hold_changes = landing = asyncio.Event()
    team.examples.hold = asyncio.Event()  # for the refit after this one
    first.set()
    await until(lambda: team.examples.changes_read == 1)  # the refit has looked for what is newer
    team.examples.hold_changes = None
    await team.teach("zebra umbrella", "praise")
    settled = asyncio.create_task(team.settle())
    await asyncio.wait({settled}, timeout=0.05)  # where it need not wait for the landing, it is done by then
    landing.set()
    await refit
    await settled
    assert await team.ask("zebra umbrella") == ("praise", "v0+2")


async def test_a_failed_correction_is_told_and_the_refit_still_comes(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    await team.begin(*LABELS)
    await team.serve()
    team.examples.uncorrectable = True
    await team.teach("zebra", "bug")
    await team.settle()
    assert "instant.uncorrected" in caplog.messages
    assert await team.ask("zebra") == ("bug", "v0+1")
    assert type(team.current) is Served


async def test_a_failed_refit_is_told_leaves_the_head_and_is_retried_at_the_next_touch(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    await team.begin(*LABELS)
    before = await team.serve()
    team.examples.uncorrectable = True
    await team.teach("zebra", "bug")
    team.examples.failures = [StorageError("the disk is gone")]
    with pytest.raises(StorageError, match="disk is gone"):
        await team.settle()
    assert team.current is before
    assert "instant.failed" in caplog.messages
    team.memory.touch(team.classifier.id)
    await team.refitted()
    assert (await team.ask("zebra"))[1] == "v0+1"


async def test_questions_are_answered_by_the_last_head_while_texts_are_encoded(team: Team) -> None:
    await team.begin(*LABELS)
    await team.serve()
    gate = Gate({"slow text"})
    team.encoder._during = gate
    async with Engine(threads=2) as engine:
        memory = InstantMemory(team.examples, team.classifiers, engine, debounce=0.0)
        async with memory:
            engine.serve(await memory.refit(team.classifier, None, team.encoder, None))
            await team.teach("slow text", "bug")
            memory.touch(team.classifier.id)
            await until(lambda: gate.entered.acquire(blocking=False))
            assert (await engine.answer(team.classifier.id, "anything")).version == "v0"
            gate.open()
            await memory.settle(team.classifier.id)
            assert (await engine.answer(team.classifier.id, "anything")).version == "v0+1"


async def test_a_long_import_into_one_classifier_does_not_hold_up_another(team: Team) -> None:
    gate = Gate({"slow text"})
    team.encoder._during = gate
    async with Engine(threads=2) as engine:
        other = Team(team.db, engine)
        other.encoder = team.encoder
        await other.begin(*LABELS, name="other")
        async with other.memory:
            await other.serve()
            await team.begin(*LABELS)
            await team.teach("slow text", "bug")
            long = asyncio.create_task(other.memory.refit(team.classifier, None, team.encoder, None))
            await until(lambda: gate.entered.acquire(blocking=False))
            await other.teach("quick text", "bug")
            await other.settle()
            assert (await other.ask("quick text"))[1] == "v0+1"
            assert not long.done()
            gate.open()
            assert (await long).version == "v0+1"


async def test_the_fit_runs_beside_the_event_loop(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    fit_head = heads.fit_head

    def noting(*arguments: object, **named: object) -> object:
        threads.append(threading.get_ident())
        return fit_head(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(heads, "fit_head", noting)
    await team.begin(*LABELS)
    await team.serve()
    assert threads
    assert threading.get_ident() not in threads


async def test_closing_gives_up_a_refit_and_says_so_to_who_waits(team: Team) -> None:
    await team.begin(*LABELS)
    await team.serve()
    team.examples.hold = asyncio.Event()
    waiting = asyncio.create_task(team.refitted())
    await until(lambda: team.examples.readings == 2)
    await team.teach("zebra", "bug")
    team.examples.hold_changes = asyncio.Event()
    team.memory.touch(team.classifier.id)
    await until(lambda: team.examples.changes_read == 1)
    await team.memory.__aexit__(None, None, None)
    with pytest.raises(Busy, match="next start"):
        await waiting
    team.memory.touch(team.classifier.id)
    with pytest.raises(Busy, match="next start"):
        await team.refitted()
    assert team.current.version == "v0"


async def test_vectors_of_one_guild_are_not_seen_by_another(team: Team) -> None:
    await team.begin(*LABELS)
    await team.teach("secret plan", "bug")
    await team.serve()
    other = await team.classifiers.create("g2", "triage", "u2", "base", 1.0)
    label = await team.classifiers.add_label("g2", other.id, "bug")
    await team.examples.add_label("g2", other.id, "secret plan", label.id, "u2", Source.COMMAND, 1.0)
    async with Engine(threads=1) as engine:
        await InstantMemory(team.examples, team.classifiers, engine).refit(other, None, team.encoder, None)
    assert team.encoder.texts.count("secret plan") == 2


async def test_a_removed_example_is_forgotten_and_counts_again_when_it_comes_back(team: Team) -> None:
    await team.begin(*LABELS)
    await team.teach("thank you", "praise")
    await team.teach("zebra umbrella", "bug")
    await team.serve()
    taught = await team.confidences("zebra umbrella")
    example = await team.examples.find(GUILD, team.classifier.id, "zebra umbrella")
    assert example is not None
    await team.examples.remove(GUILD, example.id, "u1", 2.0)
    team.memory.touch(team.classifier.id)
    await team.settle()
    assert (await team.ask("zebra umbrella"))[1] == "v0+1"
    assert (await team.confidences("zebra umbrella"))["bug"] < taught["bug"] - 0.1
    await team.examples.restore(GUILD, example.id, "u1", 3.0)
    team.memory.touch(team.classifier.id)
    await team.settle()
    assert (await team.ask("zebra umbrella"))[1] == "v0+2"
    await team.refitted()
    assert (await team.confidences("zebra umbrella"))["bug"] == pytest.approx(taught["bug"], abs=0.01)


async def test_a_correction_counts_removed_and_restored_examples_as_the_refit_will(slow: Team) -> None:
    await slow.begin(*LABELS)
    await slow.teach("thank you", "praise")
    await slow.teach("zebra umbrella", "bug")
    example = await slow.examples.find(GUILD, slow.classifier.id, "zebra umbrella")
    assert example is not None
    await slow.serve()
    await slow.examples.remove(GUILD, example.id, "u1", 2.0)
    assert not await slow.memory._catch_up(slow.classifier.id), "only the refit can forget"
    assert slow.current.version == "v0+1"
    await slow.serve()
    await slow.examples.restore(GUILD, example.id, "u1", 3.0)
    assert await slow.memory._catch_up(slow.classifier.id)
    assert slow.current.version == "v0+2"


async def change(team: Team, kind: ChangeKind, label: str, words: str = "", into: str = "") -> None:
    wanted = WantedChange(kind, team.labels[label].id, words, team.labels[into].id if into else None)
    draft = await Drafts(team.db).add(GUILD, team.classifier.id, wanted.as_draft(), "u1", 1.0)
    await LabelChanges(team.db).confirm(GUILD, draft.id, "u1", 1.0)
    team.memory.touch(team.classifier.id)


def ids(team: Team) -> tuple[int, ...]:
    return tuple(label.id for label in team.labels.values())


async def test_a_version_answers_with_the_new_name_and_keeps_what_it_learned(team: Team) -> None:
    await team.begin(*LABELS)
    own = team.head("praise")
    team.engine.serve(await team.memory.refit(team.classifier, team.version(1), team.encoder, own, ids(team)))
    await change(team, ChangeKind.RENAME, "praise", "thanks")
    await team.settle()
    assert await team.ask("anything") == ("thanks", "v1")
    assert (team.current.head.weight == own.weight).all()
    loaded_again = await team.memory.refit(team.classifier, team.version(1), team.encoder, own, ids(team))
    assert (loaded_again.version, loaded_again.head.labels) == ("v1", ("bug", "thanks"))


async def test_a_rename_answers_at_once_before_any_refit(slow: Team) -> None:
    await slow.begin(*LABELS)
    await slow.teach("zebra", "bug")
    await slow.serve()
    before = await slow.confidences("zebra")
    await change(slow, ChangeKind.RENAME, "bug", "defect")
    await until(lambda: "defect" in slow.current.head.labels)
    after = await slow.confidences("zebra")
    assert after["defect"] == pytest.approx(before["bug"])


async def test_the_old_name_of_a_renamed_label_is_a_new_label(team: Team) -> None:
    await team.begin(*LABELS)
    own = team.head("praise")
    team.engine.serve(await team.memory.refit(team.classifier, team.version(1), team.encoder, own, ids(team)))
    await change(team, ChangeKind.RENAME, "praise", "thanks")
    await team.add("praise")
    team.memory.touch(team.classifier.id)
    await team.settle()
    confidences = await team.confidences("anything")
    assert confidences["thanks"] > 0.9
    assert confidences["praise"] < 0.1


async def test_a_merged_label_answers_as_the_one_that_stays(team: Team) -> None:
    await team.begin(*LABELS, "idea")
    await team.teach("zebra", "praise")
    newest = await team.examples.newest_event(GUILD, team.classifier.id)
    own = team.head("praise")
    version = team.version(1, newest)
    team.engine.serve(await team.memory.refit(team.classifier, version, team.encoder, own, ids(team)))
    assert await team.ask("zebra") == ("praise", "v1")
    await change(team, ChangeKind.MERGE, "praise", into="idea")
    await team.settle()
    assert await team.ask("zebra") == ("idea", "v1+1")


async def test_a_merged_row_stands_for_a_label_that_the_version_does_not_know(team: Team) -> None:
    await team.begin(*LABELS)
    own, known = team.head("praise"), ids(team)
    await team.add("idea")
    team.engine.serve(await team.memory.refit(team.classifier, team.version(1), team.encoder, own, known))
    await change(team, ChangeKind.MERGE, "praise", into="idea")
    await team.settle()
    assert (await team.ask("anything"))[0] == "idea"


@pytest.mark.parametrize("words", ["zebra umbrella", ""])
async def test_a_description_alone_is_waited_for(team: Team, words: str) -> None:
    await team.begin("crash", "praise")
    await change(team, ChangeKind.DESCRIBE, "praise", "zebra umbrella")
    await team.serve()
    if not words:
        await change(team, ChangeKind.DESCRIBE, "praise", words)
    else:
        await change(team, ChangeKind.DESCRIBE, "crash", words)
    before = (await team.confidences("zebra umbrella"))["praise"]
    await team.settle()
    assert (await team.confidences("zebra umbrella"))["praise"] < before


async def test_a_label_that_is_restored_has_its_texts_again(team: Team) -> None:
    await team.begin(*LABELS)
    await team.teach("zebra", "bug")
    await team.serve()
    before = await team.confidences("zebra")
    await change(team, ChangeKind.ARCHIVE, "bug")
    await team.settle()
    assert (await team.confidences("zebra")).keys() == {"praise"}
    await change(team, ChangeKind.RESTORE, "bug")
    await team.settle()
    assert await team.confidences("zebra") == pytest.approx(before, abs=1e-4)


async def test_a_version_whose_labels_are_all_gone_begins_anew_with_those_there_are(team: Team) -> None:
    await team.begin(*LABELS)
    own, known = team.head("praise"), ids(team)
    await team.add("zebra")
    for label in LABELS:
        await change(team, ChangeKind.ARCHIVE, label)
    team.engine.serve(await team.memory.refit(team.classifier, team.version(1), team.encoder, own, known))
    assert (await team.ask("zebra"))[0] == "zebra"
