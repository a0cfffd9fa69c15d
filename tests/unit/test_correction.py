"""A head corrected in closed form: it solves what it says and keeps what it need not change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.inference import correction
from bot.inference.correction import ANCHOR_SLACK, CONFIDENCE, ROW_SLACK, correct, least_change
from trainer.model.head import Head, fit_head
from trainer.model.logistic import Floats

D = 96
NOTHING: Floats = np.zeros((0, D), np.float32)
SEEDS = st.integers(0, 2**32 - 1)


def units(generator: np.random.Generator, count: int) -> Floats:
    vectors = generator.normal(size=(count, D))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def near(generator: np.random.Generator, centres: Floats, targets: list[int] | Floats, spread: float = 0.04) -> Floats:
    vectors = centres[np.asarray(targets, int)] + spread * generator.normal(size=(len(targets), D))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def taught(seed: int, classes: int = 4, each: int = 5) -> tuple[Head, Floats]:
    """A head fitted on rows around the labels' names, and those names [K, d]."""
    generator = np.random.default_rng(seed)
    names = units(generator, classes)
    targets = list(np.repeat(range(classes), each))
    rows = near(generator, names, targets)
    return fit_head([f"label {index}" for index in range(classes)], names, rows, targets).head, names


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 12), st.integers(1, 5), st.integers(0, 8))
def test_the_closed_form_is_the_ridge_regression_solved_in_full(seed: int, rows: int, classes: int, held: int) -> None:
    generator = np.random.default_rng(seed)
    vectors, anchors = units(generator, rows), units(generator, held)
    wanted = generator.normal(size=(rows, classes)).astype(np.float32)
    # Least squares of everything stacked: rows, anchors and the weights themselves, each by its slack.
    metric = np.linalg.inv(np.eye(D) + anchors.T @ anchors / ANCHOR_SLACK)
    slack = np.sqrt(ROW_SLACK * np.sum(vectors @ metric * vectors, axis=1))[:, None]
    design = np.concatenate([vectors / slack, anchors / np.sqrt(ANCHOR_SLACK), np.eye(D)])
    aims = np.concatenate([wanted / slack, np.zeros((held + D, classes))])
    expected = np.linalg.lstsq(design.astype(np.float64), aims.astype(np.float64), rcond=None)[0].T
    assert np.allclose(least_change(vectors, wanted, anchors), expected, atol=1e-3 * max(1.0, np.abs(expected).max()))


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 6), st.floats(0.5, 2.0))
def test_every_newer_row_is_answered_with_its_label_surely(seed: int, count: int, temperature: float) -> None:
    head = replace(taught(seed)[0], temperature=temperature)
    generator = np.random.default_rng(seed)
    rows, targets = units(generator, count), generator.integers(4, size=count)
    lone = correct(head, head.labels, rows[:1], targets[:1], NOTHING).probabilities(rows[:1])[0, targets[0]]
    assert lone == pytest.approx(max(CONFIDENCE, head.probabilities(rows[:1])[0, targets[0]]), abs=0.01)
    corrected = correct(head, head.labels, rows, targets, NOTHING)
    confidences = corrected.probabilities(rows)[np.arange(count), targets]
    assert (confidences > CONFIDENCE - 0.15).all()
    own = head.probabilities(rows)[np.arange(count), targets]
    assert (confidences <= np.maximum(own, CONFIDENCE) + 0.1).all()  # raised as far as is wanted, not further


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.permutations(range(6)))
def test_the_order_of_rows_does_not_matter(seed: int, order: list[int]) -> None:
    head, _ = taught(seed)
    generator = np.random.default_rng(seed)
    rows, targets = units(generator, 6), generator.integers(4, size=6)
    one = correct(head, head.labels, rows, targets, NOTHING)
    other = correct(head, head.labels, rows[order], targets[order], NOTHING)
    assert np.allclose(one.weight, other.weight, atol=1e-3)


def test_without_newer_rows_it_is_the_head_itself() -> None:
    head, _ = taught(0)
    assert correct(head, head.labels, NOTHING, [], NOTHING) is head


def test_the_head_that_is_corrected_stays_as_it_was() -> None:
    head, names = taught(0)
    weight, bias = head.weight.copy(), head.bias.copy()
    correct(head, head.labels, names[:1], [3], NOTHING)
    assert np.array_equal(head.weight, weight)
    assert np.array_equal(head.bias, bias)


