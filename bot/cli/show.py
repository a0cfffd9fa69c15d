"""How answers look in a terminal: tables and sentences by rich. Takes the API's JSON; prints; knows nothing else.

Everything from outside is drawn as plain text: rich's markup in a label or a text has no effect, and neither do control
characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

# rich is imported where it draws: `pupil --help` imports this module too, and is to answer at once.
if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

Json = dict[str, Any]


def answers(texts: Sequence[str], found: Sequence[Json]) -> None:
    table = _table("label", "confidence", "version", "text")
    for text, answer in zip(texts, found, strict=True):
        best, label = f"{answer['confidence']:.0%}", answer["label"]
        if answer["abstained"]:
            label = "not sure: " + " / ".join(score["label"] for score in answer["labels"][:2])
            best = " / ".join(f"{score['confidence']:.0%}" for score in answer["labels"][:2])
        table.add_row(plain(label), best, answer["version"], plain(text, 60))
    _print(table)


def imported(receipt: Json) -> None:
    parts = [f"{receipt['new']:,} new texts"]
    if receipt["votes"]:
        parts.append(f"{receipt['votes']:,} labels for texts that were there")
    if receipt["unchanged"]:
        parts.append(f"{receipt['unchanged']:,} that said nothing new")
    names = ", ".join(receipt["new_labels"])
    labels = f" New labels ({len(receipt['new_labels'])}): {names}." if names else ""
    _print(plain(f"Imported into {receipt['classifier']}: {', '.join(parts)}.{labels}"))


def swapped(swap: Json) -> None:
    _print(plain(f"{swap['version']} answers now, instead of {swap['previous']}."))


def labels(counts: Sequence[Json]) -> None:
    table = _table("label", "texts", "of them kept for measuring", "description", right={1, 2})
    for count in counts:
        table.add_row(
            plain(count["label"]), f"{count['total']:,}", f"{count['golden']:,}", plain(count["description"], 60)
        )
    _print(table)


def versions(known: Json) -> None:
    _print(plain(f"{known['serving']} answers now."))
    if not known["versions"]:
        _print(plain("Nothing was trained yet: the base encoder answers, with the labels so far."))
        return
    table = _table("version", "state", "accuracy", "before", "texts", "trained", "decision", right={2, 3, 4})
    for version in known["versions"]:
        report = version["report"] or {}
        table.add_row(
            version["version"],
            plain(version["state"]),
            _percent(report.get("accuracy")),
            _percent(report.get("champion_accuracy")),
            f"{report.get('train_rows', 0):,}",
            datetime.fromtimestamp(version["created_at"]).strftime("%Y-%m-%d %H:%M"),
            plain(version["decision"]),
        )
    _print(table)


def scores(result: Json) -> None:
    table = _table("label", "n", "precision", "recall", "F1", right={1, 2, 3, 4})
    for label in result["labels"]:
        figures = (_percent(label[name]) for name in ("precision", "recall", "f1"))
        table.add_row(plain(label["label"]), f"{label['n']:,}", *figures)
    _print(table)
    _print(
        plain(
            f"{result['classifier']} ({', '.join(result['versions'])}): accuracy {result['accuracy']:.1%}, macro-F1 "
            f"{result['macro_f1']:.1%} on {result['n']:,} texts; not sure about {result['abstained']:,}."
        )
    )
    if result["unknown_labels"]:
        names = ", ".join(result["unknown_labels"][:10])
        _print(plain(f"The classifier does not know these labels, so their rows count as wrong: {names}."))


def plain(text: str, most: int = 1000) -> Text:
    """Text without markup or control characters, at most `most` characters, the cut shown."""
    from rich.text import Text

    line = "".join(character if character.isprintable() else " " for character in text)
    return Text(line if len(line) <= most else f"{line[: most - 1]}…")


def _table(*columns: str, right: set[int] = frozenset()) -> Table:  # type: ignore[assignment]
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position in right else "left", overflow="fold")
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


def _print(what: Table | Text) -> None:
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False, soft_wrap=isinstance(what, Text)).print(what)
