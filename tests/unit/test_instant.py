"""Labels that count at once: what a refit is made of, and when it happens. Real database, real fit, fake encoder."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from bot.inference import instant
from bot.inference.engine import Engine, Served
from bot.inference.instant import InstantMemory
from storage.classifiers import Classifiers
from storage.database import Database
from storage.errors import Busy, NotFound, StorageError
from storage.examples import Examples
from storage.records import Classifier, Label, LabelledText, ModelVersion, Source, Split
from tests.fakes.fake_encoder import FakeEncoder, Gate, until
from trainer.model.head import Head

GUILD = "g1"
LABELS = ("bug", "praise")


class WatchedExamples(Examples):
    """Counts the readings of the rows, and can hold or fail them."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self.readings = 0
        self.hold: asyncio.Event | None = None
        self.failures: list[Exception] = []

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

    def swap(self, served: Served) -> None:
        self.engine.serve(served)
        self.memory.touch(served.classifier_id)

    async def settle(self) -> None:
        await asyncio.wait_for(self.memory.settle(self.classifier.id), 20)

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
    monkeypatch.setattr(instant, "MOST_ROWS", 3)
    await team.begin(*LABELS)
    train = [text for text in map(str, range(20)) if await team.teach(text, "bug") is Split.TRAIN]
    await team.serve()
    assert [text for text in team.encoder.texts if text in train] == train[-3:]


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
    await team.settle()
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
    team.swap(next_version)
    team.examples.hold.set()
    await team.settle()
    assert await team.ask("zebra") == ("bug", "v1+1")


async def test_a_label_that_comes_between_refit_and_swap_is_caught_up(team: Team) -> None:
    await team.begin(*LABELS)
    prepared = await team.memory.refit(team.classifier, team.version(1), team.encoder, team.head("praise"))
    await team.teach("zebra", "bug")
    team.swap(prepared)
    await until(lambda: team.engine.current(team.classifier.id).revision == 1)  # type: ignore[union-attr]
    assert await team.ask("zebra") == ("bug", "v1+1")


async def test_a_failed_refit_is_told_leaves_the_head_and_is_retried_at_the_next_touch(
    team: Team, caplog: pytest.LogCaptureFixture
) -> None:
    await team.begin(*LABELS)
    before = await team.serve()
    await team.teach("zebra", "bug")
    team.examples.failures = [StorageError("the disk is gone")]
    with pytest.raises(StorageError, match="disk is gone"):
        await team.settle()
    assert team.engine.current(team.classifier.id) is before
    assert "instant.failed" in caplog.messages
    team.memory.touch(team.classifier.id)
    await team.settle()
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
    fit_head = instant.fit_head

    def noting(*arguments: object, **named: object) -> object:
        threads.append(threading.get_ident())
        return fit_head(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(instant, "fit_head", noting)
    await team.begin(*LABELS)
    await team.serve()
    assert threads
    assert threading.get_ident() not in threads


async def test_closing_gives_up_a_refit_and_says_so_to_who_waits(team: Team) -> None:
    await team.begin(*LABELS)
    await team.serve()
    team.examples.hold = asyncio.Event()
    await team.teach("zebra", "bug")
    waiting = asyncio.create_task(team.settle())
    await until(lambda: team.examples.readings == 2)
    await team.memory.__aexit__(None, None, None)
    with pytest.raises(Busy, match="next start"):
        await waiting
    team.memory.touch(team.classifier.id)
    with pytest.raises(Busy, match="next start"):
        await team.settle()


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
