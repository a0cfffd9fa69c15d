"""Does a text belong to any label at all? One number per text, and the line below which it does not.

Made from in-scope rows alone: nobody labels what is not asked for. Two views that err differently are added: how near
a text lies to what the labels look like, and how sure the head is. Each is measured in units of its own spread over
held-out rows, so heads of any scale fit. It knows neither encoder nor head, and not which label a text gets; a text on
a neighbouring topic that looks like a label's own rows stays inside. Numbers without another source were chosen on
CLINC150 (validation file; held-out classes of the training file) and BANKING77 (held-out classes): trainer/LOG.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.errors import ArtifactError
from trainer.model.logistic import Floats, one_hot

SHARPNESS = 15.0
"""Of the soft maximum over labels, per unit of cosine. A text near several labels is more in scope than near one."""
TYPICAL_ROWS = 8
"""Rows at which a label's own tightness and that of all labels count the same."""
ENOUGH_ROWS = 3
"""Rows from which a label without much of its own evidence is expected to be as tight as the others."""
SHARE_OUTSIDE = 0.05
"""Share of in-scope texts that may be taken for outside ones."""
NEVER = -1e9
"""The threshold where rows are too few to draw a line."""

Integers = NDArray[np.integer]


@dataclass(frozen=True)
class Scope:
    """What in-scope texts look like. Immutable, thread-safe; about 15 microseconds for a text at 150 labels."""

    prototypes: Floats
    """[K, d] unit vectors: mean of a label's rows and its name."""
    typical: Floats
    """[K] cosine that a label's own texts have to its prototype: tight labels expect more than wide ones."""
    near_mean: float
    near_spread: float
    """Mean and standard deviation of the nearness of held-out rows; likewise of their highest logit."""
    logit_mean: float
    logit_spread: float
    threshold: float
    """95 % of held-out in-scope rows score above it; NEVER where they are too few."""

    def score(self, vectors: Floats, logits: Floats) -> Floats:
        """Higher = more in scope: unit vectors [n, d] and the head's logits [n, K] (before temperature) to [n]."""
        return self.score_of(vectors @ self.prototypes.T, logits)

    def score_of(self, cosines: Floats, logits: Floats) -> Floats:
        """The same from cosines [n, K] to prototypes, this scope's or a shadow's."""
        near = (_nearness(cosines, self.typical) - self.near_mean) / self.near_spread
        sure = (logits.max(axis=1) - self.logit_mean) / self.logit_spread
        return (near + sure).astype(np.float32)

    def outside(self, vectors: Floats, logits: Floats) -> NDArray[np.bool_]:
        """[n]: True where a text belongs to no label."""
        return self.score(vectors, logits) < self.threshold

    def tensors(self) -> dict[str, Floats]:
        """For a head's file; `from_tensors` reads it back."""
        scalars = (self.near_mean, self.near_spread, self.logit_mean, self.logit_spread, self.threshold)
        return {
            "scope.prototypes": np.ascontiguousarray(self.prototypes),
            "scope.typical": np.ascontiguousarray(self.typical),
            "scope.scalars": np.array(scalars, np.float32),
        }

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Floats]) -> Scope:
        """Read `tensors`; entries of other names are ignored.

        Raises:
            ArtifactError: an entry is missing, shapes do not fit one another, numbers not finite, a spread not above 0.
        """
        try:
            prototypes, typical, scalars = (tensors[f"scope.{name}"] for name in ("prototypes", "typical", "scalars"))
        except KeyError as error:
            raise ArtifactError(f"The scope lacks the entry {error}.") from None
        if prototypes.ndim != 2 or typical.shape != (len(prototypes),) or scalars.shape != (5,):
            shapes = f"{prototypes.shape}, {typical.shape} and {scalars.shape}"
            raise ArtifactError(f"The scope's entries do not fit one another: shapes {shapes}.")
        if not all(np.isfinite(entry).all() for entry in (prototypes, typical, scalars)):
            raise ArtifactError("The scope holds numbers that are not finite.")
        near_mean, near_spread, logit_mean, logit_spread, threshold = map(float, scalars)
        if near_spread <= 0 or logit_spread <= 0:
            raise ArtifactError(f"The scope has the spreads {near_spread} and {logit_spread}; they must be positive.")
        return cls(prototypes, typical, near_mean, near_spread, logit_mean, logit_spread, threshold)


