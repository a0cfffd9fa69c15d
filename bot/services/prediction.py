"""Asking: a text in, exactly one answer out, from exactly one version; and what people thought of the answer."""

from __future__ import annotations

import logging
import secrets
import time
from dataclasses import replace

from bot.services.classifiers import check_live
from bot.services.consent import Consent
from bot.services.labeling import LabelingService, LabelReceipt
from bot.services.people import Actor, Role
from bot.services.serving import Serving
from bot.services.texts import check_text
from storage.errors import DiskFull
from storage.records import Classifier, LabelledText, Prediction, Source, Split, normalise
from storage.stores import Stores

log = logging.getLogger(__name__)

KEEPS_TEXT = frozenset({Source.COMMAND, Source.MODAL})
"""Sources whose text is kept with the prediction, so that Right and Wrong can become labels. The text of somebody
else's message is not stored; a program that asks through the API labels through the API."""


class PredictionService:
    def __init__(
        self,
        stores: Stores,
        labeling: LabelingService,
        serving: Serving,
        consent: Consent,
    ) -> None:
        self._classifiers = stores.classifiers
        self._examples = stores.examples
        self._predictions = stores.predictions
        self._labeling = labeling
        self._serving = serving
        self._consent = consent

    async def ask(self, actor: Actor, classifier: Classifier, text: str, source: Source) -> Prediction:
        """Answers, and stores the answer with its version and latency. On a full disk people are answered all the same.

        Raises:
            InvalidInput (the text; no labels to choose from), Busy (with the seconds to wait), NotFound.
        """
        check_live(classifier)
        text = check_text(text)
        keeps = source in KEEPS_TEXT and not self._consent.is_out(actor)
        answer = await self._serving.answer(classifier, text)
        prediction = Prediction(
            id=secrets.token_hex(8),
            guild=classifier.guild,
            classifier_id=classifier.id,
            classifier=classifier.name,
            scores=answer.scores,
            abstained=answer.abstained,
            version=answer.version,
            milliseconds=answer.milliseconds,
            asked_by=actor.id,
            created_at=time.time(),
            text=text if keeps else None,
            taught=await self._taught(classifier, text),
            cut=answer.cut,
            outside=answer.outside,
        )
        # Of a text that is not kept, the example that equals it would tell it all the same.
        stored = prediction if keeps else replace(prediction, taught=None)
        try:
            await self._predictions.add(stored, answer.number, answer.revision)
            if keeps and classifier.settings.learn_from_questions:
                await self._examples.add_unlabelled(
                    classifier.guild, classifier.id, [text], actor.id, source, prediction.created_at
                )
        except DiskFull as error:  # nobody can say then whether it was right, but that could not be stored either
            log.warning("question.not_stored", extra={"classifier": classifier.id, "why": str(error)})
        log.info("question.answered", extra={"classifier": classifier.id, "version": answer.version})
        return prediction

    def note(self, actor: Actor, classifier: Classifier) -> str:
        """What the person who asks should know about who answers, and about their text; "" as a rule."""
        about = ""
        if self._consent.is_out(actor):
            about = "You have opted out, so this text is not stored."
        elif classifier.settings.learn_from_questions:
            about = "This text may be shown to your team for labelling."
        return " ".join(filter(None, [self._serving.warning(classifier.id), about]))

    async def get(self, guild: str, prediction_id: str) -> Prediction:
        """Raises NotFound, also for another guild's prediction."""
        return await self._predictions.get(guild, prediction_id)

    async def right(self, actor: Actor, prediction_id: str) -> LabelReceipt | None:
        """What was told is right: it becomes this person's label. None: only counted, because no text was kept."""
        prediction = await self._predictions.get(actor.guild, prediction_id)
        return await self._feedback(actor, prediction, prediction.told)

    async def wrong(self, actor: Actor, prediction_id: str, label: str) -> LabelReceipt | None:
        """What was told is wrong and `label` is right: it becomes this person's label. None: only counted."""
        prediction = await self._predictions.get(actor.guild, prediction_id)
        return await self._feedback(actor, prediction, label)

    async def _feedback(self, actor: Actor, prediction: Prediction, label: str) -> LabelReceipt | None:
        self._consent.require(actor, Role.MEMBER, "say what is right")
        receipt = None
        classifier = await self._classifiers.by_id(actor.guild, prediction.classifier_id)
        if prediction.text is not None:
            receipt = await self._labeling.label(actor, classifier, prediction.text, label, Source.COMMAND)
        # However it is written, and what it is called by now: a label is right where it is the one that was answered.
        ids = await self._labeling.label_ids(classifier)
        meant, answered = (normalise(name) for name in (label, prediction.label))
        right = ids.get(meant, meant) == ids.get(answered, answered)
        event = None if receipt is None else receipt.event_id
        await self._predictions.record_feedback(actor.guild, prediction.id, actor.id, right, event, time.time())
        return receipt

    async def _taught(self, classifier: Classifier, text: str) -> LabelledText | None:
        """The example with exactly this text, if it has a label: golden texts are in no head, so it is told beside."""
        example = await self._examples.find(classifier.guild, classifier.id, text)
        if example is None or not self._examples.is_learned_from(example):
            return None
        label = await self._examples.current_label(classifier.guild, example.id)
        if label is None:
            return None
        return LabelledText(example.id, example.text, label.name, example.split or Split.TRAIN, example.source)
