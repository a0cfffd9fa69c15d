"""The card of /history: what one person did, newest first, with a menu to take one back."""

from __future__ import annotations

from collections.abc import Sequence

from bot.chat.cards import Card, Choice, Menu
from bot.chat.curating_cards import PAGE, place_words, turn_row
from bot.chat.text import code, cut, escaped
from storage.examples import Write
from storage.records import EventKind

EVERYWHERE = "-"
"""In an id: no classifier was named. No classifier can be called so."""
TEXT = 80
"""Characters of a text on one line."""


def history_card(writes: Sequence[Write], total: int, page: int, classifier: str | None, note: str = "") -> Card:
    """`writes`: one page of PAGE, `page` counted from 0, of `total`. `note`: what was done just now."""
    if not total:
        return Card("You have given no label yet. `/label` gives one.")
    key = classifier or EVERYWHERE
    lines = [_line(one, named=classifier is None) for one in writes]
    choices = tuple(Choice(str(one.event.id), _choice(one)) for one in writes if _can_change(one))
    menu = (Menu(f"takeback:{key}:{page}", "Take one back", choices),) if choices else ()
    pages = -(-total // PAGE)
    return Card(
        title=f"What you did in {classifier}" if classifier else "What you did",
        body="\n".join(filter(None, [note and f"{note}\n", *lines])),
        footer=place_words(total, page, "entry", "entries"),
        rows=(*menu, *turn_row(f"history:{key}", page, pages)),
    )


def _line(one: Write, *, named: bool) -> str:
    words = [f"<t:{int(one.event.created_at)}:R>", _did(one), f"#{one.event.example_id}"]
    words += [f"in {code(one.classifier)}"] if named else []
    return f"{' '.join(words)} {escaped(_cut(one.text))}"


def _did(one: Write) -> str:
    if one.event.kind is EventKind.RETRACTION:
        return f"{'a lead took' if one.by_lead else 'took'} {code(one.label)} back"
    did = "settled as" if one.event.kind is EventKind.RULING else "labelled"
    return f"**{did} {code(one.label)}**" if one.stands else f"~~{did} {code(one.label)}~~"


def _choice(one: Write) -> str:
    done = "give again: " if one.event.kind is EventKind.RETRACTION else ""
    return f"{done}{one.label} · #{one.event.example_id} · {_cut(one.text)}"


def _can_change(one: Write) -> bool:
    return one.stands or (one.event.kind is EventKind.RETRACTION and one.newest and not one.by_lead)


def _cut(text: str) -> str:
    return cut(" ".join(text.split()), TEXT)
