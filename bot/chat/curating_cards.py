"""Cards of changing labels: previews, what was done, history, the codebook, labels taken back. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bot.chat.cards import Button, Card, Choice, Menu, Style, Tone
from bot.chat.paging import page_of, place_words, rows_of, turns
from bot.chat.text import code, counted, cut, escaped, person_words, quoted, when
from storage.label_changes import ChangeKind, LabelChange
from storage.reverts import Restored, Revert
from storage.rules import Rule

if TYPE_CHECKING:
    from bot.services.curation import ChangeDone, ChangePreview, ToldChange
    from bot.services.reverting import RevertDraft

PAGE = 10
"""Lines on one page of a list."""

_VERBS = {
    ChangeKind.RENAME: "Rename",
    ChangeKind.MERGE: "Merge",
    ChangeKind.ARCHIVE: "Archive",
    ChangeKind.RESTORE: "Bring back",
    ChangeKind.DESCRIBE: "Describe",
}


def change_preview_card(preview: ChangePreview) -> Card:
    """What will happen, and the button that does it."""
    style = Style.RED if preview.kind in {ChangeKind.MERGE, ChangeKind.ARCHIVE} else Style.BLUE
    button = Button(_VERBS[preview.kind], f"change:{preview.draft_id}", style)
    return Card(body=_preview_words(preview), tone=Tone.CAREFUL, footer="Nothing has changed yet.", rows=((button,),))


def _preview_words(preview: ChangePreview) -> str:
    name, texts = code(preview.label.name), counted(preview.texts, "text")
    have = "has" if preview.texts == 1 else "have"
    match preview.kind:
        case ChangeKind.RENAME:
            return (
                f"**Rename {name} to {code(preview.words)}?**\n{texts} {have} this label. What was learned about "
                "it stays."
            )
        case ChangeKind.MERGE if preview.into is not None:
            into = code(preview.into.label.name)
            ends = f" {counted(preview.ends, 'conflict')} {'ends' if preview.ends == 1 else 'end'} with it."
            return (
                f"**Merge {name} into {into}?**\n{texts} {have} the label {name} and will count as {into}, which has "
                f"{counted(preview.into.total, 'text')} now.{ends if preview.ends else ''} {name} is archived; whoever "
                f"gives it, gives {into}."
            )
        case ChangeKind.ARCHIVE:
            return (
                f"**Archive {name}?**\n{texts} {have} this label. Whatever has it stays stored, but counts nowhere "
                "until the label is brought back: not for answers, not for trainings."
            )
        case ChangeKind.RESTORE:
            apart = " It is a label of its own again." if preview.label.merged_into else ""
            return (
                f"**Bring {name} back?**{apart}\n{counted(preview.texts, 'text was', 'texts were')} given this label."
            )
        case _ if not preview.words:
            return f"**Take the description of {name} away?**\n{texts} {have} this label."
        case _:
            return (
                f"**Describe {name} like this?**\n{quoted(preview.words)}\nThe model reads it beside the name. "
                f"{texts} {have} this label."
            )


def change_done_card(done: ChangeDone) -> Card:
    """What was done, with Undo; or that it had been done before."""
    words = change_words(done.change, done.name, done.into)
    if not done.new:
        words = f"That was done already. {words}"
    return Card(words, rows=((Button("Undo", f"unchange:{done.change.id}"),),))


def change_undone_card(done: ChangeDone) -> Card:
    """After Undo. `done.change` is the undo, or, where there was one before, the change itself."""
    if not done.new:
        return Card("That was taken back already.")
    return Card(f"Taken back. {undone_words(done.change, done.name)}")


def change_words(change: LabelChange, name: str, into: str | None) -> str:
    """One sentence about a change; `name` and `into` are the names of today."""
    match change.kind:
        case ChangeKind.RENAME:
            return f"{code(_old_name(change))} is called {code(_new_name(change))} now."
        case ChangeKind.MERGE:
            moved = len(change.after) - 1
            along = (
                f" So {'was' if moved == 1 else 'were'} {counted(moved, 'label')} merged into it before."
                if moved
                else ""
            )
            return f"{code(name)} was merged into {code(into or '?')}.{along}"
        case ChangeKind.ARCHIVE:
            return f"{code(name)} was archived."
        case ChangeKind.RESTORE:
            return f"{code(name)} was brought back."
        case ChangeKind.DESCRIBE:
            words = str(change.after[change.label_id]["description"])
            return (
                f"{code(name)} is described as “{escaped(cut(words, 200))}”."
                if words
                else f"{code(name)} has no description now."
            )
    return undone_words(change, name)


def undone_words(undo: LabelChange, name: str) -> str:
    """What an undo put back, told by what it wrote."""
    state = undo.after[undo.label_id]
    if "name" in state:
        return f"{code(_old_name(undo))} is called {code(str(state['name']))} again."
    if "description" in state:
        words = str(state["description"])
        return (
            f"{code(name)} has its earlier description again." if words else f"{code(name)} has no description again."
        )
    return f"{code(name)} is archived again." if state.get("archived") else f"{code(name)} is in use again."


def _old_name(change: LabelChange) -> str:
    return str(change.before[change.label_id]["name"])


def _new_name(change: LabelChange) -> str:
    return str(change.after[change.label_id]["name"])


def changes_card(classifier: str, changes: Sequence[ToldChange], page: int) -> Card:
    """The history of a classifier's labels, newest first, and a menu to take one of the page back."""
    if not changes:
        return Card(f"No label of {code(classifier)} has been renamed, merged, archived or described yet.")
    shown = page_of(changes, page, PAGE)
    lines = [_change_line(told) for told in shown.items]
    open_ones = [told for told in shown.items if not told.undone and told.change.kind is not ChangeKind.UNDO]
    choices = tuple(
        Choice(str(told.change.id), _bare(change_words(told.change, told.name, told.into))) for told in open_ones
    )
    menu = (Menu(f"unchanges:{classifier}", "Take one back (leads)", choices),) if choices else ()
    return Card(
        title=f"Changes of the labels of {classifier}",
        body="\n".join(lines),
        footer=place_words(shown.number, shown.pages, f"{counted(len(changes), 'change')} in all"),
        rows=(*menu, *rows_of(turns(f"changes:{classifier}", shown.number, shown.pages))),
    )


