"""What more labels would bring: a learning curve from heads that learned only a part of the labels there are.

    curve = measure(labels, name_vectors, vectors, targets)
    expected = gain(curve, 100)

Every row is asked of heads that had not seen it and had learned 20, 32, 48, 64 and 80 % of the others (five folds, the
parts nested). Through the five accuracies goes acc(n) = a - b * n^-c, an inverse power law with a ceiling (Figueroa et
al. 2012, BMC Med. Inform. Decis. Mak. 12:8). The interval comes from fitting it again to resampled rows, widened by
what such curves were seen to miss. How often it holds was measured on BANKING77 and CLINC150 (LOG.md). Pure functions;
no texts, no database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.model.head import fit_head

Floats = NDArray[np.floating]
Integers = NDArray[np.integer]

FEWEST_ROWS, FEWEST_PER_LABEL = 60, 5
"""Below, the interval says nothing (LOG.md)."""
MOST_ROWS = 6000
"""Rows that are measured on at most, drawn at random: half a minute of a nice thread."""
FOLDS = 5
SHARES = (0.25, 0.4, 0.6, 0.8, 1.0)
"""Of the rows outside a fold: what the heads learn."""
TWICE_BELOW = 300
"""With fewer rows the folds are drawn twice: it costs little, and single draws are noisy."""
EXPONENTS = np.linspace(0.1, 1.0, 19)
"""What c may be. The points do not tell 0.1 from 0, where the curve has no ceiling below 1."""
RESAMPLED = 400
LOW, HIGH = 0.05, 0.95
"""Quantiles of the interval: 90 %."""
MISSED = 0.45
"""How far a gain is from the curve's: standard deviation of the logarithm of their ratio. Chosen on 24 curves of 60 to
4,000 rows, whose gain from as many again was mostly between half and twice what they said (LOG.md)."""
LUCK = 0.6
"""Which texts come is luck, too: a standard deviation of this many times that of the accuracy of so many rows, when the
rows are doubled (chosen with the other)."""


@dataclass(frozen=True)
class Curve:
    """How many rows were answered right by heads that had learned so many others."""

    rows: int
    """All rows there are to learn from, whether or not all were measured on."""
    sizes: Floats
    """[S] rows that the heads had learned."""
    right: NDArray[np.bool_]
    """[S, passes, n] whether a row was answered right by heads of that size."""
    targets: Integers
    """[n] the labels' indices."""
    counts: Integers
    """[K] rows of each label."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Accuracy with some more labels minus that with those there are, as a share."""

    more: int
    expected: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Wanting:
    """The label that further texts should help most."""

    label: int
    rows: int
    right: float | None
    """Share of its rows that are answered right; None: it has none."""


def measure(
    labels: Sequence[str], name_vectors: Floats, vectors: Floats, targets: Sequence[int] | Integers, *, seed: int = 0
) -> Curve:
    """Fit the heads and ask them. Takes about as long as ten fits over all rows; call it in a thread."""
    given = np.asarray(targets, np.int64).reshape(-1)
    counts = np.bincount(given, minlength=len(labels))
    random = np.random.default_rng(seed)
    total = len(given)
    if total > MOST_ROWS:
        chosen = random.permutation(total)[:MOST_ROWS]
        vectors, given = vectors[chosen], given[chosen]
    passes = 2 if len(given) < TWICE_BELOW else 1
    right = np.zeros((len(SHARES), passes, len(given)), bool)
    for each in range(passes):
        folds = _folds(given, random)
        for fold in range(FOLDS):
            asked, rest = np.flatnonzero(folds == fold), random.permutation(np.flatnonzero(folds != fold))
            for step, share in enumerate(SHARES):
                learned = rest[: round(share * len(rest))]
                head = fit_head(labels, name_vectors, vectors[learned], given[learned], seed=seed).head
                right[step, each, asked] = head.logits(vectors[asked]).argmax(1) == given[asked]
    sizes = np.array(SHARES) * len(given) * (FOLDS - 1) / FOLDS
    return Curve(total, sizes, right, given, counts)


def gain(curve: Curve, more: int, *, seed: int = 0) -> Gain:
    """What `more` rows, spread over the labels as those so far, should add, with its 90 % interval."""
    expected = _read_off(curve, curve.right.mean((1, 2))[:, None], (curve.rows, curve.rows + more))
    now, later = _drawn(curve, more, seed)
    low, high = np.quantile(later - now, [LOW, HIGH])
    difference = float(expected[1, 0] - expected[0, 0])
    return Gain(more, difference, float(min(low, difference)), float(max(high, difference)))


def accuracy(curve: Curve, more: int, *, seed: int = 0) -> tuple[float, float, float]:
    """(expected, low, high): the accuracy of a head that has learned all rows and `more`; a 90 % interval."""
    expected = _read_off(curve, curve.right.mean((1, 2))[:, None], (curve.rows + more,))[0, 0]
    low, high = np.quantile(np.clip(_drawn(curve, more, seed)[1], 0, 1), [LOW, HIGH])
    return float(expected), float(low), float(high)


