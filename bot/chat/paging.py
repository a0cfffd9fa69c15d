"""Long lists, page by page: what stands on a page, which one it is, and the buttons that turn to its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from bot.chat.cards import Button

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    items: Sequence[Item]
    number: int
    """From 0; readers see it from 1."""
    pages: int


def page_of(items: Sequence[Item], number: int, size: int) -> Page[Item]:
    """The page with this number; one too far is the last one, as a list may have become shorter since."""
    pages = page_count(len(items), size)
    number = min(max(0, number), pages - 1)
    return Page(items[number * size : (number + 1) * size], number, pages)


def page_count(total: int, size: int) -> int:
    """An empty list has one page, too."""
    return max(1, -(-total // size))


def turns(key: str, number: int, pages: int, rest: str = "") -> tuple[Button, ...]:
    """◀ and ▶ with the ids "key:page" + `rest`, as far as there is a page to turn to."""
    back = (Button("◀", f"{key}:{number - 1}{rest}"),) if number else ()
    return (*back, Button("▶", f"{key}:{number + 1}{rest}")) if number + 1 < pages else back


def place_words(number: int, pages: int, words: str) -> str:
    """ "Page 2 of 3 · 24 rules in all"; with one page only `words`."""
    return f"Page {number + 1} of {pages} · {words}" if pages > 1 else words


def rows_of(*rows: tuple[Button, ...]) -> tuple[tuple[Button, ...], ...]:
    """Without those that are empty, which Discord refuses."""
    return tuple(row for row in rows if row)
