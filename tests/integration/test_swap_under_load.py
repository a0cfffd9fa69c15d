"""Ten thousand queries from eight clients while ten models are swapped in, with real (tiny) encoders.

Every query's time of asking and answering is recorded, and every swap's; afterwards it is checked, from the records
alone, that each query was answered once, by a version that was champion at some time in between, with exactly the
scores that this version's encoder and head give. No other mixture of encoder and head gives those.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from bot.inference.engine import Answer, Engine, Served
from bot.inference.loader import load
from storage.artifacts import seal
from tests.fakes.fake_encoder import until
from tests.fakes.tiny_encoder import make_tiny_base
from trainer.model.encoder import Encoder
from trainer.model.head import Head

QUERIES = 10_000
CLIENTS = 8
SWAPS = 10
DIMENSIONS = 16
LABELS = ("bug", "praise", "other")
NOUNS, VERBS = ("app", "order", "login", "page"), ("fails", "works", "ends")
TEXTS = [f"the {noun} {verb} again" for noun in NOUNS for verb in VERBS]

Scores = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Asked:
    text: str
    asked: float
    answered: float
    answer: Answer


@dataclass(frozen=True)
class Reign:
    """A version was champion from `since` until the next one's `since` (seconds, one monotonic clock)."""

    number: int
    since: float


@dataclass
class History:
    asked: list[Asked]
    reigns: list[Reign]

    def faults(self, expected: dict[tuple[int, str], Scores]) -> list[str]:
        """Every way in which the records break the promise, in words."""
        ends = [reign.since for reign in self.reigns[1:]] + [float("inf")]
        span = {reign.number: (reign.since, end) for reign, end in zip(self.reigns, ends, strict=True)}
        found = []
        for record in self.asked:
            since, end = span[record.answer.number]
            if since > record.answered or end < record.asked:
                found.append(f"{record.answer.version} was not champion when {record.text!r} was asked or answered")
            if _scores(record.answer) != expected[record.answer.number, record.text]:
                found.append(f"{record.answer.version} never gives these scores for {record.text!r}")
        return found


def _scores(answer: Answer) -> Scores:
    return tuple((score.label, score.confidence) for score in answer.scores)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Sealed versions 1 to 11, each with an encoder and a head of its own, by number."""
    root = tmp_path_factory.mktemp("models")
    labels = [{"id": index, "name": name, "description": ""} for index, name in enumerate(LABELS)]
    sealed = {}
    for number in range(1, SWAPS + 2):
        staging = make_tiny_base(root / f"{number}.part", seed=number, hidden=DIMENSIONS, texts=TEXTS)
        weight = np.random.default_rng(number).normal(size=(len(LABELS), DIMENSIONS)).astype(np.float32)
        Head(LABELS, weight, np.zeros(len(LABELS), np.float32), 1.0, 0.0).save(staging)
        sealed[number] = root / seal(staging, root, "version", labels, {}, 0.0)
    return sealed


async def prepare(number: int, artifact: Path) -> Served:
    encoder, head = await load(artifact)
    assert head is not None
    return Served(1, number, 0, encoder, head)


async def expected_answers(artifacts: dict[int, Path]) -> dict[tuple[int, str], Scores]:
    """What each version answers when it is alone."""
    expected = {}
    for number, artifact in artifacts.items():
        async with Engine(threads=1) as engine:
            engine.serve(await prepare(number, artifact))
            for text in TEXTS:
                expected[number, text] = _scores(await engine.answer(1, text))
    return expected


async def run_clients(engine: Engine, history: History) -> None:
    queries = itertools.cycle(TEXTS)
    left = iter(range(QUERIES))

    async def client() -> None:
        for _ in left:
            text, asked = next(queries), time.monotonic()
            answer = await engine.answer(1, text)
            history.asked.append(Asked(text, asked, time.monotonic(), answer))

    await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def until_asked(history: History, count: int) -> None:
    await until(lambda: len(history.asked) >= count, 60)


async def swap_through(engine: Engine, history: History, artifacts: dict[int, Path]) -> list[weakref.ref[Encoder]]:
    """Load each version aside, in order, and swap it in after another eleventh of the queries."""
    encoders = []
    for number, artifact in artifacts.items():
        served = await prepare(number, artifact)
        await until_asked(history, QUERIES * (number - 1) // (SWAPS + 1))
        history.reigns.append(Reign(number, time.monotonic()))
        engine.serve(served)
        encoders.append(weakref.ref(served.encoder))
    return encoders


@pytest.mark.slow
async def test_ten_thousand_queries_over_ten_swaps_get_one_answer_each_from_a_champion(
    artifacts: dict[int, Path],
) -> None:
    expected = await expected_answers(artifacts)
    history = History([], [])
    async with Engine(threads=2, remembered=0) as engine:
        encoders = await swap_through(engine, history, {1: artifacts[1]})
        swapping = asyncio.create_task(
            swap_through(engine, history, {number: artifacts[number] for number in range(2, SWAPS + 2)})
        )
        await run_clients(engine, history)
        encoders += await swapping
        await until(lambda: [freed() is None for freed in encoders] == [True] * SWAPS + [False])
    assert len(history.asked) == QUERIES
    assert {record.answer.number for record in history.asked} == set(range(1, SWAPS + 2))
    assert history.faults(expected) == []


async def test_the_check_finds_an_answer_from_a_version_that_was_not_champion(artifacts: dict[int, Path]) -> None:
    text, first_two = TEXTS[0], {number: artifacts[number] for number in (1, 2)}
    expected = await expected_answers(first_two)
    async with Engine() as engine:
        engine.serve(await prepare(1, artifacts[1]))
        stale = await engine.answer(1, text)
    reigns = [Reign(1, 0.0), Reign(2, 10.0)]
    assert History([Asked(text, 9.0, 9.5, stale)], reigns).faults(expected) == []
    assert History([Asked(text, 9.0, 11.0, stale)], reigns).faults(expected) == []
    assert len(History([Asked(text, 10.5, 11.0, stale)], reigns).faults(expected)) == 1


async def test_the_check_finds_the_head_of_one_version_on_the_encoder_of_another(artifacts: dict[int, Path]) -> None:
    text, first_two = TEXTS[0], {number: artifacts[number] for number in (1, 2)}
    expected = await expected_answers(first_two)
    first, second = await prepare(1, artifacts[1]), await prepare(2, artifacts[2])
    async with Engine() as engine:
        engine.serve(Served(1, 2, 0, first.encoder, second.head))
        mixed = await engine.answer(1, text)
    assert len(History([Asked(text, 1.0, 2.0, mixed)], [Reign(2, 0.0)]).faults(expected)) == 1