def wanting(curve: Curve) -> Wanting:
    """The label that has most to gain from twenty more texts.

    Its errors, drawn towards the average as far as its rows are few, are taken to fall with its own number of rows as
    those of all labels fall with theirs.
    """
    largest = curve.right[-1].mean(0)
    asked = np.bincount(curve.targets, minlength=len(curve.counts))
    hits = np.bincount(curve.targets, weights=largest, minlength=len(curve.counts))
    overall = float(largest.mean())
    errors = 1 - (hits + 2 * overall) / (asked + 2)
    _, _, exponents = _fit(curve.sizes, curve.right.mean((1, 2))[:, None])
    falls = 1 - ((curve.counts + 1) / (curve.counts + 21)) ** exponents[0]
    label = int(np.argmax(errors * falls))
    right = float(hits[label] / asked[label]) if asked[label] else None
    return Wanting(label, int(curve.counts[label]), right)


def _folds(given: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
    """A fold per row, each label spread evenly."""
    shuffled = random.permutation(len(given))
    folds = np.empty(len(given), np.int64)
    folds[shuffled[np.argsort(given[shuffled], kind="stable")]] = np.arange(len(given)) % FOLDS
    return folds


def _drawn(curve: Curve, more: int, seed: int) -> tuple[Floats, Floats]:
    """[RESAMPLED] accuracies with the rows there are, and with `more`: as they might be."""
    random = np.random.default_rng(seed)
    asked = curve.right.shape[2]
    now, later = _read_off(curve, _resampled(curve, random), (curve.rows, curve.rows + more))
    missed = np.exp(MISSED * random.standard_normal(RESAMPLED))
    variance = np.clip(1 - now, 1 / asked, 1) / asked * min(1.0, more / curve.rows)
    luck = LUCK * np.sqrt(variance) * random.standard_normal(RESAMPLED)
    return now, now + (later - now) * missed + luck


def _resampled(curve: Curve, random: np.random.Generator) -> Floats:
    """[S, RESAMPLED] accuracies over rows drawn with replacement, the same rows for all sizes.

    Where few answers are wrong, resampling these few says too little about how many there might be: the errors are
    also multiplied by a draw from the posterior of their number (Gamma, with a flat prior).
    """
    _, passes, rows = curve.right.shape
    weights = random.multinomial(rows, np.full(rows, 1 / rows), RESAMPLED) / rows
    drawn = random.integers(0, passes, (RESAMPLED, passes))
    by_pass = np.einsum("spn,rn->spr", curve.right.astype(np.float64), weights)
    accuracies = np.stack([by_pass[:, drawn[each], each].mean(1) for each in range(RESAMPLED)], axis=1)
    wrong = rows * (1 - curve.right[-1].mean())
    scale = random.gamma(wrong + 1, 1 / max(wrong, 1.0), RESAMPLED)
    return np.clip(1 - (1 - accuracies) * scale, 0.0, 1.0)


def _read_off(curve: Curve, accuracies: Floats, rows: tuple[int, ...]) -> Floats:
    """[len(rows), R] what the curves through `accuracies` [S, R] say at each of `rows`."""
    ceilings, falls, exponents = _fit(curve.sizes, accuracies)
    at = np.array(rows, float)[:, None] / curve.sizes[-1]
    return np.clip(ceilings - falls * at**-exponents, 0.0, 1.0)


def _fit(sizes: Floats, accuracies: Floats) -> tuple[Floats, Floats, Floats]:
    """(a, b, c), [R] each, of the least squares curves through [S, R], with a <= 1, b >= 0 and c in EXPONENTS.

    For each c the best a and b are known in closed form; `b` belongs to sizes in units of the largest.
    """
    falling = (sizes / sizes[-1])[:, None] ** -EXPONENTS  # [S, C]
    mean, level = falling.mean(0), accuracies.mean(0)
    spread = ((falling - mean) ** 2).sum(0)
    slope = np.einsum("sc,sr->cr", falling - mean, accuracies - level) / spread[:, None]
    falls = np.maximum(-slope, 0.0)
    ceilings = level + falls * mean[:, None]
    capped = ceilings > 1
    through_one = np.einsum("sc,sr->cr", falling, 1 - accuracies) / (falling**2).sum(0)[:, None]
    falls, ceilings = np.where(capped, through_one, falls), np.where(capped, 1.0, ceilings)
    errors = accuracies[:, None, :] - (ceilings - falls * falling[:, :, None])
    best = (errors**2).sum(0).argmin(0)
    column = np.arange(accuracies.shape[1])
    return ceilings[best, column], falls[best, column], EXPONENTS[best]
