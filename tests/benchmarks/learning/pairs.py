"""Simulated classifiers for the gate: what one knows at two times, how it goes wrong, and how the gate's errors count.

A draw is a random classifier: labels, old rows, newer rows, golden rows, and the rest of the file as the truth. It
does not know models, vectors or trainings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage.records import EvaluationReport, PairedOutcome, Source, Split
from storage.snapshots import SnapshotContent, SnapshotLabel, SnapshotRow
from tests.benchmarks.learning.samples import Pair

Numbers = NDArray[np.int64]

CLASSES, SHOTS, NEWER, GOLDEN = (4, 40), (4, 16), (20, 200), (50, 100)
"""The mix: labels of a classifier (evenly on a logarithmic scale), old rows a label, newer rows, golden rows."""
NEWER_SHARE = 0.3
"""Of a classifier's texts at most: four labels have 480 texts, and the truth needs some."""
TEXTS = 4000
"""Of a classifier at most, so that a fine-tuned encoder reads them in seconds. All but train and golden rows are the
truth."""
WRONG = (0.1, 0.3)
"""Share of wrong labels."""
POINT = 0.01


@dataclass(frozen=True)
class Draw:
    """One classifier. A text's position is also its example id."""

    labels: tuple[str, ...]
    texts: tuple[str, ...]
    targets: Numbers
    """[n] the true label of each text."""
    source: Numbers
    """[n] its position in the data set."""
    old: Numbers
    newer: Numbers
    golden: Numbers
    """Positions; from `golden_newer` on they are as young as the newer rows."""
    golden_newer: int
    truth: Numbers
    shots: int

    @property
    def train(self) -> Numbers:
        return np.concatenate([self.old, self.newer])

    @property
    def young(self) -> Numbers:
        """Newer rows and the golden ones of their time."""
        return np.concatenate([self.newer, self.golden[self.golden_newer :]])


def draw_classifier(pool: Sequence[Pair], seed: int) -> Draw:
    """A classifier of the mix out of (text, label) pairs. Texts that are there twice count once."""
    rng = np.random.default_rng([seed, 0])
    every = sorted({label for _, label in pool})
    low, high = np.log(CLASSES)
    count = min(len(every), round(float(np.exp(rng.uniform(low, high)))))
    labels = tuple(sorted(rng.choice(every, count, replace=False).tolist()))
    first: dict[str, int] = {}
    for position, (text, label) in enumerate(pool):
        if label in labels:
            first.setdefault(text, position)
    source = np.sort(rng.permutation(list(first.values()))[:TEXTS])
    targets = np.array([labels.index(pool[position][1]) for position in source], np.int64)
    shots = _between(rng, SHOTS)
    order = rng.permutation(len(source))
    old = np.concatenate([order[targets[order] == label][:shots] for label in range(count)])
    rest = order[~np.isin(order, old)]
    newer = min(_between(rng, NEWER), int(NEWER_SHARE * len(source)))
    golden = _between(rng, GOLDEN)
    return Draw(
        labels,
        tuple(pool[position][0] for position in source),
        targets,
        source,
        np.sort(old),
        np.sort(rest[:newer]),
        rest[newer : newer + golden],
        round(golden * len(old) / (len(old) + newer)),
        np.sort(rest[newer + golden :]),
        shots,
    )


def snapshot(
    draw: Draw, rows: Iterable[int], given: Numbers | None = None, labels: Iterable[int] | None = None
) -> SnapshotContent:
    """What a trainer gets: these train rows and the golden ones, with the labels `given` to all texts [n].

    `labels`: positions of the labels that exist by then; rows of others are left out.
    """
    given = draw.targets if given is None else given
    exist = sorted(range(len(draw.labels)) if labels is None else labels)
    split = {int(row): Split.TRAIN for row in rows} | {int(row): Split.GOLDEN for row in draw.golden}
    return SnapshotContent(
        "1",
        "benchmark",
        tuple(SnapshotLabel(label + 1, draw.labels[label], "") for label in exist),
        tuple(
            SnapshotRow(row, draw.texts[row], draw.labels[given[row]], kind, Source.FILE)
            for row, kind in sorted(split.items())
            if given[row] in exist
        ),
        len(split),
    )


def mislabelled(draw: Draw, rows: Numbers, confused: Numbers | None, seed: int) -> Numbers:
    """Labels of all texts [n], 10-30 % of those at `rows` wrong: any other label, or that of `confused` [K]."""
    rng = np.random.default_rng([seed, 1])
    wrong = rng.permutation(rows)[: max(1, round(rng.uniform(*WRONG) * len(rows)))]
    given = draw.targets.copy()
    others = rng.integers(1, len(draw.labels), len(wrong))
    given[wrong] = (given[wrong] + others) % len(draw.labels) if confused is None else confused[given[wrong]]
    return given


Tally = list[list[int]]
"""For every label with evaluated rows: [rows, b, c, golden rows, b, c]. b: only the candidate right, c: only the
champion."""


