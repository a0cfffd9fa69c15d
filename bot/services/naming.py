"""Which label a name or an id means, also a name that it had before; and what to say about one that means none."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from storage.classifiers import check_label_name
from storage.errors import InvalidInput, NotFound, UnknownLabel
from storage.label_changes import LabelChange, former_names
from storage.records import Classifier, Label, normalise


def find_label(
    classifier: Classifier, every: Sequence[Label], name: str, renamed: Sequence[LabelChange] = ()
) -> tuple[Label, str]:
    """(the label that a name means, what to say where it is called otherwise by now: "" as a rule).

    Args:
        every: all labels of the classifier, also those that are archived.
        renamed: its history, newest first; a label is also found by a name that it had.

    Raises:
        NotFound: none, or an archived one. UnknownLabel: none, but the name could be a label's.
    """
    by_id = {label.id: label for label in every}
    known = {normalise(label.name): label for label in every}
    found = known.get(normalise(name))
    if found is None and (former := former_names(renamed).get(normalise(name), 0)) in by_id:
        found = by_id[former]
        return (
            (found, f"`{shown(name)}` is called `{found.name}` now.") if not found.archived else _instead(found, by_id)
        )
    if found is None:
        raise _unknown(classifier, [label for label in every if not label.archived], name)
    return _instead(found, by_id) if found.archived else (found, "")


def label_with_id(classifier: Classifier, used: Iterable[Label], label_id: int) -> Label:
    """For buttons and menus. Raises NotFound: it has been merged or archived since they were shown."""
    for label in used:
        if label.id == label_id:
            return label
    raise NotFound(f"That label of `{classifier.name}` is in use no more. Choose another.")


def shown(name: str) -> str:
    """What somebody typed as a label, for a sentence: short, on one line, unable to end a code span."""
    return " ".join(name.replace("`", "'").split())[:60]


def _instead(label: Label, by_id: dict[int, Label]) -> tuple[Label, str]:
    target = by_id.get(label.merged_into or 0)
    if target is not None and not target.archived:
        return target, f"`{label.name}` was merged into `{target.name}`."
    raise NotFound(f"`{label.name}` is archived. A lead can bring it back with /labels restore.")


def _unknown(classifier: Classifier, labels: Sequence[Label], name: str) -> NotFound:
    keys = {normalise(label.name): label.name for label in labels}
    near = difflib.get_close_matches(normalise(name), keys, n=3, cutoff=0.5) or list(keys)[:5]
    listed = ", ".join(f"`{keys[key]}`" for key in near)
    if listed:
        sentence = f"`{classifier.name}` has no label `{shown(name)}`. Did you mean {listed}?"
    else:
        sentence = f"`{classifier.name}` has no labels yet. A lead creates one with /labels create."
    try:
        return UnknownLabel(sentence, check_label_name(name))
    except InvalidInput:  # nobody could create it either
        return NotFound(sentence)
