"""Taking back everything that one person has labelled since some moment: by a lead, previewed, and brought back."""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.services.people import Actor, Role
from bot.services.serving import Serving
from storage.errors import InvalidInput
from storage.records import Classifier
from storage.reverts import Restored, Revert, RevertPreview
from storage.stores import Stores

log = logging.getLogger(__name__)

SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True, slots=True)
class RevertDraft:
    draft_id: int
    since: float
    preview: RevertPreview


class RevertingService:
    def __init__(self, stores: Stores, serving: Serving) -> None:
        self._classifiers = stores.classifiers
        self._drafts = stores.drafts
        self._examples = stores.examples
        self._reverts = stores.reverts
        self._serving = serving

    async def preview(self, actor: Actor, classifier: Classifier, member: str, since: str) -> RevertDraft:
        """What taking back a member's (annotator id) labels would do; kept as a draft for `confirm`.

        Raises:
            NotAllowed, InvalidInput (`since` is neither a span like 2h nor a date).
        """
        actor.require(Role.LEAD, "take back somebody's labels")
        moment = parse_since(since, time.time())
        preview = await self._reverts.preview(actor.guild, classifier.id, member, moment)
        wanted = {"annotator": member, "since": moment}
        draft = await self._drafts.add(actor.guild, classifier.id, wanted, actor.id, time.time())
        return RevertDraft(draft.id, moment, preview)

    async def confirm(self, actor: Actor, draft_id: int) -> tuple[Revert, bool]:
        """(what was taken back, whether it was done now). Raises NotAllowed, NotFound."""
        actor.require(Role.LEAD, "take back somebody's labels")
        revert, new = await self._reverts.confirm(actor.guild, draft_id, actor.id, time.time())
        if new:
            await self._touch(revert)
            log.info("labels.reverted", extra={"classifier": revert.classifier_id, "labels": revert.labels})
        return revert, new

    async def undo(self, actor: Actor, revert_id: int) -> Restored | None:
        """Give the labels again, in that person's name; None: done before. Raises NotAllowed, NotFound."""
        actor.require(Role.LEAD, "bring back somebody's labels")
        revert = await self._reverts.get(actor.guild, revert_id)
        restored = await self._reverts.undo(actor.guild, revert_id, actor.id, time.time())
        if restored is not None:
            await self._touch(revert)
            log.info("labels.restored", extra={"classifier": revert.classifier_id, "labels": restored.labels})
        return restored

    async def _touch(self, revert: Revert) -> None:
        self._serving.touch(await self._classifiers.by_id(revert.guild, revert.classifier_id))


def parse_since(words: str, now: float) -> float:
    """Unix seconds of "2h", "3 d", "45m", "1w" ago, or of a date "2026-11-24" or "2026-11-24 18:30" (UTC).

    Raises:
        InvalidInput: neither, or not in the past.
    """
    written = words.strip().casefold()
    # Not whatever begins like one of them: three months are no three minutes.
    units = "m|mins?|minutes?|h|hrs?|hours?|d|days?|w|wks?|weeks?"
    if match := re.fullmatch(rf"(\d{{1,5}})\s*({units})", written, re.ASCII):
        return now - int(match[1]) * SECONDS[match[2][0]]
    try:
        moment = datetime.fromisoformat(words.strip())
    except ValueError:
        raise InvalidInput("Write since when like 2h, 3d, or a date like 2026-11-24 (UTC).") from None
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if seconds > now:
        raise InvalidInput("That moment is still to come. Write one in the past, like 2h or 3d.")
    return seconds
