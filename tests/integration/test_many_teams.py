"""Many classifiers on one small host: real (tiny) encoders, files and database; only free memory is made up."""

from __future__ import annotations

import asyncio
import gc
import shutil
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bot.services.serving as serving_module
from bot.inference.engine import Answer, Engine
from bot.inference.instant import InstantMemory
from bot.inference.loader import load
from bot.inference.memory import LEAST_FOR_MODELS, MOST_FOR_MODELS, memory_for_models
from bot.inference.residents import MEMORY_PER_BYTE, Residents, halved
from bot.services.serving import Serving
from storage.artifacts import seal
from storage.database import Database
from storage.errors import Busy
from storage.records import Classifier, LabelledText, ModelVersion, Source, VersionState
from storage.stores import Stores
from tests.fakes.fake_encoder import Gate, until
from tests.fakes.tiny_encoder import make_tiny_base
from trainer.model.encoder import Encoder
from trainer.model.head import Head, fit_head

GUILD = "g1"
LABELS = ("bug", "praise", "other")
TEAMS = 4
TEXT = "the app crashes when I open it"
PLENTY = 1 << 40


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Exported encoders with different weights: one for each team, the last one is the base."""
    folder = tmp_path_factory.mktemp("encoders")
    return [make_tiny_base(folder / str(seed), seed=seed) for seed in range(TEAMS + 1)]


@dataclass
class Town:
    """One bot's answering side."""

    encoders: list[Path]
    models: Path
    stores: Stores
    engine: Engine
    memory: InstantMemory
    residents: Residents
    serving: Serving

    @property
    def size(self) -> int:
        """Bytes of one encoder."""
        return sum((self.encoders[0] / name).stat().st_size for name in ("encoder.onnx", "tokenizer.json")) + 100

    async def base_artifact(self, base: str, root: Path, precision: str) -> Path:
        return self.sealed(TEAMS, "base")

    def sealed(self, seed: int, kind: str = "version", head: int = 0, ids: Sequence[int] = ()) -> Path:
        staging = self.models / "new.part"
        shutil.copytree(self.encoders[seed], staging)
        labels = [{"id": index, "name": name, "description": ""} for index, name in zip(ids, LABELS, strict=False)]
        if kind == "version":
            weight = np.random.default_rng(head).normal(size=(len(LABELS), 32)).astype(np.float32)
            Head(LABELS, weight, np.zeros(len(LABELS), np.float32), 1.0, 0.0).save(staging)
        return self.models / seal(staging, self.models, kind, labels if kind == "version" else [], {}, 0.0)  # type: ignore[arg-type]

    async def team(self, seed: int | None) -> Classifier:
        """A classifier whose v1 has encoder `seed`; None: it has only the base."""
        made = len(await self.stores.classifiers.list())
        classifier = await self.stores.classifiers.create(GUILD, f"team{made}", "maria", "base", 1.0)
        for label in LABELS:
            await self.stores.classifiers.add_label(GUILD, classifier.id, label)
        if seed is not None:
            await self.promote(classifier, await self.version(classifier, seed))
        return classifier

    async def version(self, classifier: Classifier, seed: int, head: int = 0) -> ModelVersion:
        ids = [label.id for label in await self.stores.classifiers.labels(GUILD, classifier.id)]
        artifact = self.sealed(seed, head=head or classifier.id, ids=ids).name
        version = ModelVersion(GUILD, classifier.id, 0, artifact, None, "s" * 64, 0, LABELS, "", "{}", 1.0)
        return await self.stores.registry.add(version)

    async def promote(self, classifier: Classifier, version: ModelVersion) -> None:
        champion = await self.stores.registry.champion(GUILD, classifier.id)
        await self.stores.registry.promote(GUILD, classifier.id, version.number, champion, "gate", "", 1.0)

    async def teach(self, classifier: Classifier, text: str, label: str) -> None:
        labels = {each.name: each.id for each in await self.stores.classifiers.labels(GUILD, classifier.id)}
        await self.stores.examples.add_label(GUILD, classifier.id, text, labels[label], "maria", Source.COMMAND, 1.0)

    async def ask(self, classifier: Classifier, text: str = TEXT) -> Answer:
        return await asyncio.wait_for(self.serving.answer(classifier, text), 20)

    def encoder(self, classifier: Classifier) -> Encoder:
        served = self.engine.current(classifier.id)
        assert served is not None
        return served.encoder

    def present(self, *classifiers: Classifier) -> list[bool]:
        return [self.engine.current(each.id) is not None for each in classifiers]


