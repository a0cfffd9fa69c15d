"""Teaching: one label, a correction, a whole file, and taking it back. A label is acknowledged once it is on disk."""

from __future__ import annotations

import asyncio
import difflib
import logging
import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from bot.services.people import Actor, Role
from bot.services.readiness import until_training
from bot.services.serving import Serving
from bot.services.texts import check_text
from storage.errors import Conflict, InvalidInput, NotFound, PupilError
from storage.examples import LabelResult
from storage.records import Classifier, Label, LabelScore, Source, Split, normalise
from storage.stores import Stores

log = logging.getLogger(__name__)

MAX_ROWS = 50_000
SUGGESTIONS = 25
"""Discord shows at most this many choices."""
GUESS_SECONDS = 0.8
"""How long a suggestion may wait for the model: Discord drops an autocomplete after three seconds."""


@dataclass(frozen=True, slots=True)
class LabelReceipt:
    """What a label did, for the person who gave it."""

    event_id: int
    example_id: int
    text: str
    label: str
    previous: str | None
    """The text's label before; None: it had none."""
    guess: LabelScore | None
    """What the model had answered just before; None: it could not be asked in time."""
    version: str | None
    """The version that guessed."""
    golden: bool
    """Whether the text is kept aside for measuring."""
    label_total: int
    until_training: int | None
    """Labels until the next training; None: no count is being waited for."""


@dataclass(frozen=True, slots=True)
class UndoReceipt:
    text: str
    label: str
    """What was taken back."""
    now: str | None
    """The text's label now; None: it has none."""


@dataclass(frozen=True, slots=True)
class ImportReceipt:
    classifier: Classifier
    batch: str
    new: int
    """Texts that were not there before."""
    votes: int
    """Labels given to texts that were there already."""
    unchanged: int
    """Rows that said what this person had said before."""
    new_labels: list[str]


