"""From a label in the chat to an answer that follows it: the command on the wire, the commit, the corrected head.

The real bot over the playground's gateway, with MiniLM and almost 10,000 BANKING77 texts that are taught already. One
after the other, texts get the label that the model holds for second best, by /label; the same text is asked again and
again until it gets that label. Golden texts, which no head ever learns, are left out.
"""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bot.inference.correction import correct
from bot.inference.engine import Served
from bot.playground.objects import GUILD_ID
from bot.services.people import Actor, Role
from storage.records import Classifier, Source, Split, normalise
from tests.benchmarks.data import intents
from tests.benchmarks.report import Figure
from tests.fakes.running import Running, running_bot
from trainer.bases import PACKAGED

NAME = "triage"
KNOWN, LABELLED = 9_990, 200
LOOK = 0.001
PATIENCE = 5.0
"""Seconds after which an answer counts as one that does not follow."""
TARGET, UPDATE = 50.0, 1.0
"""Milliseconds."""


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(data: Path) -> list[Figure]:
    rows = random.Random(0).sample(sorted(set(intents("banking77", "train"))), KNOWN)
    known = {normalise(text) for text, _ in rows}  # a second label for one of those would be a vote
    new = [text for text, _ in intents("banking77", "test") if normalise(text) not in known]
    texts = random.Random(1).sample(new, 2 * LABELLED)
    lead = Actor(GUILD_ID, "lead", "Lead", Role.LEAD)
    async with running_bot(data, Path(PACKAGED), recipe={}) as bot:
        services = bot.system.services
        await services.labeling.import_rows(lead, NAME, rows, Source.FILE)
        classifier = await bot.system.stores.classifiers.get(GUILD_ID, NAME)
        await bot.system.serving.settle(classifier)
        timed: list[tuple[float, float]] = []
        while len(timed) < LABELLED:
            if (found := await _teach(bot, classifier, texts.pop())) is not None:
                timed.append(found)
        served = bot.system.serving._engine.current(classifier.id)
        assert served is not None
    changed, told = zip(*timed, strict=True)
    return [
        Figure("labels given in the chat, beside 9,990", len(timed), "labels"),
        Figure("answers that did not follow", sum(map(math.isinf, changed)), "labels", target=0, better="lower"),
        Figure("label to changed answer, p50", _quantile(changed, 0.5), "ms", better="lower"),
        Figure("label to changed answer, p99", _quantile(changed, 0.99), "ms", target=TARGET, better="lower"),
        Figure("label to its receipt in the chat, p50", _quantile(told, 0.5), "ms", better="lower"),
        Figure("label to its receipt in the chat, p99", _quantile(told, 0.99), "ms", better="lower"),
        *(_update(served, newer) for newer in (1, 8, 32)),
    ]


async def _teach(bot: Running, classifier: Classifier, text: str) -> tuple[float, float] | None:
    """Milliseconds until the answer follows and until the receipt is there; None for a golden text."""
    answer = await bot.system.serving.answer(classifier, text)
    label = answer.scores[1].label
    began = time.perf_counter()

    async def receipt() -> float:
        await bot.person("maria").command("label", text=text, label=label, classifier=NAME)
        return 1000 * (time.perf_counter() - began)

    telling = asyncio.create_task(receipt())
    changed = None
    while time.perf_counter() - began < PATIENCE:
        answer = await bot.system.serving.answer(classifier, text)
        if answer.scores[0].label == label:
            changed = 1000 * (time.perf_counter() - began)
            break
        if telling.done() and await _is_golden(bot, classifier, text):
            return None
        await asyncio.sleep(LOOK)
    return changed or math.inf, await telling


async def _is_golden(bot: Running, classifier: Classifier, text: str) -> bool:
    example = await bot.system.stores.examples.find(classifier.guild, classifier.id, text)
    return example is not None and example.split is Split.GOLDEN


def _update(served: Served, newer: int) -> Figure:
    """The median time of one head update that carries this many labels."""
    chance = np.random.default_rng(0)
    vectors = chance.normal(size=(newer, served.encoder.dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    targets = chance.integers(0, len(served.head.labels), newer)
    names = np.zeros((0, served.encoder.dimensions), np.float32)
    taken = []
    for _ in range(100):
        began = time.perf_counter()
        correct(served.head, served.head.labels, vectors, targets, names)
        taken.append(1000 * (time.perf_counter() - began))
    what = f"head update for {newer} newer label{'' if newer == 1 else 's'}, 77 labels, median"
    return Figure(what, float(np.median(taken)), "ms", target=UPDATE, better="lower")


def _quantile(milliseconds: Sequence[float], share: float) -> float:
    return float(np.quantile(milliseconds, share, method="higher"))
