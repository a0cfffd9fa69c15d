"""Cards of settling a conflict: who said what, the labels in question, and what was settled just before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.chat.cards import Button, Card, Form, Input, Style
from bot.chat.curating_cards import rule_line
from bot.chat.text import code, escaped, listed, quoted, when
from storage.rules import MAX_RULE

if TYPE_CHECKING:
    from bot.services.conflicts import Settled, Tie

MOST_BUTTONS = 4
"""Labels with a button of their own; the fifth place opens the menu of all."""
MOST_SAID = 12
MOST_RULES = 8

Rows = tuple[tuple[Button, ...], ...]


def tie_card(classifier: str, tie: Tie | None, note: str = "", rows: Rows = ()) -> Card:
    """A text to settle. `note` and `rows` belong to the one that was settled just before."""
    if tie is None:
        left = "No conflict is left" if note else "There is no conflict"
        words = f"{left} in {code(classifier)}: every text has a label that most agree on, or that a lead has chosen."
        return Card("\n".join(filter(None, [note, words])), rows=rows)
    said = [f"{escaped(one.who)} said {code(one.label)} {when(one.at)}" for one in tie.said]
    names = {label.id: label.name for label in tie.labels}
    rules = [rule_line(rule, names[rule.label_id]) for rule in tie.rules]
    parts = [note, quoted(tie.text, 1500), listed(said, MOST_SAID, "\n")]
    parts += [f"**Rules**\n{listed(rules, MOST_RULES, chr(10))}"] if rules else []
    return Card(
        title=f"Conflict {tie.place} of {tie.total}",
        body="\n\n".join(filter(None, parts)),
        footer=f"{classifier} · #{tie.example_id} · your choice outranks the votes",
        rows=(_label_row(classifier, tie), (Button("Skip", f"tie:{classifier}:{tie.example_id}"),), *rows),
    )


def _label_row(classifier: str, tie: Tie) -> tuple[Button, ...]:
    at = f"{classifier}:{tie.example_id}"
    buttons = [Button(label.name, f"settle:{at}:{label.id}", Style.BLUE) for label in tie.labels[:MOST_BUTTONS]]
    return (*buttons, Button("Other label", f"pick:c.{classifier}.{tie.example_id}:0"))


def settled_note(settled: Settled) -> str:
    return f"Settled: #{settled.example_id} is {code(settled.label.name)}."


def settled_rows(classifier: str, settled: Settled) -> Rows:
    """What can be done with the text that was settled just before."""
    at = f"{classifier}:{settled.example_id}"
    undo = Button(f"Undo #{settled.example_id}", f"unsettle:{at}:{settled.event_id}")
    rule = Button(f"Add a rule for {settled.label.name}", f"rule:{at}:{settled.label.id}:{settled.event_id}")
    return ((undo, rule),)


def rule_form(about: str) -> Form:
    """Asks for the reason, which becomes a rule of the label. `about`: what the button's id says after "rule:"."""
    reason = Input("reason", "Why do such texts have this label?", long=True, most=MAX_RULE)
    return Form(f"ruled:{about}", "A rule of the codebook", (reason,))
