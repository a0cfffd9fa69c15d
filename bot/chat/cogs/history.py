"""/history: everything a person did, page by page, each taken back with one choice."""

from __future__ import annotations

from discord import app_commands

from bot.chat import choices
from bot.chat.buttons import chosen, pressed
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.cogs.labeling import TAKEN_BACK_ALREADY
from bot.chat.history_cards import EVERYWHERE, PAGE, history_card
from bot.chat.sending import begin, show
from bot.chat.text import code
from bot.services.people import Actor

KEY = r"(?P<classifier>[\w-]+):(?P<page>\d{1,6})"


class History(PupilCog):
    @app_commands.command(description="Everything you taught, newest first; take any of it back.")
    @app_commands.describe(classifier="Only in this classifier (in all, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def history(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        await show(interaction, await self._card(self.actor(interaction), classifier or EVERYWHERE, 0))

    @pressed(rf"history:{KEY}")
    async def turn(self, interaction: Interaction, classifier: str, page: str) -> None:
        await begin(interaction)
        await show(interaction, await self._card(self.actor(interaction), classifier, int(page)))

    @pressed(rf"takeback:{KEY}")
    async def take_back(self, interaction: Interaction, classifier: str, page: str) -> None:
        """A label of the page is taken back, or an undo of it."""
        await begin(interaction)
        actor, event_id = self.actor(interaction), int(chosen(interaction))
        receipt = await self.services.labeling.take_back(actor, event_id)
        if receipt is None:
            note = TAKEN_BACK_ALREADY
        else:
            note = f"Gave {code(receipt.label)} again." if receipt.again else f"Took {code(receipt.label)} back."
        await show(interaction, await self._card(actor, classifier, int(page), note))

    async def _card(self, actor: Actor, classifier: str, page: int, note: str = "") -> Card:
        found = None if classifier == EVERYWHERE else await self.classifier(actor, classifier)
        writes, total = await self.services.labeling.history(actor, found, page, PAGE)
        if not writes and page:  # nothing is ever deleted, but an id may be old
            return await self._card(actor, classifier, 0, note)
        return history_card(writes, total, page, None if found is None else found.name, note)
