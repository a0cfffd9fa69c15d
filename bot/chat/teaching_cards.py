"""Cards of `/teach`: one question after the other on one card, and what a round came to. Pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.chat.answer_cards import WHICH_LABEL, saved_words
from bot.chat.cards import MAX_CHOICES, Button, Card, Choice, Form, Input, Menu, Style, Tone
from bot.chat.paging import page_of, turns
from bot.chat.text import code, counted, cut, escaped, quoted
from storage.records import MAX_LABEL, Outcome

if TYPE_CHECKING:
    from bot.services.teaching import Asked, Step

FEW_LABELS = 8
"""Up to here each label is a button."""
IN_A_ROW = 4
SHOWN = 1500
"""Characters of a text that are shown."""


def step_card(step: Step, page: int = 0, *, note: str = "") -> Card:
    """The question to answer now, or what the round came to. `note` says what went wrong."""
    told = note or _told(step)
    return _over_card(step, told) if step.asked is None else _question_card(step, step.asked, page, told)


def _told(step: Step) -> str:
    """What the last answer did."""
    if step.undone is not None:
        return f"Took {code(step.undone.label)} back."
    if step.receipt is None:
        return ""
    return saved_words(step.receipt)


def _question_card(step: Step, asked: Asked, page: int, told: str) -> Card:
    few = len(asked.labels) <= FEW_LABELS
    described = [f"{code(label.name)} {escaped(label.description)}" for label in asked.labels if label.description]
    which = "\n".join([f"**{WHICH_LABEL}**", *(described if few else ())])
    parts = [told, quoted(asked.question.text, SHOWN), which]
    if asked.rules:
        rules = [f"{code(label)} — {escaped(cut(text, 150))}" for label, text in asked.rules]
        parts.append("\n".join(["Your team's rules:", *rules]))
    rows = _buttons(asked) if few else _menu(asked, page)
    return Card(
        title=f"Teach {step.classifier.name} · {step.answered + 1} of {step.round.wanted}",
        body="\n\n".join(filter(None, parts)),
        footer=_footer(step),
        rows=(*rows, _controls(step, asked)),
    )


def _buttons(asked: Asked) -> list[tuple[Button, ...]]:
    buttons = [Button(label.name, _id(asked, "is", label.id), Style.BLUE) for label in asked.labels]
    return [tuple(buttons[start : start + IN_A_ROW]) for start in range(0, len(buttons), IN_A_ROW)]


def _menu(asked: Asked, page: int) -> list[tuple[Button, ...] | Menu]:
    """A page of labels; where there are more pages, ways to turn them and to type the name instead."""
    shown = page_of(asked.labels, page, MAX_CHOICES)
    choices = tuple(Choice(str(label.id), label.name, label.description) for label in shown.items)
    if shown.pages == 1:
        return [Menu(_id(asked, "pick"), "Choose a label", choices)]
    prompt = f"Choose a label (page {shown.number + 1} of {shown.pages})"
    turn = (*turns(_id(asked, "page"), shown.number, shown.pages), Button("Type it", _id(asked, "type"), Style.BLUE))
    return [Menu(_id(asked, "pick"), prompt, choices), turn]


def _controls(step: Step, asked: Asked) -> tuple[Button, ...]:
    return (Button("Unsure", _id(asked, "unsure")), Button("Skip", _id(asked, "skipped")), *_undo(step))


def _undo(step: Step) -> tuple[Button, ...]:
    """It names the answer that it takes back: pressed twice, it takes no second one."""
    return (Button("Undo", f"round:{step.round.id}:undo:{step.last}"),) if step.answered else ()


def _id(asked: Asked, what: str, number: int | None = None) -> str:
    """ "round:1f2e3d:4:is:17": everything that a later process needs to know."""
    question = asked.question
    return ":".join(["round", question.round, str(question.position), what, *([] if number is None else [str(number)])])


def _footer(step: Step) -> str:
    return " · ".join(filter(None, [_tally(step), f"{counted(step.waiting, 'text')} without a label"]))


def _tally(step: Step) -> str:
    """ "taught 8, unsure 1, skipped 1"; empty before the first answer."""
    words = {Outcome.LABELLED: "taught", Outcome.UNSURE: "unsure", Outcome.SKIPPED: "skipped"}
    return ", ".join(f"{word} {step.tally[outcome]}" for outcome, word in words.items() if step.tally[outcome])


def _over_card(step: Step, told: str) -> Card:
    taught = step.tally[Outcome.LABELLED]
    early = "" if step.answered >= step.round.wanted else "There is no other text for you to look at just now."
    thanks = f"Thank you: {counted(taught, 'text')} taught." if taught else "Thank you. Nothing was taught this time."
    knows = "The next answers know it already." if taught else ""
    more = (Button("Teach more", f"more:{step.classifier.name}:{step.round.wanted}", Style.GREEN),)
    buttons = (*(more if step.waiting else ()), *_undo(step))
    return Card(
        title=f"Teach {step.classifier.name} · done",
        body="\n\n".join(filter(None, [told, " ".join(filter(None, [thanks, knows, early]))])),
        footer=_footer(step),
        tone=Tone.GOOD,
        rows=(buttons,) if buttons else (),
    )


def typed_form(round_id: str, position: str) -> Form:
    """Asks for a label by name, where there are too many to look through."""
    return Form(f"round:{round_id}:{position}:typed", WHICH_LABEL, (Input("label", "Label", most=MAX_LABEL),))
