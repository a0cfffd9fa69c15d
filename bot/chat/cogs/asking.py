"""/ask and the message menu Predict; Right, the quick choices of an unsure answer, and Share."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.chat import choices
from bot.chat.answer_cards import answer_card, answer_rows, receipt_card, receipt_rows, taught_words
from bot.chat.buttons import pressed
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.sending import begin, in_place, share, show
from bot.services.labeling import LabelReceipt
from bot.services.people import Actor
from storage.errors import InvalidInput, NotAllowed
from storage.records import Prediction, Source

if TYPE_CHECKING:
    from bot.chat.client import PupilBot

COUNTED = "Counted, thank you. It becomes no label: the text of a chat message is not stored."


class Asking(PupilCog):
    def __init__(self, bot: PupilBot) -> None:
        super().__init__(bot)
        self._shared = deque[str](maxlen=1000)
        """Answers that were shared last: a button that is pressed twice shares once."""
        # A context menu cannot be declared inside a class.
        self.menu = app_commands.ContextMenu(name="Predict", callback=self.predict)
        self.bot.tree.add_command(self.menu)

    async def cog_unload(self) -> None:
        self.bot.tree.remove_command(self.menu.name, type=self.menu.type)

    @app_commands.command(description="Ask what the model makes of a text. Only you see the answer.")
    @app_commands.describe(text="The text to judge", classifier="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def ask(self, interaction: Interaction, text: str, classifier: str | None = None) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        prediction = await self.services.prediction.ask(actor, chosen, text, Source.COMMAND)
        await show(interaction, answer_card(prediction, note=self.services.prediction.note(actor, chosen)))

    async def predict(self, interaction: Interaction, message: discord.Message) -> None:
        """The message menu. Stores neither the text nor who wrote it."""
        await begin(interaction)
        actor = self.actor(interaction)
        if not message.content.strip():
            raise InvalidInput("This message has no text to judge.")
        chosen = await self.classifier(actor, None)
        prediction = await self.services.prediction.ask(actor, chosen, message.content, Source.MESSAGE)
        await show(interaction, answer_card(prediction))

    @pressed(r"right:(?P<prediction_id>\w+)")
    async def right(self, interaction: Interaction, prediction_id: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        prediction = await self.services.prediction.get(actor.guild, prediction_id)
        receipt = await self.services.prediction.right(actor, prediction_id)
        await show(interaction, feedback_card(interaction, prediction, receipt))

    @pressed(r"rival:(?P<prediction_id>\w+):(?P<place>\d)")
    async def rival(self, interaction: Interaction, prediction_id: str, place: str) -> None:
        """One of the two nearest labels, where the answer was only a guess."""
        await begin(interaction)
        actor = self.actor(interaction)
        prediction = await self.services.prediction.get(actor.guild, prediction_id)
        label = prediction.scores[min(int(place), len(prediction.scores) - 1)].label
        receipt = await self.services.prediction.wrong(actor, prediction_id, label)
        await show(interaction, feedback_card(interaction, prediction, receipt))

    @pressed(r"miss:(?P<prediction_id>\w+)")
    async def miss(self, interaction: Interaction, prediction_id: str) -> None:
        """Wrong, where no text was kept: there is nothing to label, so no label is asked for."""
        await begin(interaction)
        actor = self.actor(interaction)
        prediction = await self.services.prediction.get(actor.guild, prediction_id)
        await self.services.prediction.wrong(actor, prediction_id, "")
        await show(interaction, feedback_card(interaction, prediction, None))

    @pressed(r"share:(?P<prediction_id>\w+)")
    async def share(self, interaction: Interaction, prediction_id: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        prediction = await self._own(actor, prediction_id)
        rows = answer_rows(prediction, shareable=False)
        await show(interaction, answer_card(prediction, note="Shared with the channel.", rows=rows))
        if prediction_id not in self._shared:
            self._shared.append(prediction_id)
            await share(interaction, answer_card(prediction, shared_by=actor.name))

    async def _own(self, actor: Actor, prediction_id: str) -> Prediction:
        prediction = await self.services.prediction.get(actor.guild, prediction_id)
        if prediction.asked_by != actor.id:
            raise NotAllowed("Only the person who asked can share an answer. Ask with /ask to get your own.")
        return prediction


def feedback_card(interaction: Interaction, prediction: Prediction, receipt: LabelReceipt | None) -> Card:
    """After Right or Wrong: on the person's own answer what it taught; for a shared one a receipt of their own."""
    if not in_place(interaction):
        return Card(COUNTED) if receipt is None else receipt_card(receipt, prediction.classifier)
    if receipt is None:
        return answer_card(prediction, note=COUNTED, rows=())
    rows = receipt_rows(prediction.classifier, receipt.event_id)
    return answer_card(prediction, note=taught_words(receipt), rows=rows)
