"""The buttons of changing labels: confirm, Undo, the pages of the history and of the codebook, labels taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.chat.buttons import chosen, pressed
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.curating_cards import (
    change_done_card,
    change_undone_card,
    changes_card,
    restored_card,
    reverted_card,
    rule_removed_card,
    rules_card,
)
from bot.chat.sending import begin, show
from bot.services.people import Actor, Role
from storage.records import Classifier

if TYPE_CHECKING:
    from bot.services.system import Services


class Curating(PupilCog):
    @pressed(r"change:(?P<draft_id>\d{1,18})")
    async def change(self, interaction: Interaction, draft_id: str) -> None:
        """Confirms what a preview showed."""
        await begin(interaction)
        actor = self.actor(interaction)
        done = await self.services.curation.confirm(actor, int(draft_id))
        await self.services.proposing.save_waiting(actor, done.classifier)
        await show(interaction, change_done_card(done))

    @pressed(r"unchange:(?P<change_id>\d{1,18})")
    async def unchange(self, interaction: Interaction, change_id: str) -> None:
        await begin(interaction)
        done = await self.services.curation.undo(self.actor(interaction), int(change_id))
        await show(interaction, change_undone_card(done))

    @pressed(r"unchanges:(?P<classifier>[\w-]+)")
    async def unchange_one(self, interaction: Interaction, classifier: str) -> None:
        """Chosen in the history."""
        await self.unchange(interaction, chosen(interaction))

    @pressed(r"changes:(?P<classifier>[\w-]+):(?P<page>\d{1,6})")
    async def turn_changes(self, interaction: Interaction, classifier: str, page: str) -> None:
        await begin(interaction)
        found = await self.classifier(self.actor(interaction), classifier)
        await show(interaction, changes_card(found.name, await self.services.curation.history(found), int(page)))

    # Labels of one person

    @pressed(r"revert:(?P<draft_id>\d{1,18})")
    async def revert(self, interaction: Interaction, draft_id: str) -> None:
        await begin(interaction)
        revert, new = await self.services.reverting.confirm(self.actor(interaction), int(draft_id))
        await show(interaction, reverted_card(revert, new))

    @pressed(r"unrevert:(?P<revert_id>\d{1,18})")
    async def unrevert(self, interaction: Interaction, revert_id: str) -> None:
        await begin(interaction)
        restored = await self.services.reverting.undo(self.actor(interaction), int(revert_id))
        await show(interaction, restored_card(restored))

    # The codebook

    @pressed(r"rules:(?P<classifier>[\w-]+):(?P<page>\d{1,6})")
    async def turn_rules(self, interaction: Interaction, classifier: str, page: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        found = await self.classifier(actor, classifier)
        await show(interaction, await codebook(self.services, actor, found, int(page)))

    @pressed(r"unrule:(?P<classifier>[\w-]+)")
    async def remove_rule(self, interaction: Interaction, classifier: str) -> None:
        await begin(interaction)
        rule_id = int(chosen(interaction))
        rule = await self.services.conflicts.remove_rule(self.actor(interaction), rule_id)
        await show(interaction, rule_removed_card(rule, rule_id))

    @pressed(r"rerule:(?P<rule_id>\d{1,18})")
    async def bring_rule_back(self, interaction: Interaction, rule_id: str) -> None:
        await begin(interaction)
        rule = await self.services.conflicts.bring_rule_back(self.actor(interaction), int(rule_id))
        await show(interaction, Card("The rule is there." if rule is None else "The rule is there again."))


async def codebook(services: Services, actor: Actor, classifier: Classifier, page: int) -> Card:
    """One page of a classifier's rules, as this person may see it."""
    rules = await services.conflicts.rules_for(classifier)
    names = {count.label.id: count.label.name for count in await services.classifiers.labels(classifier)}
    return rules_card(classifier.name, rules, names, page, lead=actor.role >= Role.LEAD)
