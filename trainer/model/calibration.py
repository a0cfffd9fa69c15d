"""How sure is sure: a temperature, a "not sure" threshold and a threshold for a wanted precision, from held-out rows.

Logistic regression is badly under-confident with many classes (calibration error 23-36 %). One temperature leaves
0.2-2.2 % from 150 rows on where labels have four rows or more, 2.2-3.7 % where they have fewer, and 1.3-3.7 % at 32
rows. It knows nothing of heads or encoders. Numbers without another source were chosen on random subsets of labels of
BANKING77 and CLINC150, with 32 to 1,200 rows, and on the same with merged, shuffled and wrong labels (trainer/LOG.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from storage.errors import ArtifactError
from trainer.model.logistic import Floats, log_softmax

SURE_ROWS = 25
"""Rows at which the measured temperature and the belief before it count the same."""
PRIOR_TEMPERATURE = 0.7
"""What one would believe without rows."""
FEW_ROWS = 100
"""Below it the search is narrower, see `_log_temperature`; the threshold is half measured, half believed at it."""
WRONG_SHARES = (0.0, 0.01, 0.03, 0.05, 0.1, 0.15, 0.2)
"""Candidates for the share of wrong labels among the rows."""
WRONG_COST = 0.3
"""Nats per row and share: what a larger share of wrong labels has to gain."""
HIGHEST_ABSTENTION = 0.6
"""The threshold is never above it, so that two-class answers of 60 % are given."""
SHARE_BELOW = 0.05
"""Share of in-scope texts that may be answered with "not sure"."""
FALSE_PROMISE = 0.2
"""Chance, per threshold looked at, that the true precision is below the wanted one."""

Integers = NDArray[np.integer]


@dataclass(frozen=True)
class Reliability:
    """How sure a head was of rows that it had not learned, and whether it was right. Immutable."""

    confidences: Floats
    """[n] in [0, 1]"""
    right: NDArray[np.bool_]
    """[n]"""

    @classmethod
    def of(cls, logits: Floats, targets: Integers, temperature: float) -> Reliability:
        """From held-out logits [n, K], before the temperature."""
        confidences = np.exp(log_softmax(logits / np.float32(temperature))).max(axis=1, initial=0.0)
        return cls(confidences.astype(np.float32), logits.argmax(axis=1) == targets)

    def threshold(self, precision: float) -> tuple[float, float]:
        """See `precision_threshold`."""
        return precision_threshold(self.confidences, self.right, precision)

    def tensors(self) -> dict[str, NDArray[Any]]:
        """For a head's file; `from_tensors` reads it back."""
        return {"reliability.confidences": self.confidences, "reliability.right": self.right}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[Any]]) -> Reliability:
        """Read `tensors`; entries of other names are ignored.

        Raises:
            ArtifactError: an entry is missing, of another type, or does not fit the other.
        """
        confidences, right = (tensors.get(f"reliability.{name}") for name in ("confidences", "right"))
        if confidences is None or right is None or confidences.ndim != 1 or confidences.shape != right.shape:
            raise ArtifactError("The reliability's entries are missing or do not fit one another.")
        if right.dtype != np.bool_ or not np.isfinite(confidences.astype(np.float32)).all():
            raise ArtifactError("The reliability holds numbers that cannot be confidences or answers.")
        return cls(confidences.astype(np.float32), right.astype(np.bool_))


def calibrate(logits: Floats, targets: Integers) -> tuple[float, float]:
    """Temperature and abstention threshold from logits [n, K] of rows that were not trained on.

    The measured temperature is shrunk towards a prior one: a few rows are often all right, and then say "the sharper
    the better".
    """
    count, classes = logits.shape
    even = min(HIGHEST_ABSTENTION, 1.5 / max(classes, 1))
    if classes < 2:
        return 1.0, 0.0
    if count == 0:
        return PRIOR_TEMPERATURE, even
    bounds = (-2.0, 1.0) if count < FEW_ROWS else (-3.0, 1.5)
    measured = _log_temperature(logits, np.asarray(targets, np.int64), bounds)
    sure = count / (count + SURE_ROWS)
    temperature = float(np.exp(sure * measured + (1 - sure) * np.log(PRIOR_TEMPERATURE)))
    confidence = np.exp(log_softmax(logits / np.float32(temperature))).max(1)
    low = min(HIGHEST_ABSTENTION, float(np.quantile(confidence, SHARE_BELOW)))
    sure = count / (count + FEW_ROWS)
    return temperature, sure * low + (1 - sure) * even