def tally(outcomes: Iterable[PairedOutcome]) -> Tally:
    """All that a decision depends on, without the rows."""
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0] * 6)
    for row in outcomes:
        column = 3 * (row.split is Split.GOLDEN)
        counts[row.label][column] += 1
        counts[row.label][column + 1] += row.candidate == row.label != row.champion
        counts[row.label][column + 2] += row.champion == row.label != row.candidate
    return [counts[label] for label in sorted(counts)]


Surer = tuple[float, float]
"""Mean and standard deviation of `PairedOutcome.surer` over the golden rows."""


def surer(outcomes: Iterable[PairedOutcome]) -> Surer | None:
    """None where there is no golden row of which it is known."""
    found = [row.surer for row in outcomes if row.split is Split.GOLDEN and row.surer is not None]
    return (float(np.mean(found)), float(np.std(found))) if found else None


def replay(counts: Tally, golden: Surer | None = None) -> EvaluationReport:
    """A report whose outcomes have this tally, and whose golden rows are as much surer as told; rows on which the two
    agree count as right for both."""
    outcomes: list[PairedOutcome] = []
    for number, label in enumerate(counts):
        name = str(number)
        for split, (rows, better, worse) in ((Split.TRAIN, label[:3]), (Split.GOLDEN, label[3:])):
            for index in range(rows):
                champion = "" if index < better else name
                candidate = "" if better <= index < better + worse else name
                outcomes.append(PairedOutcome(len(outcomes), name, split, champion, candidate))
    if golden is not None:
        spread = iter(_spread(sum(label[3] for label in counts), *golden))
        outcomes = [replace(row, surer=next(spread)) if row.split is Split.GOLDEN else row for row in outcomes]
    share = 1 / max(1, len(outcomes))
    return EvaluationReport(
        outcomes=tuple(outcomes),
        candidate_accuracy=share * sum(row.candidate == row.label for row in outcomes),
        champion_accuracy=share * sum(row.champion == row.label for row in outcomes),
        candidate_macro_f1=0.0,
        champion_macro_f1=0.0,
        labels=(),
        confusion=(),
        calibration_error=0.0,
        champion="v0",
        train_rows=0,
        golden_rows=sum(label[3] for label in counts),
    )


def _spread(rows: int, mean: float, deviation: float) -> list[float]:
    """That many numbers with this mean and standard deviation."""
    pairs = rows // 2
    away = deviation * np.sqrt(rows / (2 * pairs)) if pairs else 0.0
    return [mean + away, mean - away] * pairs + [mean] * (rows % 2)


@dataclass(frozen=True)
class Verdict:
    """One pair: what is true of it and what the gate said."""

    task: int
    mode: str
    deep: bool
    """Whether one of the two has a fine-tuned body."""
    stands: bool
    """Whether this candidate is known to be the one of two kinds that the trainer would have sent."""
    difference: float
    """Candidate's accuracy minus champion's, on the truth."""
    promoted: bool


def verdicts(task: int, pairs: Iterable[dict[str, Any]], promotes: Callable[[EvaluationReport], bool]) -> list[Verdict]:
    """Recorded pairs of one draw through a rule."""
    return [
        Verdict(
            task,
            pair["mode"],
            "deep" in (pair["champion"], pair["candidate"]),
            pair["stands"],
            (pair["truth"][1] - pair["truth"][2]) / pair["truth"][0],
            promotes(replay(pair["counts"], (pair["sureness"][1][3], pair["sureness"][1][4]))),
        )
        for pair in pairs
    ]


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval; pairs of one draw are alike, so draws are what is drawn again."""

    share: float
    low: float
    high: float
    cases: int
    """Of how many pairs."""


def false_promotion(found: Sequence[Verdict], points: float = 1.0) -> Rate | None:
    """Promoted, of the pairs whose candidate is truly at least `points` percentage points worse."""
    worse = [pair for pair in found if pair.difference <= -points * POINT + 1e-9]
    return _rate(worse, lambda pair: pair.promoted)


def false_rejection(found: Sequence[Verdict], points: float = 1.0) -> Rate | None:
    """Not promoted, of the pairs whose candidate is truly at least `points` percentage points better."""
    better = [pair for pair in found if pair.difference >= points * POINT - 1e-9]
    return _rate(better, lambda pair: not pair.promoted)


def _rate(cases: Sequence[Verdict], wrong: Callable[[Verdict], bool], again: int = 2000) -> Rate | None:
    """None without cases. The interval: bootstrap over draws, percentiles 2.5 and 97.5."""
    if not cases:
        return None
    by_task: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0])
    for pair in cases:
        by_task[pair.task][0] += wrong(pair)
        by_task[pair.task][1] += 1
    sums = np.array(list(by_task.values()), np.float64)
    chosen = sums[np.random.default_rng(0).integers(0, len(sums), (again, len(sums)))].sum(axis=1)
    low, high = np.percentile(chosen[:, 0] / chosen[:, 1], (2.5, 97.5))
    share = float(sums[:, 0].sum() / sums[:, 1].sum())
    return Rate(share, float(low), float(high), len(cases))


def _between(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))
