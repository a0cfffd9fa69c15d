"""Paired outcomes to an EvaluationReport: candidate and champion on the same rows, as served.

It measures; whether a candidate is good enough is decided elsewhere. It knows label names and counts, no texts, no
vectors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

from storage.records import Certainty, EvaluationReport, LabelReport, PairedOutcome, Split
from trainer.model.calibration import precision_threshold

PRECISION = 0.95
"""For which the coverage is told."""
BINS = 15
"""Of the expected calibration error, equal width; the usual number (Guo et al. 2017)."""


@dataclass(frozen=True)
class Judged:
    """One evaluated row and the candidate's confidence in its answer, in [0, 1], with and without the temperature."""

    outcome: PairedOutcome
    confidence: float
    uncalibrated: float
    outside: bool
    """Whether the candidate takes it for a text without any label."""


def evaluate(
    judged: Sequence[Judged],
    labels: Sequence[str],
    *,
    champion: str,
    train_rows: int,
    golden_rows: int,
    seconds: Mapping[str, float],
    encoder_bytes: int,
    strangers_caught: float = 0.0,
) -> EvaluationReport:
    """The report over rows that neither model was trained on. Without rows every rate is 0.

    `champion` is its name ("v12+7"); `seconds` the wall time by phase so far; a champion's answer may be a label that
    is not among `labels` any more, and then counts as wrong.
    """
    outcomes = [row.outcome for row in judged]
    truth = [outcome.label for outcome in outcomes]
    candidate = [outcome.candidate for outcome in outcomes]
    serving = [outcome.champion for outcome in outcomes]
    right = np.array([outcome.candidate == outcome.label for outcome in outcomes], bool)
    return EvaluationReport(
        outcomes=tuple(outcomes),
        candidate_accuracy=_mean(right),
        champion_accuracy=_mean(np.array([outcome.champion == outcome.label for outcome in outcomes], bool)),
        candidate_macro_f1=_macro_f1(truth, candidate),
        champion_macro_f1=_macro_f1(truth, serving),
        labels=_by_label(truth, candidate, serving, labels),
        confusion=_confusion(truth, candidate, labels),
        calibration_error=calibration_error(_column([row.confidence for row in judged]), right),
        champion=champion,
        train_rows=train_rows,
        golden_rows=golden_rows,
        seconds=dict(seconds),
        encoder_bytes=encoder_bytes,
        certainty=_certainty(judged, right, strangers_caught) if judged else None,
    )


def pair(
    ids: Sequence[int],
    truth: Sequence[str],
    split: Split,
    champion: Sequence[str],
    candidate: Sequence[str],
    surer: Sequence[float | None] | None = None,
) -> list[PairedOutcome]:
    """Columns to outcomes; all have one length."""
    columns = zip(ids, truth, champion, candidate, surer or [None] * len(ids), strict=True)
    return [PairedOutcome(number, label, split, before, after, more) for number, label, before, after, more in columns]


def calibration_error(confidences: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy over 15 bins, weighted by rows."""
    if not len(confidences):
        return 0.0
    bins = np.minimum((confidences * BINS).astype(np.int64), BINS - 1)
    gaps = [abs(float(confidences[bins == b].sum() - right[bins == b].sum())) for b in np.unique(bins)]
    return sum(gaps) / len(confidences)


def _certainty(judged: Sequence[Judged], right: NDArray[np.bool_], strangers_caught: float) -> Certainty:
    threshold, coverage = precision_threshold(_column([row.confidence for row in judged]), right, PRECISION)
    return Certainty(
        calibration_error_before=calibration_error(_column([row.uncalibrated for row in judged]), right),
        coverage=coverage,
        coverage_from=threshold if coverage else None,
        precision=PRECISION,
        turned_away=_mean(np.array([row.outside for row in judged], bool)),
        strangers_caught=strangers_caught,
    )


def _column(values: Sequence[float]) -> NDArray[np.float64]:
    return np.array(values, np.float64)


def _mean(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if len(right) else 0.0


def _macro_f1(truth: list[str], answers: list[str]) -> float:
    """Over the labels that have evaluated rows: a label without any says nothing."""
    if not truth:
        return 0.0
    return float(f1_score(truth, answers, labels=sorted(set(truth)), average="macro", zero_division=0.0))


def _by_label(
    truth: list[str], candidate: list[str], champion: list[str], labels: Sequence[str]
) -> tuple[LabelReport, ...]:
    if not truth:
        return tuple(LabelReport(label, 0, 0.0, 0.0, 0.0) for label in labels)
    names = list(labels)
    precision, recall, _, rows = precision_recall_fscore_support(truth, candidate, labels=names, zero_division=0.0)
    _, before, _, _ = precision_recall_fscore_support(truth, champion, labels=names, zero_division=0.0)
    return tuple(
        LabelReport(name, int(rows[i]), float(precision[i]), float(recall[i]), float(before[i]))
        for i, name in enumerate(names)
    )


def _confusion(truth: list[str], candidate: list[str], labels: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    if not truth:
        return tuple((0,) * len(labels) for _ in labels)
    counts = confusion_matrix(truth, candidate, labels=list(labels))
    return tuple(tuple(int(count) for count in row) for row in counts)
