"""What follows from an evaluation report: intervals, chances, flips, confusions, and the sentences that tell them.

The model card, the card in the chat, the API and the command line all read their numbers here, so that they agree. It
decides nothing and marks nothing up: sentences are plain text, and names that people gave are left to whoever draws.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from storage.records import CandidateKind, Certainty, EvaluationReport, PairedOutcome, Split, Sureness

Z = 1.959964
"""Standard deviations to each side that hold 95 % of a normal distribution."""

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Flips:
    """Example ids, ascending, of the rows that candidate and champion answer differently."""

    fixed: tuple[int, ...]
    """Only the candidate has them right."""
    broken: tuple[int, ...]
    """Only the champion has them right."""
    still_wrong: tuple[int, ...]
    """Both are wrong, each in its own way."""

    @property
    def total(self) -> int:
        return len(self.fixed) + len(self.broken) + len(self.still_wrong)


@dataclass(frozen=True, slots=True)
class Mistake:
    """How many rows of one label the candidate answers with one other."""

    label: str
    answer: str
    rows: int


@dataclass(frozen=True, slots=True)
class LabelChange:
    """Rows of one label that became right and that became wrong."""

    label: str
    rows: int
    fixed: int
    broken: int

    @property
    def net(self) -> int:
        return self.fixed - self.broken


@dataclass(frozen=True, slots=True)
class OtherKind:
    """The kind of candidate that was not chosen, beside the one that was, on the same train rows."""

    kind: CandidateKind
    accuracy: float
    chosen_accuracy: float
    rows: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that can be counted from one report."""

    rows: int
    accuracy: Interval
    """95 % interval of the candidate's accuracy."""
    champion_accuracy: Interval
    flips: Flips
    chance_better: float | None
    """That the candidate is the better one, in [0, 1]; None: no row tells them apart."""
    surer: float | None
    """How much more probable golden texts' right labels have become, on average, in [-1, 1]; None: not known."""
    mistakes: tuple[Mistake, ...]
    """All there are, most rows first."""
    changes: tuple[LabelChange, ...]
    """Labels with a row that became right or wrong; the largest net change first."""
    other: OtherKind | None


def figures(report: EvaluationReport) -> Figures:
    """The figures of a report, also of one that an older version of Pupil wrote."""
    rows, differ = len(report.outcomes), flips(report.outcomes)
    return Figures(
        rows=rows,
        accuracy=wilson(round(report.candidate_accuracy * rows), rows),
        champion_accuracy=wilson(round(report.champion_accuracy * rows), rows),
        flips=differ,
        chance_better=chance_better(len(differ.fixed), len(differ.broken)),
        surer=surer(report.outcomes),
        mistakes=mistakes([row.label for row in report.labels], report.confusion),
        changes=label_changes(report.outcomes),
        other=_other(report),
    )


def wilson(right: int, rows: int) -> Interval:
    """The 95 % score interval of a share (Wilson 1927); (0, 1) without rows."""
    if not rows:
        return 0.0, 1.0
    share, spread = right / rows, Z * Z / rows
    centre = (share + spread / 2) / (1 + spread)
    half = Z / (1 + spread) * math.sqrt(share * (1 - share) / rows + spread / (4 * rows))
    return max(0.0, centre - half), min(1.0, centre + half)


def chance_better(better: int, worse: int) -> float | None:
    """How probable it is that the candidate is right more often; None where no row tells the two apart.

    Of the rows that only one of them has right, let the candidate have the share p. With p uniform beforehand its
    distribution is Beta(better + 1, worse + 1), and P(p > 1/2) is the lower tail of a fair binomial (the Bayesian twin
    of the sign test). Rows count as drawn at random and independent of each other.
    """
    if not better + worse:
        return None
    tosses = better + worse + 1
    whole = math.lgamma(tosses + 1) - tosses * math.log(2)
    terms = (math.exp(whole - math.lgamma(k + 1) - math.lgamma(tosses - k + 1)) for k in range(better + 1))
    return min(1.0, math.fsum(terms))


def surer(outcomes: Iterable[PairedOutcome]) -> float | None:
    """The mean of what is known about golden rows; see `PairedOutcome.surer`."""
    known = [row.surer for row in outcomes if row.split is Split.GOLDEN and row.surer is not None]
    return math.fsum(known) / len(known) if known else None


def flips(outcomes: Iterable[PairedOutcome]) -> Flips:
    fixed: list[int] = []
    broken: list[int] = []
    still_wrong: list[int] = []
    for row in outcomes:
        if row.candidate == row.champion:
            continue
        kind = fixed if row.candidate == row.label else broken if row.champion == row.label else still_wrong
        kind.append(row.example_id)
    return Flips(tuple(sorted(fixed)), tuple(sorted(broken)), tuple(sorted(still_wrong)))


