"""Teaching: one label, a correction, a whole file, and taking it back. A label is acknowledged once it is on disk."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from bot.services.classifiers import check_live
from bot.services.consent import Consent
from bot.services.naming import find_label, shown
from bot.services.people import Actor, Role
from bot.services.readiness import until_training
from bot.services.serving import Serving
from bot.services.slots import is_quiet
from bot.services.texts import check_text
from storage.classifiers import check_label_name
from storage.errors import Conflict, InvalidInput, NotFound, PupilError, UnknownLabel
from storage.examples import LabelResult
from storage.label_changes import former_names
from storage.records import Classifier, EventKind, Label, LabelScore, Source, Split, normalise
from storage.stores import Stores
from storage.writes import Write

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
    note: str = ""
    """What became of the name that was typed, where the label is called otherwise by now; and of a removed text."""
    now: str | None = None
    """The text's label after it; None: it has none, because people disagree or what a lead chose is archived."""
    others: tuple[tuple[str, str], ...] = ()
    """(name, label) of other people who say something else about the text."""
    ruled: str | None = None
    """The label that a lead has chosen for the text, also an archived one; None: no lead has settled it."""


@dataclass(frozen=True, slots=True)
class UndoReceipt:
    text: str
    label: str
    """What was taken back."""
    now: str | None
    """The text's label now; None: it has none."""
    event_id: int = 0
    """Of the undo, or of the label given again."""
    again: bool = False
    """Whether an undo was taken back: the label was given again."""


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
        consent: Consent,
        *,
        create: Callable[[Actor, str], Awaitable[Classifier]],
    ) -> None:
        """`create` makes a classifier of this name (see `ClassifierService.create`)."""
        self._classifiers = stores.classifiers
        self._examples = stores.examples
        self._writes = stores.writes
        self._opinions = stores.opinions
        self._changes = stores.label_changes
        self._schedules = stores.schedules
        self._serving = serving
        self._consent = consent
        self._create = create

    async def label(
        self,
        actor: Actor,
        classifier: Classifier,
        text: str,
        label: str,
        source: Source,
        *,
        picked_by_model: bool = False,
    ) -> LabelReceipt:
        """Stores one person's label for one text; the next answers follow it.

        A lead's label for a text that a lead has settled before settles it anew.

        `picked_by_model`: the model asked for this text, so it must not become golden.

        Raises:
            NotAllowed, Conflict (see `Consent.require`), InvalidInput (the text), NotFound (no such label; the message
            names the nearest), StorageError.
        """
        self._consent.require(actor, Role.MEMBER, "label texts", classifier)
        text = check_text(text)
        wanted, note = await self.find_label(classifier, label)
        guess, version = await self._guess(classifier, text)
        await self._examples.remember_annotator(actor.guild, actor.id, actor.name)
        result = await self._examples.add_label(
            actor.guild,
            classifier.id,
            text,
            wanted.id,
            actor.id,
            source,
            time.time(),
            picked_by_model=picked_by_model,
            by_lead=actor.role >= Role.LEAD,
        )
        self._serving.touch(classifier)
        log.info("label.stored", extra={"classifier": classifier.id, "example": result.example.id})
        notes = [note, "This text had been removed; now it counts again." if result.came_back else ""]
        return replace(await self._receipt(classifier, result, guess, version), note=" ".join(filter(None, notes)))

    async def change(self, actor: Actor, classifier: Classifier, event_id: int, label: str) -> LabelReceipt:
        """Gives a text another label than one that the actor gave it; Undo brings that one back.

        Raises:
            As `label`; NotFound: the event is not theirs. Conflict: it was taken back.
        """
        event = await self._examples.event(actor.guild, event_id)
        if event.annotator != actor.id or event.classifier_id != classifier.id:
            raise NotFound(f"There is no label with the id {event_id} that you gave.")
        if not await self._writes.stands(actor.guild, event_id):
            raise Conflict("That label was taken back already. Give the right one with /label.")
        example = await self._examples.get(actor.guild, event.example_id)
        return await self.label(actor, classifier, example.text, label, Source.COMMAND)

    async def label_message(
        self, actor: Actor, classifier: Classifier, text: str, label: str, author: str
    ) -> LabelReceipt:
        """Stores a label for somebody else's message, where the operator allows that.

        The text is its author's: `/privacy` shows it to them, and they can have it deleted.

        Raises:
            As `label`; NotAllowed also where the author has opted out.
        """
        self._consent.require(actor, Role.MEMBER, "label texts", classifier)
        self._consent.require_author(actor.guild, author)
        await self.find_label(classifier, label)  # a misspelt one leaves no text behind
        await self._examples.add_unlabelled(
            actor.guild, classifier.id, [check_text(text)], author, Source.MESSAGE, time.time()
        )
        return await self.label(actor, classifier, text, label, Source.MESSAGE)

    async def label_of(self, classifier: Classifier, text: str) -> str | None:
        """The label that a text has now; None: it has none, is not known, or is no text. Never raises."""
        with suppress(PupilError):
            example = await self._examples.find(classifier.guild, classifier.id, text)
            if example is not None and (label := await self._examples.current_label(classifier.guild, example.id)):
                return label.name
        return None

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
        """Takes back one of the actor's own labels; without `event_id` whatever they did last, be it an undo.

        None: there is nothing to undo, or it was done before.

        Raises:
            NotAllowed. NotFound: the event is not theirs. And what `redo` raises.
        """
        actor.require(Role.MEMBER, "take labels back")
        if event_id is None:
            event = await self._writes.last_write(actor.guild, actor.id, classifier.id if classifier else None)
            if event is None:
                return None
            if event.kind is EventKind.RETRACTION:
                return await self.redo(actor, event.id)
            event_id = event.id
        result = await self._examples.retract(actor.guild, event_id, actor.id, time.time())
        if result is None:
            return None
        example = result.example
        self._serving.touch(await self._classifiers.by_id(actor.guild, example.classifier_id))
        now = await self._examples.current_label(actor.guild, example.id)
        log.info("label.retracted", extra={"classifier": example.classifier_id, "example": example.id})
        return UndoReceipt(example.text, result.label.name, None if now is None else now.name, result.event.id)

    async def take_back(self, actor: Actor, event_id: int) -> UndoReceipt | None:
        """Undo or redo: whichever takes this event of the actor's back. None: done before. Raises as those do."""
        event = await self._examples.event(actor.guild, event_id)
        if event.kind is EventKind.RETRACTION:
            return await self.redo(actor, event_id)
        return await self.undo(actor, event_id)

    async def redo(self, actor: Actor, retraction_id: int) -> UndoReceipt:
        """Takes back one of the actor's own undos: the label is given again, as a new event. A second time is told.

        Raises:
            NotFound: the undo is not theirs. NotAllowed: it was a ruling, and they are no lead any more.
            Conflict: the label is archived, or they spoke about the text since.
        """
        self._consent.require(actor, Role.MEMBER, "label texts")
        retraction = await self._examples.event(actor.guild, retraction_id)
        if retraction.undoes is not None:
            given = await self._examples.event(actor.guild, retraction.undoes)
            if given.kind is EventKind.RULING:
                actor.require(Role.LEAD, "settle a text")
        result, new = await self._examples.give_again(actor.guild, retraction_id, actor.id, time.time())
        example = result.example
        if new:
            self._serving.touch(await self._classifiers.by_id(actor.guild, example.classifier_id))
            log.info("label.given_again", extra={"classifier": example.classifier_id, "example": example.id})
        now = await self._examples.current_label(actor.guild, example.id)
        named = None if now is None else now.name
        return UndoReceipt(example.text, result.label.name, named, result.event.id, again=True)

    async def history(
        self, actor: Actor, classifier: Classifier | None, page: int, size: int = 10
    ) -> tuple[list[Write], int]:
        """(what this person did, newest first, one page of it counted from 0; how many there are in all)."""
        which = None if classifier is None else classifier.id
        total = await self._writes.count(actor.guild, actor.id, which)
        return await self._writes.history(actor.guild, actor.id, which, size, page * size), total

    async def import_rows(
        self, actor: Actor, classifier_name: str, rows: Sequence[tuple[str, str]], source: Source
    ) -> ImportReceipt:
        """Many (text, label) rows at once, all or nothing. Missing labels, and the classifier, are created.

        Raises:
            NotAllowed, InvalidInput (names the row that cannot be used; nothing was imported), StorageError.
        """
        self._consent.require(actor, Role.LEAD, "import texts")
        checked = _check_rows(rows)
        classifier = check_live(await self._get_or_create(actor, classifier_name))
        new_labels = await self._missing_labels(classifier, [label for _, label in checked])
        for name in new_labels:
            with suppress(Conflict):  # somebody else has created it in this moment
                await self._classifiers.add_label(classifier.guild, classifier.id, name)
        ids = await self.label_ids(classifier)
        await self._examples.remember_annotator(actor.guild, actor.id, actor.name)
        result = await self._examples.add_many(
            actor.guild,
            classifier.id,
            [(text, ids[normalise(label)]) for text, label in checked],
            actor.id,
            source,
            secrets.token_hex(8),
            time.time(),
            by_lead=True,
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
                return await self._create(actor, name)
            return await self._classifiers.get(actor.guild, name)

    async def _missing_labels(self, classifier: Classifier, names: Sequence[str]) -> list[str]:
        """Names no label has yet, once each, in order of first appearance. Raises InvalidInput for an archived one."""
        every = await self._classifiers.every_label(classifier.guild, classifier.id)
        known, usable = {normalise(label.name) for label in every}, await self.label_ids(classifier)
        missing: dict[str, str] = {}
        for name in names:
            key = normalise(name)
            if key in known and key not in usable:
                raise InvalidInput(
                    f"The label `{shown(name)}` is archived. Bring it back with /labels restore, or leave its rows "
                    "out. Nothing was imported."
                )
            if key not in known and key not in usable:
                missing.setdefault(key, name)
        return list(missing.values())

    async def label_ids(self, classifier: Classifier) -> dict[str, int]:
        """By normalised name, also one from before; that of a merged label stands for the one it was merged into."""
        every = await self._classifiers.every_label(classifier.guild, classifier.id)
        used = {label.id for label in every if not label.archived}
        targets = {label.id: label.merged_into or label.id for label in every}
        history = await self._changes.history(classifier.guild, classifier.id)
        ids = {key: targets[label_id] for key, label_id in former_names(history).items()}
        ids |= {normalise(label.name): targets[label.id] for label in every}
        return {key: label_id for key, label_id in ids.items() if label_id in used}

    async def find_label(self, classifier: Classifier, name: str) -> tuple[Label, str]:
        """As `naming.find_label`; the history is read only where the name is no label's."""
        every = await self._classifiers.every_label(classifier.guild, classifier.id)
        try:
            return find_label(classifier, every, name)
        except UnknownLabel:
            return find_label(classifier, every, name, await self._changes.history(classifier.guild, classifier.id))

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
        tried_to = await self._schedules.tried_to(guild, classifier.id)
        untried = await self._examples.changed_since(guild, classifier.id, tried_to)
        schedule = await self._schedules.get(guild, classifier.id)
        left = until_training(counts, untried, schedule)
        if schedule is not None and is_quiet(schedule.quiet, schedule.timezone, datetime.now(UTC)):
            left = left or None  # "soon" would not be true
        now = await self._examples.current_label(guild, result.example.id)
        said = await self._opinions.of(guild, classifier.id, [result.example.id])
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
            until_training=left,
            now=None if now is None else now.name,
            others=tuple((one.name, one.label) for one in said if one.label != result.label.name),
            ruled=None if result.ruled is None else result.ruled.name,
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
            checked.append((check_text(text), check_label_name(label)))
        except InvalidInput as error:
            raise InvalidInput(f"Row {position}: {error} Nothing was imported.") from None
    return checked
