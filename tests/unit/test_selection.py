"""Which text to ask about: the lot is blind to the model, the rest is not; nothing is asked twice."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.model.logistic import Floats
from trainer.model.selection import RANDOM_SHARE, Pick, Reason, select

CLASSES = 12


def unit(values: NDArray[np.float64]) -> Floats:
    normed: Floats = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return normed


def pool(rows: int, seed: int = 0, classes: int = CLASSES) -> tuple[Floats, Floats]:
    """Vectors and probabilities without any structure."""
    rng = np.random.default_rng(seed)
    return unit(rng.normal(size=(rows, 16))), rng.dirichlet(np.full(classes, 0.3), size=rows).astype(np.float32)


def sure(rows: int, doubtful: list[int]) -> Floats:
    """Probabilities: certain of everything but the doubtful rows, where two labels are level."""
    probabilities = np.zeros((rows, CLASSES), np.float32)
    probabilities[:, 0] = 1
    probabilities[doubtful, :2] = 0.5
    return probabilities


def positions(picks: list[Pick], reason: Reason | None = None) -> list[int]:
    return [pick.position for pick in picks if reason in (None, pick.reason)]


def test_a_share_is_drawn_by_lot_and_the_rest_is_what_the_model_doubts() -> None:
    vectors, _ = pool(400)
    doubtful = list(range(100, 130))
    picks = select(vectors, sure(400, doubtful), 20, seed=1)
    assert len(set(positions(picks))) == 20
    assert len(positions(picks, Reason.RANDOM)) == RANDOM_SHARE * 20
    assert set(positions(picks, Reason.MARGIN)) <= set(doubtful)


def test_the_lot_is_independent_of_the_model() -> None:
    """Other answers, other labels: the same texts are drawn."""
    vectors, probabilities = pool(300)
    other = pool(300, seed=5, classes=20)[1]
    first = select(vectors, probabilities, 40, seed=7)
    second = select(vectors, other, 40, seed=7, known=vectors[:30])
    assert positions(first, Reason.RANDOM) == positions(second, Reason.RANDOM)
    assert positions(first, Reason.MARGIN) != positions(second, Reason.MARGIN)


def test_every_text_is_as_likely_to_be_drawn() -> None:
    vectors, _ = pool(40)
    probabilities = sure(40, list(range(20)))
    drawn = Counter(
        position
        for seed in range(400)
        for position in positions(select(vectors, probabilities, 8, seed=seed), Reason.RANDOM)
    )
    assert sum(drawn.values()) == 800
    assert min(drawn[position] for position in range(40)) >= 6  # 20 expected, standard deviation 4.4
    assert 330 <= sum(drawn[position] for position in range(20)) <= 470  # half; standard deviation 14


def test_single_questions_keep_the_share() -> None:
    vectors, probabilities = pool(60)
    picks = [select(vectors, probabilities, 1, seed=seed)[0] for seed in range(200)]
    assert 30 <= sum(pick.reason is Reason.RANDOM for pick in picks) <= 70  # 50 expected, standard deviation 6


def test_the_lot_is_spread_over_the_list() -> None:
    vectors, probabilities = pool(60)
    first = [select(vectors, probabilities, 20, seed=seed)[0].reason for seed in range(60)]
    assert 3 <= first.count(Reason.RANDOM) <= 30  # a quarter expected


def test_same_seed_same_choice_other_seed_another() -> None:
    vectors, probabilities = pool(300)
    first = select(vectors, probabilities, 20, seed=1)
    assert select(vectors, probabilities, 20, seed=1) == first
    again = select(vectors, probabilities, 20, seed=2)
    assert set(positions(again, Reason.RANDOM)) != set(positions(first, Reason.RANDOM))


def test_the_model_is_asked_from_the_start() -> None:
    vectors, _ = pool(200)
    picks = select(vectors, sure(200, [3, 4, 5]), 4, seed=0, random_share=0.0)
    assert {3, 4, 5} < set(positions(picks, Reason.MARGIN))


@pytest.mark.parametrize("classes", [0, 1])
def test_without_two_labels_there_is_only_the_lot(classes: int) -> None:
    vectors, _ = pool(30)
    picks = select(vectors, np.ones((30, classes), np.float32), 5, seed=0)
    assert [pick.reason for pick in picks] == [Reason.RANDOM] * 5


@pytest.mark.parametrize("rows", [0, 1, 5])
@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_small_pool_is_asked_about_whole(rows: int, share: float) -> None:
    vectors, probabilities = pool(rows)
    picks = select(vectors, probabilities, 20, seed=0, random_share=share)
    assert sorted(positions(picks)) == list(range(rows))


def test_nothing_wanted_nothing_picked() -> None:
    vectors, probabilities = pool(10)
    assert select(vectors, probabilities, 0, seed=0) == []


def test_the_same_text_is_asked_about_once() -> None:
    vectors, _ = pool(30)
    vectors[10:] = vectors[:10].repeat(2, axis=0)
    picks = select(vectors, sure(30, list(range(30))), 30, seed=0)
    assert len(picks) == len({vectors[position].tobytes() for position in positions(picks)}) == 10


def test_what_somebody_else_was_asked_is_not_asked_again() -> None:
    vectors, probabilities = pool(30)
    vectors[20] = vectors[0]
    first = positions(select(vectors, probabilities, 10, seed=3))
    taken = {*first, 0}
    second = positions(select(vectors, probabilities, 30, seed=3, taken=taken))
    assert set(second) == set(range(30)) - taken - {20}


def groups() -> tuple[Floats, list[int]]:
    """Groups 0 to 4 of 30, 25, 20, 15 and 10 near-copies, at right angles; row i < 5 is of group i."""
    rng = np.random.default_rng(0)
    group = np.concatenate([np.arange(5), np.repeat(np.arange(5), [29, 24, 19, 14, 9])])
    return unit(np.eye(16)[group] + 0.05 * rng.normal(size=(100, 16))), group.tolist()


def test_alike_texts_are_not_asked_about_together() -> None:
    vectors, group = groups()
    picks = select(vectors, sure(100, list(range(100))), 5, seed=0, random_share=0.0)
    assert {group[position] for position in positions(picks)} == set(range(5))


def test_what_others_are_asked_and_what_is_labelled_counts_as_covered() -> None:
    vectors, group = groups()
    probabilities = sure(100, list(range(100)))
    picks = select(vectors, probabilities, 2, seed=0, random_share=0.0, taken=[0, 1], known=vectors[[2]])
    assert {group[position] for position in positions(picks)} == {3, 4}


def test_the_lot_counts_as_covered() -> None:
    vectors, group = groups()
    for seed in range(5):
        picks = select(vectors, sure(100, list(range(100))), 4, seed=seed, random_share=0.25)
        assert len({group[position] for position in positions(picks)}) == 4


def test_a_text_that_stands_for_many_goes_first() -> None:
    vectors, group = groups()
    few = [row for row in range(100) if group[row] != 0][:80]
    crowd = [row for row in range(100) if group[row] == 0]
    doubtful = [*crowd, few[0], few[1]]
    picks = select(vectors, sure(100, doubtful), 1, seed=0, random_share=0.0)
    assert group[positions(picks)[0]] == 0


def test_reserved_texts_come_by_lot_only() -> None:
    vectors, _ = pool(200)
    reserved = np.arange(200) < 100
    picks = [
        pick
        for seed in range(10)
        for pick in select(vectors, sure(200, list(range(100))), 20, seed=seed, reserved=reserved)
    ]
    assert not any(reserved[position] for position in positions(picks, Reason.MARGIN))
    assert any(reserved[position] for position in positions(picks, Reason.RANDOM))