def mistakes(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> tuple[Mistake, ...]:
    """What a confusion matrix [true, answered] has beside its diagonal; ties in the order of the labels."""
    found = [
        Mistake(label, labels[column], rows)
        for label, counts in zip(labels, confusion, strict=False)
        for column, rows in enumerate(counts[: len(labels)])
        if rows and labels[column] != label
    ]
    return tuple(sorted(found, key=lambda mistake: -mistake.rows))


def label_changes(outcomes: Sequence[PairedOutcome]) -> tuple[LabelChange, ...]:
    rows = Counter(row.label for row in outcomes)
    fixed = Counter(row.label for row in outcomes if row.candidate == row.label != row.champion)
    broken = Counter(row.label for row in outcomes if row.champion == row.label != row.candidate)
    found = [LabelChange(label, rows[label], fixed[label], broken[label]) for label in fixed.keys() | broken.keys()]
    return tuple(sorted(found, key=lambda change: (-abs(change.net), change.label)))


def _other(report: EvaluationReport) -> OtherKind | None:
    own = [row.candidate == row.label for row in report.outcomes if row.split is Split.TRAIN]
    if report.other_accuracy is None or not own:
        return None
    other = CandidateKind.INSTANT if report.kind is CandidateKind.DEEP else CandidateKind.DEEP
    return OtherKind(other, report.other_accuracy, sum(own) / len(own), len(own))


# Sentences


def knows_its_origin(report: EvaluationReport) -> bool:
    """Whether kind and start were written down, rather than filled in for a report from before they were."""
    return (
        report.milliseconds > 0
        or report.certainty is not None
        or report.kind is not CandidateKind.DEEP
        or report.started_from != "base"
    )


def percent(share: float) -> str:
    """0.9348 → "93.5 %", 0.95 → "95 %"."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def interval_words(interval: Interval) -> str:
    """ "86.5 to 97 %"."""
    return f"{percent(interval[0]).removesuffix(' %')} to {percent(interval[1])}"


def chance_words(chance: float | None) -> str:
    """ "96 % likely better"; empty where nothing is known. Never 0 or 100 %: that would be certain."""
    if chance is None:
        return ""
    whole = "> 99 %" if chance > 0.99 else "< 1 %" if chance < 0.01 else f"{100 * chance:.0f} %"
    return f"{whole} likely better"


def surer_words(surer: float | None) -> str:
    """ "golden texts' labels 4 points more probable"; empty where nothing is known."""
    if surer is None:
        return ""
    points = round(100 * abs(surer))
    count = f"{points} point{'s' if points != 1 else ''}"
    more = f"{count} {'more' if surer > 0 else 'less'} probable" if points else "as probable as before"
    return f"golden texts' labels {more}"


def flip_words(fixed: int, broken: int, still_wrong: int) -> str:
    """ "9 answers differ: 6 became right, 1 wrong, 2 wrong in another way"."""
    total = fixed + broken + still_wrong
    if not total:
        return "no answer differs"
    parts = [f"{fixed:,} became right", f"{broken:,} wrong"]
    if still_wrong:
        parts.append(f"{still_wrong:,} wrong in another way")
    return f"{total:,} answer{'s differ' if total > 1 else ' differs'}: {', '.join(parts)}"


def origin_words(kind: CandidateKind, started_from: str) -> str:
    """ "fine-tuned from v12", "fine-tuned from the base encoder, because …", or "the head alone, …"."""
    if kind is CandidateKind.INSTANT:
        return "the head alone, over the base encoder"
    start, comma, reason = started_from.partition(",")
    return f"fine-tuned from {'the base encoder' if start == 'base' else start}{comma}{reason}"


def other_words(other: OtherKind | None) -> str:
    """ "On 80 of these texts it gets 93.1 %, the head alone 88 %."; empty where there was no other."""
    if other is None:
        return ""
    name = "fine-tuning" if other.kind is CandidateKind.DEEP else "the head alone"
    texts = f"{other.rows:,} of these texts" if other.rows > 1 else "1 of these texts"
    return f"On {texts} it gets {percent(other.chosen_accuracy)}, {name} {percent(other.accuracy)}."


def calibration_words(error: float, before: float | None) -> str:
    """ "Its confidence is off by 2.8 % on average (9.8 % before calibration)."."""
    was = "" if before is None else f" ({percent(before)} before calibration)"
    return f"Its confidence is off by {percent(error)} on average{was}."


def coverage_words(certainty: Certainty) -> str:
    """ "Answers 84 % of the texts if 95 % of the answers have to be right, from confidence 0.61."."""
    wanted = percent(certainty.precision)
    if not certainty.coverage or certainty.coverage_from is None:
        return f"From which confidence {wanted} of the answers are right cannot be told yet."
    return (
        f"Answers {100 * certainty.coverage:.0f} % of the texts if {wanted} of the answers have to be right, "
        f"from confidence {certainty.coverage_from:.2f}."
    )


def sureness_words(sureness: Sureness) -> str:
    """From which confidence on it answers, why, and for how many texts."""
    on = f"It answers from confidence {sureness.threshold:.2f} on"
    checked = f"{sureness.checked:,} checked answer{'' if sureness.checked == 1 else 's'}"
    seen = f"of {checked}, {100 * sureness.answered:.0f} % reach that, and {percent(sureness.right)} of these are right"
    told = f"{on}: {seen}." if sureness.checked else f"{on}; no answer was checked yet."
    if sureness.precision is None:
        return f"The threshold is the model's own. {told}"
    wanted = percent(sureness.precision)
    if sureness.promised:
        return f"{wanted} of its answers should be right. {told}"
    return f"With {checked} {wanted} cannot be promised yet; until then the model's own threshold holds. {told}"


def scope_words(certainty: Certainty) -> str:
    """How well it knows what belongs to no label."""
    if not certainty.strangers_caught:
        return "Does not tell texts that belong to no label apart yet."
    return (
        f"Recognises {100 * certainty.strangers_caught:.0f} % of everyday texts about other things, and mistakes "
        f"{percent(certainty.turned_away)} of its own for such."
    )


def weight_words(encoder_bytes: int, milliseconds: float) -> str:
    """ "23 MB, 4.2 ms per text"; without what was not measured."""
    size = encoder_bytes / 1e6
    parts = [f"{size:.0f} MB" if size >= 10 else f"{size:.1f} MB"] if encoder_bytes else []
    return ", ".join([*parts, f"{milliseconds:.1f} ms per text"] if milliseconds else parts)
