"""Labels that look wrong: a list per state of the labels, walked by a lead one by one, and what the lead decides.

Which those are is computed on the base encoder's vectors: a fine-tuned one has been shaped by the very labels that are
in question. The list is kept by (classifier, newest label event), so that the next one comes at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bot.inference.insight import Material, Studies, doubted
from bot.services.consent import Consent
from bot.services.naming import find_label
from bot.services.people import Actor, Role
from bot.services.serving import Serving
from storage.errors import Conflict, NotFound
from storage.opinions import Opinion
from storage.records import Classifier, EventKind, Example, Label, Source
from storage.stores import Stores
from trainer.model.suspects import NotJudged

log = logging.getLogger(__name__)

KEPT_LISTS = 16
"""Lists in memory: of all classifiers, those that were looked at last."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A text whose label looks wrong."""

    example_id: int
    text: str
    label: Label
    """What it has."""
    suggested: Label
    """What the other texts speak for."""


@dataclass(frozen=True, slots=True)
class DoubtList:
    event: int
    """The newest label event when it was made: its name."""
    doubts: tuple[Doubt, ...]
    """Worst first, without those that had been kept by then."""


@dataclass(frozen=True, slots=True)
class Doubted:
    """One of a list, as it is shown."""

    classifier: str
    event: int
    position: int
    """Its place in the list, from 0; the list's name is `event`."""
    total: int
    doubt: Doubt
    opinions: tuple[Opinion, ...]
    """What people say about it now, oldest first."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The list has no further one."""

    classifier: str
    total: int
    """How many the list had."""


@dataclass(frozen=True, slots=True)
class Ruled:
    """What a lead decided."""

    event_id: int
    label: str


