"""/label (or its form, for long texts), /undo, the Undo button, and why the message menu Label does nothing yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import discord
from discord import app_commands

from bot.chat import choices
from bot.chat.answer_cards import not_lost_card, receipt_card, teach_form, undo_card, unknown_label_card
from bot.chat.buttons import answers, pressed
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.import_cards import done_last_card
from bot.chat.sending import ask, begin, show
from bot.services.people import Actor, Role
from bot.services.texts import check_text
from storage.errors import InvalidInput, NotFound, UnknownLabel, UserError
from storage.records import Classifier, Source

if TYPE_CHECKING:
    from bot.chat.client import PupilBot

NOTHING_TO_UNDO = "There is nothing to take back. `/history` shows what you did."
TAKEN_BACK_ALREADY = "That label was taken back already."
CAPTURE_IS_OFF = (
    "Pupil does not learn from chat messages here. Discord's Developer Policy (rule 21) does not let bots train on "
    "what people write in the chat without Discord's permission, so capture is off; the operator can switch it on "
    "where there is such a permission. To teach it, type a text of your own with `/label`."
)


class Labeling(PupilCog):
    def __init__(self, bot: PupilBot) -> None:
        super().__init__(bot)
        self.menu = app_commands.ContextMenu(name="Label", callback=self.label_message)
        self.bot.tree.add_command(self.menu)

    async def cog_unload(self) -> None:
        self.bot.tree.remove_command(self.menu.name, type=self.menu.type)

    @app_commands.command(description="Teach: say which label a text has. Without a text a form opens.")
    @app_commands.describe(
        text="The text (leave it out to get a form for long texts)",
        label="The right label; the model's best guess comes first",
        classifier="Which classifier (the channel's, if left out)",
    )
    @app_commands.autocomplete(label=choices.labels, classifier=choices.classifiers)
    async def label(
        self,
        interaction: Interaction,
        text: str | None = None,
        label: str | None = None,
        classifier: str | None = None,
    ) -> None:
        if text is None or label is None:
            await self._open_form(interaction, text or "", classifier)
            return
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        try:
            receipt = await self.services.labeling.label(actor, chosen, text, label, Source.COMMAND)
        except UnknownLabel as error:
            await show(interaction, await self._offer(actor, chosen, text, error, Source.COMMAND))
            return
        await show(interaction, receipt_card(receipt, chosen.name))

    async def _offer(
        self, actor: Actor, classifier: Classifier, text: str, error: UnknownLabel, source: Source
    ) -> Card:
        """The text is kept, so that the label can be created or proposed with one click."""
        kept = await self.services.proposing.keep(actor, classifier, error.name, text, source)
        return unknown_label_card(str(error), error.name, kept.text, kept.id, lead=actor.role >= Role.LEAD)

    async def _open_form(self, interaction: Interaction, text: str, classifier: str | None) -> None:
        """A form has to be the first reply, so there is no "thinking" before it: two reads and a bounded guess."""
        actor = self.actor(interaction)
        actor.require(Role.MEMBER, "label texts")
        text = check_text(text) if text else ""
        chosen = await self.classifier(actor, classifier)
        await ask(interaction, teach_form(chosen.name, await self._labels(chosen, text), text))

    async def _labels(self, classifier: Classifier, text: str) -> list[str]:
        """All labels, the model's best guesses for the text first."""
        every = [count.label.name for count in await self.services.classifiers.labels(classifier)]
        if not every:
            raise NotFound(f"`{classifier.name}` has no labels yet. A lead adds them with /labels create.")
        likely = [name for name, _ in await self.services.labeling.suggest(classifier, text, "")] if text else []
        return [*likely, *(name for name in every if name not in likely)]

    @pressed(r"teach:(?P<classifier>[\w-]+)")
    async def teach(self, interaction: Interaction, classifier: str) -> None:
        """The form was sent."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        actor, given = self.actor(interaction), answers(interaction)
        chosen = await self.classifier(actor, classifier)
        try:
            receipt = await self.services.labeling.label(actor, chosen, given["text"], given["label"], Source.MODAL)
        except UnknownLabel as error:
            await show(interaction, await self._offer(actor, chosen, given["text"], error, Source.MODAL))
            return
        except UserError as error:  # a long text is not typed twice because of a misspelt label
            await show(interaction, not_lost_card(str(error), "Your text, so that it is not lost", given["text"]))
            return
        await show(interaction, receipt_card(receipt, chosen.name))

    @app_commands.command(description="Take back what you did last; once more brings it back.")
    @app_commands.describe(classifier="Only in this classifier (in all, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def undo(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier) if classifier else None
        if (many := await self.services.imports.done_last(actor, chosen)) is not None:
            await show(interaction, done_last_card(many))
            return
        receipt = await self.services.labeling.undo(actor, classifier=chosen)
        await show(interaction, Card(NOTHING_TO_UNDO) if receipt is None else undo_card(receipt))

    @pressed(r"undo:(?P<event_id>\d+)")
    async def undo_one(self, interaction: Interaction, event_id: str) -> None:
        await begin(interaction)
        receipt = await self.services.labeling.undo(self.actor(interaction), int(event_id))
        await show(interaction, Card(TAKEN_BACK_ALREADY) if receipt is None else undo_card(receipt))

    @pressed(r"redo:(?P<event_id>\d+)")
    async def redo_one(self, interaction: Interaction, event_id: str) -> None:
        await begin(interaction)
        receipt = await self.services.labeling.redo(self.actor(interaction), int(event_id))
        await show(interaction, undo_card(receipt))

    async def label_message(self, interaction: Interaction, message: discord.Message) -> None:
        """The message menu: a form with its text, where the operator allows that; else why not."""
        if not self.bot.settings.capture_messages:
            await show(interaction, Card(CAPTURE_IS_OFF))
            return
        actor = self.actor(interaction)
        actor.require(Role.MEMBER, "label texts")
        if not message.content.strip():
            raise InvalidInput("This message has no text to label.")
        text, chosen = check_text(message.content), await self.classifier(actor, None)
        labels = await self._labels(chosen, text)
        await ask(interaction, teach_form(chosen.name, labels, text, author=str(message.author.id)))

    @pressed(r"capture:(?P<classifier>[\w-]+):(?P<author>\d+)")
    async def captured(self, interaction: Interaction, classifier: str, author: str) -> None:
        """The form of a message was sent."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        if not self.bot.settings.capture_messages:
            await show(interaction, Card(CAPTURE_IS_OFF))
            return
        actor, given = self.actor(interaction), answers(interaction)
        chosen = await self.classifier(actor, classifier)
        receipt = await self.services.labeling.label_message(actor, chosen, given["text"], given["label"], author)
        await show(interaction, receipt_card(receipt, chosen.name))
