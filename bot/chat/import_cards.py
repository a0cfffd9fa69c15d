"""Cards of importing: what a file would do, what it did, and that it was taken back. Pure functions of records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from bot.chat.cards import MAX_CHOICES, Button, Card, Choice, Form, Input, Style, Tone
from bot.chat.text import code, counted, line_of, listed
from storage.records import MAX_LABEL, MAX_TEXT

if TYPE_CHECKING:
    from bot.services.collection import BadLine
    from bot.services.import_plan import Plan, Planned
    from bot.services.imports import AppliedImport, Imported, ImportPreview, UndoneImport

SHOWN = 5
"""Conflicts and bad lines that a preview tells; the others are counted."""
NAMED = 15
"""New labels that are named."""


def preview_card(preview: ImportPreview) -> Card:
    """What Apply would do, and what it would leave out. Nothing has been done."""
    plan, what = preview.plan, code(preview.name) if preview.name else "The pasted texts"
    parts = [
        f"{what}: {counted(plan.rows + len(preview.bad), 'row')}. **Nothing is imported yet.**",
        "\n".join(_would_do(plan)) or "There is nothing to import.",
        "\n".join(_left(plan)),
        _conflicts(plan.conflicts),
        _bad_lines(preview.bad),
    ]
    buttons = (
        Button("Apply", f"import:{preview.token}", Style.GREEN),
        Button("Cancel", f"import-no:{preview.token}"),
    )
    return Card(
        title=f"Import into {preview.classifier.name}",
        body="\n\n".join(filter(None, parts)),
        footer="The preview is kept for an hour, also when Pupil restarts." if preview.token else "",
        tone=Tone.CAREFUL if preview.bad or plan.conflicts else Tone.NEUTRAL,
        rows=(buttons,) if preview.token else (),
    )


def _would_do(plan: Plan) -> Iterator[str]:
    if plan.new:
        yield f"• {counted(len(plan.new), 'new text')} with a label"
    if plan.gaining:
        yield f"• a label for {counted(len(plan.gaining), 'text')} without one until now"
    if plan.conflicts:
        yield f"• your vote for another label on {counted(len(plan.conflicts), 'text')}"
    if plan.pool:
        yield f"• {counted(len(plan.pool), 'new text')} without a label, to be asked about by `/teach`"
    if plan.instead:
        pairs = [f"{code(old)} as {code(now)}" for old, now in plan.instead.items()]
        yield f"• labels that were renamed or merged count: {listed(pairs, NAMED)}"
    if plan.new_labels:
        names = listed([code(name) for name in plan.new_labels], NAMED)
        yield f"• {counted(len(plan.new_labels), 'new label')}: {names}"


def _left(plan: Plan) -> Iterator[str]:
    if plan.unchanged:
        yield f"• nothing to do for {counted(plan.unchanged, 'text')} already here"
    if plan.repeated:
        other = f" ({plan.contradicting} with another label: the last one counts)" if plan.contradicting else ""
        yield f"• {counted(plan.repeated, 'row repeats', 'rows repeat')} a text of the file{other}"


def _conflicts(conflicts: Sequence[Planned]) -> str:
    if not conflicts:
        return ""
    lines = [f"{code(each.now or '')} → {code(each.label or '')} {line_of(each.text, 80)}" for each in conflicts]
    return (
        f"**Another label: now → then**\n{_shown(lines)}\n"
        "It counts as your vote. Where that makes a tie, the text has no label until somebody breaks it."
    )


def _bad_lines(bad: Sequence[BadLine]) -> str:
    if not bad:
        return ""
    lines = [f"line {each.line}: {_reason(each.why)}" for each in bad]
    return f"**{counted(len(bad), 'line')} left out**\n{_shown(lines)}"


def _reason(why: str) -> str:
    """The first sentence, as it reads after a colon."""
    first = why.partition(". ")[0].rstrip(".")
    return first[:1].lower() + first[1:]


def _shown(lines: Sequence[str]) -> str:
    """The first few lines, and one that counts the others."""
    return "\n".join([*lines[:SHOWN], *([f"… and {len(lines) - SHOWN:,} more"] if len(lines) > SHOWN else [])])


def imported_card(applied: AppliedImport) -> Card:
    """What an import did, with the undo of all of it."""
    did, what = applied.did, code(applied.name) if applied.name else "the pasted texts"
    begin = "Imported" if not applied.again else "This was imported already, once:"
    words = [f"{begin} {what} into {code(applied.classifier.name)}: {listed(list(_counts(did)), 9) or 'no change'}."]
    if did.new_labels:
        words.append(f"New labels: {listed([code(name) for name in did.new_labels], NAMED)}.")
    if did.left_out:
        words.append(f"{counted(did.left_out, 'line was', 'lines were')} left out.")
    if applied.undone:
        return Card(" ".join([*words, "It was taken back since."]))
    return Card(" ".join(words), rows=((Button("Undo import", f"import-undo:{applied.token}"),),))


def _counts(did: Imported) -> Iterator[str]:
    if did.new:
        yield counted(did.new, "new text")
    if did.gained:
        yield f"a label for {counted(did.gained, 'text')} that had none"
    if did.changed:
        yield f"your vote on {counted(did.changed, 'text')} with another label"
    if did.pool:
        yield f"{counted(did.pool, 'text')} without a label for `/teach`"


def done_last_card(applied: AppliedImport) -> Card:
    """For /undo: what was done last are many labels at once."""
    what = code(applied.name) if applied.name else "the pasted texts"
    of = f"the import of {what} into {code(applied.classifier.name)} ({listed(list(_counts(applied.did)), 9)})"
    if applied.undone:
        return Card(
            f"What you did last was to take {of} back. To have it again, import it again; `/history` brings back "
            "single labels. Nothing was changed."
        )
    row = (Button("Undo import", f"import-undo:{applied.token}"),)
    return Card(
        f"What you did last was {of}. Take all of it back? `/history` takes back single labels. Nothing was changed.",
        rows=(row,),
    )


def undone_card(undone: UndoneImport) -> Card:
    words = [f"Took the import into {code(undone.classifier.name)} back: {counted(undone.labels, 'label')}"]
    words[0] += f" and {counted(undone.pool, 'text')} without a label." if undone.pool else "."
    if undone.kept:
        words.append(f"Somebody has labelled {counted(undone.kept, 'text')} since: they stay.")
    if undone.new_labels:
        words.append(f"The new labels stay: {listed([code(name) for name in undone.new_labels], NAMED)}.")
    return Card(" ".join(words))


def paste_form(classifier: str, labels: Sequence[str], label: str = "") -> Form:
    """Texts, one per line, and their label. More than 25 labels are typed instead of chosen."""
    choices = tuple(Choice(name, name) for name in labels) if len(labels) <= MAX_CHOICES else ()
    return Form(
        f"paste:{classifier}",
        f"Texts for {classifier}",
        (
            Input("texts", "Texts, one per line", long=True, most=MAX_TEXT),
            Input("label", "Label of all of them", value=label[:MAX_LABEL], most=MAX_LABEL, choices=choices),
        ),
    )
