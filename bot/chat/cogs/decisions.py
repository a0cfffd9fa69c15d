"""The buttons of a result that only look: What changed, with its pages and kinds, and Confusion. Anybody may press;
what others have asked is shown to leads alone.
"""

from __future__ import annotations

from bot.chat.buttons import pressed
from bot.chat.cogs.base import Interaction, PupilCog
from bot.chat.decision_cards import confusion_card, flips_card
from bot.chat.sending import begin, show
from bot.services.decisions import FlipKind

VERSION = r"(?P<classifier>[\w-]+):(?P<number>\d{1,9})"


class Decisions(PupilCog):
    @pressed(rf"flips:{VERSION}")
    async def what_changed(self, interaction: Interaction, classifier: str, number: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        await show(interaction, flips_card(await self.services.decisions.flips(actor, chosen, int(number))))

    @pressed(rf"flips:{VERSION}:(?P<kind>fixed|broken|otherwise|recent):(?P<page>\d{{1,6}})")
    async def turn(self, interaction: Interaction, classifier: str, number: str, kind: str, page: str) -> None:
        await begin(interaction)
        actor = self.actor(interaction)
        chosen = await self.classifier(actor, classifier)
        found = await self.services.decisions.flips(actor, chosen, int(number), FlipKind(kind), int(page))
        await show(interaction, flips_card(found))

    @pressed(rf"confusion:{VERSION}")
    async def confusion(self, interaction: Interaction, classifier: str, number: str) -> None:
        await begin(interaction)
        chosen = await self.classifier(self.actor(interaction), classifier)
        await show(interaction, confusion_card(await self.services.decisions.confusion(chosen, int(number))))
