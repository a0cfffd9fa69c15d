"""Pinned tests: add, remove, put back, and whether each holds with what answers now. `trials` asks candidates."""

from __future__ import annotations

import builtins  # inside the class, `list` is the method
import logging
import re
import time
from dataclasses import dataclass

from bot.services.consent import Consent
from bot.services.labeling import LabelingService
from bot.services.people import Actor, Role
from bot.services.serving import Serving
from bot.services.texts import check_text
from storage.errors import NotFound, PupilError
from storage.records import Classifier, Pin, text_hash
from storage.stores import Stores

log = logging.getLogger(__name__)

MAY = "change pinned tests"


@dataclass(frozen=True, slots=True)
class PinState:
    """A pinned test and what answers to it now."""

    pin: Pin
    said: str | None
    """The best label; None: it was not asked, because the pin's label is archived or the model could not answer."""
    confidence: float
    version: str

    @property
    def holds(self) -> bool:
        return self.said == self.pin.label


@dataclass(frozen=True, slots=True)
class PinReceipt:
    state: PinState
    is_new: bool
    """Whether it was not there before."""


class PinService:
    def __init__(self, stores: Stores, labeling: LabelingService, serving: Serving, consent: Consent) -> None:
        self._consent = consent
        self._pins = stores.pins
        self._examples = stores.examples
        self._classifiers = stores.classifiers
        self._labeling = labeling
        self._serving = serving

    async def add(self, actor: Actor, classifier: Classifier, text: str, label: str) -> PinReceipt:
        """Pins a text to a label; the same again changes nothing. Nothing is trained on it.

        Raises:
            NotAllowed, InvalidInput (the text), NotFound (no such label; the message names the nearest),
            Conflict (archived, pinned to another label already, or too many pins).
        """
        self._consent.require(actor, Role.LEAD, MAY, classifier)
        text = check_text(text)
        wanted, _ = await self._labeling.find_label(classifier, label)
        await self._examples.remember_annotator(actor.guild, actor.id, actor.name)
        pin, is_new = await self._pins.add(actor.guild, classifier.id, text, wanted.id, actor.id, time.time())
        log.info("pin.added", extra={"classifier": classifier.id, "pin": pin.id})
        return PinReceipt(await self._state(classifier, pin), is_new)

    async def known(self, actor: Actor, classifier: Classifier) -> builtins.list[Pin]:
        """All of them, newest first, without asking any. Raises NotAllowed."""
        actor.require(Role.LEAD, "see pinned tests")
        return await self._pins.list(actor.guild, classifier.id)

    async def list(self, actor: Actor, classifier: Classifier) -> builtins.list[PinState]:
        """All of them, the broken ones first, then the newest. Raises NotAllowed."""
        pins = await self.known(actor, classifier)
        states = [await self._state(classifier, pin) for pin in pins]
        return sorted(states, key=lambda state: (state.holds, state.said is None))

    async def get(self, actor: Actor, pin_id: int) -> tuple[Classifier, Pin]:
        """A pin, also a removed one, and its classifier. Raises NotAllowed, NotFound."""
        actor.require(Role.LEAD, "see pinned tests")
        pin = await self._pins.get(actor.guild, pin_id)
        return await self._classifiers.by_id(actor.guild, pin.classifier_id), pin

    async def find(self, actor: Actor, classifier: Classifier, what: str) -> Pin:
        """The pin that "#12" or a text means. Raises NotAllowed, NotFound."""
        pins = await self.known(actor, classifier)
        number = re.fullmatch(r"#(\d{1,15})", what.strip())
        wanted = text_hash(what)
        for pin in pins:
            if pin.id == int(number[1]) if number else text_hash(pin.text) == wanted:
                return pin
        raise NotFound(f"`{classifier.name}` has no such pinned test. /pin list shows them.")

    async def remove(self, actor: Actor, pin_id: int) -> Pin | None:
        """Takes a pin away; None: that was done before. Raises NotAllowed, NotFound."""
        actor.require(Role.LEAD, MAY)
        removed = await self._pins.remove(actor.guild, pin_id, time.time())
        log.info("pin.removed", extra={"pin": pin_id})
        return removed

    async def restore(self, actor: Actor, pin_id: int) -> PinState | None:
        """Puts a removed pin back; None: it is there. Raises NotAllowed, NotFound, Conflict (pinned anew meanwhile)."""
        actor.require(Role.LEAD, MAY)
        pin = await self._pins.restore(actor.guild, pin_id)
        if pin is None:
            return None
        log.info("pin.restored", extra={"pin": pin_id})
        return await self._state(await self._classifiers.by_id(actor.guild, pin.classifier_id), pin)

    async def _state(self, classifier: Classifier, pin: Pin) -> PinState:
        version = await self._serving.version_of(classifier)
        if pin.label_gone:
            return PinState(pin, None, 0.0, version)
        try:
            answer = await self._serving.answer(classifier, pin.text)
        except PupilError:
            return PinState(pin, None, 0.0, version)
        return PinState(pin, answer.scores[0].label, answer.scores[0].confidence, answer.version)
