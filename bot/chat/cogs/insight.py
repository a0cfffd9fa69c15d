"""/suspects and its buttons; /why and the button Why."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from discord import app_commands

from bot.chat import choices
from bot.chat.buttons import pressed
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.insight_cards import doubt_card, kept_words, no_doubt_card, not_judged_card, ruled_words, why_card
from bot.chat.sending import begin, show
from bot.services.people import Actor
from bot.services.suspects import Doubted, Finished
from storage.errors import InvalidInput
from storage.records import Source

if TYPE_CHECKING:
    from bot.services.system import Services
    from storage.records import Classifier

PLACE = r"[\w-]+\.\d+\.\d+\.\d+\.\d+"
"""Of a doubtful label: classifier, list, place in it, text, label."""
PATIENCE = 2.0
"""Seconds until it is said that the list takes longer."""
LOOKING = (
    "Reading every label against all others. With thousands of texts this takes a minute; the first one comes here."
)
TAKEN_BACK = "Taken back."
TAKEN_BACK_ALREADY = "That was taken back already."


@dataclass(frozen=True, slots=True)
class Place:
    """What the buttons of a doubtful label say."""

    classifier: str
    event: int
    position: int
    example_id: int
    label_id: int

    @property
    def key(self) -> str:
        return f"{self.classifier}.{self.event}.{self.position}.{self.example_id}.{self.label_id}"

    @classmethod
    def read(cls, key: str) -> Place:
        """Raises InvalidInput."""
        if re.fullmatch(PLACE, key) is None:
            raise InvalidInput("This button is damaged. Use /suspects again.")
        name, *numbers = key.split(".")
        if any(len(number) > 18 for number in numbers):  # no such row: SQLite's integers end there
            raise InvalidInput("This button is damaged. Use /suspects again.")
        return cls(name, *map(int, numbers))


class Insight(PupilCog):
    @app_commands.command(description="Why a text is answered as it is: the texts and the words that decided.")
    @app_commands.describe(text="The text to judge", classifier="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def why(self, interaction: Interaction, text: str, classifier: str | None = None) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        prediction = await self.services.prediction.ask(actor, chosen, text, Source.COMMAND)
        why = await self.services.why.of(actor, prediction.id, text)
        await show(interaction, why_card(why, note=self.services.prediction.note(actor, chosen)))

    @pressed(r"why:(?P<prediction_id>\w+)")
    async def why_this(self, interaction: Interaction, prediction_id: str) -> None:
        await begin(interaction)
        await show(interaction, why_card(await self.services.why.of(self.actor(interaction), prediction_id)))

    @app_commands.command(description="Labels that look wrong, the most doubtful first, one by one (leads).")
    @app_commands.describe(classifier="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def suspects(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        await self._look(interaction, actor, await self.classifier(actor, classifier))

    @pressed(r"doubt:again:(?P<classifier>[\w-]+)")
    async def again(self, interaction: Interaction, classifier: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        await self._look(interaction, actor, await self.classifier(actor, classifier))

    async def _look(self, interaction: Interaction, actor: Actor, classifier: Classifier) -> None:
        """The first card; where the list takes long to make, that is said meanwhile."""
        looking = asyncio.create_task(next_doubt(self.services, actor, classifier))
        try:
            done, _ = await asyncio.wait({looking}, timeout=PATIENCE)
            if not done:
                await show(interaction, Card(LOOKING))
            await show(interaction, await looking)
        finally:
            looking.cancel()

    async def _where(self, interaction: Interaction, key: str) -> tuple[Actor, Classifier, Place]:
        """Who pressed a button of which doubtful label; the first reply is under way."""
        await begin(interaction)
        actor, place = self.actor(interaction), Place.read(key)
        return actor, await self.classifier(actor, place.classifier), place

    @pressed(rf"doubt:keep:(?P<key>{PLACE})")
    async def keep(self, interaction: Interaction, key: str) -> None:
        actor, chosen, place = await self._where(interaction, key)
        label = await self.services.suspects.keep(actor, chosen, place.example_id, place.label_id)
        undo = f"doubt:unkeep:{key}"
        await show(interaction, await after(self.services, actor, chosen, place, kept_words(label), undo))

    @pressed(rf"doubt:unkeep:(?P<key>{PLACE})")
    async def unkeep(self, interaction: Interaction, key: str) -> None:
        """The text that was kept is shown again."""
        actor, chosen, place = await self._where(interaction, key)
        was_kept = await self.services.suspects.doubt_again(actor, chosen, place.example_id)
        note = TAKEN_BACK if was_kept else TAKEN_BACK_ALREADY
        await show(interaction, await at(self.services, actor, chosen, place, note))

    @pressed(rf"doubt:change:(?P<key>{PLACE})\.(?P<wanted>\d{{1,18}})")
    async def change(self, interaction: Interaction, key: str, wanted: str) -> None:
        actor, chosen, place = await self._where(interaction, key)
        label = await self.services.classifiers.label(chosen, int(wanted))
        await show(interaction, await rule(self.services, actor, chosen, place, label.name))

    @pressed(rf"doubt:undo:(?P<key>{PLACE})\.(?P<event_id>\d{{1,18}})")
    async def undo(self, interaction: Interaction, key: str, event_id: str) -> None:
        """Takes a ruling back; its text is shown again."""
        actor, chosen, place = await self._where(interaction, key)
        receipt = await self.services.labeling.undo(actor, int(event_id))
        note = TAKEN_BACK_ALREADY if receipt is None else TAKEN_BACK
        await show(interaction, await at(self.services, actor, chosen, place, note))

    @pressed(rf"doubt:skip:(?P<key>{PLACE})")
    async def skip(self, interaction: Interaction, key: str) -> None:
        actor, chosen, place = await self._where(interaction, key)
        await show(interaction, await after(self.services, actor, chosen, place))


async def next_doubt(
    services: Services,
    actor: Actor,
    classifier: Classifier,
    event: int | None = None,
    position: int = 0,
    note: str = "",
    undo: str = "",
) -> Card:
    """The card of the next doubtful label, or of there being none."""
    match await services.suspects.look(actor, classifier, event, position):
        case Doubted() as shown:
            return doubt_card(shown, note, undo)
        case Finished() as end:
            return no_doubt_card(end, note, undo)
        case refusal:
            return not_judged_card(refusal)


async def at(services: Services, actor: Actor, classifier: Classifier, place: Place, note: str = "") -> Card:
    """The same text again."""
    return await next_doubt(services, actor, classifier, place.event, place.position, note)


async def after(
    services: Services, actor: Actor, classifier: Classifier, place: Place, note: str = "", undo: str = ""
) -> Card:
    """The one behind it."""
    return await next_doubt(services, actor, classifier, place.event, place.position + 1, note, undo)


async def rule(services: Services, actor: Actor, classifier: Classifier, place: Place, label: str) -> Card:
    """Give the label and go on."""
    ruled = await services.suspects.change(actor, classifier, place.example_id, place.label_id, label)
    undo = f"doubt:undo:{place.key}.{ruled.event_id}"
    return await after(services, actor, classifier, place, ruled_words(ruled.label), undo)


@dataclass(frozen=True)
class DoubtedLabel:
    """For the picker: a label that looked wrong and gets one that was not suggested."""

    services: Services
    place: Place

    async def question(self, actor: Actor) -> tuple[str, list[str]]:
        classifier = await self.services.classifiers.resolve(actor.guild, self.place.classifier)
        text = await self.services.suspects.text(actor, classifier, self.place.example_id)
        every = {count.label.name: count.label.id for count in await self.services.classifiers.labels(classifier)}
        likely = [name for name, _ in await self.services.labeling.suggest(classifier, text, "") if name in every]
        ranked = [*likely, *(name for name in every if name not in likely)]
        return text, [name for name in ranked if every[name] != self.place.label_id]

    async def give(self, interaction: Interaction, actor: Actor, label: str) -> Card:
        classifier = await self.services.classifiers.resolve(actor.guild, self.place.classifier)
        return await rule(self.services, actor, classifier, self.place, label)

    async def back(self, actor: Actor) -> Card:
        classifier = await self.services.classifiers.resolve(actor.guild, self.place.classifier)
        return await at(self.services, actor, classifier, self.place)
