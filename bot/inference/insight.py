"""What can be learned from the stored labels beside a head: which look wrong, which are near, which words count.

Pure functions over vectors; and `Studies`, which gathers the vectors of a classifier's labelled texts and computes on
them, one study at a time, in a thread nicer than answering. They know nothing of people, chats or tables.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bot.inference.engine import Engine
from bot.inference.threads import in_background
from bot.inference.vectors import Vectors
from storage.classifiers import Classifiers
from storage.examples import Examples
from storage.records import Classifier, Label, LabelledText, Split
from trainer.model.encoder import Encoder
from trainer.model.head import Head, fit_head, label_text
from trainer.model.suspects import NotJudged, Suspect, second_opinion, suspects

T = TypeVar("T")

NICENESS = 10
"""As fits of the instant memory: answers come first (Linux)."""
MOST_ROWS = 20_000
"""Labelled texts of one study at most, the newest: 31 MB of vectors at 384 dimensions."""
MOST_WORDS = 64
"""Words that are left out in turn: an encoder reads about as many."""


@dataclass(frozen=True)
class Material:
    """A classifier's labelled texts as numbers."""

    labels: Sequence[Label]
    rows: Sequence[LabelledText]
    names: NDArray[np.float32]
    """[K, d] vectors of the labels' own names."""
    vectors: NDArray[np.float32]
    """[n, d]"""
    targets: NDArray[np.int64]
    """[n] indices into `labels`."""


class Studies:
    """Computes on a classifier's labelled texts. Belongs to the engine's event loop."""

    def __init__(
        self, examples: Examples, classifiers: Classifiers, engine: Engine, *, niceness: int = NICENESS
    ) -> None:
        self._niceness = niceness
        self._examples = examples
        self._classifiers = classifiers
        self._vectors = Vectors(examples, engine)
        self._turn = asyncio.Lock()
        """One at a time, of one matrix of vectors; texts are encoded before, where nobody waits for it."""

    async def study(
        self, classifier: Classifier, encoder: Encoder, compute: Callable[[Material], T], *, golden: bool
    ) -> T:
        """What `compute` makes, in a thread, of the labelled texts; golden ones are among them only if asked for.

        Raises:
            StorageError, Busy, ArtifactError: nothing was computed.
        """
        guild = classifier.guild
        labels = await self._classifiers.labels(guild, classifier.id)
        known = {label.name: index for index, label in enumerate(labels)}
        rows = [
            row
            for row in await self._examples.current(guild, classifier.id)
            if row.label in known and (golden or row.split is Split.TRAIN)
        ][-MOST_ROWS:]
        names = [label_text(label.name, label.description) for label in labels]
        texts = [row.text for row in rows]
        await self._vectors.prepare(guild, encoder, [*names, *texts])
        async with self._turn:
            targets = np.array([known[row.label] for row in rows], np.int64)
            name_vectors = await self._vectors.of(guild, encoder, names)
            vectors = await self._vectors.of(guild, encoder, texts)
            material = Material(labels, rows, name_vectors, vectors, targets)
            return await in_background(partial(compute, material), self._niceness)


def doubted(material: Material) -> list[Suspect] | NotJudged:
    """Rows whose label looks wrong, the worst first (`trainer.model.suspects`)."""
    names, ids = [label.name for label in material.labels], [row.example_id for row in material.rows]
    unjudged = suspects(np.zeros((len(ids), len(names)), np.float32), material.targets, ids)
    if isinstance(unjudged, NotJudged):
        return unjudged  # before anything is fitted
    first = fit_head(names, material.names, material.vectors, material.targets).out_of_fold
    second = second_opinion(names, material.names, material.vectors, material.targets, first)
    return suspects(second, material.targets, ids)


@dataclass(frozen=True, slots=True)
class Word:
    """What the answer is without one of its words."""

    word: str
    before: float
    """Confidence of the label that is answered with all words, in [0, 1]."""
    after: float
    """The same without the word."""
    label: str
    """What is answered without it."""
    flips: bool
    """Whether that is another label."""


def without_words(text: str) -> list[tuple[str, str]]:
    """(word, the text without it), for the first MOST_WORDS words; nothing for a text of one word."""
    found = list(re.finditer(r"\S+", text))
    if len(found) < 2:
        return []
    return [(each[0], (text[: each.start()] + text[each.end() :]).strip()) for each in found[:MOST_WORDS]]


def weighed(head: Head, whole: NDArray[np.float32], words: Sequence[str], left: NDArray[np.float32]) -> list[Word]:
    """Each word by what leaving it out takes from the answered label, most first.

    `whole` [d] is the text's vector, `left` [len(words), d] those of the texts without the word.
    """
    if not words:
        return []
    answer = head.probabilities(whole[None, :])[0]
    best = int(answer.argmax())
    after = head.probabilities(left)
    order = np.argsort(after[:, best], kind="stable")
    instead = after.argmax(1)
    return [
        Word(
            words[row],
            float(answer[best]),
            float(after[row, best]),
            head.labels[instead[row]],
            bool(instead[row] != best),
        )
        for row in order.tolist()
    ]


def nearest(vector: NDArray[np.float32], vectors: NDArray[np.float32], count: int) -> list[tuple[int, float]]:
    """(row, cosine) of the `count` rows of `vectors` [n, d] nearest to `vector` [d], all of length 1; nearest first."""
    cosines = vectors @ vector
    return [(row, float(cosines[row])) for row in np.argsort(-cosines, kind="stable")[:count].tolist()]