Open = Callable[..., AbstractAsyncContextManager[Town]]


@pytest.fixture
def open_town(encoders: list[Path], tmp_path: Path) -> Open:
    """`open_town(budget in encoders, memory)`: the bot is started; opened again it is the restarted one."""

    @asynccontextmanager
    async def opened(budget: float = 100, memory: Callable[[], int | None] = lambda: PLENTY) -> AsyncIterator[Town]:
        async with AsyncExitStack() as stack:
            stores = Stores.over(await stack.enter_async_context(Database(tmp_path / "pupil.db")))
            engine = await stack.enter_async_context(Engine(threads=2, remembered=0))
            labels = InstantMemory(stores.examples, stores.classifiers, engine, debounce=0.0)
            await stack.enter_async_context(labels)
            residents = Residents(engine, 0, memory)
            town: Any = Town(encoders, tmp_path / "models", stores, engine, labels, residents, None)  # type: ignore[arg-type]
            town.models.mkdir(exist_ok=True)
            residents._budget = int(budget * MEMORY_PER_BYTE * town.size)
            town.serving = Serving(stores, engine, labels, residents, town, town.models)
            yield town
        gc.collect()  # a failed test's traceback may hold an encoder, and the loader shares those in memory

    return opened


async def freed(*encoders: weakref.ref[Encoder]) -> None:
    await until(lambda: all(encoder() is None for encoder in encoders))  # a thread may still be on its way out


async def test_rotation_stays_within_the_budget_and_answers_stay_the_same(open_town: Open) -> None:
    async with open_town(budget=2) as town:
        teams = [await town.team(seed) for seed in range(TEAMS)]
        first, seen = [], []
        for team in teams:
            first.append((await town.ask(team)).scores)
            seen.append(weakref.ref(town.encoder(team)))
            assert town.residents.bytes <= 2 * town.size
        assert town.present(*teams) == [False, False, True, True]
        await freed(*seen[:2])
        assert len(set(first)) == TEAMS
        for index in [0, 3, 1, 2, 0, 1]:
            assert (await town.ask(teams[index])).scores == first[index]
            assert sum(town.present(*teams)) <= 2


async def test_the_least_recently_asked_goes_first(open_town: Open) -> None:
    async with open_town(budget=2) as town:
        one, two, three = [await town.team(seed) for seed in range(3)]
        for team in (one, two, one, three):
            await town.ask(team)
        assert town.present(one, two, three) == [True, False, True]


async def test_one_that_is_larger_than_the_budget_stays_until_another_wants_in(open_town: Open) -> None:
    async with open_town(budget=0.5) as town:
        one, two = [await town.team(seed) for seed in range(2)]
        await town.ask(one)
        encoder = town.encoder(one)
        await town.ask(one)
        assert town.encoder(one) is encoder
        await town.ask(two)
        assert town.present(one, two) == [False, True]


async def test_one_in_use_is_not_let_go_before_its_answer(open_town: Open) -> None:
    async with open_town(budget=1) as town:
        one, two = [await town.team(seed) for seed in range(2)]
        expected = (await town.ask(one)).scores
        encoder = weakref.ref(town.encoder(one))
        gate = hold(encoder)
        asked = asyncio.create_task(town.ask(one))
        await asyncio.to_thread(gate.entered.acquire)
        assert (await town.ask(two)).number == 1  # let in beyond the budget, and the first to go
        assert town.present(one, two) == [True, False]
        gate.open()
        assert (await asked).scores == expected
        assert town.encoder(one) is encoder()
        assert town.residents.bytes <= town.size


async def test_a_question_under_way_outlives_the_letting_go(open_town: Open) -> None:
    async with open_town(budget=1) as town:
        one, two = [await town.team(seed) for seed in range(2)]
        expected = (await town.ask(one)).scores
        encoder = weakref.ref(town.encoder(one))
        gate = hold(encoder)
        asked = asyncio.create_task(town.engine.answer(one.id, TEXT))  # nobody says that it is in use
        await asyncio.to_thread(gate.entered.acquire)
        await town.ask(two)
        assert town.present(one, two) == [False, True]
        gate.open()
        assert (await asked).scores == expected
        await freed(encoder)


