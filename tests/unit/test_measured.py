"""Which rows are evidence, what it costs, and which of two candidates stands for election."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.records import CandidateKind, Split
from tests.fakes.lessons import make_snapshot
from trainer.dataset import Fold, Rows, read_dataset
from trainer.learn import choose
from trainer.measured import Measured, Said, cross_fit, plan_folds, plan_newer

DATA = read_dataset(make_snapshot())


def rows(count: int, classes: int = 4) -> Rows:
    return Rows(tuple(range(count)), ("t",) * count, np.arange(count) % classes)


def planned(folds: list[Fold]) -> tuple[int, int]:
    """(trainings, rows answered)"""
    return len(folds), sum(len(fold.held) for fold in folds)


@pytest.mark.parametrize(
    ("count", "trainings", "answered"),
    [(60, 3, 60), (600, 3, 600), (1000, 2, 667), (1800, 1, 600), (2900, 1, 967), (3000, 1, 600), (50_000, 1, 10_000)],
)
def test_few_rows_are_all_answered_and_many_cost_one_training(count: int, trainings: int, answered: int) -> None:
    found = planned(plan_folds(rows(count), np.arange(count), 600, seed=0))
    assert found == (trainings, pytest.approx(answered, abs=2))


def test_only_the_allowed_rows_are_answered() -> None:
    among = np.arange(0, 100, 2)
    held = np.concatenate([fold.held for fold in plan_folds(rows(100), among, 600, seed=0)])
    assert sorted(held) == among.tolist()


def test_without_possible_evidence_nothing_is_planned() -> None:
    assert plan_folds(rows(100), np.zeros(0, np.int64), 600, seed=0) == []


@given(st.integers(2, 3000), st.integers(0, 3))
def test_at_least_half_of_the_newer_rows_stay_with_the_shadow(newer: int, seed: int) -> None:
    _, answered = planned(plan_newer(rows(4000), np.arange(4000 - newer, 4000), 600, seed))
    assert answered <= min(newer / 2 + 2, 602)


def test_what_each_fold_says_is_put_beside_its_rows() -> None:
    def answer(fold: Fold) -> Said:
        mine = np.eye(len(DATA.labels), dtype=np.float32)[DATA.train.targets[fold.held]]
        return Said(mine, mine, mine)

    folds = plan_folds(DATA.train, np.arange(len(DATA.train)), 600, seed=0)
    measured = cross_fit(DATA, folds, answer)
    assert measured.right() == len(measured.rows) == len(DATA.train)
    truth = {number: DATA.labels[target] for number, target in zip(DATA.train.ids, DATA.train.targets, strict=True)}
    assert measured.answers(DATA.labels) == truth


def test_no_folds_measure_nothing() -> None:
    measured = cross_fit(DATA, [], lambda fold: pytest.fail("nothing to answer"))
    assert (len(measured.rows), measured.right(), measured.said.logits.shape) == (0, 0, (0, len(DATA.labels)))


def test_a_text_is_compared_with_rows_and_name_together() -> None:
    known, names = np.eye(3, dtype=np.float32)[[0]], np.eye(3, dtype=np.float32)[[1, 2]]
    said = Said.about(known, np.zeros((1, 2), np.float32), known, np.array([0]), names)
    assert np.allclose(said.cosines, [[2**-0.5, 0]])
    assert np.allclose(said.to_names, [[0, 0]])


def right(count: int) -> Measured:
    """Ten rows of which `count` are answered right."""
    truth = rows(10, classes=2)
    wrong = np.arange(10) >= count
    logits = np.eye(2, dtype=np.float32)[np.where(wrong, 1 - truth.targets, truth.targets)]
    return Measured(truth, Split.TRAIN, Said(logits, logits, logits))


@pytest.mark.parametrize(
    ("deep", "instant", "serves_instant", "kind"),
    [
        (6, 5, False, CandidateKind.DEEP),
        (5, 6, False, CandidateKind.INSTANT),
        (5, 5, False, CandidateKind.DEEP),
        (5, 6, True, CandidateKind.DEEP),
    ],
)
def test_the_kind_that_is_right_more_often_stands(
    deep: int, instant: int, serves_instant: bool, kind: CandidateKind
) -> None:
    assert choose(right(deep), right(instant), serves_instant=serves_instant) is kind


def test_a_scope_measured_on_shadows_turns_few_of_their_rows_away() -> None:
    noise = np.random.default_rng(0)
    truth = rows(400, classes=2)
    cosines = np.eye(2)[truth.targets] * 0.6 + noise.normal(0, 0.05, (400, 2))
    measured = Measured(
        truth, Split.TRAIN, Said(*(part.astype(np.float32) for part in (cosines * 20, cosines, cosines)))
    )
    scope = measured.scope(np.eye(2, dtype=np.float32))
    assert measured.outside(scope).mean() == pytest.approx(0.05, abs=0.01)
    assert scope.outside(np.array([[0.1, 0.1]], np.float32), np.array([[2.0, 2.0]], np.float32)).all()
    assert not measured.outside(None).any()
