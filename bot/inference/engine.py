"""Who answers for which classifier, and the answering: text to vector on a worker thread, vector to scores here.

A query takes one `Served` once and uses nothing else, so it is answered by exactly one version, which the answer names;
a swap rebinds one reference, and the old encoder is freed when its last query is done. This module does not know the
database, files, or why a version was promoted.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bot.inference.thresholds import threshold
from bot.inference.workers import Workers
from storage.errors import ArtifactError, NotFound, PupilError
from storage.records import Classifier, LabelScore, ModelVersion, version_name
from trainer.model.encoder import Encoder, Reading
from trainer.model.head import Head

log = logging.getLogger(__name__)

REMEMBERED = 4096
"""Texts whose vector is kept: 6 MB at 384 dimensions."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What a head is refitted from when labels arrive: the version as it was trained, without its instant part."""

    classifier: Classifier
    version: ModelVersion | None
    """None: version 0, the base encoder, whose head comes from label names and labels alone."""
    head: Head | None
    label_ids: tuple[int, ...] = ()
    """Of the head's labels, in its order, so that a renamed one keeps its row; empty: they are known by name alone."""


@dataclass(frozen=True, slots=True)
class Served:
    """Everything one query needs, in one object that never changes."""

    classifier_id: int
    number: int
    """Of the version; 0 before any training."""
    revision: int
    """How many newer labels took part in the head."""
    encoder: Encoder
    head: Head
    newest_event: int = 0
    """Every label event up to this id took part (later ones may have)."""
    origin: Origin | None = None
    """None: this head is never refitted."""
    label_ids: tuple[int, ...] = ()
    """As in `Origin`."""
    newest_change: int = 0
    """Every change of a label (renamed, merged, described, …) up to this id took part (later ones may have)."""
    deletions: int = 0
    """How often labels of its classifier had been deleted when it was fitted, as `Heads` counts."""

    @property
    def version(self) -> str:
        return version_name(self.number, self.revision)


@dataclass(frozen=True, slots=True)
class Answer:
    scores: tuple[LabelScore, ...]
    """Best first, all labels; equal confidences in the labels' order."""
    abstained: bool
    version: str
    number: int
    revision: int
    milliseconds: float
    """From asking to answering, waiting included."""
    cut: bool
    """Whether the text was longer than the encoder reads."""
    outside: bool
    """Whether the text looks like nothing that was taught; then the scores say only what lies nearest."""


