"""How answers look in a terminal: tables and sentences by rich. Takes the API's JSON; prints; knows nothing else.

Everything from outside is drawn as plain text: rich's markup in a label or a text has no effect, and neither do control
characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from storage.records import CandidateKind, Certainty, Sureness
from storage.report_figures import (
    OtherKind,
    calibration_words,
    chance_words,
    coverage_words,
    flip_words,
    interval_words,
    mistakes,
    origin_words,
    other_words,
    percent,
    scope_words,
    sureness_words,
    surer_words,
    weight_words,
)

# rich is imported where it draws: `pupil --help` imports this module too, and is to answer at once.
if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

Json = dict[str, Any]

MOST_MISTAKES = 10


def answers(texts: Sequence[str], found: Sequence[Json]) -> None:
    table = _table("label", "confidence", "version", "text")
    for text, answer in zip(texts, found, strict=True):
        best, label = f"{answer['confidence']:.0%}", answer["label"]
        if answer["outside"]:
            label = f"nothing it was taught; nearest: {label}"
        elif answer["abstained"]:
            label = "not sure: " + " / ".join(score["label"] for score in answer["labels"][:2])
            best = " / ".join(f"{score['confidence']:.0%}" for score in answer["labels"][:2])
        table.add_row(plain(label), best, answer["version"], plain(text, 60) + (" (cut)" if answer["cut"] else ""))
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


def exported(written: Json) -> None:
    _print(plain(f"Wrote {written['file']} ({written['bytes']:,} bytes)."))


def swapped(swap: Json) -> None:
    _print(plain(f"{swap['version']} answers now, instead of {swap['previous']}."))


def classifiers(known: Sequence[Json]) -> None:
    if not known:
        _print(plain("There is none yet. Make one: pupil labels import FILE --classifier NAME"))
        return
    table = _table("classifier", "answers", "labels", "texts", "based on", right={2, 3})
    for one in known:
        table.add_row(one["name"], one["version"], f"{one['labels']:,}", f"{one['examples']:,}", _origin(one))
    _print(table)


def based(one: Json) -> None:
    start = _origin(one) or "the pretrained model"
    _print(plain(f"The next training of {one['name']} starts from {start}. {one['version']} answers until then."))


def sure(found: Json) -> None:
    told = {name: value for name, value in found.items() if name != "classifier"}
    _print(plain(f"{found['classifier']}: {sureness_words(Sureness(**told))}"))


def _origin(one: Json) -> str:
    return f"{one['based_on']['classifier']} {one['based_on']['version']}" if one["based_on"] else ""


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
            plain(_state(version)),
            _percent(report.get("accuracy")),
            _percent(report.get("champion_accuracy")),
            f"{report.get('train_rows', 0):,}",
            datetime.fromtimestamp(version["created_at"]).strftime("%Y-%m-%d %H:%M"),
            plain(version["decision"]),
        )
    _print(table)


def _state(version: Json) -> str:
    deleted = version.get("files_deleted_at")
    if deleted is None:
        return str(version["state"])
    return f"{version['state']}, files deleted on {datetime.fromtimestamp(deleted).strftime('%Y-%m-%d')}"


def report(version: Json) -> None:
    """A version's report: the verdict, the figures beside the champion's, what they are worth, then label by label."""
    told = version["report"]
    _print(plain(f"{version['classifier']} {version['version']} ({version['state']}). {version['decision']}"))
    parts: list[Table | list[str]] = []
    if told["rows"]:
        confused = _confused(told)
        parts += [_beside(version["version"], told), [_differences(told), *_worth(told)], _by_label(told["labels"])]
        parts += [[f"Most confused: {confused}."]] if confused else []
    for part in [*parts, _lineage(version)]:
        _print(plain(""))
        for line in map(plain, part) if isinstance(part, list) else [part]:
            _print(line)


def _beside(version: str, told: Json) -> Table:
    table = _table(f"on {told['rows']:,} texts", version, told["champion"], right={1, 2})
    table.add_row("accuracy", percent(told["accuracy"]), percent(told["champion_accuracy"]))
    intervals = (told["accuracy_interval"], told["champion_accuracy_interval"])
    table.add_row("95 % interval", *(interval_words((low, high)) for low, high in intervals))
    table.add_row("macro-F1", f"{told['macro_f1']:.2f}", f"{told['champion_macro_f1']:.2f}")
    return table


def _differences(told: Json) -> str:
    counts = (len(told["flips"][name]) for name in ("fixed", "broken", "still_wrong"))
    words = "; ".join(
        filter(None, [flip_words(*counts), chance_words(told["chance_better"]), surer_words(told.get("surer"))])
    )
    return f"{words[:1].upper()}{words[1:]}."


def _worth(told: Json) -> list[str]:
    certainty = Certainty(**told["certainty"]) if told["certainty"] else None
    beside = told["other_kind"]
    other = OtherKind(**beside | {"kind": CandidateKind(beside["kind"])}) if beside else None
    lines = [
        coverage_words(certainty) if certainty else "",
        calibration_words(told["calibration_error"] or 0.0, certainty.calibration_error_before if certainty else None),
        scope_words(certainty) if certainty else "",
        other_words(other),
    ]
    return [line for line in lines if line]


def _by_label(rows: Sequence[Json]) -> Table:
    table = _table("label", "n", "precision", "recall", "before", "fixed", "broken", right={1, 2, 3, 4, 5, 6})
    for row in rows:
        figures = [f"{row[name]:.2f}" if row["rows"] else "" for name in ("precision", "recall", "champion_recall")]
        counts = (str(row[name] or "") for name in ("fixed", "broken"))
        table.add_row(plain(row["label"]), f"{row['rows']:,}", *figures, *counts)
    return table


def _confused(told: Json) -> str:
    found = mistakes([row["label"] for row in told["labels"]], told["confusion"])
    left = len(found) - MOST_MISTAKES
    words = [f"{one.label} answered as {one.answer} ({one.rows})" for one in found[:MOST_MISTAKES]]
    return ", ".join(words) + (f" and {left} more" if left > 0 else "")


def _lineage(version: Json) -> list[str]:
    told = version["report"]
    origin = f" {origin_words(CandidateKind(told['kind']), told['started_from'])}," if told["kind"] else ""
    texts = f"{told['train_rows']:,} texts to learn from, {told['golden_rows']:,} kept aside to measure."
    phases = ", ".join(f"{phase} {seconds:.0f}" for phase, seconds in told["seconds"].items())
    return [
        f"{version['version']}:{origin} {texts}",
        f"Snapshot {version['snapshot'][:12]}, artifact {version['artifact'][:12]}, training {version['job']}.",
        *([f"{weight}."] if (weight := weight_words(told["encoder_bytes"] or 0, told["milliseconds"] or 0.0)) else []),
        *([f"It took {sum(told['seconds'].values()):.0f} seconds: {phases}."] if phases else []),
    ]


def scores(result: Json) -> None:
    table = _table("label", "n", "precision", "recall", "F1", right={1, 2, 3, 4})
    for label in result["labels"]:
        figures = (_percent(label[name]) for name in ("precision", "recall", "f1"))
        table.add_row(plain(label["label"]), f"{label['n']:,}", *figures)
    _print(table)
    _print(
        plain(
            f"{result['classifier']} ({', '.join(result['versions'])}): accuracy {result['accuracy']:.1%}, macro-F1 "
            f"{result['macro_f1']:.1%} on {result['n']:,} texts; not sure about {result['abstained']:,}, "
            f"{result['outside']:,} look like nothing it was taught."
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