def _change_line(told: ToldChange) -> str:
    words = change_words(told.change, told.name, told.into)
    if told.change.kind is ChangeKind.UNDO:
        words = f"Undo: {words}"
    return f"{when(told.change.created_at)} {escaped(told.who)}: {words}{' *(taken back)*' if told.undone else ''}"


def _bare(words: str) -> str:
    """For the line of a menu, which shows no markdown."""
    return words.replace("`", "").replace("\\", "")


# Labels of one person, taken back


def revert_preview_card(draft: RevertDraft, classifier: str, member: str) -> Card:
    """`member`: an annotator id."""
    preview, since = draft.preview, when(draft.since, "f")
    if not preview.labels:
        return Card(f"{person_words(member)} has given no label in {code(classifier)} since {since} that still counts.")
    labels, texts = counted(preview.labels, "label"), counted(preview.texts, "text")
    changed = (
        f"{counted(preview.changed, 'text')} would have another label, or none"
        if preview.changed
        else ("no text would have another label")
    )
    return Card(
        body=f"**Take back what {person_words(member)} has labelled in {code(classifier)} since {since}?**\n"
        f"That is {labels} on {texts}; {changed}.",
        tone=Tone.CAREFUL,
        footer="Nothing has changed yet.",
        rows=((Button(f"Take {labels} back", f"revert:{draft.draft_id}", Style.RED),),),
    )


def reverted_card(revert: Revert, new: bool) -> Card:
    taken = f"{counted(revert.labels, 'label')} of {person_words(revert.annotator)}"
    done = f"Took {taken} back, since {when(revert.since, 'f')}."
    words = done if new else f"That was done already. {done}"
    return Card(words, rows=((Button("Undo", f"unrevert:{revert.id}"),),))


def restored_card(restored: Restored | None) -> Card:
    if restored is None:
        return Card("Those labels were brought back already.")
    left = (
        f" Left out because of what was said or done since: {counted(restored.left, 'text')}." if restored.left else ""
    )
    return Card(f"Brought {counted(restored.labels, 'label')} back.{left}")


# The codebook


def rules_card(classifier: str, rules: Sequence[Rule], names: Mapping[int, str], page: int, *, lead: bool) -> Card:
    """The rules by label; leads may remove one. `names`: labels in use by id."""
    used = sorted((rule for rule in rules if rule.label_id in names), key=lambda rule: names[rule.label_id])
    if not used:
        return Card(
            f"{code(classifier)} has no rules yet. A lead adds one after settling a text with /conflicts, with **Add a "
            "rule**."
        )
    shown = page_of(used, page, PAGE)
    choices = tuple(Choice(str(rule.id), f"{names[rule.label_id]}: {rule.text}") for rule in shown.items)
    menu = (Menu(f"unrule:{classifier}", "Remove a rule", choices),) if lead else ()
    return Card(
        title=f"Rules of {classifier}",
        body="\n".join(rule_line(rule, names[rule.label_id]) for rule in shown.items),
        footer=place_words(shown.number, shown.pages, f"{counted(len(used), 'rule')} in all"),
        rows=(*menu, *rows_of(turns(f"rules:{classifier}", shown.number, shown.pages))),
    )


def rule_line(rule: Rule, label: str) -> str:
    example = f" (#{rule.example_id})" if rule.example_id is not None else ""
    return f"{code(label)}: {escaped(rule.text)}{example}"


def rule_removed_card(rule: Rule | None, rule_id: int) -> Card:
    if rule is None:
        return Card("That rule was removed already.")
    return Card(f"Removed the rule:\n{quoted(rule.text)}", rows=((Button("Undo", f"rerule:{rule_id}"),),))