def hold(encoder: weakref.ref[Encoder]) -> Gate:
    """Every text waits at the gate. Nothing here holds the encoder."""
    gate, read, held = Gate(), Encoder.read, encoder()
    assert held is not None

    def wait(text: str) -> object:
        gate(text)
        at = encoder()
        assert at is not None
        return read(at, text)

    held.read = wait  # type: ignore[method-assign,assignment]
    return gate


async def test_newer_labels_are_back_after_a_letting_go_and_after_a_restart(open_town: Open) -> None:
    async with open_town(budget=1) as town:
        one, two = [await town.team(seed) for seed in range(2)]
        await town.ask(one)
        for number in range(6):
            await town.teach(one, f"the app crashes number {number}", LABELS[number % 3])
        await town.serving.settle(one)
        before = await town.ask(one)
        assert before.version == "v1+6"
        await town.ask(two)
        assert town.present(one) == [False]
        await town.teach(one, "one more label while it is away", "bug")
        town.serving.touch(one)
        again = await town.ask(one)
        assert again.version == "v1+7"
        await town.serving.settle(one)
    async with open_town(budget=1) as town:
        restarted = await town.ask(one)
        assert (restarted.version, restarted.scores) == ("v1+7", again.scores)


async def test_bases_stay_and_are_shared_and_cost_nothing(open_town: Open) -> None:
    async with open_town(budget=1) as town:
        first, second = await town.team(None), await town.team(None)
        like_base = await town.team(TEAMS)  # trained, but its encoder has not changed
        tuned = [await town.team(seed) for seed in range(2)]
        for team in (first, second, like_base, *tuned):
            await town.ask(team)
        assert town.present(first, second, like_base, *tuned) == [True, True, True, False, True]
        assert town.encoder(first) is town.encoder(second) is town.encoder(like_base)


