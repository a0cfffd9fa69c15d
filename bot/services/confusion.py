"""Which labels a version takes for which others: the part of a confusion matrix worth a picture. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

from storage.records import EvaluationReport
from storage.report_figures import Mistake, mistakes

MOST_LABELS = 25
"""With more labels than this a cell is too small to read on a phone ..."""
SHOWN_LABELS = 15
"""... and only so many are drawn, those with the most mistakes."""


@dataclass(frozen=True, slots=True)
class Confusion:
    """What one version answered, by the right label."""

    labels: tuple[str, ...]
    """Those that are drawn, in the order of the report."""
    counts: tuple[tuple[int, ...], ...]
    """[right label, answer] in the order of `labels`."""
    rows: int
    right: int
    mistakes: tuple[Mistake, ...]
    """All there are, of all labels, most rows first."""
    labels_left_out: int
    mistakes_left_out: int
    """Rows of mistakes that the picture does not show."""


def confusion_of(report: EvaluationReport) -> Confusion:
    names = [label.label for label in report.labels]
    counts = [list(row) for row in report.confusion]
    kept = _worth_drawing(counts)
    drawn = tuple(tuple(counts[right][answer] for answer in kept) for right in kept)
    found = mistakes(names, counts)
    shown = sum(map(sum, drawn)) - _diagonal(drawn)
    return Confusion(
        labels=tuple(names[index] for index in kept),
        counts=drawn,
        rows=sum(map(sum, counts)),
        right=_diagonal(counts),
        mistakes=found,
        labels_left_out=len(names) - len(kept),
        mistakes_left_out=sum(mistake.rows for mistake in found) - shown,
    )


def _worth_drawing(counts: list[list[int]]) -> list[int]:
    """Indices of all labels, or of the most confused ones where there are too many."""
    size = len(counts)
    if size <= MOST_LABELS:
        return list(range(size))
    wrong = [
        sum(counts[index]) + sum(counts[other][index] for other in range(size)) - 2 * counts[index][index]
        for index in range(size)
    ]
    return sorted(sorted(range(size), key=lambda index: (-wrong[index], index))[:SHOWN_LABELS])


def _diagonal(counts: tuple[tuple[int, ...], ...] | list[list[int]]) -> int:
    return sum(row[index] for index, row in enumerate(counts))