def precision_threshold(
    confidences: NDArray[np.floating], right: NDArray[np.bool_], precision: float
) -> tuple[float, float]:
    """The lowest confidence from which answers are right as often as wanted, and the share of rows that reach it.

    `confidences` [n] in [0, 1] and `right` [n] of held-out rows; `precision` in (0, 1). An answer is given where its
    confidence is at least the threshold. (inf, 0) where no threshold can be trusted.

    Trusted means: Clopper-Pearson's lower bound of the precision (one-sided, 80 %) reaches the wanted one. With plain
    counts the first three right answers would promise 100 %, and the best of many thresholds looks better than it is;
    with the bound 95 % needs 32 right answers in a row, 90 % needs 16. On other rows of the same tasks the precision
    was more than a point short in 1-2 % of the fits, with plain counts in 7-17 %.

    Raises:
        ValueError: `precision` is not between 0 and 1, or lengths differ.
    """
    if not 0 < precision < 1:
        raise ValueError(f"The wanted precision {precision} is not between 0 and 1.")
    if len(confidences) != len(right):
        raise ValueError(f"{len(confidences)} confidences do not fit {len(right)} answers.")
    order = np.argsort(-np.asarray(confidences, np.float64), kind="stable")
    ranked = np.asarray(confidences, np.float64)[order]
    answered = np.arange(1, len(ranked) + 1)
    hits = np.cumsum(np.asarray(right, np.int64)[order])
    # Rows of equal confidence are answered together or not at all.
    last_of_ties = np.append(ranked[1:] < ranked[:-1], True)[: len(ranked)]
    kept = np.flatnonzero(last_of_ties & (_lower_bound(hits, answered) >= precision))
    if not len(kept):
        return float("inf"), 0.0
    return float(ranked[kept[-1]]), float(answered[kept[-1]] / len(ranked))


def _lower_bound(hits: NDArray[np.int64], answered: NDArray[np.int64]) -> NDArray[np.float64]:
    """Clopper and Pearson 1934: the precision at which as many hits or more have the chance FALSE_PROMISE."""
    # Not scipy.stats, which costs the bot 23 MB and two seconds.
    bound: NDArray[np.float64] = betaincinv(np.maximum(hits, 1), answered - hits + 1, FALSE_PROMISE)
    return np.where(hits > 0, bound, 0.0)


def _log_temperature(logits: Floats, targets: NDArray[np.int64], bounds: tuple[float, float]) -> float:
    """The most likely log T, to 0.01, by a plain scan (the curve is smooth).

    Likely under "a share of the labels is wrong, drawn evenly": a few wrong labels would otherwise make every answer
    unsure. With 15 % of them the calibration error on right ones was 15 % without the share, 2 % with it.
    """

    def of_targets(log_temperature: float) -> NDArray[np.float64]:
        scaled = log_softmax(logits / np.float32(np.exp(log_temperature)))
        return np.exp(scaled[np.arange(len(targets)), targets]).astype(np.float64)

    def loss(likelihood: NDArray[np.float64], wrong: float) -> float:
        mixed = (1 - wrong) * likelihood + wrong / logits.shape[1]
        return -float(np.log(np.maximum(mixed, 1e-30)).mean()) + WRONG_COST * wrong

    coarse = np.arange(bounds[0], bounds[1] + 1e-9, 0.1)
    likelihoods = [of_targets(float(at)) for at in coarse]
    _, wrong, centre = min(
        (loss(likelihood, wrong), wrong, float(at))
        for wrong in WRONG_SHARES
        for at, likelihood in zip(coarse, likelihoods, strict=True)
    )
    fine = np.clip(np.arange(centre - 0.1, centre + 0.101, 0.01), *bounds)
    return float(min(fine, key=lambda at: loss(of_targets(float(at)), wrong)))
