"""The engine: one answer from one version, two lanes, and threads that may hang or die."""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from bot.inference import workers
from bot.inference.engine import Answer, Engine, Served
from bot.inference.vectors import Vectors
from storage.errors import ArtifactError, Busy, NotFound
from tests.fakes.fake_encoder import FakeEncoder, Gate, until
from trainer.model.encoder import Encoder
from trainer.model.head import Head

if TYPE_CHECKING:
    from storage.examples import Examples

BUG, PRAISE, OTHER = "bug", "praise", "other"


def head(*biases: float) -> Head:
    labels = (BUG, PRAISE, OTHER)[: len(biases)]
    return Head(labels, np.zeros((len(biases), 4), np.float32), np.array(biases, np.float32), 1.0, 0.0)


def served(encoder: Encoder, number: int = 1, revision: int = 0, *biases: float) -> Served:
    return Served(7, number, revision, encoder, head(*(biases or (1.0, 0.0))))


@asynccontextmanager
async def held_engine(gate: Gate, encoder: Encoder, **settings: float) -> AsyncIterator[Engine]:
    """One thread, kept inside the text "held"."""
    async with Engine(threads=1, **settings) as engine:  # type: ignore[arg-type]
        engine.serve(served(encoder))
        holding = asyncio.create_task(engine.answer(7, "held"))
        await until(lambda: gate.entered.acquire(blocking=False))
        try:
            yield engine
        finally:
            gate.open()
            await asyncio.gather(holding, return_exceptions=True)


async def test_an_answer_names_its_version_and_lists_all_labels_best_first() -> None:
    async with Engine() as engine:
        engine.serve(served(FakeEncoder(), 12, 7, 0.0, 2.0, 1.0))
        answer = await engine.answer(7, "it crashes")
    assert [score.label for score in answer.scores] == [PRAISE, OTHER, BUG]
    assert sum(score.confidence for score in answer.scores) == pytest.approx(1.0)
    assert (answer.version, answer.number, answer.revision) == ("v12+7", 12, 7)
    assert not answer.abstained
    assert answer.milliseconds > 0


async def test_equal_confidences_keep_the_order_of_the_labels() -> None:
    async with Engine() as engine:
        engine.serve(served(FakeEncoder(), 1, 0, 1.0, 1.0, 1.0))
        answer = await engine.answer(7, "hm")
    assert [score.label for score in answer.scores] == [BUG, PRAISE, OTHER]


async def test_a_long_text_is_answered_and_said_to_be_cut() -> None:
    async with Engine() as engine:
        engine.serve(served(FakeEncoder()))
        assert (await engine.answer(7, "word " * 9)).cut
        assert not (await engine.answer(7, "word")).cut


async def test_a_classifier_that_nothing_serves_is_not_found() -> None:
    async with Engine() as engine:
        with pytest.raises(NotFound, match="classifier 7"):
            await engine.answer(7, "hello")
        engine.serve(served(FakeEncoder()))
        engine.drop(7)
        assert engine.current(7) is None
        with pytest.raises(NotFound):
            await engine.answer(7, "hello")


async def test_a_classifier_without_labels_says_how_to_add_one() -> None:
    empty = Head((), np.zeros((0, 4), np.float32), np.zeros(0, np.float32), 1.0, 0.0)
    async with Engine() as engine:
        engine.serve(Served(7, 0, 0, FakeEncoder(), empty))
        with pytest.raises(NotFound, match="/labels create"):
            await engine.answer(7, "hello")


async def test_a_query_that_began_before_a_swap_is_answered_by_the_old_version() -> None:
    gate = Gate()
    async with Engine(threads=2) as engine:
        engine.serve(served(FakeEncoder("old", during=gate), 1))
        early = asyncio.create_task(engine.answer(7, "hello"))
        await until(lambda: gate.entered.acquire(blocking=False))
        engine.serve(served(FakeEncoder("new"), 2))
        late = await engine.answer(7, "hello")
        gate.open()
        assert ((await early).version, late.version) == ("v1", "v2")


async def test_the_old_encoder_is_freed_with_its_last_query() -> None:
    async with Engine(threads=2) as engine:
        engine.serve(served(FakeEncoder("old"), 1))
        old = engine.current(7)
        assert old is not None
        freed = weakref.ref(old.encoder)
        await engine.answer(7, "hello")
        await engine.encode(old.encoder, ["a", "b"])
        del old
        engine.serve(served(FakeEncoder("new"), 2))
        await until(lambda: freed() is None)


async def test_a_repeated_text_is_encoded_once_per_encoder() -> None:
    first, second = FakeEncoder("first"), FakeEncoder("second")
    async with Engine() as engine:
        engine.serve(served(first))
        for _ in range(3):
            await engine.answer(7, "again")
        await engine.encode(first, ["again"])
        engine.serve(served(second, 2))
        await engine.answer(7, "again")
    assert (first.texts, second.texts) == (["again"], ["again"])


