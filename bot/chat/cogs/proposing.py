"""A label that does not exist yet: Create and save, Propose, and what leads decide in the team's channel."""

from __future__ import annotations

import logging

import discord

from bot.chat.answer_cards import receipt_card
from bot.chat.buttons import pressed
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.proposal_cards import created_card, declined_card, proposal_card, proposed_card
from bot.chat.sending import as_message, begin, share, show
from storage.records import Classifier

log = logging.getLogger(__name__)


class Proposing(PupilCog):
    @pressed(r"create:(?P<proposal_id>\d{1,18})")
    async def create(self, interaction: Interaction, proposal_id: str) -> None:
        """A lead typed it."""
        await begin(interaction)
        actor = self.actor(interaction)
        created = await self.services.proposing.create(actor, int(proposal_id))
        own = next((receipt for _, receipt in created.saved if receipt.text == created.proposal.text), None)
        if own is None:
            await show(interaction, created_card(created, actor.name))
        else:
            await show(interaction, receipt_card(own, created.classifier.name))

    @pressed(r"propose:(?P<proposal_id>\d{1,18})")
    async def propose(self, interaction: Interaction, proposal_id: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        proposal, classifier, first = await self.services.proposing.propose(actor, int(proposal_id))
        await show(interaction, proposed_card(proposal, first))
        if first:
            await self._tell(interaction, classifier, proposal_card(proposal, classifier.name, actor.name))

    @pressed(r"accept:(?P<proposal_id>\d{1,18})")
    async def accept(self, interaction: Interaction, proposal_id: str) -> None:
        await interaction.response.defer()  # the team's message itself becomes the answer
        actor = self.actor(interaction)
        created = await self.services.proposing.create(actor, int(proposal_id))
        await show(interaction, created_card(created, actor.name))

    @pressed(r"decline:(?P<proposal_id>\d{1,18})")
    async def decline(self, interaction: Interaction, proposal_id: str) -> None:
        await interaction.response.defer()  # as above
        actor = self.actor(interaction)
        proposal, new = await self.services.proposing.decline(actor, int(proposal_id))
        await show(interaction, declined_card(proposal, actor.name, new))

    async def _tell(self, interaction: Interaction, classifier: Classifier, card: Card) -> None:
        """In the team's channel; here where there is none, or the bot may not write there."""
        channel = classifier.settings.team_channel
        if channel is not None and channel != str(interaction.channel_id):
            try:
                there = self.bot.get_partial_messageable(int(channel), guild_id=int(classifier.guild))
                await there.send(**as_message(card))
                return
            except discord.HTTPException as error:
                log.warning("proposal.not_shown", extra={"channel": channel, "error": type(error).__name__})
        await share(interaction, card)
