"""What there is to look at before deciding about a version: which answers change, and what it takes for what.

Reports hold ids. Texts are read when somebody looks, within the guild: one that was removed or forgotten is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bot.services.confusion import Confusion, confusion_of
from bot.services.consent import Consent
from bot.services.drawing import Drawing
from bot.services.people import Actor, Role
from storage.errors import NotFound
from storage.records import Classifier, EvaluationReport, PairedOutcome, Trial, version_name
from storage.report_figures import flips
from storage.stores import Stores
from trainer.protocol import from_json

PAGE = 5
"""Texts on one page."""


class FlipKind(StrEnum):
    FIXED = "fixed"
    """Only the candidate is right."""
    BROKEN = "broken"
    """Only the champion is right."""
    OTHERWISE = "otherwise"
    """Both are wrong, each in its own way."""
    RECENT = "recent"
    """Questions of the last days that it answers differently; nobody has said what is right."""


@dataclass(frozen=True, slots=True)
class Flip:
    """One text whose answer differs between two versions."""

    text: str | None
    """None: it was removed or forgotten, or is withheld."""
    label: str | None
    """The right one; None: nobody has said."""
    before: str
    after: str
    withheld: bool = False
    """Somebody's question, whose text is not for whoever looks."""


@dataclass(frozen=True, slots=True)
class FlipPage:
    classifier: str
    number: int
    champion: str
    """What the version is compared with: "v12+7"."""
    kind: FlipKind
    page: int
    """From 0."""
    counts: dict[FlipKind, int]
    flips: tuple[Flip, ...]
    rows: int
    """Texts that both were measured on."""
    questions: int
    """Recent questions that both were asked; 0: none, or the version was never loaded."""

    @property
    def pages(self) -> int:
        return max(1, -(-self.counts[self.kind] // PAGE))


@dataclass(frozen=True, slots=True)
class ConfusionPicture:
    classifier: str
    number: int
    confusion: Confusion
    picture: bytes | None
    """PNG; None: it could not be drawn."""


class DecisionService:
    def __init__(self, stores: Stores, drawing: Drawing, consent: Consent) -> None:
        self._examples = stores.examples
        self._predictions = stores.predictions
        self._registry = stores.registry
        self._trials = stores.trials
        self._drawing = drawing
        self._consent = consent

    async def flips(
        self, actor: Actor, classifier: Classifier, number: int, kind: FlipKind | None = None, page: int = 0
    ) -> FlipPage:
        """One page of the texts that a version answers differently from the champion of its time.

        `kind` None is the first kind that has any, what broke before what was fixed. A page too far is the last one.
        An answer is for whoever asked alone: of recent questions only they and leads see the texts, and nobody else
        sees that of somebody who has opted out.

        Raises:
            NotFound: no such version. InvalidInput: its report cannot be read.
        """
        report = await self._report(classifier, number)
        trial = await self._trials.get(classifier.guild, classifier.id, number)
        counts = _counts(report, trial)
        order = (FlipKind.BROKEN, FlipKind.FIXED, FlipKind.OTHERWISE, FlipKind.RECENT)
        kind = kind or next((each for each in order if counts[each]), FlipKind.BROKEN)
        page = min(page, max(0, -(-counts[kind] // PAGE) - 1))
        part = slice(page * PAGE, (page + 1) * PAGE)
        if kind is FlipKind.RECENT:
            found = await self._recent(actor, classifier, trial, part)
        else:
            found = await self._measured(classifier, _rows(report, kind)[part])
        return FlipPage(
            classifier=classifier.name,
            number=number,
            champion=trial.against if trial is not None and kind is FlipKind.RECENT else report.champion,
            kind=kind,
            page=page,
            counts=counts,
            flips=found,
            rows=len(report.outcomes),
            questions=0 if trial is None else trial.questions,
        )

    async def confusion(self, classifier: Classifier, number: int) -> ConfusionPicture:
        """What a version takes for what, over the texts it was measured on.

        Raises:
            NotFound: no such version, or it was measured on nothing. InvalidInput: its report cannot be read.
        """
        report = await self._report(classifier, number)
        found = confusion_of(report)
        if not found.rows:
            raise NotFound(f"{version_name(number)} was measured on no text, so there is nothing to show.")
        return ConfusionPicture(classifier.name, number, found, await self._drawing.confusion(found))

    async def _report(self, classifier: Classifier, number: int) -> EvaluationReport:
        version = await self._registry.get(classifier.guild, classifier.id, number)
        return await asyncio.to_thread(from_json, EvaluationReport, version.report)

    async def _measured(self, classifier: Classifier, rows: Sequence[PairedOutcome]) -> tuple[Flip, ...]:
        ids = [row.example_id for row in rows]
        texts = await self._examples.texts(classifier.guild, classifier.id, ids)
        return tuple(Flip(texts.get(row.example_id), row.label, row.champion, row.candidate) for row in rows)

    async def _recent(self, actor: Actor, classifier: Classifier, trial: Trial | None, part: slice) -> tuple[Flip, ...]:
        changed = () if trial is None else trial.changed[part]
        asked = await self._predictions.texts(classifier.guild, [answer.prediction_id for answer in changed])
        found = []
        for answer in changed:
            asker, text = asked.get(answer.prediction_id, (None, None))
            withheld = asker is not None and not self._may_read(actor, asker)
            found.append(Flip(None if withheld else text, None, answer.before, answer.after, withheld=withheld))
        return tuple(found)

    def _may_read(self, actor: Actor, asker: str) -> bool:
        return asker == actor.id or (actor.role >= Role.LEAD and not self._consent.left_out(actor.guild, asker))


def _counts(report: EvaluationReport, trial: Trial | None) -> dict[FlipKind, int]:
    found = flips(report.outcomes)
    return {
        FlipKind.FIXED: len(found.fixed),
        FlipKind.BROKEN: len(found.broken),
        FlipKind.OTHERWISE: len(found.still_wrong),
        FlipKind.RECENT: 0 if trial is None else len(trial.changed),
    }


def _rows(report: EvaluationReport, kind: FlipKind) -> list[PairedOutcome]:
    """The rows of a kind, by example id."""
    found = flips(report.outcomes)
    ids = {FlipKind.FIXED: found.fixed, FlipKind.BROKEN: found.broken}.get(kind, found.still_wrong)
    by_id = {row.example_id: row for row in report.outcomes}
    return [by_id[example_id] for example_id in ids]
