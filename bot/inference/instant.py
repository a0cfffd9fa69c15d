"""Labels that count at once: the head is refitted in the background whenever labels arrive.

Fits run one at a time, in a thread; touches that come meanwhile share the next refit; a refit of a version that no
longer serves is dropped. On an error the head that serves goes on serving, and the next touch tries again. This module
does not know files, promotion or who labels.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bot.inference.engine import Engine, Origin, Served
from bot.inference.vectors import Vectors
from storage.classifiers import Classifiers
from storage.errors import Busy
from storage.examples import Examples
from storage.records import Classifier, Label, LabelledText, ModelVersion, Split
from trainer.model.encoder import Encoder
from trainer.model.head import Head, fit_head, label_text

log = logging.getLogger(__name__)

DEBOUNCE = 0.1
"""Seconds between a touch and its refit: an import or a busy minute is one refit, a person notices no delay."""

LONGEST_REST = 5.0
"""Seconds of rest at most: the first refit of an import encodes every text and takes longer than any later one."""

MOST_ROWS = 20_000
"""Rows of one refit at most, the newest examples: 31 MB of vectors at 384 dimensions. What a version was trained on is
in its own head already."""


class InstantMemory:
    """Refits heads: `async with InstantMemory(examples, classifiers, engine) as memory`.

    Belongs to the engine's event loop; the fits run in threads.
    """

    def __init__(
        self, examples: Examples, classifiers: Classifiers, engine: Engine, *, debounce: float = DEBOUNCE
    ) -> None:
        self._examples = examples
        self._classifiers = classifiers
        self._engine = engine
        self._vectors = Vectors(examples, engine)
        self._debounce = debounce
        self._turn = asyncio.Lock()
        """One fit at a time, of one matrix of vectors; texts are encoded before, where nobody waits for it."""
        self._next: dict[int, asyncio.Future[None]] = {}
        """By classifier: the refit that has not begun yet, shared by all who asked for it."""
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._rested_at: dict[int, float] = {}
        """By classifier: when the rest after its last refit ends (monotonic seconds)."""
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give up refits that are under way; the labels are in the database and take part after the next start."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def refit(
        self, classifier: Classifier, version: ModelVersion | None, encoder: Encoder, version_head: Head | None
    ) -> Served:
        """What should serve for this version now; changes nothing that serves.

        To swap, give it to `Engine.serve` and then `touch`: labels that came in between are caught up.

        Without newer labels it is the version with its own head, revision 0. Otherwise the head is fitted on the label
        names and the train rows (never a golden one), starting from `version_head` if there is one. `version` None is
        version 0, the base encoder. A classifier without labels gets an empty head, with which `Engine.answer` says so.

        Raises:
            StorageError, Busy, ArtifactError: nothing was fitted; what serves goes on serving.
        """
        return await self._refit(Origin(classifier, version, version_head), encoder)

    def touch(self, classifier_id: int) -> None:
        """A label, or the list of labels, has changed: refit soon, in the background."""
        self._ask(classifier_id)

    async def settle(self, classifier_id: int) -> None:
        """Return when every label that was acknowledged before this call takes part in what serves.

        Raises:
            StorageError, Busy, ArtifactError: the refit that was waited for failed.
        """
        served = self._engine.current(classifier_id)
        if served is None or served.origin is None:
            return
        newest = await self._examples.newest_event(served.origin.classifier.guild, classifier_id)
        # A refit under way may have read its rows before the newest label, so its end proves nothing.
        if classifier_id in self._tasks or served.newest_event < newest:
            await asyncio.shield(self._ask(classifier_id))

    def _ask(self, classifier_id: int) -> asyncio.Future[None]:
        """The next refit of this classifier that has not begun."""
        if (waiting := self._next.get(classifier_id)) is not None:
            return waiting
        waiting = asyncio.get_running_loop().create_future()
        if self._closed:
            _refuse(waiting, _stopping())
            return waiting
        self._next[classifier_id] = waiting
        if classifier_id not in self._tasks:
            self._tasks[classifier_id] = asyncio.create_task(self._keep_up(classifier_id), name="instant memory")
        return waiting

    async def _keep_up(self, classifier_id: int) -> None:
        """Refit until nobody asks, resting between refits as long as the last one took: half a core at most."""
        try:
            while classifier_id in self._next:
                rested_at = self._rested_at.get(classifier_id, 0.0)
                await asyncio.sleep(max(self._debounce, rested_at - time.monotonic()))
                began = time.monotonic()
                await self._run(classifier_id, self._next.pop(classifier_id))
                ended = time.monotonic()
                self._rested_at[classifier_id] = ended + min(ended - began, LONGEST_REST)
        finally:
            del self._tasks[classifier_id]
            if (left := self._next.pop(classifier_id, None)) is not None:
                _refuse(left, _stopping())

    async def _run(self, classifier_id: int, waiting: asyncio.Future[None]) -> None:
        try:
            await self._refresh(classifier_id)
        except asyncio.CancelledError:
            _refuse(waiting, _stopping())
            raise
        except Exception as error:
            log.exception("instant.failed", extra={"classifier": classifier_id})
            _refuse(waiting, error)
        else:
            waiting.set_result(None)

    async def _refresh(self, classifier_id: int) -> None:
        """Refit what serves and serve that; again, if another version was swapped in meanwhile."""
        while (before := self._engine.current(classifier_id)) is not None and before.origin is not None:
            after = await self._refit(before.origin, before.encoder)
            current = self._engine.current(classifier_id)
            if current is not None and current.origin is before.origin:
                self._engine.serve(after)
                return
            log.info("instant.dropped", extra={"classifier": classifier_id, "version": after.version})

    async def _refit(self, origin: Origin, encoder: Encoder) -> Served:
        began = time.perf_counter()
        state = await self._read(origin)
        head = await self._head(origin, encoder, state)
        served = Served(
            classifier_id=origin.classifier.id,
            number=origin.version.number if origin.version else 0,
            revision=state.revision,
            encoder=encoder,
            head=head,
            newest_event=state.newest_event,
            origin=origin,
        )
        facts = {"classifier": served.classifier_id, "version": served.version, "rows": len(state.rows)}
        log.info("instant.refitted", extra=facts | {"seconds": round(time.perf_counter() - began, 3)})
        return served

    async def _read(self, origin: Origin) -> _State:
        """Labels and rows as they are now.

        The event and the count are read before the rows: a label that comes between is in the rows but not promised.
        """
        guild, classifier_id = origin.classifier.guild, origin.classifier.id
        trained_to = origin.version.last_event_id if origin.version else 0
        newest = await self._examples.newest_event(guild, classifier_id)
        changed = await self._examples.changed_since(guild, classifier_id, trained_to)
        labels = await self._classifiers.labels(guild, classifier_id)
        if origin.head is not None:
            names = {label.name for label in labels}
            changed = max(changed, len(names.symmetric_difference(origin.head.labels)))
            if not changed:
                return _State(labels, [], newest, 0)
        rows = await self._examples.current(guild, classifier_id)
        known = {label.name for label in labels}
        usable = [row for row in rows if row.split is Split.TRAIN and row.label in known]
        return _State(labels, usable[-MOST_ROWS:], newest, changed)

    async def _head(self, origin: Origin, encoder: Encoder, state: _State) -> Head:
        if origin.head is not None and state.revision == 0:
            return origin.head
        if not state.labels:
            return _empty_head(encoder.dimensions)
        names = [label_text(label.name, label.description) for label in state.labels]
        texts = [row.text for row in state.rows]
        guild = origin.classifier.guild
        await self._vectors.prepare(guild, encoder, [*names, *texts])
        async with self._turn:
            name_vectors = await self._vectors.of(guild, encoder, names)
            row_vectors = await self._vectors.of(guild, encoder, texts)
            return await asyncio.to_thread(_fit, origin.head, state, name_vectors, row_vectors)


@dataclass(frozen=True, slots=True)
class _State:
    """What a head is fitted on."""

    labels: Sequence[Label]
    rows: Sequence[LabelledText]
    newest_event: int
    revision: int


def _fit(
    prior: Head | None, state: _State, name_vectors: NDArray[np.float32], row_vectors: NDArray[np.float32]
) -> Head:
    names = [label.name for label in state.labels]
    position = {name: index for index, name in enumerate(names)}
    targets = [position[row.label] for row in state.rows]
    return fit_head(names, name_vectors, row_vectors, targets, prior=prior).head


def _empty_head(dimensions: int) -> Head:
    nothing: NDArray[np.float32] = np.zeros((0, dimensions), np.float32)
    return Head((), nothing, np.zeros(0, np.float32), 1.0, 0.0)


def _refuse(waiting: asyncio.Future[None], error: Exception) -> None:
    waiting.set_exception(error)
    waiting.exception()  # counts as heard: it was logged where it matters, and often nobody waits


def _stopping() -> Busy:
    return Busy("Pupil is shutting down; labels that were stored take part after the next start.", retry_after=10.0)
