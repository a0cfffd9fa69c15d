"""Wrong labels: who is named, in which order, and when nobody is."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from trainer.model.head import fit_head
from trainer.model.logistic import Floats
from trainer.model.suspects import SET_ASIDE, NotJudged, Suspect, second_opinion, suspects

CLASSES, ROWS, WRONG = 8, 320, 48
LABELS = [f"l{index}" for index in range(CLASSES)]

Integers = NDArray[np.int64]


def unit(values: NDArray[np.float64]) -> Floats:
    normed: Floats = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)
    return normed


@cache
def task() -> tuple[Floats, Floats, Integers, frozenset[int]]:
    """Names, rows, given labels and which rows were given a wrong one."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(CLASSES, 32))
    right = np.arange(ROWS) % CLASSES
    vectors = unit(centres[right] + 0.9 * rng.normal(size=(ROWS, 32)))
    wrong = rng.permutation(ROWS)[:WRONG]
    given = right.copy()
    given[wrong] = (right[wrong] + rng.integers(1, CLASSES, WRONG)) % CLASSES
    return unit(centres), vectors, given, frozenset(wrong.tolist())


@cache
def first_fit() -> Floats:
    names, vectors, given, _ = task()
    return fit_head(LABELS, names, vectors, given).out_of_fold


def confident(targets: Integers, classes: int) -> Floats:
    """Logits that agree with every target by 1."""
    return np.eye(classes, dtype=np.float32)[targets]


def listed(found: list[Suspect] | NotJudged) -> list[Suspect]:
    assert isinstance(found, list)
    return found


def test_the_worst_rows_are_the_wrong_ones_and_the_right_label_is_suggested() -> None:
    _, _, given, wrong = task()
    found = listed(suspects(first_fit(), given, range(ROWS)))[:WRONG]
    hits = [suspect for suspect in found if suspect.row in wrong]
    assert len(hits) >= 0.9 * WRONG
    assert sum(suspect.suggested == suspect.row % CLASSES for suspect in hits) >= 0.9 * len(hits)
    assert all(suspect.given == given[suspect.row] for suspect in found)


def test_a_suspect_says_row_id_labels_and_margin() -> None:
    targets = np.arange(200) % 4
    logits = confident(targets, 4)
    logits[7] = [0.5, 2.0, 1.0, -1.0]
    ids = [1000 + row for row in range(200)]
    assert suspects(logits, targets, ids) == [Suspect(row=7, id=1007, given=3, suggested=1, margin=-3.0)]


def test_worst_first_and_rows_that_agree_are_not_named() -> None:
    targets = np.zeros(200, np.int64)
    targets[100:] = 1
    logits = confident(targets, 2)
    logits[[5, 120, 60], :] = [[0, 1], [4, 1], [0, 2]]
    logits[9] = [1, 1]  # undecided: no case against it
    found = listed(suspects(logits, targets, range(200)))
    assert [(suspect.row, suspect.margin) for suspect in found] == [(120, -3.0), (60, -2.0), (5, -1.0)]


def test_the_only_row_of_a_label_is_not_judged() -> None:
    targets = np.arange(200) % 3
    targets[[10, 20, 21]] = [3, 4, 4]
    logits = confident(targets, 5)
    logits[[10, 20]] = 0
    logits[[10, 20], 0] = 9
    assert [suspect.row for suspect in listed(suspects(logits, targets, range(200)))] == [20]


@pytest.mark.parametrize(("rows", "classes"), [(0, 3), (199, 3), (300, 1)])
def test_too_little_to_judge_by_is_told_in_words(rows: int, classes: int) -> None:
    targets = np.arange(rows) % classes
    logits = -confident(targets, classes)
    found = suspects(logits, targets, range(rows))
    assert isinstance(found, NotJudged)
    assert found.reason.endswith(".")
    if classes > 1:
        assert str(rows) in found.reason
    vectors, names = np.zeros((rows, 4), np.float32), np.zeros((classes, 4), np.float32)
    labels = LABELS[:classes]
    assert second_opinion(labels, names, vectors, targets, logits) is logits


def test_two_hundred_rows_are_enough() -> None:
    targets = np.arange(200) % 2
    assert suspects(confident(targets, 2), targets, range(200)) == []


def test_lengths_that_differ_are_refused() -> None:
    targets = np.arange(200) % 2
    with pytest.raises(ValueError, match="200 rows of logits, 200 targets and 199 ids"):
        suspects(confident(targets, 2), targets, range(199))


def test_the_second_opinion_is_formed_without_the_worst_rows() -> None:
    """The rows set aside are read by the head of the others; every other row by the cross-fit of the others."""
    names, vectors, given, _ = task()
    found = listed(suspects(first_fit(), given, range(ROWS)))
    aside = np.zeros(ROWS, bool)
    aside[[suspect.row for suspect in found[: int(SET_ASIDE * ROWS)]]] = True
    expected = fit_head(LABELS, names, vectors[~aside], given[~aside])
    logits = second_opinion(LABELS, names, vectors, given, first_fit())
    assert len(found) > aside.sum() > 20
    np.testing.assert_allclose(logits[~aside], expected.out_of_fold)
    np.testing.assert_allclose(logits[aside], expected.head.logits(vectors[aside]))


def test_the_second_opinion_finds_at_least_as_many() -> None:
    names, vectors, given, wrong = task()
    logits = second_opinion(LABELS, names, vectors, given, first_fit())

    def hits(scores: Floats) -> int:
        return sum(suspect.row in wrong for suspect in listed(suspects(scores, given, range(ROWS)))[:WRONG])

    assert hits(logits) >= hits(first_fit())


def test_where_nothing_looks_wrong_the_first_opinion_stands() -> None:
    names, vectors, given, _ = task()
    agreeing = confident(given, CLASSES)
    assert second_opinion(LABELS, names, vectors, given, agreeing) is agreeing


def test_inputs_are_left_as_they_are() -> None:
    names, vectors, given, _ = task()
    before, targets = first_fit().copy(), given.copy()
    second_opinion(LABELS, names, vectors, given, before)
    suspects(before, given, range(ROWS))
    np.testing.assert_array_equal(before, first_fit())
    np.testing.assert_array_equal(given, targets)
