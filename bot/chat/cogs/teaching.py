"""/teach: the model asks about the texts that it would learn most from, one after the other on one card."""

from __future__ import annotations

from discord import app_commands

from bot.chat import choices
from bot.chat.buttons import answers, chosen, pressed
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.sending import ask, begin, show
from bot.chat.teaching_cards import step_card, typed_form
from storage.errors import NotFound
from storage.records import Outcome

QUESTION = r"round:(?P<round_id>\w+):(?P<position>\d{1,4})"
USUAL = 10
"""Questions of a round where nobody says how many."""


class Teaching(PupilCog):
    @app_commands.command(description="Teach by answering: the texts that the model would learn most from.")
    @app_commands.describe(
        count="How many texts (10, if left out)", classifier="Which classifier (the channel's, if left out)"
    )
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def teach(
        self,
        interaction: Interaction,
        count: app_commands.Range[int, 1, 100] = USUAL,
        classifier: str | None = None,
    ) -> None:
        await begin(interaction)
        await self._begin(interaction, classifier, count)

    @pressed(r"more:(?P<classifier>[\w-]+):(?P<count>\d{1,3})")
    async def more(self, interaction: Interaction, classifier: str, count: str) -> None:
        await begin(interaction)
        await self._begin(interaction, classifier, int(count))

    async def _begin(self, interaction: Interaction, name: str | None, count: int) -> None:
        actor = self.actor(interaction)
        classifier = await self.classifier(actor, name)
        await show(interaction, step_card(await self.services.teaching.begin(actor, classifier, count)))

    @pressed(rf"{QUESTION}:is:(?P<label_id>\d+)")
    async def answer(self, interaction: Interaction, round_id: str, position: str, label_id: str) -> None:
        await begin(interaction)
        await self._answer(interaction, round_id, position, int(label_id))

    @pressed(rf"{QUESTION}:pick")
    async def pick(self, interaction: Interaction, round_id: str, position: str) -> None:
        await begin(interaction)
        value = chosen(interaction)
        await self._answer(interaction, round_id, position, int(value) if value.isdecimal() else 0)

    async def _answer(self, interaction: Interaction, round_id: str, position: str, label_id: int) -> None:
        actor, teaching = self.actor(interaction), self.services.teaching
        try:
            step = await teaching.label_by_id(actor, round_id, int(position), label_id)
        except NotFound as error:  # merged or archived since: the card shows the labels of today
            await show(interaction, step_card(await teaching.look(actor, round_id), note=str(error)))
            return
        await show(interaction, step_card(step))

    @pressed(rf"{QUESTION}:page:(?P<page>\d{{1,4}})")
    async def turn(self, interaction: Interaction, round_id: str, position: str, page: str) -> None:
        await begin(interaction)
        await show(
            interaction, step_card(await self.services.teaching.look(self.actor(interaction), round_id), int(page))
        )

    @pressed(rf"{QUESTION}:type")
    async def type(self, interaction: Interaction, round_id: str, position: str) -> None:
        await ask(interaction, typed_form(round_id, position))

    @pressed(rf"{QUESTION}:typed")
    async def typed(self, interaction: Interaction, round_id: str, position: str) -> None:
        await begin(interaction)
        actor, teaching = self.actor(interaction), self.services.teaching
        try:
            step = await teaching.label(actor, round_id, int(position), answers(interaction).get("label", ""))
        except NotFound as error:  # a misspelt label: the question stays on the card
            await show(interaction, step_card(await teaching.look(actor, round_id), note=str(error)))
            return
        await show(interaction, step_card(step))

    @pressed(rf"{QUESTION}:(?P<outcome>unsure|skipped)")
    async def pass_on(self, interaction: Interaction, round_id: str, position: str, outcome: str) -> None:
        await begin(interaction)
        step = await self.services.teaching.pass_on(self.actor(interaction), round_id, int(position), Outcome(outcome))
        await show(interaction, step_card(step))

    @pressed(r"round:(?P<round_id>\w+):undo(?::(?P<position>\d{1,4}))?")
    async def undo(self, interaction: Interaction, round_id: str, position: str | None) -> None:
        """Buttons of older cards name no position."""
        await begin(interaction)
        meant = None if position is None else int(position)
        await show(interaction, step_card(await self.services.teaching.undo(self.actor(interaction), round_id, meant)))
