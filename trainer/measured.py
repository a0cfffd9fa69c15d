"""Which rows a candidate is measured on, and what was answered to them by somebody who had not learned them.

Cross-fit: for every fold a shadow is trained on the other rows and answers the fold's. The champion's twin is fitted on
the very same rows, so that neither is ahead by what it has seen. It knows rows and logits, no encoders.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.records import Split
from trainer.dataset import Dataset, Fold, Rows, split_folds
from trainer.model.scope import Scope, prototypes_of, scope_of

Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]

FEW, MANY = 3, 5
"""Folds: a shadow of three costs 0.67 trainings and answers a third of the rows, the cheapest evidence there is. With
five it has seen more and still answers enough where rows are many."""


@dataclass(frozen=True)
class Said:
    """What a model, as served, says about n texts it was not trained on."""

    logits: Floats
    """[n, K]"""
    cosines: Floats
    """[n, K] to the mean of each label's rows and name."""
    to_names: Floats
    """[n, K] to each label's name."""

    @classmethod
    def about(cls, asked: Floats, logits: Floats, known: Floats, targets: Numbers, names: Floats) -> Said:
        """Unit vectors [n, d] with their logits, against the rows that were learned [m, d] with their classes [m]."""
        return cls(logits, asked @ prototypes_of(known, targets, names).T, asked @ names.T)


@dataclass(frozen=True)
class Measured:
    """Rows with what was said about them by a model that had not seen them."""

    rows: Rows
    split: Split
    said: Said

    def answers(self, labels: Sequence[str]) -> dict[int, str]:
        """The best label by example id."""
        return named(self.rows.ids, self.said.logits, labels)

    def right(self) -> int:
        """Rows whose best label is theirs."""
        return int((self.said.logits.argmax(1) == self.rows.targets).sum()) if len(self.rows) else 0

    def scope(self, prototypes: Floats) -> Scope:
        """Which texts belong to no label, for a model with these prototypes [K, d], measured on these rows."""
        own = self.said.to_names[np.arange(len(self.rows)), self.rows.targets]
        return scope_of(prototypes, self.said.cosines, own, self.rows.targets, self.said.logits)

    def outside(self, scope: Scope | None) -> NDArray[np.bool_]:
        """[n]: which rows the scope takes for texts without any label."""
        if scope is None or not len(self.rows):
            return np.zeros(len(self.rows), bool)
        return scope.score_of(self.said.cosines, self.said.logits) < scope.threshold


def plan_folds(rows: Rows, among: Numbers, wanted: int, seed: int) -> list[Fold]:
    """Folds whose held rows are about `wanted` of the rows at the positions `among`, or all of them.

    Each fold costs a training, so no more of them than that takes: three for a few hundred rows, one for thousands.
    """
    folds = MANY if len(among) >= MANY * wanted else FEW
    used = min(folds, math.ceil(wanted * folds / max(1, len(among))))
    return [fold for fold in split_folds(rows, folds, seed, among)[:used] if len(fold.held)]


def plan_newer(rows: Rows, newer: Numbers, wanted: int, seed: int) -> list[Fold]:
    """One fold of at most `wanted` of the `newer` rows; half of them stay, or a shadow would learn nothing new."""
    folds = max(2, math.ceil(len(newer) / max(1, wanted)))
    return [fold for fold in split_folds(rows, folds, seed, newer)[:1] if len(fold.held)]


def cross_fit(data: Dataset, folds: Sequence[Fold], answer: Callable[[Fold], Said]) -> Measured:
    """The held rows of all folds with what `answer` says about them: what a model of the kept rows does."""
    nothing = np.zeros((0, len(data.labels)), np.float32)
    said = [Said(nothing, nothing, nothing), *(answer(fold) for fold in folds)]
    held = np.concatenate([np.zeros(0, np.int64), *(fold.held for fold in folds)])
    logits, cosines, to_names = (
        np.concatenate([getattr(part, name) for part in said]) for name in ("logits", "cosines", "to_names")
    )
    return Measured(data.train.only(held), Split.TRAIN, Said(logits, cosines, to_names))


def named(ids: Sequence[int], logits: Floats, labels: Sequence[str]) -> dict[int, str]:
    """The best label of each row by its id."""
    return {number: labels[best] for number, best in zip(ids, logits.argmax(1), strict=True)}
