"""A version on trial: before it may go live it is asked, as served, every pinned test and the newest questions.

A pin holds when the best label is its label, however sure: that is what evaluation counts, too. One that the version
answering now has wrong as well cannot be newly broken, so it is told and blocks nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from bot.services.serving import Prepared, Serving
from storage.errors import PupilError
from storage.records import ChangedAnswer, Classifier, Pin, PinOutcome, Trial
from storage.stores import Stores

RECENT_SECONDS = 7 * 86_400.0
RECENT_QUESTIONS = 50
"""The newest questions that a version on trial is asked: each takes about 10 ms, twice."""


@dataclass(frozen=True, slots=True)
class TriedPin:
    """A pinned test and what a version said to it."""

    pin: Pin
    outcome: PinOutcome


class TrialService:
    def __init__(self, stores: Stores, serving: Serving) -> None:
        self._pins = stores.pins
        self._predictions = stores.predictions
        self._trials = stores.trials
        self._serving = serving

    async def hold(self, prepared: Prepared) -> Trial:
        """Asks a version that is loaded aside, and stores what it said.

        Raises:
            Busy, ArtifactError: it could not be asked.
        """
        classifier = prepared.classifier
        pins = await self._pins.list(classifier.guild, classifier.id)
        outcomes = [await self._ask(prepared, pin) for pin in pins]
        questions, changed = await self._compare(prepared)
        trial = Trial(
            guild=classifier.guild,
            classifier_id=classifier.id,
            number=prepared.served.number,
            against=await self._serving.version_of(classifier),
            pins=tuple(outcomes),
            questions=questions,
            changed=tuple(changed),
            at=time.time(),
        )
        await self._trials.save(trial)
        return trial

    async def pins(self, guild: str, classifier_id: int, number: int) -> tuple[TriedPin, ...]:
        """What a version said to the pinned tests of its trial, the newly broken ones first; () without a trial."""
        trial = await self._trials.get(guild, classifier_id, number)
        if trial is None:
            return ()
        pins = await self._pins.some(guild, classifier_id, [outcome.pin_id for outcome in trial.pins])
        tried = [TriedPin(pins[outcome.pin_id], outcome) for outcome in trial.pins if outcome.pin_id in pins]
        return tuple(sorted(tried, key=lambda each: (not each.outcome.newly_broken, each.outcome.holds)))

    async def _ask(self, prepared: Prepared, pin: Pin) -> PinOutcome:
        if pin.label_gone:
            return PinOutcome(pin.id, None, 0.0, holds=False, held=False)
        best = (await self._serving.answer_as(prepared, pin.text)).scores[0]
        held = await self._serving_label(prepared.classifier, pin.text)
        # A version that cannot be asked is taken to have been right: a doubt does not let a broken pin through.
        return PinOutcome(pin.id, best.label, best.confidence, best.label == pin.label, held in {pin.label, None})

    async def _compare(self, prepared: Prepared) -> tuple[int, list[ChangedAnswer]]:
        """How many recent questions both could answer, and those that they answer differently."""
        classifier, asked, changed = prepared.classifier, 0, []
        since = time.time() - RECENT_SECONDS
        for prediction_id, text in await self._predictions.recent_questions(
            classifier.guild, classifier.id, since, RECENT_QUESTIONS
        ):
            before = await self._serving_label(classifier, text)
            if before is None:
                continue
            after = (await self._serving.answer_as(prepared, text)).scores[0].label
            asked += 1
            if after != before:
                changed.append(ChangedAnswer(prediction_id, before, after))
        return asked, changed

    async def _serving_label(self, classifier: Classifier, text: str) -> str | None:
        """The best label of what answers now; None: it cannot be asked."""
        try:
            return (await self._serving.answer(classifier, text)).scores[0].label
        except PupilError:
            return None