def test_a_row_that_is_answered_surely_pulls_at_nothing() -> None:
    head, names = taught(0, each=20)
    assert head.probabilities(names[:1])[0, 0] > CONFIDENCE
    assert np.array_equal(correct(head, head.labels, names[:1], [0], NOTHING).weight, head.weight)


def test_a_changed_label_replaces_the_one_before() -> None:
    head, _ = taught(0)
    row = units(np.random.default_rng(9), 1)
    answers = [correct(head, head.labels, row, [label], NOTHING).logits(row).argmax() for label in range(4)]
    assert answers == [0, 1, 2, 3]


def test_a_new_label_answers_its_rows_and_leaves_the_others_theirs() -> None:
    head, names = taught(1)
    generator = np.random.default_rng(2)
    name = units(generator, 1)
    rows = near(generator, name, [0, 0, 0])
    labels = ("label 0", "new", "label 1", "label 2", "label 3")
    corrected = correct(head, labels, rows, [1, 1, 1], name)
    assert corrected.labels == labels
    assert (corrected.probabilities(np.concatenate([rows, name]))[:, 1] > CONFIDENCE - 0.1).all()
    others = near(generator, names, list(np.repeat(range(4), 10)))
    moved = np.array([0, 2, 3, 4])[head.logits(others).argmax(1)]
    assert (corrected.logits(others).argmax(1) == moved).mean() > 0.95
    assert corrected.scope is not None
    assert head.scope is not None
    assert corrected.scope.prototypes.shape == corrected.weight.shape
    assert np.array_equal(corrected.scope.prototypes[[0, 2, 3, 4]], head.scope.prototypes)
    assert (corrected.scope.prototypes[1] @ np.concatenate([rows, name]).T > 0.8).all()


def test_a_removed_label_is_no_answer_and_the_others_keep_their_logits() -> None:
    head, names = taught(0)
    corrected = correct(head, ("label 3", "label 0"), NOTHING, [], NOTHING)
    assert corrected.labels == ("label 3", "label 0")
    assert np.array_equal(corrected.logits(names), head.logits(names)[:, [3, 0]])
    assert corrected.scope is not None
    assert len(corrected.scope.prototypes) == len(corrected.scope.typical) == 2


def test_the_only_label_is_the_answer_to_everything() -> None:
    head, names = taught(0, classes=1)
    assert correct(head, head.labels, names, [0], NOTHING).probabilities(names).tolist() == [[1.0]]


def test_two_names_for_one_text_do_not_tear_the_head_apart() -> None:
    head, _ = taught(0)
    row = units(np.random.default_rng(5), 1)
    both = np.concatenate([row, row + np.float32(1e-4)])
    corrected = correct(head, head.labels, both, [0, 1], NOTHING)
    assert np.isfinite(corrected.weight).all()
    assert np.abs(corrected.weight - head.weight).max() < 10


def test_texts_of_other_labels_keep_their_answers_thanks_to_the_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    head, names = taught(3, classes=8)
    generator = np.random.default_rng(4)
    others = near(generator, names, list(np.repeat(range(8), 20)))
    wrong = near(generator, names, [0, 0, 0], spread=0.08)

    def moved() -> float:
        corrected = correct(head, head.labels, wrong, [1, 2, 3], NOTHING)
        return float(np.abs(corrected.logits(others) - head.logits(others)).mean())

    with_anchors = moved()
    monkeypatch.setattr(correction, "ANCHOR_SLACK", 1e6)
    assert with_anchors < 0.6 * moved()


@pytest.mark.parametrize("scoped", [True, False])
def test_many_labels_a_head_in_half_precision_and_one_without_a_scope(scoped: bool) -> None:
    classes = correction.MOST_ANCHORS + 10
    head, names = taught(0, classes=classes, each=1)
    scope = head.scope and replace(head.scope, prototypes=head.scope.prototypes.astype(np.float16))
    half = replace(head, weight=head.weight.astype(np.float16), scope=scope if scoped else None)
    row = near(np.random.default_rng(1), names, [classes - 1], spread=0.1)  # of the last label
    corrected = correct(half, half.labels, row, [0], NOTHING)
    assert corrected.weight.dtype == np.float32
    assert corrected.probabilities(row)[0, 0] == pytest.approx(CONFIDENCE, abs=0.02)
