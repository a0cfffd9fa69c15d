"""/pin add, list and remove; Undo of each, the pages of the list, and Teach it too."""

from __future__ import annotations

from discord import app_commands
from discord.ext import commands

from bot.chat import choices
from bot.chat.answer_cards import receipt_card
from bot.chat.buttons import pressed
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.decision_cards import pinned_card, pins_card, repinned_card, unpinned_card
from bot.chat.sending import begin, show
from storage.records import Source

GONE_ALREADY = "That test is not pinned any more."
THERE_ALREADY = "That test is pinned."


class PinCommands(PupilCog, commands.GroupCog, group_name="pin", group_description="Texts that must never break"):
    @app_commands.command(description="Pin a text to its label: a version that says something else stays out (leads).")
    @app_commands.describe(
        text="The text; nothing is trained on it",
        label="What the answer must always be",
        classifier="Which classifier (the channel's, if left out)",
    )
    @app_commands.autocomplete(label=choices.labels, classifier=choices.classifiers)
    async def add(self, interaction: Interaction, text: str, label: str, classifier: str | None = None) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        await show(interaction, pinned_card(await self.services.pins.add(actor, chosen, text, label), chosen.name))

    @app_commands.command(name="list", description="The pinned tests, and whether each holds now (leads).")
    @app_commands.describe(classifier="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def show_all(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        await self._list(interaction, classifier, 0)

    @pressed(r"pins:(?P<classifier>[\w-]+):(?P<page>\d{1,4})")
    async def turn(self, interaction: Interaction, classifier: str, page: str) -> None:
        await begin(interaction)
        await self._list(interaction, classifier, int(page))

    async def _list(self, interaction: Interaction, classifier: str | None, page: int) -> None:
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        await show(interaction, pins_card(chosen.name, await self.services.pins.list(actor, chosen), page))

    @app_commands.command(description="Take a pinned test away (leads).")
    @app_commands.describe(pin="Which one: choose it, or type its text", classifier="Which classifier")
    @app_commands.autocomplete(pin=choices.pins, classifier=choices.classifiers)
    async def remove(self, interaction: Interaction, pin: str, classifier: str | None = None) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        found = await self.services.pins.find(actor, chosen, pin)
        await self._unpin(interaction, found.id)

    @pressed(r"unpin:(?P<pin_id>\d{1,15})")
    async def unpin(self, interaction: Interaction, pin_id: str) -> None:
        await begin(interaction)
        await self._unpin(interaction, int(pin_id))

    async def _unpin(self, interaction: Interaction, pin_id: int) -> None:
        pin = await self.services.pins.remove(self.actor(interaction), pin_id)
        await show(interaction, Card(GONE_ALREADY) if pin is None else unpinned_card(pin))

    @pressed(r"repin:(?P<pin_id>\d{1,15})")
    async def repin(self, interaction: Interaction, pin_id: str) -> None:
        await begin(interaction)
        state = await self.services.pins.restore(self.actor(interaction), int(pin_id))
        await show(interaction, Card(THERE_ALREADY) if state is None else repinned_card(state))

    @pressed(r"teachpin:(?P<pin_id>\d{1,15})")
    async def teach(self, interaction: Interaction, pin_id: str) -> None:
        """The pin's text becomes an example as well, labelled by whoever presses."""
        await begin(interaction)
        actor = self.actor(interaction)
        classifier, pin = await self.services.pins.get(actor, int(pin_id))
        receipt = await self.services.labeling.label(actor, classifier, pin.text, pin.label, Source.COMMAND)
        await show(interaction, receipt_card(receipt, classifier.name))