def fit_scope(vectors: Floats, targets: Sequence[int] | Integers, label_vectors: Floats, out_of_fold: Floats) -> Scope:
    """The scope of a head from its rows: unit vectors [n, d], classes [n], label names [K, d], held-out logits [n, K].

    A row is compared with its own prototype made without it: made with it, rows look nearer than new texts do, and 10 %
    of in-scope texts fall below the line instead of 5 % (CLINC150, 8 rows per label). n may be 0, labels may have no
    rows. Below 19 rows no line promises 95 %, so nothing is outside.
    """
    label_vectors = np.asarray(label_vectors, np.float32)
    vectors = np.asarray(vectors, np.float32).reshape(-1, label_vectors.shape[1])
    targets = np.asarray(targets, np.int64).reshape(-1)
    prototypes = prototypes_of(vectors, targets, label_vectors)
    cosines = vectors @ prototypes.T
    sums = label_vectors + one_hot(targets, len(label_vectors)).T @ vectors
    cosines[np.arange(len(targets)), targets] = (vectors * _unit(sums[targets] - vectors)).sum(axis=1)
    to_names = (vectors * label_vectors[targets]).sum(axis=1)
    return scope_of(prototypes, cosines, to_names, targets, out_of_fold)


def scope_of(
    prototypes: Floats, cosines: Floats, to_names: Floats, targets: NDArray[np.int64], out_of_fold: Floats
) -> Scope:
    """The scope with these prototypes [K, d], measured on rows that had no part in what they are compared with.

    `cosines` [n, K] to every label's prototype, `to_names` [n] to the name of the row's own label, `targets` [n] and
    logits `out_of_fold` [n, K]. Prototypes of a later model may differ from those that were compared with: they must
    only be made alike.
    """
    if not len(targets):
        return Scope(prototypes, np.zeros(len(prototypes), np.float32), 0.0, 1.0, 0.0, 1.0, NEVER)
    typical = _typical(cosines[np.arange(len(targets)), targets], targets, to_names, len(prototypes))
    near, sure = _nearness(cosines, typical), out_of_fold.max(axis=1)
    near_mean, near_spread = _statistics(near)
    sure_mean, sure_spread = _statistics(sure)
    scores = (near - near_mean) / near_spread + (sure - sure_mean) / sure_spread
    return Scope(prototypes, typical, near_mean, near_spread, sure_mean, sure_spread, _line(scores))


def prototypes_of(vectors: Floats, targets: NDArray[np.int64], label_vectors: Floats) -> Floats:
    """[K, d] unit vectors: each label's rows and its name, all counting the same."""
    return _unit(label_vectors + one_hot(targets, len(label_vectors)).T @ vectors)


def _nearness(cosines: Floats, typical: Floats) -> Floats:
    """[n, K] cosines to [n]: a soft maximum of how much nearer than typical a text is.

    That is, up to constants, the log density of a mixture of von Mises-Fisher distributions around the prototypes.
    """
    excess = np.float32(SHARPNESS) * (cosines - typical)
    highest = excess.max(axis=1, keepdims=True)
    return (highest[:, 0] + np.log(np.exp(excess - highest).sum(axis=1))) / np.float32(SHARPNESS)


def _typical(own: Floats, targets: NDArray[np.int64], to_names: Floats, classes: int) -> Floats:
    """[K] mean held-out cosine of each label's rows, shrunk to what labels with as few rows reach.

    Names reach less, and less evenly, than prototypes: a label of which only the name is known would lose a quarter of
    its texts, with one spread of leniency it loses a sixth (30 labels, half of them without rows).
    """
    rows = np.bincount(targets, minlength=classes)
    grown = np.minimum(rows / ENOUGH_ROWS, 1.0)
    expected = grown * own.mean() + (1 - grown) * (to_names.mean() - to_names.std())
    total = np.bincount(targets, own, classes) + TYPICAL_ROWS * expected
    return (total / (rows + TYPICAL_ROWS)).astype(np.float32)


def _statistics(values: Floats) -> tuple[float, float]:
    """Mean and standard deviation; 1 where there is no spread to measure in."""
    spread = float(values.std())
    return float(values.mean()), spread if spread > 1e-6 else 1.0


def _line(scores: Floats) -> float:
    """The k-th lowest score, k = floor(5 % of n + 1): an in-scope text lies below it with a chance of 5 % or less.

    The rank is that of split conformal prediction (Papadopoulos et al. 2002).
    """
    rank = int(SHARE_OUTSIDE * (len(scores) + 1))
    return float(np.sort(scores)[rank - 1]) if rank else NEVER


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-6))