class SuspectService:
    def __init__(self, stores: Stores, serving: Serving, studies: Studies, consent: Consent) -> None:
        self._consent = consent
        self._classifiers = stores.classifiers
        self._examples = stores.examples
        self._opinions = stores.opinions
        self._kept = stores.kept
        self._serving = serving
        self._studies = studies
        self._lists: OrderedDict[tuple[int, int], DoubtList] = OrderedDict()
        self._making: dict[int, asyncio.Task[DoubtList | NotJudged]] = {}
        """By classifier: the list that is being made, shared by all who ask for it."""

    async def close(self) -> None:
        """Gives up what is being computed; nothing of it is stored."""
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def look(
        self, actor: Actor, classifier: Classifier, event: int | None = None, position: int = 0
    ) -> Doubted | Finished | NotJudged:
        """The first from `position` on, of the list `event`, that still has the label that looked wrong.

        Where that list is not known any more (a restart), or none is named, it is the newest list, from its beginning.

        Raises:
            NotAllowed, Busy, TrainerUnavailable (the base encoder is not here yet).
        """
        actor.require(Role.LEAD, "look through doubtful labels")
        found = await self.listed(classifier, event)
        if isinstance(found, NotJudged):
            return found
        start = position if found.event == event else 0
        kept = await self._kept.of(classifier.guild, classifier.id)
        every = {label.id: label for label in await self._classifiers.every_label(classifier.guild, classifier.id)}
        for place, listed in enumerate(found.doubts[start:], start):
            doubt = _as_called_now(listed, every)
            if doubt is None or doubt.example_id in kept or not await self._stands(classifier, doubt):
                continue
            opinions = await self._opinions.of(classifier.guild, classifier.id, [doubt.example_id])
            return Doubted(classifier.name, found.event, place, len(found.doubts), doubt, tuple(opinions))
        return Finished(classifier.name, len(found.doubts))

    async def listed(self, classifier: Classifier, event: int | None = None) -> DoubtList | NotJudged:
        """The list of that name, else the newest; made first where it is not there yet."""
        if event is not None and (known := self._lists.get((classifier.id, event))) is not None:
            self._lists.move_to_end((classifier.id, event))
            return known
        newest = await self._examples.newest_event(classifier.guild, classifier.id)
        if (known := self._lists.get((classifier.id, newest))) is not None:
            return known
        task = self._making.get(classifier.id)
        if task is None:
            task = asyncio.create_task(self._make(classifier, newest), name="doubtful labels")
            self._making[classifier.id] = task
            task.add_done_callback(lambda done: self._making.pop(classifier.id, None))
        return await asyncio.shield(task)

    async def keep(self, actor: Actor, classifier: Classifier, example_id: int, label_id: int) -> str:
        """The label is right: it is not doubted again until it changes. Returns its name.

        Raises:
            NotAllowed, NotFound, Conflict (it has another label meanwhile).
        """
        actor.require(Role.LEAD, "settle doubtful labels")
        label = await self._current(classifier, example_id, {label_id})
        await self._kept.keep(classifier.guild, example_id, label.id, actor.id, time.time())
        log.info("label.kept", extra={"classifier": classifier.id, "example": example_id})
        return label.name

    async def doubt_again(self, actor: Actor, classifier: Classifier, example_id: int) -> bool:
        """Takes `keep` back; whether it was kept.

        Raises:
            NotAllowed, NotFound.
        """
        actor.require(Role.LEAD, "settle doubtful labels")
        await self._example(classifier, example_id)
        return await self._kept.forget(classifier.guild, example_id)

    async def change(self, actor: Actor, classifier: Classifier, example_id: int, label_id: int, label: str) -> Ruled:
        """The label `label_id` was wrong and `label` is right: a ruling of this lead. Twice is once.

        Raises:
            NotAllowed, NotFound (no such text or label), Conflict (archived, or it has another label meanwhile).
        """
        self._consent.require(actor, Role.LEAD, "settle doubtful labels", classifier)
        every = await self._classifiers.every_label(classifier.guild, classifier.id)
        wanted, _ = find_label(classifier, every, label)
        await self._current(classifier, example_id, {label_id, wanted.id})
        example = await self._example(classifier, example_id)
        await self._examples.remember_annotator(actor.guild, actor.id, actor.name)
        result = await self._examples.add_label(
            *(actor.guild, classifier.id, example.text, wanted.id, actor.id, Source.COMMAND, time.time()),
            kind=EventKind.RULING,
            only_from={label_id, wanted.id},
        )
        self._serving.touch(classifier)
        log.info("label.ruled", extra={"classifier": classifier.id, "example": example_id})
        return Ruled(result.event.id, wanted.name)

    async def text(self, actor: Actor, classifier: Classifier, example_id: int) -> str:
        """Raises NotAllowed, NotFound (also for another classifier's)."""
        actor.require(Role.LEAD, "settle doubtful labels")
        return (await self._example(classifier, example_id)).text

    async def _make(self, classifier: Classifier, newest: int) -> DoubtList | NotJudged:
        began = time.perf_counter()
        encoder = await self._serving.base_encoder(classifier)
        found = await self._studies.study(classifier, encoder, _doubts, golden=True)
        if isinstance(found, NotJudged):
            return found
        kept = await self._kept.of(classifier.guild, classifier.id)
        made = DoubtList(newest, tuple(doubt for doubt in found if doubt.example_id not in kept))
        self._lists[classifier.id, newest] = made
        while len(self._lists) > KEPT_LISTS:
            self._lists.popitem(last=False)
        facts = {"classifier": classifier.id, "found": len(made.doubts)}
        log.info("labels.doubted", extra=facts | {"seconds": round(time.perf_counter() - began, 2)})
        return made

    async def _stands(self, classifier: Classifier, doubt: Doubt) -> bool:
        """Whether the text still has the label that looked wrong."""
        try:
            now = await self._examples.current_label(classifier.guild, doubt.example_id)
        except NotFound:
            return False
        return now is not None and now.id == doubt.label.id

    async def _example(self, classifier: Classifier, example_id: int) -> Example:
        example = await self._examples.get(classifier.guild, example_id)
        if example.classifier_id != classifier.id:
            raise NotFound(f"There is no text with the id {example_id} in `{classifier.name}`.")
        return example

    async def _current(self, classifier: Classifier, example_id: int, expected: set[int]) -> Label:
        """The text's label, if it is one of these."""
        await self._example(classifier, example_id)
        now = await self._examples.current_label(classifier.guild, example_id)
        if now is None or now.id not in expected:
            what = f"is `{now.name}` now" if now else "has no label now"
            raise Conflict(f"Somebody was faster: this text {what}. Nothing was changed; Skip leads on.")
        return now


def _as_called_now(doubt: Doubt, every: Mapping[int, Label]) -> Doubt | None:
    """The doubt under the labels' names of today; None: one is in use no more, or both have become one label."""

    def now(label: Label) -> Label:
        known = every.get(label.id, label)
        return known if known.merged_into is None else every.get(known.merged_into, known)

    label, suggested = now(doubt.label), now(doubt.suggested)
    if label.archived or suggested.archived or label.id == suggested.id:
        return None
    return replace(doubt, label=label, suggested=suggested)


def _doubts(material: Material) -> list[Doubt] | NotJudged:
    found = doubted(material)
    if isinstance(found, NotJudged):
        return found
    labels, rows = material.labels, material.rows
    return [Doubt(each.id, rows[each.row].text, labels[each.given], labels[each.suggested]) for each in found]
