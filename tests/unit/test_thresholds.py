"""From which confidence on an answer is given: it follows the head that serves and the share that is wanted."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest

from bot.inference import engine as engine_module
from bot.inference.engine import Engine, Served
from bot.inference.thresholds import promised, sureness, threshold
from bot.services.sureness import parse_precision
from storage.errors import InvalidInput
from storage.report_figures import sureness_words
from tests.fakes.fake_encoder import FakeEncoder, Gate, until
from trainer.model.calibration import Reliability
from trainer.model.head import Head
from trainer.model.scope import Scope


def checked(rows: int, right_from: float) -> Reliability:
    """Confidences spread evenly over [0, 1]; those from `right_from` on are right."""
    confidences = np.linspace(0, 1, rows, dtype=np.float32)
    return Reliability(confidences, confidences >= right_from)


def head(reliability: Reliability | None = None, scope: Scope | None = None) -> Head:
    """Two labels, the first with a confidence of 0.731 for every text; its own threshold is 0.4."""
    bias = np.array([1, 0], np.float32)
    return Head(("bug", "praise"), np.zeros((2, 4), np.float32), bias, 1.0, 0.4, scope, reliability)


def test_the_threshold_is_the_promised_one_else_the_heads_own() -> None:
    many = head(checked(400, 0.5))
    lowest = promised(many, 0.9)
    assert lowest is not None
    assert 0.4 < lowest < 0.5  # a tenth of the answers may be wrong
    assert threshold(many, 0.9) == lowest
    assert threshold(many, 0.99) > lowest
    assert threshold(many, None) == 0.4
    for unknown in (head(checked(8, 0.0)), head(checked(0, 0.0)), head(None)):
        assert promised(unknown, 0.9) is None
        assert threshold(unknown, 0.9) == 0.4


def test_what_follows_is_counted_on_the_checked_answers() -> None:
    told = sureness(head(checked(401, 0.5)), 0.9)
    assert (told.precision, told.promised, told.checked) == (0.9, True, 401)
    assert told.answered == pytest.approx(1 - told.threshold, abs=0.01)
    assert told.right == pytest.approx(0.5 / told.answered, abs=0.01)
    few = sureness(head(checked(11, 0.8)), 0.9)
    assert (few.threshold, few.promised, few.checked) == (0.4, False, 11)
    assert few.answered == pytest.approx(7 / 11)
    assert few.right == pytest.approx(3 / 7)
    never = replace(head(checked(11, 0.8)), abstain_below=math.inf)
    assert (sureness(never, None).answered, sureness(never, None).right) == (0, 0)
    assert not sureness(head(checked(401, 0.5)), None).promised


def test_words_tell_what_is_promised_and_what_cannot_be_yet() -> None:
    promise = sureness_words(sureness(head(checked(401, 0.5)), 0.95))
    assert promise.startswith("95 % of its answers should be right. It answers from confidence 0.48 on: of 401 checked")
    few = sureness_words(sureness(head(checked(11, 0.8)), 0.95))
    assert few == (
        "With 11 checked answers 95 % cannot be promised yet; until then the model's own threshold holds. It answers "
        "from confidence 0.40 on: of 11 checked answers, 64 % reach that, and 42.9 % of these are right."
    )
    assert sureness_words(sureness(head(None), None)) == (
        "The threshold is the model's own. It answers from confidence 0.40 on; no answer was checked yet."
    )


@pytest.mark.parametrize(
    ("words", "precision"),
    [("95", 0.95), (" 95 % ", 0.95), ("0.95", 0.95), ("97,5%", 0.975), ("None", None), ("1", 0.01), ("0.9 %", 0.009)],
)
def test_a_share_is_read_in_every_way_that_people_write_it(words: str, precision: float | None) -> None:
    assert parse_precision(words) == pytest.approx(precision)


@pytest.mark.parametrize("words", ["", "very", "-5", "nan", "1e2", "95 % of them", "٩٥", "9" * 500])
def test_what_is_no_share_is_refused(words: str) -> None:
    with pytest.raises(InvalidInput, match="like 95, or none"):
        parse_precision(words)


async def test_not_sure_follows_the_wanted_share_and_the_head_that_serves() -> None:
    encoder = FakeEncoder()
    async with Engine(threads=1) as engine:

        async def abstains(precision: float | None) -> bool:
            return (await engine.answer(7, "hm", precision=precision)).abstained

        engine.serve(Served(7, 1, 0, encoder, head(checked(400, 0.8))))
        assert not await abstains(None)
        assert await abstains(0.9)
        assert not await abstains(0.5)
        engine.serve(Served(7, 1, 1, encoder, head(checked(400, 0.2))))  # a refit that does better
        assert not await abstains(0.9)
        engine.serve(Served(7, 2, 0, encoder, head(checked(400, 0.8))))
        assert await abstains(0.9)
        engine.serve(Served(7, 3, 0, encoder, head(checked(5, 0.0))))  # too few to promise anything
        assert not await abstains(0.9)


async def test_a_question_from_before_a_swap_leaves_the_next_ones_the_new_heads_threshold() -> None:
    gate = Gate()
    async with Engine(threads=2) as engine:
        engine.serve(Served(7, 1, 0, FakeEncoder("old", during=gate), head(checked(400, 0.8))))
        early = asyncio.create_task(engine.answer(7, "hm", precision=0.9))
        await until(lambda: gate.entered.acquire(blocking=False))
        engine.serve(Served(7, 2, 0, FakeEncoder("new"), head(checked(400, 0.2))))
        gate.open()
        assert (await early).abstained
        assert not (await engine.answer(7, "hm", precision=0.9)).abstained


async def test_a_threshold_is_computed_once_for_a_head_and_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[Head, float | None]] = []

    def counting(served: Head, precision: float | None) -> float:
        computed.append((served, precision))
        return threshold(served, precision)

    monkeypatch.setattr(engine_module, "threshold", counting)
    first, second = head(checked(400, 0.9)), head(checked(400, 0.9))
    async with Engine(threads=1) as engine:
        for serving in (first, second):
            engine.serve(Served(7, 1, 0, FakeEncoder(), serving))
            for precision in (0.9, 0.9, 0.9, 0.95, 0.95):
                await engine.answer(7, "hm", precision=precision)
    assert [(served is first, precision) for served, precision in computed] == [
        *((True, 0.9), (True, 0.95)),
        *((False, 0.9), (False, 0.95)),
    ]


async def test_an_answer_says_that_a_text_looks_like_nothing_taught() -> None:
    encoder = FakeEncoder()
    vector = encoder.encode("crash")
    # Nearness in units of its spread, the logits left out: only a text at the prototype lies inside.
    scope = Scope(np.stack([vector, vector]), np.ones(2, np.float32), 0.0, 1.0, 0.0, 1e9, -0.1)
    async with Engine(threads=1) as engine:
        engine.serve(Served(7, 1, 0, encoder, head(scope=scope)))
        assert not (await engine.answer(7, "crash")).outside
        strange = await engine.answer(7, "weather")
        assert strange.outside
        assert strange.scores[0].label == "bug"  # what lies nearest is told all the same
        engine.serve(Served(7, 2, 0, encoder, head()))
        assert not (await engine.answer(7, "weather")).outside
