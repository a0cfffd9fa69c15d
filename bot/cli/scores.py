"""How good a list of answers is: accuracy, macro-F1 and figures per label, by NumPy alone. Knows no models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class LabelScores:
    label: str
    n: int
    """Rows whose true label this is."""
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Scores:
    n: int
    accuracy: float
    macro_f1: float
    """Mean F1 over every label that occurs as truth or as answer, each with the same weight; a label that is never
    both counts 0. The definition of scikit-learn's `f1_score(average="macro", zero_division=0)`."""
    labels: tuple[LabelScores, ...]
    """By name."""


def score(truth: Sequence[str], answers: Sequence[str]) -> Scores:
    """Compares answers with the truth, row by row.

    Raises:
        ValueError: no rows, or not as many answers as rows.
    """
    if not truth or len(truth) != len(answers):
        raise ValueError(f"{len(truth)} rows with {len(answers)} answers cannot be scored")
    names, codes = np.unique([*truth, *answers], return_inverse=True)
    true, answered = codes[: len(truth)], codes[len(truth) :]
    rows = np.bincount(true, minlength=len(names))
    given = np.bincount(answered, minlength=len(names))
    right = np.bincount(true[true == answered], minlength=len(names))
    precision, recall = _share(right, given), _share(right, rows)
    f1 = _share(2 * right, rows + given)
    per_label = zip(names, rows, precision, recall, f1, strict=True)
    return Scores(
        n=len(truth),
        accuracy=float(right.sum() / len(truth)),
        macro_f1=float(f1.mean()),
        labels=tuple(LabelScores(str(a), int(b), float(c), float(d), float(e)) for a, b, c, d, e in per_label),
    )


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, and 0 where there is nothing to have a share of."""
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)
