"""Wording: the small pieces every reply is made of. Strings in, strings out; knows no record and no Discord object.

Two rules hold everywhere: what a person wrote is shown escaped, so that it can neither ping nor change the message
around it; and what is left out is counted ("and 12 more"), never dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

ZERO_WIDTH_SPACE = "\u200b"
_MARKDOWN = re.compile(
    r"(?P<address>https?://[^\s<>`*~|\\\[\]]+)|(?P<at>@)|(?P<sign>[\\`*_~|<\[\]])"
    r"|^(?P<space>\s*)(?P<first>[>#+-])(?=[\s>#])",
    re.MULTILINE,
)
"""Web addresses first: inside of one nothing is markdown, and whatever is added would be part of it."""
_EVERYONE = re.compile("@(?=everyone|here)")
_NOT_SHOWN = re.compile(r"[\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
"""Characters that are invisible or turn the direction of the line they stand in (but not the joiner of emoji)."""
_LIST_NUMBER = re.compile(r"^(\s*\d+)([.)])(?=\s)", re.MULTILINE)


def escaped(text: str) -> str:
    """What a person wrote, so that it reads as they wrote it and does nothing: no markdown, mention or link text."""
    return _LIST_NUMBER.sub(r"\1\\\2", _MARKDOWN.sub(_calmed, text.replace("\r", "")))


def _calmed(found: re.Match[str]) -> str:
    if found["address"]:
        return _EVERYONE.sub("@" + ZERO_WIDTH_SPACE, found["address"])
    if found["at"]:
        return "@" + ZERO_WIDTH_SPACE
    return f"{found['space'] or ''}\\{found['sign'] or found['first']}"


def quoted(text: str, most: int = 400) -> str:
    """The text as a block quote, at most `most` characters of it; says how many are not shown."""
    left_out = len(text) - most
    shown = escaped(text[:most].strip() if left_out > 0 else text.strip())
    more = f" … ({left_out:,} more characters)" if left_out > 0 else ""
    return "\n".join(f"> {line}" for line in (shown + more).split("\n"))


def one_line(text: str, most: int) -> str:
    """The beginning of a text for the middle of a line. Not escaped: for menus, or where the caller does that."""
    return cut(" ".join(_NOT_SHOWN.sub("", text).split()), most)


def line_of(text: str, most: int) -> str:
    """The text on one line, for a list: at most `most` characters of it, escaped."""
    return escaped(one_line(text, most))


def person_words(who: str) -> str:
    """A mention where `who` is the id of somebody on Discord (nothing pings); else the name as it is."""
    return f"<@{who}>" if who.isdigit() else escaped(who)


def named(who: str, name: str) -> str:
    """Somebody by their display name, which may look like an id; a mention where the id had to stand for the name."""
    return person_words(who) if name == who else escaped(name)


def when(moment: float, style: str = "R") -> str:
    """A time as Discord shows it to each reader: "R" is "2 days ago", "D" a day, "f" day and time."""
    return f"<t:{int(moment)}:{style}>"


def code(name: str) -> str:
    """A name in back-ticks; a back-tick inside becomes a look-alike."""
    return "`" + " ".join(name.replace("`", "ˋ").split()) + "`"


def block(lines: Sequence[str]) -> str:
    """Lines in a code block, where columns line up."""
    return "```\n" + "\n".join(lines).replace("```", "ˋˋˋ") + "\n```"


def cut(text: str, most: int) -> str:
    """At most `most` characters, with an ellipsis where something is missing."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def percent(share: float) -> str:
    """0.62 → "62 %". Never "100 %" or "0 %": no answer is certain."""
    if share > 0.994:
        return "> 99 %"
    if share < 0.006:
        return "< 1 %"
    return f"{100 * share:.0f} %"


def listed(items: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first `most` items, and how many are left: "a, b and 12 more"."""
    shown = separator.join(items[:most])
    left = len(items) - most
    return f"{shown} and {left} more" if left > 0 else shown


def column(names: Iterable[str], most: int) -> int:
    """Width of a table's first column: as narrow as its names allow, since a phone shows about 35 characters."""
    return min(most, max(map(len, names)))


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """(1, "label") → "1 label"; (12, "label") → "12 labels"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """How long, as a person would say it: "40 s", "3 min", "1 h 20 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def bar(fraction: float, width: int = 16) -> str:
    """A progress bar of `width` characters."""
    filled = meter(fraction, width)
    return filled + "░" * (width - len(filled))


def meter(fraction: float, width: int) -> str:
    """A bar without its empty part, for columns of numbers."""
    return "█" * round(width * min(1.0, max(0.0, fraction)))


def sentence(text: str) -> str:
    """Ends with a full stop, so that another sentence can follow."""
    return text if text.endswith((".", "!", "?")) else text + "."
