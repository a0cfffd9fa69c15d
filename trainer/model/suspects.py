"""Which given labels look wrong: rows ranked by what a head that had not seen them says against their label.

The measure is the out-of-fold margin: logit of the given label minus the best other one. It only ranks; whether a
label is wrong is for people to say, and the best labels to look at are the first few. It does not know texts,
annotators or how many suspects one wants to see.

    fit = fit_head(labels, label_vectors, vectors, targets)
    logits = second_opinion(labels, label_vectors, vectors, targets, fit.out_of_fold)
    found = suspects(logits, targets, ids)

The fit must have no `prior`: a version has been trained on the very labels that are in question.

BANKING77 train, 10 % of the labels changed, 3 seeds (6 for 16 texts per label); precision among the first k, where k is
the number changed, and share found in the first 2k:

    ========================  ================  ================
    changed                   first fit         second opinion
    ========================  ================  ================
    anywhere, 16 per label    91.7 %,  99.3 %   92.1 %,  99.7 %
    anywhere, all 10,003      94.6 %,  99.9 %   95.9 %, 100.0 %
    to the nearest label, 16  60.0 %,  85.2 %   64.5 %,  88.2 %
    to the nearest, 10,003    72.0 %,  95.7 %   78.8 %,  97.2 %
    ========================  ================  ================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.model.head import fit_head
from trainer.model.logistic import Floats

Integers = NDArray[np.integer]

FEWEST_ROWS = 200
"""Below it the ranking is of no use (measured: 4 labels with 16 texts each)."""
SET_ASIDE = 0.1
"""Share of rows, at most, that the second opinion is formed without. Half of it and all negatives found fewer."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row whose label looks wrong."""

    row: int
    """Position among the rows that were given."""
    id: int
    given: int
    """Index of the label it has."""
    suggested: int
    """Index of the label the others speak for."""
    margin: float
    """Logit of the given label minus that of the suggested one; below 0. Comparable in one list only."""


@dataclass(frozen=True, slots=True)
class NotJudged:
    """Why there is no list."""

    reason: str
    """One or two sentences for people."""


def suspects(out_of_fold: Floats, targets: Sequence[int] | Integers, ids: Sequence[int]) -> list[Suspect] | NotJudged:
    """Rows whose label looks wrong, the worst first; ties in the order given.

    `out_of_fold` [n, K] are logits of heads that had not seen the row, `targets` [n] the given labels' indices, `ids`
    [n] anything that names the row. A row that is the only one of its label is left out: without it nothing is known
    of that label, so that it always looks wrong.

    Raises:
        ValueError: the three differ in length.
    """
    given = np.asarray(targets, np.int64).reshape(-1)
    if not len(out_of_fold) == len(given) == len(ids):
        raise ValueError(f"{len(out_of_fold)} rows of logits, {len(given)} targets and {len(ids)} ids; need one each.")
    refusal = _refusal(len(given), out_of_fold.shape[1])
    if refusal is not None:
        return refusal
    margins, others = _margins(out_of_fold, given)
    judged = (np.bincount(given)[given] > 1) & (margins < 0)
    worst = [row for row in np.argsort(margins, kind="stable").tolist() if judged[row]]
    return [Suspect(row, ids[row], int(given[row]), int(others[row]), float(margins[row])) for row in worst]


def second_opinion(
    labels: Sequence[str],
    label_vectors: Floats,
    vectors: Floats,
    targets: Sequence[int] | Integers,
    out_of_fold: Floats,
    *,
    seed: int = 0,
) -> Floats:
    """Logits [n, K] of heads that saw neither the row nor the worst suspects of the first fit; as long as one more fit.

    A wrong label also speaks for itself where its neighbours are judged. So the rows of lowest margin, at most
    `SET_ASIDE` of all and negative ones only, are set aside; the others are cross-fitted among themselves, and those
    set aside are read by the head of all the others. Returns `out_of_fold` where nothing can be judged or set aside.
    """
    given = np.asarray(targets, np.int64).reshape(-1)
    if _refusal(len(given), len(labels)) is not None:
        return out_of_fold
    aside = _worst(out_of_fold, given)
    if not aside.any():
        return out_of_fold
    fit = fit_head(labels, label_vectors, vectors[~aside], given[~aside], seed=seed)
    logits = np.empty_like(out_of_fold)
    logits[~aside] = fit.out_of_fold
    logits[aside] = fit.head.logits(vectors[aside])
    return logits


def _refusal(rows: int, classes: int) -> NotJudged | None:
    if classes < 2:
        return NotJudged("With one label there is no other that a text could belong to.")
    if rows < FEWEST_ROWS:
        return NotJudged(
            f"There are {rows} labels so far. Below about {FEWEST_ROWS} such a check would mostly point at right ones."
        )
    return None


def _margins(logits: Floats, given: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """Given label's logit minus the best other one [n], and which other that is [n]."""
    rows = np.arange(len(given))
    others = logits.copy()
    others[rows, given] = -np.inf
    best = others.argmax(1)
    return logits[rows, given] - logits[rows, best], best


def _worst(logits: Floats, given: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask [n] of the rows to set aside."""
    margins, _ = _margins(logits, given)
    aside = np.zeros(len(given), bool)
    aside[np.argsort(margins, kind="stable")[: int(SET_ASIDE * len(given))]] = True
    return aside & (margins < 0)
