"""The card of /history: what one person did, newest first, with a menu to take one back."""

from __future__ import annotations

from collections.abc import Sequence

from bot.chat.cards import Card, Choice, Menu
from bot.chat.paging import page_count, place_words, rows_of, turns
from bot.chat.text import code, counted, line_of, one_line, when
from storage.records import EventKind
from storage.writes import Write

EVERYWHERE = "-"
"""In an id: no classifier was named. No classifier can be called so."""
PAGE = 10
"""Lines on one page."""
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
    pages = page_count(total, PAGE)
    return Card(
        title=f"What you did in {classifier}" if classifier else "What you did",
        body="\n".join(filter(None, [note and f"{note}\n", *lines])),
        footer=place_words(page, pages, f"{counted(total, 'entry', 'entries')} in all"),
        rows=(*menu, *rows_of(turns(f"history:{key}", page, pages))),
    )


def _line(one: Write, *, named: bool) -> str:
    words = [when(one.event.created_at), _did(one), f"#{one.event.example_id}"]
    words += [f"in {code(one.classifier)}"] if named else []
    return f"{' '.join(words)} {line_of(one.text, TEXT)}"


def _did(one: Write) -> str:
    if one.event.kind is EventKind.RETRACTION:
        return f"{'a lead took' if one.by_lead else 'took'} {code(one.label)} back"
    did = "settled as" if one.event.kind is EventKind.RULING else "labelled"
    return f"**{did} {code(one.label)}**" if one.stands else f"~~{did} {code(one.label)}~~"


def _choice(one: Write) -> str:
    done = "give again: " if one.event.kind is EventKind.RETRACTION else ""
    return f"{done}{one.label} · #{one.event.example_id} · {one_line(one.text, TEXT)}"


def _can_change(one: Write) -> bool:
    return one.stands or (one.event.kind is EventKind.RETRACTION and one.newest and not one.by_lead)
