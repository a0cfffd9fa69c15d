"""Two versions side by side, from what was measured when they were trained: nothing is asked anew.

Two versions are compared on the same texts where one was measured against the other, or where both reports hold the
same texts; else only their own figures stand side by side. In a training each was measured on texts it had not learned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from storage.errors import InvalidInput, NotFound
from storage.records import Classifier, EvaluationReport, ModelVersion, PairedOutcome, version_name
from storage.report_figures import Flips, chance_better, flips
from storage.stores import Stores
from trainer.protocol import from_json

TOLD = 3
"""Texts that are shown of those that were fixed, and of those that were broken."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two. What is None was not measured, as for v0, which has no report of its own."""

    name: str
    accuracy: float
    macro_f1: float
    rows: int
    """Texts that these two were measured on."""
    version: ModelVersion | None
    report: EvaluationReport | None


@dataclass(frozen=True, slots=True)
class RecallChange:
    label: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Comparison:
    classifier: str
    first: Side
    second: Side
    """The newer one."""
    shared: tuple[PairedOutcome, ...]
    """Texts that both were measured on: `champion` is what the first said, `candidate` what the second."""
    flips: Flips
    chance_better: float | None
    """That the second is right more often, in [0, 1]; None: no text tells them apart."""
    recalls: tuple[RecallChange, ...]
    """Of the labels that both reports have, the largest change first."""
    texts: Mapping[int, str] = field(default_factory=dict)
    """The first flips' texts by example id, of those that are still there."""


class ComparisonService:
    def __init__(self, stores: Stores) -> None:
        self._examples = stores.examples
        self._registry = stores.registry

    async def compare(self, classifier: Classifier, one: int, other: int) -> Comparison:
        """Two versions of a classifier; everybody may look.

        Raises:
            As `compare`.
        """
        versions = await self._registry.list(classifier.guild, classifier.id)
        found = await asyncio.to_thread(compare, classifier.name, versions, one, other)
        shown = [*found.flips.fixed[:TOLD], *found.flips.broken[:TOLD]]
        texts = [await self._text(classifier, example_id) for example_id in shown]
        return replace(found, texts={number: text for number, text in zip(shown, texts, strict=True) if text})

    async def _text(self, classifier: Classifier, example_id: int) -> str:
        """Empty for a text that is gone, or that has been removed or lost its label."""
        with suppress(NotFound):
            example = await self._examples.get(classifier.guild, example_id)
            if (
                await self._examples.current_label(classifier.guild, example_id)
                and example.classifier_id == classifier.id
            ):
                return example.text
        return ""


def compare(classifier: str, versions: Sequence[ModelVersion], one: int, other: int) -> Comparison:
    """The older of the two numbers first.

    Raises:
        NotFound: no such version.
        InvalidInput: twice the same, a report that cannot be read, or v0 and a version not measured against it.
    """
    if one == other:
        raise InvalidInput("These are the same version. Name two different ones; `/model list` shows them.")
    low, high = sorted((one, other))
    newer, newer_report = _reported(classifier, versions, high)
    direct = newer_report.champion.partition("+")[0] == version_name(low)
    if low == 0:
        if not direct:
            raise InvalidInput(
                f"v0 keeps no figures of its own, and {version_name(high)} was measured against "
                f"{newer_report.champion}. Compare v0 with a version that was measured against it."
            )
        return _against_champion(classifier, newer, newer_report, None, None)
    older, older_report = _reported(classifier, versions, low)
    if direct:
        return _against_champion(classifier, newer, newer_report, older, older_report)
    shared = _shared(older_report, newer_report)
    return _made(
        classifier, _own(older, older_report), _own(newer, newer_report), shared, _recalls(older_report, newer_report)
    )


def _reported(classifier: str, versions: Sequence[ModelVersion], number: int) -> tuple[ModelVersion, EvaluationReport]:
    version = next((each for each in versions if each.number == number), None)
    if version is None:
        raise NotFound(f"`{classifier}` has no version {version_name(number)}. `/model list` shows them all.")
    try:
        return version, from_json(EvaluationReport, version.report)
    except InvalidInput:
        raise InvalidInput(f"The report of {version_name(number)} cannot be read, so it cannot be compared.") from None


def _own(version: ModelVersion, report: EvaluationReport) -> Side:
    """A version as its own report has it."""
    figures = (report.candidate_accuracy, report.candidate_macro_f1, len(report.outcomes))
    return Side(version_name(version.number), *figures, version, report)


def _against_champion(
    classifier: str,
    newer: ModelVersion,
    report: EvaluationReport,
    older: ModelVersion | None,
    older_report: EvaluationReport | None,
) -> Comparison:
    """The newer one's report is about just these two."""
    figures = (report.champion_accuracy, report.champion_macro_f1, len(report.outcomes))
    first = Side(report.champion, *figures, older, older_report)
    recalls = [RecallChange(each.label, each.champion_recall, each.recall) for each in report.labels if each.rows]
    return _made(classifier, first, _own(newer, report), report.outcomes, recalls)


def _made(
    classifier: str, first: Side, second: Side, shared: Sequence[PairedOutcome], recalls: Sequence[RecallChange]
) -> Comparison:
    differ = flips(shared)
    chance = chance_better(len(differ.fixed), len(differ.broken))
    ordered = sorted(recalls, key=lambda change: (-abs(change.after - change.before), change.label))
    return Comparison(classifier, first, second, tuple(shared), differ, chance, tuple(ordered))


def _shared(older: EvaluationReport, newer: EvaluationReport) -> list[PairedOutcome]:
    """Texts of both reports with the same label in both."""
    said = {row.example_id: row for row in older.outcomes}
    return [
        PairedOutcome(row.example_id, row.label, row.split, said[row.example_id].candidate, row.candidate)
        for row in newer.outcomes
        if row.example_id in said and said[row.example_id].label == row.label
    ]


def _recalls(older: EvaluationReport, newer: EvaluationReport) -> list[RecallChange]:
    before = {each.label: each.recall for each in older.labels if each.rows}
    return [
        RecallChange(each.label, before[each.label], each.recall)
        for each in newer.labels
        if each.rows and each.label in before
    ]