class LabelingService:
    def __init__(
        self,
        stores: Stores,
        serving: Serving,
        *,
        base: str,
    ) -> None:
        self._classifiers = stores.classifiers
        self._examples = stores.examples
        self._registry = stores.registry
        self._schedules = stores.schedules
        self._serving = serving
        self._base = base

    async def label(self, actor: Actor, classifier: Classifier, text: str, label: str, source: Source) -> LabelReceipt:
        """Stores one person's label for one text; the next answers follow it.

        Raises:
            InvalidInput (the text), NotFound (no such label; the message names the nearest), StorageError.
        """
        text = check_text(text)
        wanted = await self.find_label(classifier, label)
        guess, version = await self._guess(classifier, text)
        await self._examples.remember_annotator(actor.guild, actor.id, actor.name)
        result = await self._examples.add_label(
            actor.guild, classifier.id, text, wanted.id, actor.id, source, time.time()
        )
        self._serving.touch(classifier)
        log.info("label.stored", extra={"classifier": classifier.id, "example": result.example.id})
        return await self._receipt(classifier, result, guess, version)

    async def suggest(self, classifier: Classifier, text: str, typed: str) -> list[tuple[str, float | None]]:
        """Label names for an autocomplete, the model's best guess for `text` first; never raises, never waits long."""
        try:
            labels = [label.name for label in await self._classifiers.labels(classifier.guild, classifier.id)]
            scores = await self._scores(classifier, text) if text.strip() else {}
        except PupilError:
            return []
        wanted = normalise(typed)
        matching = [name for name in labels if wanted in normalise(name)]
        matching.sort(key=lambda name: -scores.get(name, 0.0))
        return [(name, scores.get(name)) for name in matching[:SUGGESTIONS]]

    async def undo(
        self, actor: Actor, event_id: int | None = None, classifier: Classifier | None = None
    ) -> UndoReceipt | None:
        """Takes back one of the actor's own labels; without `event_id` their newest. None: there is nothing to undo.

        Raises:
            NotFound: the event is not theirs.
        """
        if event_id is None:
            event = await self._examples.last_event(actor.guild, actor.id, classifier.id if classifier else None)
            if event is None:
                return None
            event_id = event.id
        result = await self._examples.retract(actor.guild, event_id, actor.id, time.time())
        if result is None:
            return None
        example = result.example
        self._serving.touch(await self._classifiers.by_id(actor.guild, example.classifier_id))
        now = await self._examples.current_label(actor.guild, example.id)
        log.info("label.retracted", extra={"classifier": example.classifier_id, "example": example.id})
        return UndoReceipt(example.text, result.label.name, None if now is None else now.name)

    async def import_rows(
        self, actor: Actor, classifier_name: str, rows: Sequence[tuple[str, str]], source: Source
    ) -> ImportReceipt:
        """Many (text, label) rows at once, all or nothing. Missing labels, and the classifier, are created.

        Raises:
            NotAllowed, InvalidInput (names the row that cannot be used; nothing was imported), StorageError.
        """
        actor.require(Role.LEAD, "import texts")
        checked = _check_rows(rows)
        classifier = await self._get_or_create(actor, classifier_name)
        new_labels = await self._missing_labels(classifier, [label for _, label in checked])
        for name in new_labels:
            with suppress(Conflict):  # somebody else has created it in this moment
                await self._classifiers.add_label(classifier.guild, classifier.id, name)
        ids = {normalise(label.name): label.id for label in await self._labels(classifier)}
        await self._examples.remember_annotator(actor.guild, actor.id, actor.name)
        result = await self._examples.add_many(
            actor.guild,
            classifier.id,
            [(text, ids[normalise(label)]) for text, label in checked],
            actor.id,
            source,
            secrets.token_hex(8),
            time.time(),
        )
        self._serving.touch(classifier)
        log.info("batch.imported", extra={"classifier": classifier.id, "new": result.new, "votes": result.votes})
        votes = result.votes - result.new  # storage counts every event, also those of new texts
        return ImportReceipt(classifier, result.batch, result.new, votes, result.unchanged, new_labels)

    async def _get_or_create(self, actor: Actor, name: str) -> Classifier:
        try:
            return await self._classifiers.get(actor.guild, name)
        except NotFound:
            with suppress(Conflict):
                return await self._classifiers.create(actor.guild, name, actor.id, self._base, time.time())
            return await self._classifiers.get(actor.guild, name)

    async def _missing_labels(self, classifier: Classifier, names: Sequence[str]) -> list[str]:
        """Names no label has yet, once each, in order of first appearance."""
        known = {normalise(label.name) for label in await self._labels(classifier)}
        missing: dict[str, str] = {}
        for name in names:
            if normalise(name) not in known:
                missing.setdefault(normalise(name), name)
        return list(missing.values())

    async def _labels(self, classifier: Classifier) -> list[Label]:
        return await self._classifiers.labels(classifier.guild, classifier.id)

    async def find_label(self, classifier: Classifier, name: str) -> Label:
        """The label of that name. Raises NotFound, which names the nearest ones."""
        labels = {normalise(label.name): label for label in await self._labels(classifier)}
        if (found := labels.get(normalise(name))) is not None:
            return found
        if not labels:
            raise NotFound(f"`{classifier.name}` has no labels yet. A lead creates one with /labels create.")
        near = difflib.get_close_matches(normalise(name), labels, n=3, cutoff=0.5) or list(labels)[:5]
        listed = ", ".join(f"`{labels[key].name}`" for key in near)
        shown = " ".join(name.replace("`", "'").split())[:60]
        raise NotFound(f"`{classifier.name}` has no label `{shown}`. Did you mean {listed}?")

    async def _guess(self, classifier: Classifier, text: str) -> tuple[LabelScore | None, str | None]:
        """What the model says about a text before it is taught; a label never fails because of the model."""
        try:
            async with asyncio.timeout(GUESS_SECONDS):
                answer = await self._serving.answer(classifier, text, deadline=GUESS_SECONDS)
        except (PupilError, TimeoutError):
            return None, None
        return answer.scores[0], answer.version

    async def _scores(self, classifier: Classifier, text: str) -> dict[str, float]:
        try:
            async with asyncio.timeout(GUESS_SECONDS):
                answer = await self._serving.answer(classifier, text, deadline=GUESS_SECONDS)
        except (PupilError, TimeoutError):
            return {}
        return {score.label: score.confidence for score in answer.scores}

    async def _receipt(
        self, classifier: Classifier, result: LabelResult, guess: LabelScore | None, version: str | None
    ) -> LabelReceipt:
        guild = classifier.guild
        counts = await self._classifiers.label_counts(guild, classifier.id)
        versions = await self._registry.list(guild, classifier.id)
        trained_to = max((known.last_event_id for known in versions), default=0)
        new_since = await self._examples.changed_since(guild, classifier.id, trained_to)
        schedule = await self._schedules.get(guild, classifier.id)
        return LabelReceipt(
            event_id=result.event.id,
            example_id=result.example.id,
            text=result.example.text,
            label=result.label.name,
            previous=result.previous,
            guess=guess,
            version=version,
            golden=result.example.split is Split.GOLDEN,
            label_total=next((count.total for count in counts if count.label.id == result.label.id), 0),
            until_training=until_training(counts, new_since, schedule),
        )


def _check_rows(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    if not rows:
        raise InvalidInput("There are no rows to import.")
    if len(rows) > MAX_ROWS:
        raise InvalidInput(
            f"There are {len(rows):,} rows; at most {MAX_ROWS:,} can be imported at once. Split the file."
        )
    checked = []
    for position, (text, label) in enumerate(rows, start=1):
        if not label.strip():
            raise InvalidInput(f"Row {position} has no label. Nothing was imported.")
        try:
            checked.append((check_text(text), label.strip()))
        except InvalidInput as error:
            raise InvalidInput(f"Row {position}: {error} Nothing was imported.") from None
    return checked
