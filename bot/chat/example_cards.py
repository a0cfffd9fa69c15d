"""Cards of looking after examples: found, removed, brought back, exported. Pure functions of records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bot.chat.cards import Attachment, Button, Card
from bot.chat.text import code, counted, line_of, quoted

if TYPE_CHECKING:
    from bot.services.examples import ExportedFile, Removal, SearchPage
    from storage.listing import FoundExample

MOST_TEXT = 100
"""Characters of a text in a list."""


def search_card(page: SearchPage) -> Card:
    """One page of what was found, newest first."""
    if not page.total:
        return Card(f"No example of {code(page.classifier.name)} {_wanted(page)}.")
    place = f"Page {page.page + 1} of {page.pages} · " if page.pages > 1 else ""
    return Card(
        title=f"Examples of {page.classifier.name}",
        body="\n".join([f"{counted(page.total, 'example')} {_wanted(page)}, newest first", *map(_line, page.found)]),
        footer=f"{place}/examples remove takes the number",
        rows=_turns(page),
    )


def _wanted(page: SearchPage) -> str:
    words = f"with {line_of(page.query, 60)}" if page.query else "in all" if page.total else "is there"
    if page.label is not None:
        words = f"labelled {code(page.label.name)}" + (f" {words}" if page.query else "")
    return words


def _line(found: FoundExample) -> str:
    label = code(found.label) if found.label else "no label"
    aside = " · kept aside" if found.golden else ""
    return f"**#{found.id}** {label}{aside} · {line_of(found.text, MOST_TEXT)}"


def _turns(page: SearchPage) -> tuple[tuple[Button, ...], ...]:
    label = page.label.id if page.label else 0
    turns = [("◀", page.page - 1)] if page.page else []
    turns += [("▶", page.page + 1)] if page.page + 1 < page.pages else []
    row = tuple(Button(sign, f"find:{page.classifier.id}:{label}:{number}:{page.query}") for sign, number in turns)
    return (row,) if row else ()


def removed_card(removal: Removal) -> Card:
    number = f"#{removal.example.id}"
    said = f" ({code(removal.label)})" if removal.label else ""
    words = f"Removed {number}{said}. It counts nowhere any more." if removal.done else f"{number} was removed already."
    back = Button("Bring it back", f"restore:{removal.example.id}")
    return Card(f"{words}\n{quoted(removal.example.text, 200)}", rows=((back,),))


def restored_card(removal: Removal) -> Card:
    now = f"It is {code(removal.label)}" if removal.label else "It has no label"
    words = (
        f"#{removal.example.id} is back. {now}, as before."
        if removal.done
        else f"#{removal.example.id} is there. {now}."
    )
    return Card(f"{words}\n{quoted(removal.example.text, 200)}")


def export_card(classifier: str, files: Sequence[ExportedFile]) -> Card:
    """The files themselves, for the one who asked."""
    parts = f" in {len(files)} files; each can be read by itself" if len(files) > 1 else ""
    words = (
        f"Every example of {code(classifier)}{parts}. They hold what people wrote: keep them as carefully as the chat."
    )
    return Card(words, files=tuple(Attachment(file.name, file.content) for file in files))
