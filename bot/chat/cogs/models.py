"""/model list, compare, promote and rollback; the buttons Promote, Roll back and Back to."""

from __future__ import annotations

import re
import time

from discord import app_commands
from discord.ext import commands

from bot.chat import choices
from bot.chat.buttons import pressed
from bot.chat.cards import Card
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.compare_cards import compare_card
from bot.chat.decision_cards import promoted_words
from bot.chat.overview_cards import swap_card, swapped_words, versions_card
from bot.chat.sending import begin, share, show
from bot.services.people import Actor
from storage.errors import Conflict, InvalidInput
from storage.records import Classifier, Promotion, VersionState, version_name


class ModelCommands(PupilCog, commands.GroupCog, group_name="model", group_description="The versions of a classifier"):
    @app_commands.command(name="list", description="The trained versions, their exams, and which one is live.")
    @app_commands.describe(classifier="Which classifier (the channel's, if left out)")
    @app_commands.autocomplete(classifier=choices.classifiers)
    async def show_all(self, interaction: Interaction, classifier: str | None = None) -> None:
        await begin(interaction)
        await self._list(interaction, classifier)

    @pressed(r"versions:(?P<classifier>[\w-]+):(?P<page>\d{1,4})")
    async def turn(self, interaction: Interaction, classifier: str, page: str) -> None:
        await begin(interaction)
        await self._list(interaction, classifier, int(page))

    async def _list(self, interaction: Interaction, classifier: str | None, page: int = 0) -> None:
        chosen = await self.classifier(self.actor(interaction), classifier)
        versions = await self.services.promotion.versions(chosen)
        promotions = await self.services.promotion.promotions(chosen)
        await show(interaction, versions_card(chosen, versions, promotions, time.time(), page))

    @app_commands.command(description="Two versions side by side: which is better, and what flipped between them.")
    @app_commands.rename(one="a", other="b")
    @app_commands.describe(one="A version, for example v2", other="Another one", classifier="Which classifier")
    @app_commands.autocomplete(one=choices.versions, other=choices.versions, classifier=choices.classifiers)
    async def compare(self, interaction: Interaction, one: str, other: str, classifier: str | None = None) -> None:
        await begin(interaction)
        chosen = await self.classifier(self.actor(interaction), classifier)
        found = await self.services.comparison.compare(chosen, version_number(one), version_number(other))
        await show(interaction, compare_card(found))

    @app_commands.command(description="Make a version answer from now on (leads).")
    @app_commands.describe(version="Which version, for example v3", classifier="Which classifier")
    @app_commands.autocomplete(version=choices.versions, classifier=choices.classifiers)
    async def promote(self, interaction: Interaction, version: str, classifier: str | None = None) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        promotion = await self.services.promotion.promote(actor, chosen, version_number(version))
        await self._announce(interaction, actor, chosen, promotion, chosen=True)

    @app_commands.command(description="Go back to the version before, or to the one named (leads).")
    @app_commands.describe(
        version="Which version, for example v2 (the one before, if left out)", classifier="Which one"
    )
    @app_commands.autocomplete(version=choices.versions, classifier=choices.classifiers)
    async def rollback(
        self, interaction: Interaction, version: str | None = None, classifier: str | None = None
    ) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        number = version_number(version) if version else None
        promotion = await self.services.promotion.rollback(actor, chosen, number)
        await self._announce(interaction, actor, chosen, promotion)

    @pressed(r"promote:(?P<classifier>[\w-]+):(?P<number>\d+)")
    async def promote_one(self, interaction: Interaction, classifier: str, number: str) -> None:
        """From a result that was kept: a lead knows better."""
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        promotion = await self.services.promotion.promote(actor, chosen, int(number))
        await self._announce(interaction, actor, chosen, promotion, chosen=True)

    @pressed(r"rollback:(?P<classifier>[\w-]+):(?P<live>\d+)")
    async def roll_back_from(self, interaction: Interaction, classifier: str, live: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        await self._require_live(chosen, int(live))
        promotion = await self.services.promotion.rollback(actor, chosen, live=int(live))
        await self._announce(interaction, actor, chosen, promotion)

    @pressed(r"swap:(?P<classifier>[\w-]+):(?P<live>\d+):(?P<wanted>\d+)")
    async def swap_back(self, interaction: Interaction, classifier: str, live: str, wanted: str) -> None:
        """Takes one swap back, in whichever direction it went."""
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        await self._require_live(chosen, int(live))
        service = self.services.promotion
        forth = int(wanted) > int(live)
        change = service.promote if forth else service.rollback
        await self._announce(interaction, actor, chosen, await change(actor, chosen, int(wanted)), chosen=forth)

    async def _require_live(self, classifier: Classifier, number: int) -> None:
        """A button in an old message means the version it was written about, not whichever is live by now."""
        versions = await self.services.promotion.versions(classifier)
        live = next((version.number for version in versions if version.state is VersionState.CHAMPION), 0)
        if live != number:
            raise Conflict(
                f"{version_name(number)} is not live any more; {version_name(live)} is. `/model list` shows them all."
            )

    async def _announce(
        self,
        interaction: Interaction,
        actor: Actor,
        classifier: Classifier,
        promotion: Promotion,
        *,
        chosen: bool = False,
    ) -> None:
        """A swap concerns the team: the person gets their answer, the channel a message with the way back.

        A version that was chosen (not gone back to) was asked the pinned tests: the answer names those it breaks.
        """
        done = swapped_words(classifier.name, promotion)
        tried = await self.services.promotion.pins(classifier, promotion.number) if chosen else ()
        await show(interaction, Card(promoted_words(done, tried)))
        await share(interaction, swap_card(classifier.name, promotion, actor.name))


def version_number(version: str) -> int:
    """ "v3", "3" or "v3+12" → 3.

    Raises:
        InvalidInput: no version's name.
    """
    match = re.fullmatch(r"v?(\d{1,9})(\+\d+)?", version.strip().lower())
    if match is None:
        raise InvalidInput("That is no version. Write it like v3; `/model list` shows them.")
    return int(match[1])
