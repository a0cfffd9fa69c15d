"""/conflicts: texts that people disagree about, settled one by one, and why as a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from discord import app_commands

from bot.chat import choices
from bot.chat.buttons import answers, pressed
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.conflict_cards import rule_form, settled_note, settled_rows, tie_card
from bot.chat.curating_cards import rule_line
from bot.chat.sending import ask, begin, show
from bot.chat.text import code
from bot.services.conflicts import Settled
from bot.services.people import Actor
from storage.records import Classifier

if TYPE_CHECKING:
    from bot.services.system import Services

TIE_PLAIN = r"[\w-]+:\d{1,18}"
TIE = r"(?P<classifier>[\w-]+):(?P<example_id>\d{1,18})"


class Conflicts(PupilCog):
    @app_commands.command(description="Settle, one by one, the texts that people disagree about (leads).")
    @app_commands.describe(classifier="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def conflicts(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        await show(interaction, tie_card(chosen.name, await self.services.conflicts.next(actor, chosen)))

    @pressed(rf"tie:{TIE}")
    async def skip(self, interaction: Interaction, classifier: str, example_id: str) -> None:
        """The one behind it."""
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        tie = await self.services.conflicts.next(actor, chosen, int(example_id))
        await show(interaction, tie_card(chosen.name, tie))

    @pressed(rf"settle:{TIE}:(?P<label_id>\d{{1,18}})")
    async def settle(self, interaction: Interaction, classifier: str, example_id: str, label_id: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        label = await self.services.classifiers.label(chosen, int(label_id))
        settled = await self.services.conflicts.settle(actor, chosen, int(example_id), label)
        await show(interaction, await after_settling(self.services, actor, chosen, settled))

    @pressed(rf"unsettle:{TIE}:(?P<event_id>\d{{1,18}})")
    async def unsettle(self, interaction: Interaction, classifier: str, example_id: str, event_id: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        receipt = await self.services.labeling.undo(actor, int(event_id))
        tie = await self.services.conflicts.next(actor, chosen, int(example_id) - 1)
        note = "That was taken back already." if receipt is None else f"Took {code(receipt.label)} back."
        await show(interaction, tie_card(chosen.name, tie, note))

    @pressed(rf"rule:(?P<about>{TIE_PLAIN}:\d{{1,18}}:\d{{1,18}})")
    async def write_rule(self, interaction: Interaction, about: str) -> None:
        await ask(interaction, rule_form(about))

    @pressed(rf"ruled:{TIE}:(?P<label_id>\d{{1,18}}):(?P<event_id>\d{{1,18}})")
    async def keep_rule(
        self, interaction: Interaction, classifier: str, example_id: str, label_id: str, event_id: str
    ) -> None:
        """The form was sent; the next conflict stays on the card."""
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        label = await self.services.classifiers.label(chosen, int(label_id))
        reason = answers(interaction).get("reason", "")
        rule = await self.services.conflicts.add_rule(actor, chosen, label.id, reason, int(example_id))
        settled = Settled(int(event_id), int(example_id), label)
        note = f"Kept as a rule. {rule_line(rule, label.name)}"
        await show(interaction, await after_settling(self.services, actor, chosen, settled, note))


async def after_settling(
    services: Services, actor: Actor, classifier: Classifier, settled: Settled, note: str = ""
) -> Card:
    """The next conflict, with Undo and Add a rule for the one that was just settled."""
    tie = await services.conflicts.next(actor, classifier, settled.example_id)
    rows = settled_rows(classifier.name, settled)
    return tie_card(classifier.name, tie, note or settled_note(settled), rows)
