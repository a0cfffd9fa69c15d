"""What int8 costs a fine-tuned model: accuracy and agreement with float32, and whether company changes an answer.

The trainer's own job learns 8 texts per label of BANKING77 and CLINC150 and its network is exported both ways; both
answer the whole test file with the version's head. No setting is chosen by what is read from it.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bot.inference.engine import Answer, Engine, Served
from tests.benchmarks.learning.runs import learn_pairs
from tests.benchmarks.learning.samples import SETS, Task, task
from tests.benchmarks.report import Figure, compared
from trainer.export import export_encoder
from trainer.model.encoder import Encoder
from trainer.model.head import Head

SHOTS = 8
COMPANY = 64
"""Questions under way at once, against each alone."""
LOST, AGREED, CHANGED = 0.3, 98.5, 1e-3
"""Targets: points of accuracy, per cent of labels, and the largest difference of a logit."""


def run() -> list[Figure]:
    return [figure for name in SETS for figure in _figures(task(name, SHOTS, seed=0))]


def _figures(sample: Task) -> Iterator[Figure]:
    texts = [text for text, _ in sample.test]
    truth = np.array([label for _, label in sample.test])
    with tempfile.TemporaryDirectory() as folder:
        version, plain = Path(folder) / "version", Path(folder) / "fp32"
        learn_pairs(list(sample.train), version, seed=0, recipe={"evidence": 1})
        head, served = Head.load(version), Encoder.load(version)
        exact = export_encoder(version, plain, precision="fp32")
    vectors, reference = (encoder.encode_many(texts, os.cpu_count() or 1) for encoder in (served, exact))
    answers, expected = (_labels(head, found) for found in (vectors, reference))
    right, exactly_right = (100 * float((found == truth).mean()) for found in (answers, expected))
    changed = asyncio.run(_changed_by_company(served, head, texts[:1000], vectors[:1000]))
    yield compared(f"{sample.name}: accuracy in int8", right, "%", "float32", exactly_right)
    lost = exactly_right - right
    yield Figure(f"{sample.name}: accuracy lost by int8", lost, "points", target=LOST, better="lower")
    agreed = 100 * float((answers == expected).mean())
    yield Figure(f"{sample.name}: labels that agree with float32", agreed, "%", target=AGREED)
    name = f"{sample.name}: largest change of a logit with {COMPANY} under way"
    yield Figure(name, changed, "", target=CHANGED, better="lower")
    yield compared(f"{sample.name}: size", served.bytes / 1e6, "MB", "float32", exact.bytes / 1e6, better="lower")


def _labels(head: Head, vectors: NDArray[np.float32]) -> NDArray[np.str_]:
    return np.array(head.labels)[head.logits(vectors).argmax(1)]


async def _changed_by_company(encoder: Encoder, head: Head, texts: Sequence[str], alone: NDArray[np.float32]) -> float:
    """Log probabilities times the temperature are logits up to a constant, which the highest takes away."""
    async with Engine(threads=os.cpu_count() or 1, remembered=0, deadline=60.0) as engine:
        engine.serve(Served(1, 1, 0, encoder, head))
        answers: list[Answer] = []
        for start in range(0, len(texts), COMPANY):
            answers += await asyncio.gather(*(engine.answer(1, text) for text in texts[start : start + COMPANY]))
    place = {label: index for index, label in enumerate(head.labels)}
    together = np.zeros((len(texts), len(place)))
    for row, answer in enumerate(answers):
        for score in answer.scores:
            together[row, place[score.label]] = np.log(max(score.confidence, 1e-30)) * head.temperature
    expected = np.log(np.maximum(head.probabilities(alone), 1e-30)) * head.temperature
    return float(np.abs(together - expected).max())
