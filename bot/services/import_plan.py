"""What an import would do to a classifier: new texts, conflicts, duplicates, new labels. Pure; writes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from bot.services.collection import BadLine, Row
from storage.classifiers import check_label_name
from storage.errors import InvalidInput
from storage.listing import Known
from storage.records import normalise, text_hash

MOST_NEW_LABELS = 500
"""New labels of one import at most: with more, text and label were most likely mixed up."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One text of an import, once, with its label as the classifier calls it. `now`: the label it has until then."""

    line: int
    text: str
    hash: str
    label: str | None
    now: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    rows: int
    """Rows that can be used, repeated texts included."""
    new: list[Planned]
    """Texts that the classifier does not have, with a label."""
    conflicts: list[Planned]
    """Texts that have another label now."""
    gaining: list[Planned]
    """Texts that are there and have no label now: from the pool, a tie, or removed."""
    pool: list[Planned]
    """New texts without a label."""
    unchanged: int
    """Texts that are there and have this label, or come without one."""
    repeated: int
    """Rows whose text comes again further down; that row counts."""
    contradicting: int
    """Of those, how many said something else than the row that counts."""
    new_labels: list[str]
    refused: list[BadLine]
    """Rows whose label cannot be one."""
    instead: dict[str, str] = field(default_factory=dict)
    """Labels of the file that are called otherwise by now, or were merged → what they count as."""

    @property
    def labelled(self) -> list[Planned]:
        """All that get a label, in the order of the file."""
        return sorted([*self.new, *self.conflicts, *self.gaining], key=lambda each: each.line)

    @property
    def is_empty(self) -> bool:
        return not (self.new or self.conflicts or self.gaining or self.pool)


def plan_import(rows: Sequence[Row], known: Known) -> Plan:
    """Compare rows with what a classifier has. Takes a second with 50,000 rows.

    Raises:
        InvalidInput: more than MOST_NEW_LABELS labels would be new.
    """
    names = _Names(known)
    usable, refused = [], []
    for row in rows:
        try:
            usable.append(Planned(row.line, row.text, text_hash(row.text), names.of(row.label)))
        except InvalidInput as error:
            refused.append(BadLine(row.line, str(error)))
    new_labels = list(names.new.values())
    if len(new_labels) > MOST_NEW_LABELS:
        raise InvalidInput(
            f"{len(new_labels):,} labels would be new; at most {MOST_NEW_LABELS} can be. "
            "Are `text` and `label` mixed up?"
        )
    distinct, contradicting = _distinct(usable)
    plan = Plan(len(usable), [], [], [], [], 0, len(usable) - len(distinct), contradicting, new_labels, refused)
    plan = replace(plan, instead=names.instead)
    return _sorted_out(plan, distinct, known)


def _sorted_out(plan: Plan, distinct: Iterable[Planned], known: Known) -> Plan:
    unchanged = 0
    for each in distinct:
        now = known.texts.get(each.hash)
        if each.label is None:
            if each.hash not in known.texts:
                plan.pool.append(each)
            else:
                unchanged += 1
        elif each.hash not in known.texts:
            plan.new.append(each)
        elif now is None:
            plan.gaining.append(each)
        elif now != each.label:
            plan.conflicts.append(replace(each, now=now))
        else:
            unchanged += 1
    return replace(plan, unchanged=unchanged)


def _distinct(rows: Iterable[Planned]) -> tuple[list[Planned], int]:
    """(each text once, how many repeated rows said something else). The last row with a label counts."""
    kept: dict[str, Planned] = {}
    contradicting = 0
    for each in rows:
        before = kept.get(each.hash)
        if before is None or each.label is not None:
            kept[each.hash] = each
        if before is not None and None not in (before.label, each.label) and before.label != each.label:
            contradicting += 1
    return list(kept.values()), contradicting


class _Names:
    """Labels of a file as the classifier calls them. New ones are collected in `new`, in order of appearance."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._said: dict[str, str] = {}
        self.new: dict[str, str] = {}
        """By normalised name."""
        self.instead: dict[str, str] = {}
        """Labels that were renamed or merged → what they count as."""

    def of(self, label: str | None) -> str | None:
        """Raises InvalidInput for what cannot be a label here."""
        if label is None:
            return None
        if label not in self._said:
            self._said[label] = self._find(label)
        return self._said[label]

    def _find(self, label: str) -> str:
        key = normalise(label)
        if key in self._known.archived:
            raise InvalidInput(f"the label “{label}” is archived")
        if (name := self._known.labels.get(key)) is not None:
            if normalise(name) != key:
                self.instead[label] = name
            return name
        return self.new.setdefault(key, check_label_name(label))
