"""Small made-up labelling tasks as snapshots, for tests that train."""

from __future__ import annotations

import random

from storage.records import Source, Split
from storage.snapshots import SnapshotContent, SnapshotLabel, SnapshotRow

WORDS = {
    "bug": "crashes error broken fails freezes",
    "refund": "money refund back charged billing",
    "praise": "great thank love good works",
    "account": "password login reset email locked",
}
FILLER = ["the", "my", "a", "is", "it", "on", "please", "app", "today", "again"]


def make_snapshot(
    labels: int = 3, per_label: int = 20, golden_every: int = 10, seed: int = 0, first_id: int = 1
) -> SnapshotContent:
    """`per_label` texts for each of `labels` labels; every `golden_every`-th row is golden (0: none)."""
    chance = random.Random(seed)
    names = list(WORDS)[:labels]
    rows = []
    for number in range(labels * per_label):
        label = names[number % labels]
        words = chance.sample(WORDS[label].split(), 2) + chance.sample(FILLER, 3)
        chance.shuffle(words)
        golden = bool(golden_every) and (number // labels) % golden_every == 0
        split = Split.GOLDEN if golden else Split.TRAIN
        rows.append(SnapshotRow(first_id + number, " ".join(words), label, split, Source.LESSON))
    given = tuple(SnapshotLabel(index + 1, name, "") for index, name in enumerate(names))
    return SnapshotContent("1", "triage", given, tuple(rows), len(rows))


def one_torch_thread() -> None:
    """Tiny networks gain nothing from more, and threads that wait for each other crawl on a busy machine."""
    import torch

    torch.set_num_threads(1)
