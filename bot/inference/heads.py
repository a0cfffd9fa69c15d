"""Heads made of labels: fitted on all of them, or a fitted one with the newer labels on top.

Rows and labels are read, texts are encoded, a head comes out; nothing that serves is changed here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
from numpy.typing import NDArray

from bot.inference.correction import correct
from bot.inference.engine import Engine, Origin, Served
from bot.inference.residents import halved
from bot.inference.threads import in_background
from bot.inference.vectors import Vectors
from storage.classifiers import Classifiers
from storage.examples import ChangedText, Examples
from storage.records import Classifier, Label, LabelledText, ModelVersion, Split
from trainer.model.encoder import Encoder
from trainer.model.head import Head, called_now, fit_head, label_text

log = logging.getLogger(__name__)

MOST_ROWS = 20_000
"""Rows of one refit at most: 31 MB of vectors at 384 dimensions. Over a version, whose head knows what it was trained
on, those whose labels are newest; over the base as many of each label, or a file sorted by label would leave some none.
"""

NICENESS = 10
"""By how much a fitting thread is nicer than the others (Linux): answers and corrections come first."""

MOST_NEWER = 64
"""Rows of one correction at most, the newest: about a millisecond. After an import the rest waits for the refit."""


class Heads:
    """Makes heads on the engine's event loop; the fits run in threads, one at a time."""

    def __init__(self, examples: Examples, classifiers: Classifiers, engine: Engine) -> None:
        self._examples = examples
        self._classifiers = classifiers
        self._vectors = Vectors(examples, engine)
        self._turn = asyncio.Lock()
        """One fit at a time, of one matrix of vectors; texts are encoded before, where nobody waits for it."""
        self._deletions = Counter[int]()
        """By classifier: how often labels were deleted. That leaves no event by which a correction could see it."""

    def note_deletion(self, classifier_id: int) -> None:
        """Labels of this classifier have been deleted: whatever was fitted before may know them."""
        self._deletions[classifier_id] += 1

    def may_know_deleted(self, served: Served) -> bool:
        return served.deletions != self._deletions[served.classifier_id]

    async def fitted(self, origin: Origin, encoder: Encoder) -> Served:
        """A version with a head for the labels as they are now.

        Its own head, revision 0, where no text got another label since it was trained, or lost its own. Otherwise one
        that is fitted on the label names and the train rows (never a golden one), starting from the version's own if
        there is one. A classifier without labels gets an empty head, with which `Engine.answer` says so.

        Raises:
            StorageError, Busy, ArtifactError: nothing was fitted.
        """
        began = time.perf_counter()
        deletions = self._deletions[origin.classifier.id]
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
            deletions=deletions,
        )
        facts = {"classifier": served.classifier_id, "version": served.version, "rows": len(state.rows)}
        log.info("instant.refitted", extra=facts | {"seconds": round(time.perf_counter() - began, 3)})
        return served

    async def as_trained(
        self, classifier: Classifier, version: ModelVersion, encoder: Encoder, head: Head, label_ids: tuple[int, ...]
    ) -> Served:
        """A version with its own head under the labels' names of today, revision 0, whatever is newer."""
        deletions = self._deletions[classifier.id]
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
            deletions=deletions,
        )

    async def corrected(self, fitted: Served) -> Served:
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
        corrected = Corrected(
            classifier_id=classifier_id,
            number=fitted.number,
            revision=_revision(origin, fitted.revision, labels, changes[:MOST_NEWER]),
            encoder=fitted.encoder,
            head=head,
            newest_event=newest if complete else fitted.newest_event,
            origin=origin,
            label_ids=_ids(head, labels),
            newest_change=fitted.newest_change,
            deletions=fitted.deletions,
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
            usable = await asyncio.to_thread(_most, usable, events, evenly=prior is None)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected(Served):
    """A fitted head with newer labels on top. It is never corrected itself."""

    fitted: Served
    complete: bool
    """Whether every newer label takes part, also those that were taken back."""


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


def _most(rows: Sequence[LabelledText], events: Mapping[int, int], *, evenly: bool) -> list[LabelledText]:
    """The `MOST_ROWS` that were labelled last, in the order given: an old text that was put right is among them.

    `evenly`: the last of each label, as many of one as of the other where there are so many.
    """
    newest_first = sorted(rows, key=lambda row: events.get(row.example_id, 0), reverse=True)
    if evenly:
        place = defaultdict[str, Iterator[int]](count)
        ranks = [next(place[row.label]) for row in newest_first]
        newest_first = [row for _, row in sorted(zip(ranks, newest_first, strict=True), key=lambda each: each[0])]
    kept = {row.example_id for row in newest_first[:MOST_ROWS]}
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
