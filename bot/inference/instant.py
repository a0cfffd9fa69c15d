"""Labels that count at once: the head that serves is corrected in closed form, then refitted in the background.

A correction takes milliseconds and begins with the touch. It is always made from the last fitted head and all labels
that are newer than that, and whatever goes live, a refit or another version, is corrected by what is newer still.
Fits run one at a time, in a thread; touches that come meanwhile share the next refit; a refit of a version that no
longer serves is dropped. On an error the head that serves goes on serving; after a failed correction the refit still
comes, after a failed refit the next touch tries again. This module does not know files, promotion or who labels.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from bot.inference.correction import correct
from bot.inference.engine import Engine, Origin, Served
from bot.inference.residents import halved
from bot.inference.threads import in_background
from bot.inference.vectors import Vectors
from storage.classifiers import Classifiers
from storage.errors import Busy
from storage.examples import ChangedText, Examples
from storage.records import Classifier, Label, LabelledText, ModelVersion, Split
from trainer.model.encoder import Encoder
from trainer.model.head import Head, called_now, fit_head, label_text

log = logging.getLogger(__name__)

DEBOUNCE = 0.1
"""Seconds between a touch and its refit: an import or a busy minute is one refit; corrections do not wait."""

LONGEST_REST = 5.0
"""Seconds of rest at most: the first refit of an import encodes every text and takes longer than any later one."""

MOST_ROWS = 20_000
"""Rows of one refit at most, those whose labels are newest: 31 MB of vectors at 384 dimensions. What a version was
trained on is in its own head already."""

NICENESS = 10
"""By how much a fitting thread is nicer than the others (Linux): answers and corrections come first."""

MOST_NEWER = 64
"""Rows of one correction at most, the newest: about a millisecond. After an import the rest waits for the refit."""


class InstantMemory:
    """Corrects and refits heads: `async with InstantMemory(examples, classifiers, engine) as memory`.

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
        self._due: set[int] = set()
        """Classifiers with labels that no correction has looked for yet."""
        self._corrections: dict[int, asyncio.Task[None]] = {}
        self._landings: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        """By classifier: reading what is newer and serving it is one step, or a refit could hide a newer label."""
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
        tasks = [*self._tasks.values(), *self._corrections.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def refit(
        self,
        classifier: Classifier,
        version: ModelVersion | None,
        encoder: Encoder,
        version_head: Head | None,
        label_ids: tuple[int, ...] = (),
    ) -> Served:
        """What should serve for this version now; changes nothing that serves.

        To swap, give it to `go_live`: labels that came in between are caught up.

        Where no text got another label since, or lost its own, it is the version with its own head, revision 0.
        Otherwise the head is fitted on the label names and the train rows (never a golden one), starting from
        `version_head` if there is one. `version` None is version 0, the base encoder. A classifier without labels gets
        an empty head, with which `Engine.answer` says so.
        `label_ids` belong to the labels of `version_head`: it answers with the names that they have now.

        Raises:
            StorageError, Busy, ArtifactError: nothing was fitted; what serves goes on serving.
        """
        return await self._refit(Origin(classifier, version, version_head, label_ids), encoder)

    async def as_trained(
        self, classifier: Classifier, version: ModelVersion, encoder: Encoder, head: Head, label_ids: tuple[int, ...]
    ) -> Served:
        """A version with its own head under the labels' names of today, revision 0; `go_live` sees to what is newer."""
        names = await self._names(classifier)
        called = names.call(head, label_ids)
        return Served(
            classifier.id,
            version.number,
            0,
            encoder,
            called,
            version.last_event_id,
            Origin(classifier, version, head, label_ids),
            _ids(called, names.labels) if label_ids else (),
        )

    async def go_live(self, prepared: Served, *, unless_served: bool = False) -> None:
        """Swap: from now on this answers for its classifier, with the labels that are newer than its fit.

        Where those cannot be read or encoded, it goes live without them, and a refit follows. `unless_served`: only if
        nothing answers yet by then; what went live meanwhile is newer.
        """
        async with self._landing(prepared.classifier_id):
            served = await self._on_top_or_bare(prepared)
            if not unless_served or self._engine.current(prepared.classifier_id) is None:
                self._put(served)

    def touch(self, classifier_id: int) -> None:
        """A label, or the list of labels, has changed: correct what serves at once, refit it soon; returns at once."""
        self._ask(classifier_id)
        if self._closed:
            return
        self._due.add(classifier_id)
        if classifier_id not in self._corrections:
            follow = self._follow(classifier_id)
            self._corrections[classifier_id] = asyncio.create_task(follow, name="instant correction")

    async def settle(self, classifier_id: int) -> None:
        """Return when every label that was acknowledged before this call takes part in what serves.

        Mostly a correction is enough; where it cannot hold them all, the refit is waited for.

        Raises:
            StorageError, Busy, ArtifactError: the refit that was waited for failed.
        """
        if not await self._catch_up(classifier_id):
            await asyncio.shield(self._ask(classifier_id))

    async def relearn(self, classifier_id: int) -> None:
        """Return when what serves was fitted on the labels as they are now.

        For labels that were deleted: those leave no event, so a correction sees nothing to do, and `settle` would
        return while the head still knows them.

        Raises:
            StorageError, Busy, ArtifactError: the refit failed.
        """
        await asyncio.shield(self._ask(classifier_id))

    async def _follow(self, classifier_id: int) -> None:
        """Correct until nobody has touched meanwhile."""
        try:
            while classifier_id in self._due:
                self._due.discard(classifier_id)
                await self._catch_up(classifier_id)
        finally:
            del self._corrections[classifier_id]

    async def _catch_up(self, classifier_id: int) -> bool:
        """Correct what serves by what is newer than its fit; whether every label takes part now."""
        try:
            async with self._landing(classifier_id):
                while (before := self._engine.current(classifier_id)) is not None:
                    after = await self._on_top(before.fitted if isinstance(before, _Corrected) else before)
                    if self._engine.current(classifier_id) is before:
                        if after is not before:
                            self._put(after)
                        return not isinstance(after, _Corrected) or after.complete
                return True
        except Exception:
            log.exception("instant.uncorrected", extra={"classifier": classifier_id})
            return False

    def _landing(self, classifier_id: int) -> asyncio.Lock:
        return self._landings.setdefault(classifier_id, asyncio.Lock())

    def _put(self, served: Served) -> None:
        """Serve it; a corrected head is only there until a fitted one follows."""
        self._engine.serve(served)
        if isinstance(served, _Corrected):
            self._ask(served.classifier_id)

    async def _on_top_or_bare(self, fitted: Served) -> Served:
        try:
            return await self._on_top(fitted)
        except Exception:
            log.exception("instant.uncorrected", extra={"classifier": fitted.classifier_id})
            self._ask(fitted.classifier_id)
            return fitted

    async def _on_top(self, fitted: Served) -> Served:
        """A fitted head with the newer labels on top; itself if there are none."""
        began = time.perf_counter()
        if (origin := fitted.origin) is None:
            return fitted
        guild, classifier_id = origin.classifier.guild, fitted.classifier_id
        # The event before the rest: a label that comes between takes part but is not promised.
        newest = await self._examples.newest_event(guild, classifier_id)
        names = await self._names(origin.classifier)
        labels, unchanged = names.labels, names.newest_change <= fitted.newest_change
        if unchanged and newest <= fitted.newest_event and {one.name for one in labels} == set(fitted.head.labels):
            return fitted
        before = names.call(fitted.head, fitted.label_ids)
        changes = await self._examples.newest_changes(guild, classifier_id, fitted.newest_event, MOST_NEWER + 1)
        rows = [change for change in changes[:MOST_NEWER] if change.split is Split.TRAIN and change.label]
        head = await self._corrected_head(before, fitted.encoder, guild, labels, rows)
        # A label that was merged or brought back has texts that are no newer: only the refit can take them in.
        possible = unchanged and bool(before.labels or not labels)
        complete = possible and len(changes) <= MOST_NEWER and not any(map(_left_behind, changes))
        corrected = _Corrected(
            classifier_id=classifier_id,
            number=fitted.number,
            revision=_revision(origin, fitted.revision, labels, changes[:MOST_NEWER]),
            encoder=fitted.encoder,
            head=head,
            newest_event=newest if complete else fitted.newest_event,
            origin=origin,
            label_ids=_ids(head, labels),
            newest_change=fitted.newest_change,
            fitted=fitted,
            complete=complete,
        )
        facts = {"classifier": classifier_id, "version": corrected.version, "rows": len(rows)}
        log.info("instant.corrected", extra=facts | {"seconds": round(time.perf_counter() - began, 4)})
        return corrected

    async def _corrected_head(
        self, fitted: Head, encoder: Encoder, guild: str, labels: Sequence[Label], rows: Sequence[ChangedText]
    ) -> Head:
        """The fitted head itself where it has no labels: the first ones wait for the refit."""
        if not labels:
            return _empty_head(encoder.dimensions)
        if not fitted.labels:
            return fitted
        names = [label.name for label in labels]
        position: dict[str | None, int] = {name: index for index, name in enumerate(names)}
        rows = [row for row in rows if row.label in position]  # the list of labels was read before
        new = [label_text(label.name, label.description) for label in labels if label.name not in fitted.labels]
        vectors = await self._vectors.of(guild, encoder, [*new, *(row.text for row in rows)])
        targets = [position[row.label] for row in rows]
        return correct(fitted, names, vectors[len(new) :], targets, vectors[: len(new)])

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
            async with self._landing(classifier_id):
                pass  # a correction under way encodes texts that the refit needs, too: not twice at a time
            after = await self._refit(before.origin, before.encoder)
            async with self._landing(classifier_id):
                live = await self._on_top_or_bare(after)
                current = self._engine.current(classifier_id)
                if current is not None and current.origin is before.origin:
                    self._put(live)
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
            head=head if origin.version else halved(head),  # thousands of classifiers may sit on one base
            newest_event=state.newest_event,
            origin=origin,
            label_ids=_ids(head, state.names.labels),
            newest_change=state.names.newest_change,
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
        changed = await self._examples.changed_since(guild, classifier_id, trained_to, newest)
        named = await self._names(origin.classifier)
        prior = None
        if origin.head is not None:
            prior = named.call(origin.head, origin.label_ids)
            changed += await self._examples.lost_since(guild, classifier_id, trained_to, newest)
            changed = max(changed, _relabelled(origin, named.labels))
            if not changed:
                return _State(named, [], newest, 0, prior)
        rows = await self._examples.current(guild, classifier_id)
        known = {label.name for label in named.labels}
        usable = [row for row in rows if row.split is Split.TRAIN and row.label in known]
        if len(usable) > MOST_ROWS:
            events = await self._examples.newest_events(guild, classifier_id)
            usable = await asyncio.to_thread(_newest, usable, events)
        return _State(named, usable, newest, changed, prior)

    async def _names(self, classifier: Classifier) -> _Names:
        # The change before the labels: one that comes between takes part but is not promised.
        newest = await self._classifiers.newest_change(classifier.guild, classifier.id)
        every = await self._classifiers.every_label(classifier.guild, classifier.id)
        merged = {label.id: label.merged_into for label in every if label.merged_into is not None}
        return _Names([label for label in every if not label.archived], merged, newest)

    async def _head(self, origin: Origin, encoder: Encoder, state: _State) -> Head:
        if state.prior is not None and state.revision == 0:
            return state.prior
        labels = state.names.labels
        if not labels:
            return _empty_head(encoder.dimensions)
        names = [label_text(label.name, label.description) for label in labels]
        texts = [row.text for row in state.rows]
        guild = origin.classifier.guild
        await self._vectors.prepare(guild, encoder, [*names, *texts])
        async with self._turn:
            name_vectors = await self._vectors.of(guild, encoder, names)
            row_vectors = await self._vectors.of(guild, encoder, texts)
            return await in_background(partial(_fit, state, name_vectors, row_vectors), NICENESS)


@dataclass(frozen=True, slots=True)
class _Names:
    """The labels of a classifier as they are called now."""

    labels: Sequence[Label]
    """Those in use."""
    merged: Mapping[int, int]
    """Id → id of the label that it was merged into."""
    newest_change: int
    """Every change up to this one is in it."""

    def call(self, head: Head, ids: tuple[int, ...]) -> Head:
        """The head under these names; as it is where its ids are not known."""
        return called_now(head, ids, {label.id: label.name for label in self.labels}, self.merged) if ids else head


@dataclass(frozen=True, slots=True)
class _State:
    """What a head is fitted on."""

    names: _Names
    rows: Sequence[LabelledText]
    newest_event: int
    revision: int
    prior: Head | None
    """The version's head, under the names of today; None: there is no version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Corrected(Served):
    """A fitted head with newer labels on top. It is never corrected itself."""

    fitted: Served
    complete: bool
    """Whether every newer label takes part, also those that were taken back."""


def _newest(rows: Sequence[LabelledText], events: Mapping[int, int]) -> list[LabelledText]:
    """The `MOST_ROWS` that were labelled last, in the order given: an old text that was put right is among them."""
    last = sorted(rows, key=lambda row: events.get(row.example_id, 0))[-MOST_ROWS:]
    kept = {row.example_id for row in last}
    return [row for row in rows if row.example_id in kept]


def _left_behind(change: ChangedText) -> bool:
    """A label that the fit may hold and that was taken back: only the refit can forget it."""
    return change.label is None and change.before > 0 and change.split is Split.TRAIN


def _revision(origin: Origin, fitted: int, labels: Sequence[Label], changes: Sequence[ChangedText]) -> int:
    """What `_read` will count: the examples whose label changed, or was lost, since the version was trained.

    One that the version learned, that was then labelled anew and now lost its label is taken for one that it did not
    learn: the refit, which has to forget it, counts it.
    """
    trained_to = origin.version.last_event_id if origin.version else 0
    more = sum(change.before <= trained_to and bool(change.label or change.before) for change in changes)
    fewer = sum(change.before > trained_to and change.label is None for change in changes)
    return max(fitted + more - fewer, _relabelled(origin, labels))


def _relabelled(origin: Origin, labels: Sequence[Label]) -> int:
    """How many labels a version has got or lost since it was trained; one with another name is the same label."""
    if origin.head is None:
        return 0
    if origin.label_ids:
        return len({label.id for label in labels}.symmetric_difference(origin.label_ids))
    return len({label.name for label in labels}.symmetric_difference(origin.head.labels))


def _ids(head: Head, labels: Sequence[Label]) -> tuple[int, ...]:
    """Of the head's labels, all of which are among these."""
    ids = {label.name: label.id for label in labels}
    return tuple(ids[name] for name in head.labels)


def _fit(state: _State, name_vectors: NDArray[np.float32], row_vectors: NDArray[np.float32]) -> Head:
    names = [label.name for label in state.names.labels]
    position = {name: index for index, name in enumerate(names)}
    targets = [position[row.label] for row in state.rows]
    prior = state.prior if state.prior is not None and state.prior.labels else None
    return fit_head(names, name_vectors, row_vectors, targets, prior=prior).head


def _empty_head(dimensions: int) -> Head:
    nothing: NDArray[np.float32] = np.zeros((0, dimensions), np.float32)
    return Head((), nothing, np.zeros(0, np.float32), 1.0, 0.0)


def _refuse(waiting: asyncio.Future[None], error: Exception) -> None:
    waiting.set_exception(error)
    waiting.exception()  # counts as heard: it was logged where it matters, and often nobody waits


def _stopping() -> Busy:
    return Busy("Pupil is shutting down; labels that were stored take part after the next start.", retry_after=10.0)
