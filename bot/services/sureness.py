"""How sure a classifier has to be before it answers: the share of right answers that a lead wants, and what follows.

The threshold belongs to the head that answers, so it is never stored: it follows refits and swaps by itself.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from bot.inference.thresholds import sureness
from bot.services.people import Actor, Role
from storage.errors import Busy, InvalidInput
from storage.records import Classifier, Sureness
from storage.stores import Stores

# The command line reads words with this module, and loads no model.
if TYPE_CHECKING:
    from bot.inference.engine import Engine
    from bot.services.serving import Serving

log = logging.getLogger(__name__)

OWN = "none"
"""What stands for the threshold that came with the head."""
LOWEST, HIGHEST = 0.5, 0.99
"""Below a half, "sure" means nothing; 99 % takes 161 right answers in a row to be promised, more is out of reach."""


class SurenessService:
    def __init__(self, stores: Stores, serving: Serving, engine: Engine) -> None:
        self._classifiers = stores.classifiers
        self._serving = serving
        self._engine = engine

    async def of(self, classifier: Classifier) -> Sureness:
        """What holds for the version that answers now; it is loaded first where it is not in memory.

        Raises:
            InvalidInput: the classifier has no labels yet. Busy, TrainerUnavailable: see `Serving.ensure`.
        """
        await self._serving.ensure(classifier)
        found = self.known(classifier)
        if found is None:
            raise Busy(f"`{classifier.name}` has just made room for another model. Ask again in a moment.", 1.0)
        return found

    def known(self, classifier: Classifier) -> Sureness | None:
        """The same without loading; None: its model is not in memory."""
        served = self._engine.current(classifier.id)
        return None if served is None else sureness(served.head, classifier.settings.precision)

    async def choose(self, actor: Actor, classifier: Classifier, precision: float | None) -> Sureness:
        """From now on `precision` of the given answers should be right; None: the threshold that came with the head.

        Raises:
            NotAllowed, InvalidInput (not between LOWEST and HIGHEST), and what `of` raises; nothing changes then.
        """
        actor.require(Role.LEAD, "choose how sure a classifier has to be")
        if precision is not None and not LOWEST <= precision <= HIGHEST:
            raise InvalidInput(
                f"The share of right answers must lie between {100 * LOWEST:.0f} and {100 * HIGHEST:.0f} %."
            )
        wanted = replace(classifier.settings, precision=precision)
        found = await self.of(replace(classifier, settings=wanted))
        await self._classifiers.save_settings(classifier.guild, classifier.id, precision=precision)
        log.info("precision.chosen", extra={"classifier": classifier.id, "precision": precision})
        return found


def parse_precision(words: str) -> float | None:
    """ "95", "95 %" or "0.95" → 0.95; "none" → None.

    Raises:
        InvalidInput: neither.
    """
    written = words.strip().casefold()
    if written == OWN:
        return None
    match = re.fullmatch(r"(\d{1,3}(?:[.,]\d{1,4})?)\s*(%?)", written, re.ASCII)
    if match is None:
        raise InvalidInput(f"Write the share of right answers like 95, or {OWN} for the classifier's own threshold.")
    number = float(match[1].replace(",", "."))
    return number if number < 1 and not match[2] else number / 100
