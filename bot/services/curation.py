"""Renaming, merging, archiving, restoring and describing labels: first a preview, then the change, then Undo."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from bot.services.conflicts import ties
from bot.services.consent import Consent
from bot.services.naming import find_label
from bot.services.people import Actor, Role
from bot.services.serving import Serving
from storage.errors import NotFound
from storage.label_changes import ChangeKind, LabelChange, WantedChange
from storage.records import Classifier, Label, LabelCount, normalise
from storage.stores import Stores

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChangePreview:
    """What a change would do, before it is confirmed."""

    draft_id: int
    kind: ChangeKind
    label: Label
    texts: int
    """That have the label now; of an archived one, that would have it again."""
    words: str = ""
    """The new name or description."""
    into: LabelCount | None = None
    """Of a merge: the label that stays, as it is now."""
    ends: int = 0
    """Of a merge: conflicts between the two, which it ends."""


@dataclass(frozen=True, slots=True)
class ChangeDone:
    """A change that was made, by names that it had before and has now."""

    change: LabelChange
    classifier: Classifier
    name: str
    """Of the label, now."""
    into: str | None
    """Of a merge: the label that stays."""
    new: bool
    """False: it had been made before; nothing was done now."""


@dataclass(frozen=True, slots=True)
class ToldChange:
    """One line of the history. Names are those of today, but for a renaming, which tells both."""

    change: LabelChange
    name: str
    into: str | None
    who: str
    undone: bool


class CurationService:
    def __init__(self, stores: Stores, serving: Serving, consent: Consent) -> None:
        self._classifiers = stores.classifiers
        self._examples = stores.examples
        self._opinions = stores.opinions
        self._changes = stores.label_changes
        self._drafts = stores.drafts
        self._serving = serving
        self._consent = consent

    async def preview(
        self, actor: Actor, classifier: Classifier, kind: ChangeKind, name: str, words: str = "", into: str = ""
    ) -> ChangePreview:
        """What a change would do; it is kept as a draft for `confirm`, and nothing else happens.

        Args:
            words: the new name, or the description.
            into: of a merge, the name of the label that stays.

        Raises:
            NotAllowed, NotFound (no such label), Conflict (it is not in a state for that), InvalidInput (the name or
            description cannot be used).
        """
        actor.require(Role.LEAD, f"{kind} a label")
        every = await self._classifiers.every_label(actor.guild, classifier.id)
        label = self._named(classifier, every, name, archived=kind is ChangeKind.RESTORE)
        target = self._named(classifier, every, into) if kind is ChangeKind.MERGE else None
        wanted = WantedChange(kind, label.id, " ".join(words.split()), target.id if target else None)
        await self._changes.check(actor.guild, classifier.id, wanted)
        draft = await self._drafts.add(actor.guild, classifier.id, wanted.as_draft(), actor.id, time.time())
        counts = await self._classifiers.label_counts(actor.guild, classifier.id)
        texts = await self._classifiers.texts_of(actor.guild, classifier.id, label.id)
        stays = next((count for count in counts if target is not None and count.label.id == target.id), None)
        ends = await self._ends(classifier, label.id, target.id) if target else 0
        return ChangePreview(draft.id, kind, label, texts, wanted.words, stays, ends)

    async def _ends(self, classifier: Classifier, merged: int, into: int) -> int:
        said = await self._opinions.shared(classifier.guild, classifier.id)

        def count() -> int:
            after = [replace(one, label_id=into) if one.label_id == merged else one for one in said]
            return len(ties(said)) - len(ties(after))

        return await asyncio.to_thread(count)

    async def confirm(self, actor: Actor, draft_id: int) -> ChangeDone:
        """Do what a preview said; a second time it is only told.

        Raises:
            NotAllowed, NotFound, Conflict (something stands in the way by now), InvalidInput.
        """
        actor.require(Role.LEAD, "change labels")
        await self._remember(actor)
        change, new = await self._changes.confirm(actor.guild, draft_id, actor.id, time.time())
        return await self._told(change, new=new)

    async def undo(self, actor: Actor, change_id: int) -> ChangeDone:
        """Put a change back exactly.

        Raises:
            NotAllowed, NotFound, Conflict (something was changed since; says what), InvalidInput (it was an undo).
        """
        actor.require(Role.LEAD, "change labels")
        change = await self._changes.get(actor.guild, change_id)
        await self._remember(actor)
        undone = await self._changes.undo(actor.guild, change_id, actor.id, time.time())
        return await self._told(undone or change, new=undone is not None)

    async def _remember(self, actor: Actor) -> None:
        """The name for histories; not that of a lead who has opted out, whose decisions are still the team's."""
        if not self._consent.is_out(actor):
            await self._examples.remember_annotator(actor.guild, actor.id, actor.name)

    async def history(self, classifier: Classifier) -> list[ToldChange]:
        """Every change of this classifier's labels, newest first."""
        changes = await self._changes.history(classifier.guild, classifier.id)
        people = await self._examples.annotator_names(classifier.guild)
        names = await self._names(classifier)
        undone = {change.undoes for change in changes}
        return [
            ToldChange(
                change,
                names.get(change.label_id, ""),
                _into(change, names),
                people.get(change.by, change.by),
                change.id in undone,
            )
            for change in changes
        ]

    async def archived(self, classifier: Classifier) -> list[Label]:
        """Labels that were archived or merged, by position."""
        every = await self._classifiers.every_label(classifier.guild, classifier.id)
        return [label for label in every if label.archived]

    def _named(self, classifier: Classifier, every: list[Label], name: str, *, archived: bool = False) -> Label:
        """Exactly this label: what was merged or renamed is not followed."""
        among = [label for label in every if label.archived == archived]
        for label in every:
            if normalise(label.name) == normalise(name):
                return label  # in whichever state: storage says what is wrong with it
        if archived:
            listed = ", ".join(f"`{label.name}`" for label in among[:10]) or "none"
            raise NotFound(f"`{classifier.name}` has no archived label of that name. Archived are: {listed}.")
        return find_label(classifier, among, name)[0]

    async def _told(self, change: LabelChange, *, new: bool) -> ChangeDone:
        classifier = await self._classifiers.by_id(change.guild, change.classifier_id)
        if new:
            self._serving.touch(classifier)
            log.info(
                "label.changed", extra={"classifier": classifier.id, "label": change.label_id, "kind": change.kind}
            )
        names = await self._names(classifier)
        return ChangeDone(change, classifier, names[change.label_id], _into(change, names), new)

    async def _names(self, classifier: Classifier) -> dict[int, str]:
        every = await self._classifiers.every_label(classifier.guild, classifier.id)
        return {label.id: label.name for label in every}


def _into(change: LabelChange, names: Mapping[int, str]) -> str | None:
    into = change.after[change.label_id].get("merged_into") if change.kind is ChangeKind.MERGE else None
    return None if into is None else names.get(into)
