"""How far annotators agree: Krippendorff's alpha for nominal data, overall and per label, and shares per person.

Pure functions of what everybody says. Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", from the
coincidences of values within units; checked against the package `krippendorff` by a test.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from storage.opinions import SharedOpinion
from storage.records import EventKind

LEAST_TEXTS = 10
"""With fewer texts that two people have labelled, one text moves alpha by a tenth and more."""


@dataclass(frozen=True, slots=True)
class Agreement:
    texts: int
    """That at least two people have labelled by themselves."""
    alpha: float | None = None
    """1: always the same, 0: as by chance, below: worse than that. None: too few texts, or only one label in use."""
    labels: tuple[tuple[int, float], ...] = ()
    """(label id, alpha of "this label or not"), least first."""
    people: tuple[tuple[str, float, int], ...] = ()
    """(annotator, share of the others on the same texts who say the same, their texts), least first."""


def agreement(opinions: Iterable[SharedOpinion], labels: Collection[int]) -> Agreement:
    """Over what people said by themselves (no rulings) with labels that are in use, by example as they come."""
    said = [one for one in opinions if one.kind is EventKind.VOTE and one.label_id in labels]
    units = [list(group) for _, group in groupby(said, key=lambda one: one.example_id)]
    units = [unit for unit in units if len(unit) > 1]
    if len(units) < LEAST_TEXTS:
        return Agreement(len(units))
    used = sorted({one.label_id for unit in units for one in unit})
    counts = _counts(units, used)
    each = [(label, nominal_alpha(_one_or_not(counts, column))) for column, label in enumerate(used)]
    known = sorted(((label, alpha) for label, alpha in each if alpha is not None), key=lambda one: one[1])
    return Agreement(len(units), nominal_alpha(counts), tuple(known), tuple(_people(units)))


def nominal_alpha(counts: NDArray[np.integer] | NDArray[np.floating]) -> float | None:
    """Alpha of [units, values]: how many annotators gave each value to each unit. None where nothing can differ.

    1 - observed / expected disagreement. Units with fewer than two values tell nothing and are left out.
    """
    counts = np.asarray(counts, np.float64)
    counts = counts[counts.sum(axis=1) > 1]
    given = counts.sum(axis=1)
    values = counts.sum(axis=0)
    total = values.sum()
    if np.count_nonzero(values) < 2:
        return None
    pairs_alike = (counts * (counts - 1)).sum(axis=1) / (given - 1)
    observed = 1 - pairs_alike.sum() / total
    expected = 1 - (values * (values - 1)).sum() / (total * (total - 1))
    return float(1 - observed / expected)


def _counts(units: Sequence[Sequence[SharedOpinion]], used: Sequence[int]) -> NDArray[np.int64]:
    column = {label: index for index, label in enumerate(used)}
    counts = np.zeros((len(units), len(used)), np.int64)
    for row, unit in enumerate(units):
        for one in unit:
            counts[row, column[one.label_id]] += 1
    return counts


def _one_or_not(counts: NDArray[np.int64], column: int) -> NDArray[np.int64]:
    return np.stack([counts[:, column], counts.sum(axis=1) - counts[:, column]], axis=1)


def _people(units: Sequence[Sequence[SharedOpinion]]) -> list[tuple[str, float, int]]:
    same: dict[str, list[float]] = {}
    for unit in units:
        for one in unit:
            others = [other for other in unit if other.annotator != one.annotator]
            share = sum(other.label_id == one.label_id for other in others) / len(others)
            same.setdefault(one.annotator, []).append(share)
    told = [(who, sum(shares) / len(shares), len(shares)) for who, shares in same.items()]
    return sorted(told, key=lambda one: one[1])