class Engine:
    """Answers queries: `async with Engine(threads=2) as engine`. Its methods belong to the event loop that entered it.

    Args:
        threads: texts encoded at a time, each alone in its own thread (see `trainer.model.encoder` for why alone).
        queue_limit: queries that may wait for a thread; the guild that has the most is refused first.
        deadline: seconds from asking to answering.
        remembered: texts whose vector is kept, by exact text; 0 keeps none.
    """

    def __init__(
        self, threads: int = 2, queue_limit: int = 1024, deadline: float = 10.0, *, remembered: int = REMEMBERED
    ) -> None:
        self._workers = Workers(threads, queue_limit, deadline)
        self._served: dict[int, Served] = {}
        self._thresholds: dict[int, _Threshold] = {}
        self._readings = _Readings(remembered)

    async def __aenter__(self) -> Self:
        await self._workers.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._workers.__aexit__(kind, error, trace)
        self._served.clear()

    @property
    def waiting(self) -> int:
        """Queries that wait for a thread."""
        return self._workers.waiting

    def serve(self, served: Served) -> None:
        """From now on this answers for its classifier; queries that have begun finish on what they took."""
        before = self._served.get(served.classifier_id)
        self._served[served.classifier_id] = served
        self._thresholds.pop(served.classifier_id, None)
        swapped = before is None or before.number != served.number
        facts = {"classifier": served.classifier_id, "version": served.version}
        log.log(logging.INFO if swapped else logging.DEBUG, "version.serving", extra=facts)

    def current(self, classifier_id: int) -> Served | None:
        return self._served.get(classifier_id)

    def drop(self, classifier_id: int) -> None:
        """Nothing answers for this classifier any more. Queries that have begun are still answered."""
        self._served.pop(classifier_id, None)
        self._thresholds.pop(classifier_id, None)

    async def answer(
        self,
        classifier_id: int,
        text: str,
        *,
        guild: str = "",
        precision: float | None = None,
        deadline: float | None = None,
    ) -> Answer:
        """The scores of all labels for `text`, from the version that served when this was called.

        Args:
            guild: who asks: guilds take turns, whatever number of queries each has waiting.
            precision: share of the given answers that should be right; the others are "not sure" (`thresholds`).
            deadline: seconds from now to the answer; None: the engine's.

        Raises:
            NotFound: nothing serves this classifier, or it has no labels yet.
            Busy: there could be, or was, no answer within the deadline, or too many wait; says when to ask again.
            ArtifactError: the model failed on this text.
        """
        served = self._served.get(classifier_id)
        if served is None:
            raise NotFound(f"No model is ready for classifier {classifier_id} yet. Ask again in a moment.")
        return await self.answer_as(served, text, guild=guild, precision=precision, deadline=deadline)

    async def answer_as(
        self,
        served: Served,
        text: str,
        *,
        guild: str = "",
        precision: float | None = None,
        deadline: float | None = None,
    ) -> Answer:
        """As `answer`, from a version that need not be live: what people would get if it were.

        Raises:
            As `answer`.
        """
        asked = time.perf_counter()
        if not served.head.labels:
            raise NotFound("This classifier has no labels yet. Add one with /labels create.")
        reading = await self._read(served.encoder, text, guild, deadline)
        scores, outside = judged(served.head, reading.vector)
        return Answer(
            scores=scores,
            abstained=scores[0].confidence < self._threshold(served, precision),
            version=served.version,
            number=served.number,
            revision=served.revision,
            milliseconds=1000 * (time.perf_counter() - asked),
            cut=reading.cut,
            outside=outside,
        )

    async def encode(self, encoder: Encoder, texts: Sequence[str], *, guild: str = "") -> NDArray[np.float32]:
        """Unit vectors [len(texts), d] float32 in the bulk lane: a query waits for at most one of these texts.

        Guilds take turns, a text each. All texts are queued at once, so give it some hundreds, not a hundred thousand.

        Raises:
            Busy, ArtifactError: as in `answer`.
        """
        known = [self._readings.get(encoder, text) for text in texts]
        missing = [text for text, reading in zip(texts, known, strict=True) if reading is None]
        with _encoder_errors(encoder):
            fresh = iter(await self._workers.bulk([partial(encoder.encode, text) for text in missing], guild))
        vectors = [next(fresh) if reading is None else reading.vector for reading in known]
        return np.stack(vectors) if vectors else np.zeros((0, encoder.dimensions), np.float32)

    def _threshold(self, served: Served, precision: float | None) -> float:
        """As `thresholds.threshold`, computed once per head and precision."""
        if precision is None:
            return served.head.abstain_below
        known = self._thresholds.get(served.classifier_id)
        if known is None or known.head is not served.head or known.precision != precision:
            known = _Threshold(served.head, precision, threshold(served.head, precision))
            self._thresholds[served.classifier_id] = known
        return known.value

    async def _read(self, encoder: Encoder, text: str, guild: str, deadline: float | None) -> Reading:
        if (known := self._readings.get(encoder, text)) is not None:
            return known
        with _encoder_errors(encoder):
            reading = await self._workers.query(partial(encoder.read, text), guild, deadline)
        self._readings.put(encoder, text, reading)
        return reading


@dataclass(frozen=True, slots=True)
class _Threshold:
    head: Head
    precision: float
    value: float


@contextmanager
def _encoder_errors(encoder: Encoder) -> Iterator[None]:
    """Translate what an encoder raises (onnxruntime and tokenizers have bare Exception subclasses of their own)."""
    try:
        yield
    except PupilError:
        raise
    except Exception as error:
        log.exception("encoder.failed", extra={"encoder": encoder.digest[:12]})
        raise ArtifactError(
            f"The encoder {encoder.digest[:12]} failed on a text ({type(error).__name__}). "
            "If it stays so, go back to an older version with /model rollback."
        ) from error


class _Readings:
    """The most recently used readings by (encoder digest, exact text); texts are held as hashes, so all are small."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[str, bytes], Reading] = OrderedDict()

    def get(self, encoder: Encoder, text: str) -> Reading | None:
        key = _key(encoder, text)
        reading = self._kept.get(key)
        if reading is not None:
            self._kept.move_to_end(key)
        return reading

    def put(self, encoder: Encoder, text: str, reading: Reading) -> None:
        self._kept[_key(encoder, text)] = reading
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)


def _key(encoder: Encoder, text: str) -> tuple[str, bytes]:
    # "surrogatepass": half a surrogate pair is no valid text, but it is the tokenizer that says so.
    return encoder.digest, hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def judged(head: Head, vector: NDArray[np.float32]) -> tuple[tuple[LabelScore, ...], bool]:
    """The scores, best first, and whether the text is outside: from the same logits, 14 microseconds at 150 labels."""
    vectors = vector[None, :]
    logits = head.logits(vectors)
    confidences = head.calibrated(logits)[0]
    best_first = np.argsort(-confidences, kind="stable")
    scores = tuple(LabelScore(head.labels[index], float(confidences[index])) for index in best_first)
    return scores, head.scope is not None and bool(head.scope.outside(vectors, logits)[0])
