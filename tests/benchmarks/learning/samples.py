"""Which texts each method learns from: the same for all of them, nested over the shots, different by seed."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tests.benchmarks.data import intents

SETS = ("banking77", "clinc150")
FULL = 0
"""The number of shots that means every text of the training file."""

ALL = 0
"""The number of labels that means every label."""

Pair = tuple[str, str]
"""(text, label)"""


@dataclass(frozen=True)
class Task:
    """One cell of the table: what is learned from, and what is asked afterwards."""

    name: str
    shots: int
    seed: int
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(sorted({label for _, label in self.train}))


def task(name: str, shots: int, seed: int, labels: int = ALL) -> Task:
    """The cell over the whole test file; with `labels`, over so many labels drawn at random and their test texts.

    Raises Skipped where the data is not there.
    """
    train, test = intents(name, "train"), intents(name, "test")
    if labels != ALL:
        chosen = set(random.Random(seed).sample(sorted({label for _, label in train}), labels))
        train, test = ([row for row in rows if row[1] in chosen] for rows in (train, test))
    return Task(name, shots, seed, sample(train, shots, seed), tuple(test))


def sample(rows: Sequence[Pair], shots: int, seed: int) -> tuple[Pair, ...]:
    """`shots` texts of every label, fewer where there are not so many; 5 shots contain the 1 shot of the same seed."""
    by_label: dict[str, list[str]] = defaultdict(list)
    for text, label in rows:
        by_label[label].append(text)
    chosen: list[Pair] = []
    for label, texts in sorted(by_label.items()):
        ordered = sorted(set(texts))
        random.Random(f"{seed}:{label}").shuffle(ordered)
        chosen += [(text, label) for text in (ordered if shots == FULL else ordered[:shots])]
    return tuple(chosen)


def out_of_scope(split: str) -> list[str]:
    """CLINC150's texts that belong to none of its labels: "train", "valid" or "test"."""
    return [text for text, _ in intents("clinc150", f"oos_{split}")]


def pool(sampled: Task, count: int = 3000) -> list[str]:
    """Up to `count` texts of the training file whose labels are not used, drawn at random."""
    labelled = {text for text, _ in sampled.train}
    rest = sorted({text for text, _ in intents(sampled.name, "train")} - labelled)
    return random.Random(sampled.seed).sample(rest, min(count, len(rest)))
