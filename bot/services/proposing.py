"""A label that does not exist yet: a lead creates it where it was typed, a member proposes it. The text waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from bot.services.classifiers import ClassifierService, check_live
from bot.services.consent import Consent
from bot.services.labeling import LabelingService, LabelReceipt
from bot.services.people import Actor, Role
from storage.errors import Conflict, NotAllowed
from storage.proposals import Proposal
from storage.records import Classifier, Source, normalise
from storage.stores import Stores

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Created:
    """The label of a proposal, and the texts that waited for it: (who typed it, what it did)."""

    proposal: Proposal
    classifier: Classifier
    saved: list[tuple[str, LabelReceipt]]
    left_out: int = 0
    """Texts not saved, because whoever typed them has opted out since. With nothing saved either, everything had been
    decided before."""


class ProposingService:
    def __init__(
        self, stores: Stores, classifiers: ClassifierService, labeling: LabelingService, consent: Consent
    ) -> None:
        self._consent = consent
        self._stores = stores
        self._classifiers = classifiers
        self._labeling = labeling

    async def keep(self, actor: Actor, classifier: Classifier, name: str, text: str, source: Source) -> Proposal:
        """Remember what was typed, so that a button can go on with it. Raises NotAllowed, InvalidInput."""
        self._consent.require(actor, Role.MEMBER, "label texts", classifier)
        await self._stores.examples.remember_annotator(actor.guild, actor.id, actor.name)
        return await self._stores.proposals.type(actor.guild, classifier.id, name, text, source, actor.id, time.time())

    async def propose(self, actor: Actor, proposal_id: int) -> tuple[Proposal, Classifier, bool]:
        """Ask the leads: (the proposal, its classifier, whether they have to be told). Twice is once.

        Raises:
            NotFound, NotAllowed (somebody else typed it, or they have opted out), Conflict (an archived classifier).
        """
        self._consent.require(actor, Role.MEMBER, "propose a label")
        proposal = await self._stores.proposals.get(actor.guild, proposal_id)
        if proposal.by != actor.id:
            raise NotAllowed("Only the person who typed it can propose it. Give your own with /label.")
        classifier = check_live(await self._stores.classifiers.by_id(actor.guild, proposal.classifier_id))
        proposal, first = await self._stores.proposals.propose(actor.guild, proposal_id)
        log.info("label.proposed", extra={"classifier": classifier.id, "proposal": proposal_id, "first": first})
        return proposal, classifier, first

    async def who(self, proposal: Proposal) -> str:
        """The name of whoever typed it."""
        return (await self._stores.examples.annotator_names(proposal.guild)).get(proposal.by, proposal.by)

    async def create(self, actor: Actor, proposal_id: int) -> Created:
        """Create the label, and store every text that waited for it as the label of whoever typed it.

        Raises:
            NotAllowed, NotFound, Conflict (it was declined; the classifier or the label of that name is archived).
        """
        actor.require(Role.LEAD, "create a label")
        proposal = await self._stores.proposals.get(actor.guild, proposal_id)
        classifier = check_live(await self._stores.classifiers.by_id(actor.guild, proposal.classifier_id))
        if proposal.state == "declined":
            raise Conflict(f"`{proposal.name}` was declined. To have it after all, use /labels create.")
        waiting = {each.id: each for each in await self._stores.proposals.waiting(actor.guild, proposal_id)}
        if proposal.state == "typed":
            waiting[proposal.id] = proposal
        if not waiting:
            return Created(proposal, classifier, [])
        await self._ensure(actor, classifier, proposal.name)
        saved, left_out = await self._save(actor, classifier, list(waiting.values()))
        return Created(proposal, classifier, saved, left_out)

    async def save_waiting(self, actor: Actor, classifier: Classifier) -> int:
        """Store every text that was proposed with a label that there is by now, however it came; how many.

        It is whoever typed it that labels it: the actor only was there when the label came.
        """
        proposed = await self._stores.proposals.proposed(actor.guild, classifier.id)
        if not proposed:
            return 0
        known = await self._labeling.label_ids(classifier)
        saved, _ = await self._save(actor, classifier, [each for each in proposed if normalise(each.name) in known])
        return len(saved)

    async def _save(
        self, actor: Actor, classifier: Classifier, waiting: Sequence[Proposal]
    ) -> tuple[list[tuple[str, LabelReceipt]], int]:
        """(who typed it, what it did) of each text that was stored, and how many were not: see `Created`."""
        people = await self._stores.examples.annotator_names(actor.guild) if waiting else {}
        saved, left_out = [], 0
        for each in waiting:
            mine = each.by == actor.id  # then it counts as a lead's
            author = actor if mine else Actor(actor.guild, each.by, people.get(each.by, each.by))
            if self._consent.is_out(author):
                await self._stores.proposals.decide(actor.guild, each.id, "declined", actor.id)
                left_out += 1
                continue
            receipt = await self._labeling.label(author, classifier, each.text, each.name, each.source)
            await self._stores.proposals.decide(actor.guild, each.id, "created", actor.id)
            saved.append((author.name, receipt))
        return saved, left_out

    async def decline(self, actor: Actor, proposal_id: int) -> tuple[Proposal, bool]:
        """(the proposal, whether it was declined now). Raises NotAllowed, NotFound."""
        actor.require(Role.LEAD, "decline a label")
        proposal = await self._stores.proposals.get(actor.guild, proposal_id)
        waiting = await self._stores.proposals.waiting(actor.guild, proposal_id)
        for each in waiting:
            await self._stores.proposals.decide(actor.guild, each.id, "declined", actor.id)
        return proposal, bool(waiting)

    async def _ensure(self, actor: Actor, classifier: Classifier, name: str) -> None:
        with suppress(Conflict):  # somebody created it meanwhile; if it is archived, labelling says so
            await self._classifiers.create_label(actor, classifier, name)
