"""The card of two versions side by side, verdict first. Pure functions of records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.chat.cards import Card
from bot.chat.text import block, code, column, counted, cut, escaped, line_of, when
from storage.records import VersionState
from storage.report_figures import (
    chance_words,
    flip_words,
    interval_words,
    knows_its_origin,
    origin_words,
    percent,
    weight_words,
    wilson,
)

if TYPE_CHECKING:
    from bot.services.comparison import Comparison, RecallChange, Side

PROBABLY, SURELY = 0.8, 0.95
"""How probable it has to be that one is the better, to be called so."""
LABEL_ROWS = 8
LABEL_WIDTH = 20
STATES = {VersionState.CHAMPION: "live", VersionState.RETIRED: "was live", VersionState.DAMAGED: "damaged"}


def compare_card(found: Comparison) -> Card:
    fields = [(each.name, _side_words(each)) for each in (found.first, found.second)]
    if found.shared:
        fields.append(("What flipped", _flipped(found)))
    if found.recalls:
        fields.append(("Share found, by label", _recalls(found)))
    return Card(
        title=f"{found.first.name} and {found.second.name} of {found.classifier}",
        body=f"**{verdict(found)}**",
        fields=tuple(fields),
    )


def verdict(found: Comparison) -> str:
    """Which is better, in one sentence."""
    first, second = found.first, found.second
    change = f"{first.accuracy:.2f} → {second.accuracy:.2f}"
    if not found.shared:
        return (
            f"{first.name} and {second.name} were measured on different texts ({change}), so which is better cannot be "
            "told."
        )
    fixed, broken = len(found.flips.fixed), len(found.flips.broken)
    told = f"{_became(fixed, broken)}, of {counted(len(found.shared), 'text')} that both were asked"
    chance = found.chance_better
    if chance is None:
        return f"{second.name} is as good as {first.name}: {told}."
    surest = max(chance, 1 - chance)
    if surest < PROBABLY:
        return f"{second.name} cannot be told from {first.name}: {told}."
    word = ("" if surest >= SURELY else "probably ") + ("better" if chance > 0.5 else "worse")
    likely = chance_words(surest).removesuffix(" better")
    return f"{second.name} is {word} than {first.name} ({likely}): {told}."


def _became(fixed: int, broken: int) -> str:
    """ "2 answers became right and 1 wrong"."""
    right = "no answer became right" if not fixed else f"{counted(fixed, 'answer')} became right"
    return f"{right} and {broken or 'none'} wrong"


def _side_words(side: Side) -> str:
    """Its figures, its weight, its origin."""
    interval = interval_words(wilson(round(side.accuracy * side.rows), side.rows))
    lines = [
        f"right in {percent(side.accuracy)} ({interval}) of {counted(side.rows, 'text')}, macro-F1 {side.macro_f1:.2f}"
    ]
    if side.version is None or side.report is None:
        return "\n".join([*lines, "the base encoder with the labels of that time"])
    report, version = side.report, side.version
    facts = [STATES.get(version.state, "not live"), f"trained {when(version.created_at)}"]
    lines.append(" · ".join(filter(None, [*facts, weight_words(report.encoder_bytes, report.milliseconds)])))
    origin = [escaped(origin_words(report.kind, report.started_from))] if knows_its_origin(report) else []
    lines.append(
        ", ".join(
            [*origin, f"learned {counted(report.train_rows, 'text')}", f"measured against {escaped(report.champion)}"]
        )
    )
    return "\n".join(lines)


def _flipped(found: Comparison) -> str:
    """How many answers differ, and the first texts of which."""
    differ = found.flips
    told = flip_words(len(differ.fixed), len(differ.broken), len(differ.still_wrong))
    lines = [told[:1].upper() + told[1:] + "."]
    by_id = {row.example_id: row for row in found.shared}
    for word, ids in (("fixed", differ.fixed), ("broken", differ.broken)):
        shown = [number for number in ids if number in found.texts]
        for number in shown:
            text, row = line_of(found.texts[number], 60), by_id[number]
            lines.append(f"{word}: {text} · {code(row.champion)} → {code(row.candidate)}")
        if left := len(ids) - len(shown):
            lines.append(f"and {left} more {word}")
    return "\n".join(lines)


def _recalls(found: Comparison) -> str:
    changed = [each for each in found.recalls if each.before != each.after]
    if not changed:
        return "The same for every label."
    shown = changed[:LABEL_ROWS]
    width = column(["label", *(each.label for each in shown)], LABEL_WIDTH)
    lines = [
        f"{'label':<{width}} {found.first.name:>5} {found.second.name:>5}",
        *(_recall(each, width) for each in shown),
    ]
    if (left := len(changed) - LABEL_ROWS) > 0:
        lines.append(f"and {left} more, which changed less")
    if same := len(found.recalls) - len(changed):
        lines.append(f"{counted(same, 'label')} the same")
    return block(lines)


def _recall(change: RecallChange, width: int) -> str:
    return f"{cut(change.label, width):<{width}} {change.before:>5.2f} {change.after:>5.2f}"
