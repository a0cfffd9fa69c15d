"""The scope: texts of no label are noticed, texts of any label are not turned away, whatever scale the head has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from storage.errors import ArtifactError
from trainer.model.head import Head, fit_head
from trainer.model.scope import NEVER, Scope, fit_scope

Floats = NDArray[np.float32]
Classes = NDArray[np.int64]


def unit(values: NDArray[np.floating]) -> Floats:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


class Task:
    """A made-up task of 32 dimensions: label names, and rows as many as wanted."""

    def __init__(self, classes: int, seed: int = 0, noise: float = 0.8) -> None:
        self.rng = np.random.default_rng(seed)
        self.centres = self.rng.normal(size=(classes, 32))
        self.names = unit(self.centres + 0.7 * self.rng.normal(size=self.centres.shape))
        self.noise = noise

    def rows(self, targets: Classes) -> Floats:
        return unit(self.centres[targets] + self.noise * self.rng.normal(size=(len(targets), 32)))

    def strangers(self, count: int) -> Floats:
        return unit(self.rng.normal(size=(count, 32)))

    def fit(self, targets: Classes) -> tuple[Scope, Head]:
        vectors = self.rows(targets)
        fit = fit_head([f"l{i}" for i in range(len(self.names))], self.names, vectors, targets)
        return fit_scope(vectors, targets, self.names, fit.out_of_fold), fit.head


def share_outside(scope: Scope, head: Head, vectors: Floats) -> float:
    return float(scope.outside(vectors, head.logits(vectors)).mean())


@pytest.mark.parametrize(("classes", "rows"), [(2, 15), (6, 20), (20, 3)])
def test_strangers_are_outside_and_new_texts_of_the_labels_are_not(classes: int, rows: int) -> None:
    """At 3 rows per label this is also the proof that no row was measured by a prototype that it had formed."""
    task = Task(classes)
    scope, head = task.fit(np.arange(classes * rows) % classes)
    assert share_outside(scope, head, task.rows(np.arange(600) % classes)) < 0.09
    assert share_outside(scope, head, task.strangers(600)) > 0.8


def test_the_line_is_the_held_out_score_with_five_percent_at_or_below_it() -> None:
    """Row by row: the label's prototype from its name and its other rows, the other labels' from all of theirs."""
    task = Task(3)
    targets = np.arange(60) % 3
    vectors, logits = task.rows(targets), task.rng.normal(size=(60, 3)).astype(np.float32)
    scope = fit_scope(vectors, targets, task.names, logits)
    scores = []
    for row in range(60):
        others = np.arange(60) != row
        sums = np.stack([task.names[k] + vectors[others & (targets == k)].sum(0) for k in range(3)])
        honest = scope.prototypes.copy()
        honest[targets[row]] = unit(sums)[targets[row]]
        twin = Scope(honest, *(getattr(scope, name) for name in list(Scope.__dataclass_fields__)[1:]))
        scores.append(float(twin.score(vectors[row : row + 1], logits[row : row + 1])[0]))
    assert scope.threshold == pytest.approx(sorted(scores)[2], abs=1e-4)  # floor(0.05 * 61) = 3rd lowest
    assert np.mean(scores) == pytest.approx(0, abs=1e-4)


def test_the_scale_of_the_logits_does_not_matter() -> None:
    task = Task(4)
    targets = np.arange(80) % 4
    vectors, asked = task.rows(targets), task.strangers(200)
    fit = fit_head(list("abcd"), task.names, vectors, targets)
    plain = fit_scope(vectors, targets, task.names, fit.out_of_fold)
    scaled = fit_scope(vectors, targets, task.names, 20 * fit.out_of_fold + 3)
    logits = fit.head.logits(asked)
    assert np.allclose(plain.score(asked, logits), scaled.score(asked, 20 * logits + 3), atol=1e-3)
    assert plain.threshold == pytest.approx(scaled.threshold, abs=1e-3)


def test_both_the_logits_and_the_nearness_count() -> None:
    scope, head = Task(4).fit(np.arange(80) % 4)
    prototype, away = scope.prototypes[:1], unit(scope.prototypes[:1] + np.eye(1, 32))
    logits = head.logits(prototype)
    assert scope.score(prototype, logits) > scope.score(prototype, logits - 1) + 0.1
    assert scope.score(prototype, logits) > scope.score(away, logits) + 0.1
    assert scope.score(prototype, logits).dtype == np.float32


def test_a_text_between_two_labels_is_more_in_scope_than_one_as_far_from_a_single_label() -> None:
    names = np.eye(3, 32, dtype=np.float32)
    scope = fit_scope(np.zeros((0, 32), np.float32), [], names, np.zeros((0, 3), np.float32))
    between, beside = np.zeros((1, 32), np.float32), np.zeros((1, 32), np.float32)
    between[0, :2] = beside[0, 0] = beside[0, 9] = np.sqrt(0.5)
    logits = np.zeros((1, 3), np.float32)
    assert scope.score(between, logits) > scope.score(beside, logits)


def test_a_tight_label_expects_more_than_a_wide_one() -> None:
    task = Task(2)
    targets = np.arange(80) % 2
    spread = np.where(targets == 0, 0.2, 1.2)[:, None]
    vectors = unit(task.centres[targets] + spread * task.rng.normal(size=(80, 32)))
    scope = fit_scope(vectors, targets, task.names, np.zeros((80, 2), np.float32))
    assert scope.typical[0] > scope.typical[1] + 0.1
    away = task.rng.normal(size=(1, 32))
    away -= away @ np.linalg.pinv(scope.prototypes) @ scope.prototypes
    asked = unit(scope.prototypes + unit(away))
    tight, wide = scope.score(asked, np.zeros((2, 2), np.float32))
    assert wide > tight + 0.5


def test_a_label_with_a_name_alone_keeps_most_of_its_texts() -> None:
    task = Task(10)
    scope, head = task.fit(np.arange(100) % 5)
    assert share_outside(scope, head, task.rows(np.arange(400) % 5)) < 0.1
    assert share_outside(scope, head, task.rows(5 + np.arange(400) % 5)) < 0.35
    assert share_outside(scope, head, task.strangers(400)) > 0.8


def test_a_label_with_a_name_alone_is_expected_as_near_as_names_reach_less_one_spread() -> None:
    task = Task(4)
    targets = np.arange(60) % 2
    vectors = task.rows(targets)
    scope = fit_scope(vectors, targets, task.names, np.zeros((60, 4), np.float32))
    to_names = (vectors * task.names[targets]).sum(axis=1)
    assert np.allclose(scope.typical[2:], to_names.mean() - to_names.std(), atol=1e-5)


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("rows", [0, 1, 2, 18])
def test_with_too_few_rows_nothing_is_outside(classes: int, rows: int) -> None:
    task = Task(classes)
    scope, head = task.fit(np.arange(rows) % classes)
    asked = task.strangers(50)
    assert np.isfinite(scope.score(asked, head.logits(asked))).all()
    assert scope.threshold == NEVER
    assert share_outside(scope, head, asked) == 0


def test_nineteen_rows_are_enough() -> None:
    assert Task(2).fit(np.arange(19) % 2)[0].threshold > NEVER


def test_equal_rows_have_no_spread_and_still_a_score() -> None:
    names = np.eye(2, 32, dtype=np.float32)
    scope = fit_scope(np.repeat(names[:1], 30, axis=0), np.zeros(30, int), names, np.ones((30, 2), np.float32))
    scores = scope.score(names, np.ones((2, 2), np.float32))
    assert np.isfinite(scores).all()
    assert np.abs(scores).max() < 10


class TestTensors:
    def test_they_come_back_from_a_file_beside_others(self, tmp_path: Path) -> None:
        task = Task(4)
        scope, head = task.fit(np.arange(80) % 4)
        save_file({"weight": head.weight} | scope.tensors(), tmp_path / "head.safetensors")
        again = Scope.from_tensors(load_file(tmp_path / "head.safetensors"))
        asked = task.strangers(100)
        logits = head.logits(asked)
        assert np.allclose(again.score(asked, logits), scope.score(asked, logits), atol=1e-4)
        assert again.threshold == pytest.approx(scope.threshold, abs=1e-5)

    @pytest.mark.parametrize(
        ("entry", "value", "message"),
        [
            ("scope.prototypes", None, "lacks"),
            ("scope.typical", np.zeros(3, np.float32), "fit one another"),
            ("scope.scalars", np.ones(4, np.float32), "fit one another"),
            ("scope.typical", np.full(4, np.nan, np.float32), "not finite"),
            ("scope.scalars", np.array([0, 0, 0, 1, 0], np.float32), "positive"),
            ("scope.scalars", np.array([0, 1, 0, -1, 0], np.float32), "positive"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, entry: str, value: Floats | None, message: str) -> None:
        tensors = Task(4).fit(np.arange(20) % 4)[0].tensors()
        del tensors[entry]
        if value is not None:
            tensors[entry] = value
        with pytest.raises(ArtifactError, match=message):
            Scope.from_tensors(tensors)
