"""How many labels `/teach` needs to be as good as texts in random order, on CLINC150's 150 labels.

The real service asks, over a real database and the base encoder; a person who knows every label answers. Both ways are
judged by the same head, fitted on the texts labelled so far, on the validation file. In random order every text is
trained on; of those asked about, the golden ones are not, as in the bot, and count all the same.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.app import System, open_system
from bot.services.people import Actor, Role
from storage.records import Classifier, Source, Split, text_hash
from storage.settings import load_settings
from tests.benchmarks.data import intents
from tests.benchmarks.report import Figure, compared
from trainer.bases import PACKAGED
from trainer.model.head import fit_head, label_text

NAME, SET = "assistant", "clinc150"
LEAD = Actor("1", "10", "lead", Role.LEAD)
SEEDS, POOL = 3, 8000
BATCH = 10
"""Answers after which every label takes part in what serves, as it does when a person answers."""
STEP, MOST = 75, 900
"""Labels between two measurements, and in all."""
PER_LABEL = (2, 4, 8)
"""Random texts per label, on average, whose accuracy is to be reached."""
TARGET = 0.6

Vectors = NDArray[np.float32]
Curve = list[tuple[int, float]]
"""(labels given, accuracy on the validation file), the first without any."""


def run() -> list[Figure]:
    curves = [asyncio.run(_both(seed)) for seed in range(SEEDS)]
    figures = []
    for per_label in PER_LABEL:
        labels = 150 * per_label
        reached = [dict(by_lot)[labels] for by_lot, _ in curves]
        needed = [_needed(asked, accuracy) for (_, asked), accuracy in zip(curves, reached, strict=True)]
        name = f"labels for {100 * np.mean(reached):.1f} % ({per_label} random texts per label)"
        figures.append(
            compared(name, float(np.mean(needed)), "labels", "random order", labels, target=TARGET, better="lower")
        )
    for labels in (300, 600, MOST):
        asked, by_lot = (float(np.mean([dict(pair[way])[labels] for pair in curves])) for way in (1, 0))
        figures.append(compared(f"accuracy with {labels} labels", 100 * asked, "%", "random order", 100 * by_lot))
    return figures


async def _both(seed: int) -> tuple[Curve, Curve]:
    """(in random order, as /teach asks)."""
    everything = dict(intents(SET, "train"))
    truth = dict(random.Random(seed).sample(sorted(everything.items()), POOL))
    labels = sorted(set(everything.values()))
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(data=Path(folder), base=PACKAGED)
        async with open_system(settings) as system:
            classifier = await system.services.classifiers.create(LEAD, NAME, labels)
            await system.serving.ensure(classifier)
            judge = await _judge(system, classifier, labels, truth)
            await system.stores.examples.add_unlabelled(
                LEAD.guild, classifier.id, list(truth), LEAD.id, Source.FILE, 1.0
            )
            order = random.Random(seed + 1).sample(sorted(truth), 150 * max(PER_LABEL))
            by_lot = [(count, judge.accuracy(order[:count])) for count in range(0, len(order) + 1, STEP)]
            return by_lot, await _asked(system, classifier, truth, judge)


async def _asked(system: System, classifier: Classifier, truth: dict[str, str], judge: _Judge) -> Curve:
    teaching, curve, given = system.services.teaching, [(0, judge.accuracy([]))], 0
    while given < MOST:
        step = await teaching.begin(LEAD, classifier, BATCH)
        while step.asked is not None:
            question = step.asked.question
            step = await teaching.label(LEAD, step.round.id, question.position, truth[question.text])
            given += 1
            if given % STEP == 0:
                rows = await system.stores.examples.current(LEAD.guild, classifier.id)
                curve.append((given, judge.accuracy([row.text for row in rows if row.split is Split.TRAIN])))
        await system.serving.settle(classifier)
    return curve


@dataclass(frozen=True)
class _Judge:
    """Fits a head on texts whose labels are known, and asks it the validation file."""

    labels: list[str]
    names: Vectors
    """[K, d] of the labels' names."""
    place: dict[str, int]
    """Of each text among `vectors` and `truth`."""
    vectors: Vectors
    truth: NDArray[np.int64]
    questions: Vectors
    answers: NDArray[np.int64]

    def accuracy(self, texts: Sequence[str]) -> float:
        rows = np.array([self.place[text] for text in texts], np.int64)
        head = fit_head(self.labels, self.names, self.vectors[rows], self.truth[rows]).head
        return float((head.logits(self.questions).argmax(1) == self.answers).mean())


async def _judge(system: System, classifier: Classifier, labels: list[str], truth: dict[str, str]) -> _Judge:
    """Encodes everything once; the bot finds the vectors of the pool in its cache."""
    served = system.serving._engine.current(classifier.id)
    assert served is not None
    encoder, texts, asked = served.encoder, list(truth), intents(SET, "valid")
    vectors = encoder.encode_many(texts, 2)
    rows = [(text_hash(text), vector.astype("<f4").tobytes()) for text, vector in zip(texts, vectors, strict=True)]
    await system.stores.examples.save_vectors(LEAD.guild, encoder.digest, rows)
    number = {label: index for index, label in enumerate(labels)}
    return _Judge(
        labels,
        encoder.encode_many([label_text(label) for label in labels], 2),
        {text: index for index, text in enumerate(texts)},
        vectors,
        np.array([number[truth[text]] for text in texts]),
        encoder.encode_many([text for text, _ in asked], 2),
        np.array([number[label] for _, label in asked]),
    )


def _needed(curve: Curve, accuracy: float) -> float:
    """Labels at which the curve first reaches this accuracy, between two measurements along a line; all, if never."""
    for (before, low), (after, high) in itertools.pairwise(curve):
        if high >= accuracy:
            return before if low >= accuracy else before + (after - before) * (accuracy - low) / (high - low)
    return curve[-1][0]
