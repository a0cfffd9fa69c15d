"""Rounds of questions: the model asks a person about the texts that it would learn most from.

A round is a row of the database, and so is each question, so that a card answered after a restart goes on where it
was. Two people are never asked about the same text at the same time.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from weakref import WeakValueDictionary

from bot.services.consent import Consent
from bot.services.labeling import LabelingService, LabelReceipt, UndoReceipt
from bot.services.naming import label_with_id
from bot.services.people import Actor, Role
from bot.services.question_plans import QuestionPlans
from storage.errors import InvalidInput, NotAllowed
from storage.events import falls_golden
from storage.records import Classifier, Label, Outcome, Question, Round, Source, text_hash
from storage.stores import Stores

MOST_ASKED = 100
"""Questions in one round at most."""
FEW_LABELS = 8
"""Up to here all labels are shown, in their own order; with more, the likely ones come first."""
MOST_RULES = 3
"""Rules of the codebook that are told beside a question."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question as it is shown."""

    question: Question
    labels: list[Label]
    """All of them. The model's ranking where there are many and the text cannot become golden; else their own order."""
    rules: list[tuple[str, str]] = field(default_factory=list)
    """(label, rule of the codebook), the newest of the labels that come first."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where a round stands after something was done."""

    round: Round
    classifier: Classifier
    asked: Asked | None
    """None: the round is over."""
    tally: Counter[Outcome] = field(default_factory=Counter)
    waiting: int = 0
    """Texts that wait for their first label, this one included."""
    receipt: LabelReceipt | None = None
    """What the answer did that led here."""
    undone: UndoReceipt | None = None
    last: int = 0
    """Position of the question answered last; 0: none is."""

    @property
    def answered(self) -> int:
        return self.tally.total()


