"""How many of the labels that `/suspects` shows first are wrong, where a tenth of all labels has been changed.

The texts of the training files go into a real database, a tenth of them with another label: any other, or the one
whose texts lie nearest. The list is the one that the chat walks (`SuspectService.listed`), with the packaged encoder as
it is served. Random order finds a tenth. No setting was chosen by what is read here; the test files are not opened.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from bot.inference.engine import Engine
from bot.inference.insight import Studies
from bot.services.suspects import DoubtList, SuspectService
from storage.database import Database
from storage.records import Classifier, Source, text_hash
from storage.stores import Stores
from tests.benchmarks.data import intents
from tests.benchmarks.learning.samples import SETS, Pair
from tests.benchmarks.report import Figure, compared
from trainer.bases import PACKAGED, resolve
from trainer.export import export_encoder
from trainer.model.encoder import Encoder

SHARE = 0.1
SEEDS = (0, 1, 2)
FIRST = 100
GUILD = "bench"
KINDS = {"uniform": "to any other label", "nearest": "to the nearest label"}


@dataclass(frozen=True)
class Found:
    """What one list was worth."""

    precision: float
    """Share of the first FIRST whose label had been changed."""
    recall: float
    """Share of the changed labels that are anywhere in the list."""
    righted: float
    """Share of the changed ones among the first for which the true label is suggested."""
    seconds: float


def run() -> list[Figure]:
    return asyncio.run(_measure())


async def _measure() -> list[Figure]:
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        encoder = export_encoder(resolve(PACKAGED), Path(folder) / "base")
        for name in SETS:
            async with Database(Path(folder) / f"{name}.db") as database, Engine(threads=2, deadline=60.0) as engine:
                figures += await _of_set(name, Stores.over(database), engine, encoder)
    return figures


async def _of_set(name: str, stores: Stores, engine: Engine, encoder: Encoder) -> list[Figure]:
    rows = list({text_hash(text): (text.strip(), label) for text, label in intents(name, "train")}.values())
    near = _nearest_labels(encoder, rows)
    figures: list[Figure] = []
    for kind, words in KINDS.items():
        found = [await _look(f"{kind}-{seed}", stores, engine, encoder, rows, near, seed) for seed in SEEDS]
        figures += _figures(f"{name}, changed {words}", len(rows), found)
    return figures


async def _look(
    name: str,
    stores: Stores,
    engine: Engine,
    encoder: Encoder,
    rows: Sequence[Pair],
    near: dict[str, str],
    seed: int,
) -> Found:
    """Store the rows, a tenth of them with a changed label, and look at the list."""
    changed = changed_labels(rows, near if name.startswith("nearest") else None, seed)
    classifier = await _taught(name, stores, rows, changed)
    studies = Studies(stores.examples, stores.classifiers, engine, niceness=0)  # nobody asks meanwhile
    service = SuspectService(stores, cast(Any, _Serving(encoder)), studies)
    began = time.perf_counter()
    found = await service.listed(classifier)
    seconds = time.perf_counter() - began
    assert isinstance(found, DoubtList)
    truth = dict(rows)
    first = [doubt for doubt in found.doubts[:FIRST] if doubt.text in changed]
    return Found(
        len(first) / FIRST,
        sum(doubt.text in changed for doubt in found.doubts) / len(changed),
        sum(doubt.suggested.name == truth[doubt.text] for doubt in first) / max(1, len(first)),
        seconds,
    )


@dataclass(frozen=True)
class _Serving:
    """What the service asks of `Serving`."""

    encoder: Encoder

    async def base_encoder(self, classifier: Classifier) -> Encoder:
        return self.encoder


def changed_labels(rows: Sequence[Pair], near: dict[str, str] | None, seed: int) -> dict[str, str]:
    """text → another label, for a tenth of the rows: `near` of its own, else any."""
    chance = random.Random(seed)
    labels = sorted({label for _, label in rows})
    chosen = chance.sample(range(len(rows)), round(SHARE * len(rows)))
    return {
        text: near[label] if near else chance.choice([other for other in labels if other != label])
        for text, label in (rows[index] for index in chosen)
    }


def _nearest_labels(encoder: Encoder, rows: Sequence[Pair]) -> dict[str, str]:
    """Of each label the one whose mean vector is nearest, from 20 texts of each."""
    labels = sorted({label for _, label in rows})
    some = [[text for text, given in rows if given == label][:20] for label in labels]
    means = np.stack([encoder.encode_many(texts, 2).mean(0) for texts in some])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    cosines = means @ means.T - 2 * np.eye(len(labels))
    return dict(zip(labels, [labels[index] for index in cosines.argmax(1)], strict=True))


async def _taught(name: str, stores: Stores, rows: Sequence[Pair], changed: dict[str, str]) -> Classifier:
    """A classifier with all rows; the vectors of a text are shared with those before."""
    classifier = await stores.classifiers.create(GUILD, name, "bench", PACKAGED, 0.0)
    ids = {
        label: (await stores.classifiers.add_label(GUILD, classifier.id, label)).id
        for label in sorted({label for _, label in rows})
    }
    labelled = [(text, ids[changed.get(text, label)]) for text, label in rows]
    await stores.examples.add_many(GUILD, classifier.id, labelled, "bench", Source.FILE, name, 0.0)
    return classifier


def _figures(name: str, rows: int, found: Sequence[Found]) -> Iterator[Figure]:
    precision, recall, righted = (
        100 * np.array([getattr(each, what) for each in found]) for what in ("precision", "recall", "righted")
    )
    peer = "random order"
    yield compared(f"{name}: wrong among the first {FIRST}", float(precision.mean()), "%", peer, 100 * SHARE)
    yield Figure(f"{name}: the same, worst of {len(found)} seeds", float(precision.min()), "%")
    yield Figure(f"{name}: of the wrong ones anywhere in the list", float(recall.mean()), "%")
    yield Figure(f"{name}: true label suggested for the wrong among them", float(righted.mean()), "%")
    # The first list also encodes the texts.
    fastest = min(each.seconds for each in found)
    yield Figure(f"{name}: seconds to a list of {rows:,} labels, vectors known", fastest, "s", better="lower")
