"""Texts whose annotators disagree without a majority, settled one by one; and the rules that are learned from it."""

from __future__ import annotations

import asyncio
import builtins
import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby

from bot.services.consent import Consent
from bot.services.people import Actor, Role
from bot.services.serving import Serving
from storage.errors import Conflict, NotFound
from storage.opinions import SharedOpinion
from storage.records import Classifier, EventKind, Label, Source
from storage.rules import Rule
from storage.stores import Stores

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Saying:
    who: str
    label: str
    at: float


@dataclass(frozen=True, slots=True)
class Tie:
    """One text that waits for a ruling."""

    example_id: int
    text: str
    said: tuple[Saying, ...]
    """Oldest first."""
    labels: tuple[Label, ...]
    """In question, those in use: most often given first."""
    rules: tuple[Rule, ...]
    """Of these labels."""
    place: int
    """From 1."""
    total: int


@dataclass(frozen=True, slots=True)
class Settled:
    event_id: int
    example_id: int
    label: Label


class ConflictService:
    def __init__(self, stores: Stores, serving: Serving, consent: Consent) -> None:
        self._consent = consent
        self._classifiers = stores.classifiers
        self._examples = stores.examples
        self._opinions = stores.opinions
        self._rules = stores.rules
        self._serving = serving

    async def next(self, actor: Actor, classifier: Classifier, after: int = 0) -> Tie | None:
        """The oldest tie behind the example `after`, from the beginning again behind the last; None: there is none.

        Raises:
            NotAllowed.
        """
        actor.require(Role.LEAD, "settle conflicts")
        tied = await asyncio.to_thread(ties, await self._opinions.shared(classifier.guild, classifier.id))
        if not tied:
            return None
        place = next((place for place, said in enumerate(tied) if said[0].example_id > after), 0)
        return await self._tie(classifier, tied[place], place + 1, len(tied))

    async def show(self, actor: Actor, classifier: Classifier, example_id: int) -> Tie:
        """One tie. Raises NotAllowed; NotFound: that text is no conflict (any more)."""
        tie = await self.next(actor, classifier, example_id - 1)
        if tie is None or tie.example_id != example_id:
            raise NotFound(f"#{example_id} is no conflict any more. /conflicts shows what is left.")
        return tie

    async def settle(self, actor: Actor, classifier: Classifier, example_id: int, label: Label) -> Settled:
        """The lead's ruling. A second click is the same ruling.

        Raises:
            NotAllowed; NotFound: no such text; Conflict: archived, or somebody settled or removed it meanwhile.
        """
        self._consent.require(actor, Role.LEAD, "settle conflicts", classifier)
        example = await self._examples.get(actor.guild, example_id)
        if example.classifier_id != classifier.id:
            raise NotFound(f"There is no example with the id {example_id} in `{classifier.name}`.")
        if example_id not in await self._examples.texts(actor.guild, classifier.id, [example_id]):
            raise Conflict(f"#{example_id} was removed meanwhile, so there is nothing to settle. Skip leads on.")
        now = await self._examples.current_label(actor.guild, example_id)
        if now is not None and now.id != label.id:
            raise Conflict(f"#{example_id} is settled already: it is `{now.name}`.")
        await self._examples.remember_annotator(actor.guild, actor.id, actor.name)
        result = await self._examples.add_label(
            actor.guild,
            classifier.id,
            example.text,
            label.id,
            actor.id,
            Source.COMMAND,
            time.time(),
            kind=EventKind.RULING,
            only_from={None, label.id},
        )
        self._serving.touch(classifier)
        log.info("conflict.settled", extra={"classifier": classifier.id, "example": example_id})
        return Settled(result.event.id, example_id, label)

    # The codebook

    async def add_rule(self, actor: Actor, classifier: Classifier, label_id: int, text: str, example_id: int) -> Rule:
        """Keep why such texts have the label.

        Raises:
            NotAllowed, Conflict (archived), NotFound, InvalidInput (empty or too long).
        """
        self._consent.require(actor, Role.LEAD, "write rules", classifier)
        await self._examples.remember_annotator(actor.guild, actor.id, actor.name)
        return await self._rules.add(actor.guild, classifier.id, label_id, text, example_id, actor.id, time.time())

    async def rules_for(self, classifier: Classifier, label_ids: Collection[int] | None = None) -> builtins.list[Rule]:
        """The rules of these labels, oldest first; None: of all."""
        rules = await self._rules.of(classifier.guild, classifier.id)
        return [rule for rule in rules if label_ids is None or rule.label_id in label_ids]

    async def remove_rule(self, actor: Actor, rule_id: int) -> Rule | None:
        """None: removed before. Raises NotAllowed, NotFound."""
        actor.require(Role.LEAD, "remove rules")
        return await self._rules.remove(actor.guild, rule_id, time.time())

    async def bring_rule_back(self, actor: Actor, rule_id: int) -> Rule | None:
        """None: it is there. Raises NotAllowed, NotFound."""
        actor.require(Role.LEAD, "bring rules back")
        return await self._rules.bring_back(actor.guild, rule_id)

    async def _tie(self, classifier: Classifier, said: builtins.list[SharedOpinion], place: int, total: int) -> Tie:
        people = await self._examples.annotator_names(classifier.guild)
        every = {label.id: label for label in await self._classifiers.every_label(classifier.guild, classifier.id)}
        asked = [every[label_id] for label_id, _ in Counter(one.label_id for one in said).most_common()]
        used = tuple(label for label in asked if not label.archived)
        sayings = tuple(
            Saying(people.get(one.annotator, one.annotator), every[one.label_id].name, one.created_at) for one in said
        )
        rules = tuple(await self.rules_for(classifier, {label.id for label in used}))
        return Tie(said[0].example_id, said[0].text, sayings, used, rules, place, total)


def ties(opinions: Iterable[SharedOpinion]) -> list[list[SharedOpinion]]:
    """The opinions on each text that has no ruling and no label of more than half; in the order given, by example."""
    found = []
    for _, group in groupby(opinions, key=lambda one: one.example_id):
        said = list(group)
        most = Counter(one.label_id for one in said).most_common(1)[0][1]
        if not said[0].ruled and 2 * most <= len(said):
            found.append(said)
    return found
