"""Why an answer came out as it did: the nearest texts the version learned, by whom, and the words that mattered.

Everything is of the version that answers now; where that is not the one that gave the answer, both are named.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bot.inference.engine import Engine, Served, judged
from bot.inference.insight import Word, nearest, weighed, without_words
from bot.inference.vectors import Vectors
from bot.services.people import Actor
from bot.services.serving import Serving
from storage.errors import Busy, InvalidInput
from storage.opinions import Opinion
from storage.records import Classifier, LabelledText, LabelScore, Prediction, Split
from storage.stores import Stores

__all__ = ["Evidence", "Why", "WhyService", "Word"]

log = logging.getLogger(__name__)

FOR, AGAINST = 3, 2
"""Texts that are shown of the label that is answered, and of the runner-up."""
MOST_COMPARED = 1000
"""Texts of a label that are compared, the newest: a version that has just been trained has no vectors of them yet, and
a thousand take half a second on two cores."""
MATTERS = 0.02
"""A word counts if the answer loses as much confidence without it."""
MOST_WORDS = 4


@dataclass(frozen=True, slots=True)
class Evidence:
    """A labelled text that the answer rests on."""

    example: LabelledText
    similarity: float
    """Cosine, at most 1."""
    opinions: tuple[Opinion, ...]
    """Of those who say its label, oldest first."""


@dataclass(frozen=True, slots=True)
class Why:
    prediction: Prediction
    """The answer that was asked about."""
    version: str
    """What answers now: all below is about it."""
    scores: tuple[LabelScore, ...]
    """What it answers, best first."""
    outside: bool
    """Whether the text looks like nothing that was taught."""
    evidence: tuple[Evidence, ...]
    """Nearest texts of the first label, then of the second."""
    words: tuple[Word, ...]
    """Those that matter most, most first."""
    left_out: bool
    """Whether a label has more texts than were compared."""


class WhyService:
    def __init__(self, stores: Stores, serving: Serving, engine: Engine) -> None:
        self._classifiers = stores.classifiers
        self._examples = stores.examples
        self._opinions = stores.opinions
        self._predictions = stores.predictions
        self._serving = serving
        self._engine = engine
        self._vectors = Vectors(stores.examples, engine)

    async def of(self, actor: Actor, prediction_id: str, text: str | None = None) -> Why:
        """Why the classifier answers the text of this answer as it does. `text`: where none was kept, the one asked.

        Raises:
            NotFound (also for another guild's), InvalidInput (no text was kept; no labels), Busy, TrainerUnavailable.
        """
        prediction = await self._predictions.get(actor.guild, prediction_id)
        text = prediction.text or text
        if text is None:
            raise InvalidInput(
                "The text of a chat message is not stored, so there is nothing to explain. Ask with /why and the text."
            )
        began = time.perf_counter()
        classifier = await self._classifiers.by_id(actor.guild, prediction.classifier_id)
        served = await self._served(classifier)
        vector, words = await self._read(classifier, served, text)
        scores, outside = judged(served.head, vector)
        evidence, left_out = await self._evidence(classifier, served, vector, scores)
        log.info(
            "answer.explained",
            extra={"classifier": classifier.id, "seconds": round(time.perf_counter() - began, 3)},
        )
        return Why(replace(prediction, text=text), served.version, scores, outside, evidence, words, left_out)

    async def _served(self, classifier: Classifier) -> Served:
        await self._serving.ensure(classifier)
        served = self._engine.current(classifier.id)
        if served is None or not served.head.labels:
            raise Busy(f"`{classifier.name}` has just made room for another model. Ask again in a moment.", 1.0)
        return served

    async def _read(
        self, classifier: Classifier, served: Served, text: str
    ) -> tuple[NDArray[np.float32], tuple[Word, ...]]:
        """The text's vector, and the words without which the answer is less sure."""
        words = without_words(text)
        texts = [text, *(rest for _, rest in words)]
        vectors = await self._engine.encode(served.encoder, texts, guild=classifier.guild)
        found = weighed(served.head, vectors[0], [word for word, _ in words], vectors[1:])
        return vectors[0], tuple(word for word in found if word.before - word.after >= MATTERS)[:MOST_WORDS]

    async def _evidence(
        self, classifier: Classifier, served: Served, vector: NDArray[np.float32], scores: Sequence[LabelScore]
    ) -> tuple[tuple[Evidence, ...], bool]:
        rows = [
            row
            for row in await self._examples.current(classifier.guild, classifier.id)
            if row.split is Split.TRAIN  # golden texts are in no head: they decided nothing
        ]
        found: list[tuple[LabelledText, float]] = []
        left_out = False
        for score, count in zip(scores, (FOR, AGAINST), strict=False):
            same = [row for row in rows if row.label == score.label]
            left_out |= len(same) > MOST_COMPARED
            same = same[-MOST_COMPARED:]
            vectors = await self._vectors.of(classifier.guild, served.encoder, [row.text for row in same])
            found += [(same[row], cosine) for row, cosine in nearest(vector, vectors, count)]
        return await self._signed(classifier, found), left_out

    async def _signed(
        self, classifier: Classifier, found: Sequence[tuple[LabelledText, float]]
    ) -> tuple[Evidence, ...]:
        """With who labelled it."""
        ids = [row.example_id for row, _ in found]
        said = await self._opinions.of(classifier.guild, classifier.id, ids)
        return tuple(
            Evidence(
                row,
                cosine,
                tuple(each for each in said if each.example_id == row.example_id and each.label == row.label),
            )
            for row, cosine in found
        )
