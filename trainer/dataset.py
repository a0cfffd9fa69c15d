"""Snapshot to rows: what is trained on, what is held out, and what never is trained on.

It knows texts, labels and splits; it does not know encoders or tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from storage.errors import TrainingFailed
from storage.records import Split
from storage.snapshots import SnapshotContent, SnapshotRow
from trainer.model.head import label_text

LEAST_ROWS = 8
"""Fewer train rows than this cannot be split into something to learn from and something to measure on."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Labelled texts in the order of their example ids."""

    ids: tuple[int, ...]
    texts: tuple[str, ...]
    targets: Numbers
    """[n] indices into the labels."""

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, chosen: Numbers) -> Rows:
        """The rows at these positions, in this order."""
        return replace(
            self,
            ids=tuple(self.ids[index] for index in chosen),
            texts=tuple(self.texts[index] for index in chosen),
            targets=self.targets[chosen],
        )


@dataclass(frozen=True)
class Dataset:
    labels: tuple[str, ...]
    """By position; some may have no row yet."""
    label_texts: tuple[str, ...]
    """What the encoder reads for each label."""
    train: Rows
    golden: Rows
    label_ids: tuple[int, ...] = ()
    merged: Mapping[int, int] = field(default_factory=dict)
    """Id of a label → id of the one that it was merged into."""

    @property
    def names(self) -> dict[int, str]:
        """By id."""
        return dict(zip(self.label_ids, self.labels, strict=True))


def read_dataset(snapshot: SnapshotContent) -> Dataset:
    """Train and golden rows of a snapshot.

    Raises:
        TrainingFailed: nothing can be learned from it; the sentence says what is missing.
    """
    labels = tuple(label.name for label in snapshot.labels)
    index = {name: position for position, name in enumerate(labels)}
    unknown = sorted({row.label for row in snapshot.rows} - set(index))
    if unknown:
        raise TrainingFailed(f"The snapshot has rows with labels it does not list: {', '.join(unknown[:5])}.")
    train = _rows([row for row in snapshot.rows if row.split is Split.TRAIN], index)
    golden = _rows([row for row in snapshot.rows if row.split is Split.GOLDEN], index)
    _check(snapshot.classifier, train)
    texts = tuple(label_text(label.name, label.description) for label in snapshot.labels)
    ids = tuple(label.id for label in snapshot.labels)
    merged = {other: label.id for label in snapshot.labels for other in label.merged}
    return Dataset(labels, texts, train, golden, ids, merged)


@dataclass(frozen=True)
class Fold:
    """Positions of train rows, both ascending: what a shadow is trained on and what it is asked afterwards."""

    kept: Numbers
    held: Numbers


def split_folds(rows: Rows, folds: int, seed: int, among: Numbers | None = None) -> list[Fold]:
    """Every row held out in exactly one of `folds` >= 2 folds, classes spread evenly over them.

    A row that is the only one of its class is not held out: a shadow should have seen every class it is asked about.
    Only where most classes have no second row there is no better evidence: a shadow then knows them by name alone.
    `among` limits what may be held out; other rows are kept in every fold. Deterministic for a seed.
    """
    allowed = np.arange(len(rows)) if among is None else np.asarray(among, np.int64)
    counts = np.bincount(rows.targets, minlength=1)
    again = counts[rows.targets[allowed]] > 1
    usable = allowed if 2 * again.sum() < len(allowed) else allowed[again]
    shuffled = np.random.default_rng(seed).permutation(usable)
    by_class = shuffled[np.argsort(rows.targets[shuffled], kind="stable")]
    everything = np.arange(len(rows))
    held = [np.sort(by_class[first::folds]) for first in range(folds)]
    return [Fold(np.setdiff1d(everything, out), out) for out in held]


def _rows(rows: Sequence[SnapshotRow], index: dict[str, int]) -> Rows:
    ordered = sorted(rows, key=lambda row: row.id)
    targets = np.array([index[row.label] for row in ordered], np.int64)
    return Rows(tuple(row.id for row in ordered), tuple(row.text for row in ordered), targets)


def _check(classifier: str, train: Rows) -> None:
    seen = len(np.unique(train.targets))
    if seen < 2:
        raise TrainingFailed(
            f"{classifier} has texts for {seen} label{'' if seen == 1 else 's'}; training needs at least 2. "
            "Label some texts with another label first."
        )
    if len(train) < LEAST_ROWS:
        raise TrainingFailed(
            f"{classifier} has {len(train)} texts to train on; at least {LEAST_ROWS} are needed. Label more first."
        )