async def test_only_the_most_recently_used_texts_are_remembered() -> None:
    encoder = FakeEncoder()
    async with Engine(remembered=2) as engine:
        engine.serve(served(encoder))
        for text in ("a", "b", "a", "c", "a", "b"):
            await engine.answer(7, text)
    assert encoder.texts == ["a", "b", "c", "b"]


async def test_a_full_queue_refuses_at_once_and_still_answers_those_who_wait() -> None:
    gate = Gate({"held"})
    async with held_engine(gate, FakeEncoder(during=gate), queue_limit=3) as engine:
        waiting = [asyncio.create_task(engine.answer(7, f"text {index}")) for index in range(3)]
        await until(lambda: engine.waiting == 3)
        with pytest.raises(Busy, match="3 questions"):
            await engine.answer(7, "one too many")
        gate.open()
        assert len(await asyncio.gather(*waiting)) == 3


async def test_a_query_waits_for_at_most_one_text_of_bulk_work() -> None:
    gate = Gate({"held"})
    encoder = FakeEncoder(during=gate)
    async with held_engine(gate, encoder) as engine:
        bulk = asyncio.create_task(engine.encode(encoder, [f"bulk {index}" for index in range(200)]))
        await asyncio.sleep(0)
        query = asyncio.create_task(engine.answer(7, "query"))
        await until(lambda: engine.waiting == 1)
        gate.open()
        await query
        assert encoder.texts.index("query") == 1
        assert (await bulk).shape == (200, 4)


async def test_bulk_work_goes_on_while_queries_keep_waiting() -> None:
    gate = Gate({"held"})
    encoder = FakeEncoder(during=gate)
    async with held_engine(gate, encoder) as engine:
        queries = [asyncio.create_task(engine.answer(7, f"query {index}")) for index in range(100)]
        bulk = asyncio.create_task(engine.encode(encoder, ["bulk 0", "bulk 1"]))
        await until(lambda: engine.waiting == 100)
        gate.open()
        await asyncio.gather(bulk, *queries)
    places = [index for index, text in enumerate(encoder.texts) if text.startswith("bulk")]
    assert places == [32, 65]


async def test_guilds_take_turns_in_both_lanes() -> None:
    gate = Gate({"held"})
    encoder = FakeEncoder(during=gate)
    async with held_engine(gate, encoder) as engine:
        loud = [asyncio.create_task(engine.answer(7, f"loud {index}", guild="loud")) for index in range(9)]
        bulk = [asyncio.create_task(engine.encode(encoder, [f"import {index}" for index in range(9)], guild="loud"))]
        await until(lambda: engine.waiting == 9)
        loud.append(asyncio.create_task(engine.answer(7, "quiet", guild="quiet")))
        bulk.append(asyncio.create_task(engine.encode(encoder, ["label"], guild="quiet")))
        await until(lambda: engine.waiting == 10)
        gate.open()
        await asyncio.gather(*loud, *bulk)
    assert (encoder.texts[1:3], encoder.texts[11:13]) == (["loud 0", "quiet"], ["import 0", "label"])


async def test_stored_texts_are_encoded_in_the_turns_of_their_guild() -> None:
    class NothingCached:
        async def vectors(self, *_: object) -> dict[bytes, bytes]:
            return {}

        async def save_vectors(self, *_: object) -> None: ...

    gate = Gate({"held"})
    encoder = FakeEncoder(during=gate)
    async with held_engine(gate, encoder) as engine:
        vectors = Vectors(cast("Examples", NothingCached()), engine)
        loud = asyncio.create_task(engine.encode(encoder, [f"import {index}" for index in range(9)]))
        await asyncio.sleep(0)
        quiet = asyncio.create_task(vectors.of("quiet", encoder, ["label"]))
        await until(lambda: len(engine._workers._waiting._lanes.bulk) == 10)
        gate.open()
        await asyncio.gather(loud, quiet)
    assert encoder.texts[1:3] == ["import 0", "label"]


async def test_a_query_may_have_a_shorter_deadline() -> None:
    gate = Gate({"held"})
    async with held_engine(gate, FakeEncoder(during=gate)) as engine:
        with pytest.raises(Busy, match=r"within 0\.02 seconds"):
            await engine.answer(7, "suggestion", deadline=0.02)


async def test_bulk_vectors_come_in_the_order_of_the_texts() -> None:
    class ByLength(FakeEncoder):
        def encode(self, text: str) -> np.ndarray:
            return np.full(4, len(text), np.float32)

    encoder = ByLength()
    async with Engine(threads=4) as engine:
        vectors = await engine.encode(encoder, ["a" * length for length in range(100)])
        nothing = await engine.encode(encoder, [])
    assert vectors[:, 0].tolist() == list(range(100))
    assert nothing.shape == (0, 4)