class TeachingService:
    def __init__(self, stores: Stores, labeling: LabelingService, plans: QuestionPlans, consent: Consent) -> None:
        self._consent = consent
        self._rounds = stores.rounds
        self._classifiers = stores.classifiers
        self._rules = stores.rules
        self._labeling = labeling
        self._plans = plans
        self._answering: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By round."""

    async def begin(self, actor: Actor, classifier: Classifier, wanted: int) -> Step:
        """A new round of at most `wanted` questions, with its first one.

        Raises:
            NotAllowed. InvalidInput: there are no labels, `wanted` is out of range, or no text is there to ask about.
        """
        self._consent.require(actor, Role.MEMBER, "teach", classifier)
        if not 1 <= wanted <= MOST_ASKED:
            raise InvalidInput(f"A round has 1 to {MOST_ASKED} questions.")
        if not await self._classifiers.labels(classifier.guild, classifier.id):
            raise InvalidInput(f"`{classifier.name}` has no labels yet. A lead adds one with /labels create.")
        round = Round(secrets.token_hex(6), classifier.guild, classifier.id, actor.id, wanted, time.time())
        await self._rounds.create(round)
        step = await self._next(classifier, round)
        if step.asked is None:
            raise InvalidInput(_nothing_to_ask(classifier, step.waiting))
        return step

    async def look(self, actor: Actor, round_id: str) -> Step:
        """Where a round stands. Raises NotFound; NotAllowed: it is somebody else's."""
        round, classifier = await self._mine(actor, round_id)
        return await self._next(classifier, round)

    async def label(self, actor: Actor, round_id: str, position: int, label: str) -> Step:
        """Answers a question; a question that was answered before (a double click) is left as it is.

        Raises:
            NotFound (no such round or label), NotAllowed, StorageError.
        """

        async def typed(classifier: Classifier) -> str:
            return label

        return await self._answer(actor, round_id, position, typed)

    async def label_by_id(self, actor: Actor, round_id: str, position: int, label_id: int) -> Step:
        """The same for a label that was chosen from those shown."""

        async def shown(classifier: Classifier) -> str:
            labels = await self._classifiers.labels(classifier.guild, classifier.id)
            return label_with_id(classifier, labels, label_id).name

        return await self._answer(actor, round_id, position, shown)

    async def _answer(
        self, actor: Actor, round_id: str, position: int, label: Callable[[Classifier], Awaitable[str]]
    ) -> Step:
        # Storing takes a moment, in which somebody may press another label: one after the other, so the first counts.
        async with self._answering.setdefault(round_id, asyncio.Lock()):
            round, classifier = await self._mine(actor, round_id)
            question = await self._open(round, position)
            if question is None:
                return await self._next(classifier, round)
            chosen, now = await label(classifier), time.time()
            receipt = await self._labeling.label(
                actor, classifier, question.text, chosen, Source.COMMAND, picked_by_model=question.picked_by_model
            )
            await self._rounds.settle(round.guild, round.id, position, Outcome.LABELLED, receipt.event_id, now)
        return replace(await self._next(classifier, round), receipt=receipt)

    async def pass_on(self, actor: Actor, round_id: str, position: int, outcome: Outcome) -> Step:
        """Unsure or skipped: the text stays in the pool for others."""
        self._consent.require(actor, Role.MEMBER, "teach")
        round, classifier = await self._mine(actor, round_id)
        await self._rounds.settle(round.guild, round.id, position, outcome, None, time.time())
        return await self._next(classifier, round)

    async def undo(self, actor: Actor, round_id: str, position: int | None = None) -> Step:
        """The question answered last is asked again, and its label taken back.

        `position`: the one that is meant (None: whichever it is). Where that is not the last any more (a double click),
        nothing changes.
        """
        round, classifier = await self._mine(actor, round_id)
        last = _last(await self._rounds.questions(round.guild, round.id))
        undone = None
        if last is not None and position in {None, last.position}:
            if last.event_id is not None:
                undone = await self._labeling.undo(actor, last.event_id)
            await self._rounds.reopen(round.guild, round.id, last.position, time.time())
        return replace(await self._next(classifier, round), undone=undone)

    # What comes next

    async def _next(self, classifier: Classifier, round: Round) -> Step:
        """The open question, else a new one while the round and the pool have any."""
        questions = await self._rounds.questions(round.guild, round.id)
        tally = Counter(each.outcome for each in questions if each.outcome is not None)
        question = next((each for each in questions if each.outcome is None), None)
        if question is None and len(questions) < round.wanted:
            question = await self._ask(classifier, round)
        asked = None if question is None else await self._shown(classifier, question)
        waiting = await self._rounds.waiting(round.guild, round.classifier_id)
        last = _last(questions)
        return Step(round, classifier, asked, tally, waiting, last=0 if last is None else last.position)

    async def _ask(self, classifier: Classifier, round: Round) -> Question | None:
        at = (round.guild, round.classifier_id)
        not_for = await self._rounds.not_for(*at, round.annotator, time.time())
        async for text, by_model in self._plans.texts(classifier, not_for):
            question = await self._rounds.ask(
                round.guild, round.id, text.example_id, picked_by_model=by_model, now=time.time()
            )
            if question is not None:
                return question
        return None

    async def _shown(self, classifier: Classifier, question: Question) -> Asked:
        labels = await self._choices(classifier, question)
        first = {label.id: label.name for label in labels[:FEW_LABELS]}
        rules = await self._rules.of(classifier.guild, classifier.id)
        told = [(first[rule.label_id], rule.text) for rule in rules if rule.label_id in first]
        return Asked(question, labels, told[-MOST_RULES:])

    async def _choices(self, classifier: Classifier, question: Question) -> list[Label]:
        labels = await self._classifiers.labels(classifier.guild, classifier.id)
        if len(labels) <= FEW_LABELS or _may_be_golden(question):
            return labels
        likely = await self._labeling.suggest(classifier, question.text, "")
        ranks = {name: rank for rank, (name, _) in enumerate(likely)}
        return sorted(labels, key=lambda label: ranks.get(label.name, len(ranks)))

    # Whose round it is

    async def _mine(self, actor: Actor, round_id: str) -> tuple[Round, Classifier]:
        actor.require(Role.MEMBER, "teach")
        round = await self._rounds.get(actor.guild, round_id)
        if round.annotator != actor.id:
            raise NotAllowed("These questions were asked of somebody else. Get your own with /teach.")
        return round, await self._classifiers.by_id(round.guild, round.classifier_id)

    async def _open(self, round: Round, position: int) -> Question | None:
        questions = await self._rounds.questions(round.guild, round.id)
        return next((each for each in questions if each.position == position and each.outcome is None), None)


def _last(questions: Sequence[Question]) -> Question | None:
    """The one answered last; None: no answer yet."""
    return next((each for each in reversed(questions) if each.outcome is not None), None)


def _may_be_golden(question: Question) -> bool:
    """The model's opinion of a text that may measure it is kept from whoever labels it."""
    return not question.picked_by_model and falls_golden(text_hash(question.text))


def _nothing_to_ask(classifier: Classifier, waiting: int) -> str:
    if waiting:
        texts = "text" if waiting == 1 else "texts"
        return (
            f"`{classifier.name}` has {waiting} unlabelled {texts}, but none for you now. "
            "Others are being asked, you have passed already, or two people could not tell. Try again in a quarter of "
            "an hour, or give a label with /label."
        )
    return (
        f"No unlabelled text waits in `{classifier.name}`. A lead brings some with /examples import: a file with a "
        "column `text` and no labels. A text of your own you teach with /label."
    )
