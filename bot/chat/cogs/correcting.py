"""Choosing another label, for an answer that was wrong or a label that was: a menu, its pages, or typing the name.

What is corrected stands in the ids as a key: "p.<prediction>", "e.<classifier>.<label event>",
"c.<classifier>.<example>", or "s.<place>" of a doubtful label.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bot.chat.answer_cards import answer_card, name_form, picker_card, receipt_card, receipt_rows
from bot.chat.buttons import answers, chosen, pressed
from bot.chat.cards import Card
from bot.chat.cogs.asking import feedback_card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.cogs.conflicts import after_settling
from bot.chat.cogs.insight import PLACE, DoubtedLabel, Place
from bot.chat.conflict_cards import tie_card
from bot.chat.sending import ask, begin, show
from bot.services.people import Actor, Role
from storage.errors import InvalidInput, NotFound
from storage.records import normalise

if TYPE_CHECKING:
    from bot.services.system import Services

KEY = rf"(?P<key>p\.\w+|[ec]\.[\w-]+\.\d+|s\.{PLACE})"


class Target(Protocol):
    """What is being corrected."""

    async def question(self, actor: Actor) -> tuple[str, list[str]]:
        """The text it is about ("" where it cannot be known) and the labels to choose from, most likely first."""

    async def give(self, interaction: Interaction, actor: Actor, label: str) -> Card: ...
    async def back(self, actor: Actor) -> Card:
        """What stood there before the choice was offered."""


class Correcting(PupilCog):
    @pressed(rf"pick:{KEY}:(?P<page>\d{{1,4}})")
    async def pick(self, interaction: Interaction, key: str, page: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        actor.require(Role.MEMBER, "say what is right")
        text, labels = await target(self.services, key).question(actor)
        await show(interaction, picker_card(key, labels, int(page), text))

    @pressed(rf"picked:{KEY}")
    async def picked(self, interaction: Interaction, key: str) -> None:
        await begin(interaction)
        await show(
            interaction,
            await target(self.services, key).give(interaction, self.actor(interaction), chosen(interaction)),
        )

    @pressed(rf"name:{KEY}")
    async def name(self, interaction: Interaction, key: str) -> None:
        await ask(interaction, name_form(key))

    @pressed(rf"named:{KEY}")
    async def named(self, interaction: Interaction, key: str) -> None:
        await begin(interaction)
        label = answers(interaction).get("label", "")
        await show(interaction, await target(self.services, key).give(interaction, self.actor(interaction), label))

    @pressed(rf"back:{KEY}")
    async def back(self, interaction: Interaction, key: str) -> None:
        await begin(interaction)
        await show(interaction, await target(self.services, key).back(self.actor(interaction)))


def target(services: Services, key: str) -> Target:
    """What a key means. Raises InvalidInput for one that means nothing."""
    if match := re.fullmatch(r"p\.(\w+)", key):
        return _Answer(services, match[1])
    if match := re.fullmatch(r"e\.([\w-]+)\.(\d+)", key):
        return _Label(services, match[1], int(match[2]))
    if match := re.fullmatch(r"c\.([\w-]+)\.(\d+)", key):
        return _Conflict(services, match[1], int(match[2]))
    if match := re.fullmatch(rf"s\.({PLACE})", key):
        return DoubtedLabel(services, Place.read(match[1]))
    raise InvalidInput("This button is damaged. Use the command again.")


@dataclass(frozen=True)
class _Answer:
    """An answer that was wrong: the label chosen becomes the person's label for the text that was asked."""

    services: Services
    prediction_id: str

    async def question(self, actor: Actor) -> tuple[str, list[str]]:
        prediction = await self.services.prediction.get(actor.guild, self.prediction_id)
        classifier = await self.services.classifiers.resolve(actor.guild, prediction.classifier)
        every = [count.label.name for count in await self.services.classifiers.labels(classifier)]
        likely = [score.label for score in prediction.scores if score.label in every]
        ranked = [*likely, *(name for name in every if name not in likely)]
        said = None if prediction.is_guess and prediction.taught is None else prediction.told
        return prediction.text or "", [name for name in ranked if name != said]

    async def give(self, interaction: Interaction, actor: Actor, label: str) -> Card:
        prediction = await self.services.prediction.get(actor.guild, self.prediction_id)
        receipt = await self.services.prediction.wrong(actor, self.prediction_id, label)
        return feedback_card(interaction, prediction, receipt)

    async def back(self, actor: Actor) -> Card:
        return answer_card(await self.services.prediction.get(actor.guild, self.prediction_id))


@dataclass(frozen=True)
class _Label:
    """A label somebody gave: the one chosen is given instead."""

    services: Services
    classifier: str
    event_id: int

    async def question(self, actor: Actor) -> tuple[str, list[str]]:
        classifier = await self.services.classifiers.resolve(actor.guild, self.classifier)
        return "", [count.label.name for count in await self.services.classifiers.labels(classifier)]

    async def give(self, interaction: Interaction, actor: Actor, label: str) -> Card:
        classifier = await self.services.classifiers.resolve(actor.guild, self.classifier)
        receipt = await self.services.labeling.change(actor, classifier, self.event_id, label)
        return receipt_card(receipt, self.classifier)

    async def back(self, actor: Actor) -> Card:
        return Card("Nothing was changed.", rows=receipt_rows(self.classifier, self.event_id))


@dataclass(frozen=True)
class _Conflict:
    """A text that annotators disagree about: the label chosen is the lead's ruling, and the next text follows."""

    services: Services
    classifier: str
    example_id: int

    async def question(self, actor: Actor) -> tuple[str, list[str]]:
        classifier = await self.services.classifiers.resolve(actor.guild, self.classifier)
        tie = await self.services.conflicts.show(actor, classifier, self.example_id)
        every = [count.label.name for count in await self.services.classifiers.labels(classifier)]
        likely = [label.name for label in tie.labels]
        return tie.text, [*likely, *(name for name in every if name not in likely)]

    async def give(self, interaction: Interaction, actor: Actor, label: str) -> Card:
        classifier = await self.services.classifiers.resolve(actor.guild, self.classifier)
        counts = await self.services.classifiers.labels(classifier)
        wanted = next((count.label for count in counts if normalise(count.label.name) == normalise(label)), None)
        if wanted is None:
            raise NotFound(f"`{self.classifier}` has no such label. Choose it from the menu, or type its exact name.")
        settled = await self.services.conflicts.settle(actor, classifier, self.example_id, wanted)
        return await after_settling(self.services, actor, classifier, settled)

    async def back(self, actor: Actor) -> Card:
        classifier = await self.services.classifiers.resolve(actor.guild, self.classifier)
        return tie_card(self.classifier, await self.services.conflicts.show(actor, classifier, self.example_id))