async def test_a_hung_thread_fails_its_waiter_and_is_replaced() -> None:
    gate = Gate({"hang"})
    async with Engine(threads=1, deadline=0.4) as engine:
        engine.serve(served(FakeEncoder(during=gate)))
        with pytest.raises(Busy, match=r"hung|0\.4 seconds"):
            await engine.answer(7, "hang")
        assert (await engine.answer(7, "next")).version == "v1"
        gate.open()


async def test_threads_that_hang_for_ever_are_bounded_and_recovered_from() -> None:
    gate = Gate({f"hang {index}" for index in range(workers.HUNG_LIMIT + 4)})
    encoder = FakeEncoder(during=gate)
    async with Engine(threads=2, deadline=0.1) as engine:
        engine.serve(served(encoder))
        texts = [f"hang {index}" for index in range(workers.HUNG_LIMIT + 4)]
        refused = await asyncio.gather(*(engine.answer(7, text) for text in texts), return_exceptions=True)
        for text in texts:  # again, as people would: by now no thread is left to hang
            refused += await asyncio.gather(engine.answer(7, text), return_exceptions=True)
        assert all(isinstance(error, Busy) for error in refused)
        assert len(encoder.texts) <= workers.HUNG_LIMIT + 2
        gate.open()
        await asyncio.sleep(0.05)
        assert (await engine.answer(7, "fine again")).version == "v1"


async def test_a_thread_that_dies_fails_its_waiter_at_once_and_is_replaced() -> None:
    def die(text: str) -> None:
        if text == "die":
            raise SystemExit

    async with Engine(threads=1, deadline=30) as engine:
        engine.serve(served(FakeEncoder(during=die)))
        asked = time.monotonic()
        with pytest.raises(Busy, match="died"):
            await engine.answer(7, "die")
        assert time.monotonic() - asked < 2
        assert (await engine.answer(7, "next")).version == "v1"


async def test_queries_that_waited_too_long_are_refused_and_never_encoded() -> None:
    encoder = FakeEncoder(during=lambda text: time.sleep(0.05))
    async with Engine(threads=1, deadline=0.4) as engine:
        engine.serve(served(encoder))
        asked = [engine.answer(7, f"text {index}") for index in range(20)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        await engine.answer(7, "next")
    refused = [outcome for outcome in outcomes if isinstance(outcome, Busy)]
    assert len(refused) > 5
    assert len(encoder.texts) <= 20 - len(refused) + 2  # the one that was running, and "next"


async def test_a_query_that_nobody_waits_for_is_passed_over() -> None:
    gate = Gate({"held"})
    encoder = FakeEncoder(during=gate)
    async with held_engine(gate, encoder) as engine:
        abandoned = asyncio.create_task(engine.answer(7, "abandoned"))
        await until(lambda: engine.waiting == 1)
        abandoned.cancel()
        await asyncio.sleep(0)
        gate.open()
        await engine.answer(7, "next")
    assert encoder.texts == ["held", "next"]


async def test_an_encoder_that_fails_is_an_artifact_error_and_the_next_query_is_answered() -> None:
    def fail(text: str) -> None:
        if text == "bad":
            raise RuntimeError("kernel")

    encoder = FakeEncoder(during=fail)
    async with Engine(threads=1) as engine:
        engine.serve(served(encoder))
        with pytest.raises(ArtifactError, match="RuntimeError"):
            await engine.answer(7, "bad")
        with pytest.raises(ArtifactError, match="RuntimeError"):
            await engine.encode(encoder, ["good", "bad"])
        assert (await engine.answer(7, "good")).version == "v1"


async def test_closing_answers_what_runs_and_refuses_what_waits() -> None:
    gate = Gate({"held"})
    engine = Engine(threads=1)
    async with engine:
        engine.serve(served(FakeEncoder(during=gate)))
        running = asyncio.create_task(engine.answer(7, "held"))
        await until(lambda: gate.entered.acquire(blocking=False))
        waiting = asyncio.create_task(engine.answer(7, "waits"))
        await until(lambda: engine.waiting == 1)
        asyncio.get_running_loop().call_later(0.05, gate.open)
    answer: Answer = await running
    assert answer.version == "v1"
    with pytest.raises(Busy, match="shutting down"):
        await waiting


async def test_two_threads_encode_two_texts_at_a_time() -> None:
    gate = Gate()
    async with Engine(threads=2) as engine:
        engine.serve(served(FakeEncoder(during=gate)))
        both = [asyncio.create_task(engine.answer(7, text)) for text in ("one", "two")]
        await until(lambda: gate.entered.acquire(blocking=False))
        await until(lambda: gate.entered.acquire(blocking=False))
        gate.open()
        await asyncio.gather(*both)