async def test_too_little_memory_is_told_with_the_number_and_the_champion_stays(
    open_town: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = PLENTY
    monkeypatch.setattr(serving_module, "load", partial(load, memory=lambda: free))
    async with open_town(memory=lambda: free) as town:
        one, two = [await town.team(seed) for seed in range(2)]
        before = await town.ask(one)
        await town.ask(two)
        candidate = await town.version(one, 2)
        served, idle = town.engine.current(one.id), weakref.ref(town.encoder(two))
        free = 1000
        with pytest.raises(Busy, match=r"needs \d+ MB of memory and 0 MB are available"):
            await town.serving.prepare(one, candidate)
        assert town.engine.current(one.id) is served
        assert (await town.ask(one)).scores == before.scores
        await freed(idle)  # it had gone to make room
        with pytest.raises(Busy):
            await town.ask(two)
        free = PLENTY
        assert (await town.ask(two)).number == 1


async def test_what_an_idle_one_gives_back_is_enough(open_town: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    short = False

    def memory() -> int:
        return 1000 if short and town.engine.current(oldest.id) else PLENTY

    monkeypatch.setattr(serving_module, "load", partial(load, memory=lambda: memory()))
    async with open_town(memory=lambda: memory()) as town:
        oldest, newer, third = [await town.team(seed) for seed in range(3)]
        await town.ask(oldest)
        await town.ask(newer)
        short = True
        await town.ask(third)
        assert town.present(oldest, newer, third) == [False, True, True]


async def test_a_swap_frees_the_encoder_before(open_town: Open) -> None:
    async with open_town(budget=1) as town:
        team = await town.team(0)
        await town.ask(team)
        old = weakref.ref(town.encoder(team))
        candidate = await town.version(team, 1)
        prepared = await town.serving.prepare(team, candidate)
        assert (await town.ask(team)).number == 1
        await town.serving.swap(prepared)
        del prepared
        assert (await town.ask(team)).number == 2
        await town.serving.settle(team)
        await freed(old)
        assert town.residents.bytes <= town.size


async def test_one_that_was_swapped_in_and_never_asked_is_let_go_like_any_other(open_town: Open) -> None:
    async with open_town(budget=1) as town:
        fresh, other = await town.team(None), await town.team(1)
        await town.ask(fresh)
        version = await town.version(fresh, 0)
        await town.promote(fresh, version)
        await town.serving.swap(await town.serving.prepare(fresh, version))
        assert town.present(fresh) == [True]
        await town.ask(other)
        assert town.present(fresh, other) == [False, True]


async def test_a_slow_first_loading_does_not_undo_a_promotion_meanwhile(
    open_town: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_town() as town:
        team = await town.team(0)
        await town.teach(team, "the app crashes", "bug")
        newer = await town.version(team, 1)
        current, entered, go_on = town.stores.examples.current, asyncio.Event(), asyncio.Event()

        async def slow_once(guild: str, classifier_id: int) -> list[LabelledText]:
            if not entered.is_set():
                entered.set()
                await go_on.wait()
            return await current(guild, classifier_id)

        monkeypatch.setattr(town.stores.examples, "current", slow_once)
        asked = asyncio.create_task(town.ask(team))
        await entered.wait()
        prepared = await town.serving.prepare(team, newer)
        await town.promote(team, newer)
        await town.serving.swap(prepared)
        go_on.set()
        assert (await asked).number == 2
        assert (await town.ask(team)).number == 2


async def test_restarted_with_a_damaged_champion_the_one_before_answers(open_town: Open) -> None:
    async with open_town() as town:
        team = await town.team(0)
        expected = await town.ask(team)
        damaged = await town.version(team, 1, head=77)
        await town.promote(team, damaged)
        (town.models / damaged.artifact / "encoder.onnx").write_bytes(b"gone")
    async with open_town() as town:
        await town.serving.warm([team])  # nobody has asked yet
        answer = await town.ask(team)
        assert (answer.number, answer.scores) == (1, expected.scores)
        newest = (await town.stores.registry.promotions(GUILD, team.id))[0]
        assert (newest.number, newest.previous, newest.reason) == (1, 2, "the files of v2 are damaged")
        assert (await town.stores.registry.get(GUILD, team.id, 2)).state is VersionState.DAMAGED


async def test_a_champion_with_many_rows_answers_before_they_are_taken_in(
    open_town: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_module, "MANY_ROWS", 3)
    async with open_town() as town:
        team = await town.team(0)
        for number in range(6):
            await town.teach(team, f"the app crashes number {number}", LABELS[number % 3])
        current = town.stores.examples.current
        go_on = asyncio.Event()

        async def slow(guild: str, classifier_id: int) -> list[LabelledText]:
            await go_on.wait()
            return await current(guild, classifier_id)

        monkeypatch.setattr(town.stores.examples, "current", slow)
        assert (await town.ask(team)).version == "v1+6"  # by a correction: the newest labels need no fit
        corrected = town.engine.current(team.id)
        go_on.set()
        await until(lambda: town.engine.current(team.id) is not corrected)
        assert (await town.ask(team)).version == "v1+6"


async def test_warming_goes_from_the_first_and_stops_at_the_budget(
    open_town: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_town(budget=2) as town:
        teams = [*[await town.team(seed) for seed in range(3)], await town.team(None), await town.team(None)]
        monkeypatch.setattr(serving_module, "WARMED", 4)
        await town.serving.warm(teams)
        assert town.present(*teams) == [True, True, False, True, False]


def test_a_halved_head_gives_the_same_answers() -> None:
    rng = np.random.default_rng(0)
    names, noise = rng.normal(size=(20, 384)), rng.normal(size=(400, 384))
    targets = np.arange(400) % 20
    vectors = (names[targets] + noise).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = (names / np.linalg.norm(names, axis=1, keepdims=True)).astype(np.float32)
    head = fit_head([f"label {index}" for index in range(20)], names, vectors[:200], targets[:200]).head
    half = halved(head)
    assert head.scope is not None
    assert half.scope is not None
    assert half.weight.nbytes + half.scope.prototypes.nbytes == (head.weight.nbytes + head.scope.prototypes.nbytes) // 2
    assert half.probabilities(vectors).dtype == np.float32
    assert np.abs(half.logits(vectors) - head.logits(vectors)).max() < 1e-3
    assert np.array_equal(half.outside(vectors), head.outside(vectors))
    assert halved(Head(("a",), np.ones((1, 2), np.float32), np.zeros(1, np.float32), 1.0, 0.0)).scope is None


@pytest.mark.parametrize(
    ("available", "budget"),
    [(None, LEAST_FOR_MODELS), (1, LEAST_FOR_MODELS), (1 << 30, 1 << 29), (1 << 50, MOST_FOR_MODELS)],
)
def test_budget_is_half_of_what_is_free_within_bounds(available: int | None, budget: int) -> None:
    assert memory_for_models(available) == budget
