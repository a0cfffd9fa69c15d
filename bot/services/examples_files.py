"""Examples as files: CSV for spreadsheets, JSON Lines with everything that is known. Pure.

JSON Lines are lossless and can be imported again. In a CSV, cells that a spreadsheet would run as a formula begin with
an apostrophe, which an import of that file takes away again (see `bot.services.collection`).
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum

from bot.services.collection import MAX_ROWS
from storage.listing import WholeExample

COLUMNS = ("text", "label", "split", "source", "annotators", "id", "created_at")
FORMULA = frozenset("=+-@\t\r")
"""What a spreadsheet may run when a cell begins with it (https://owasp.org/www-community/attacks/CSV_Injection)."""
BYTE_ORDER_MARK = "\ufeff"
"""Without it, some spreadsheets do not read UTF-8."""


class ExportFormat(StrEnum):
    CSV = "csv"
    JSONL = "jsonl"


def files_of(examples: Sequence[WholeExample], format: ExportFormat, most_bytes: int | None = None) -> Iterator[bytes]:
    """One file, or as many as it takes for none to have more than `most_bytes` or than an import takes rows.

    Each can be read by itself. No examples: one file with no rows. 50,000 examples take about a second.
    """
    head, line = _WRITERS[format]
    if most_bytes is None:
        yield b"".join([head, *map(line, examples)])
        return
    yield from _parts(head, map(line, examples), most_bytes)


def _parts(head: bytes, lines: Iterable[bytes], most_bytes: int) -> Iterator[bytes]:
    part, size = [head], len(head)
    for line in lines:
        if size + len(line) > most_bytes or len(part) > MAX_ROWS:
            yield b"".join(part)
            part, size = [head], len(head)
        part.append(line)
        size += len(line)
    yield b"".join(part)


def defused(cell: str) -> str:
    """A cell that no spreadsheet runs. Apostrophes before a formula get one more, so that one can be taken away."""
    return f"'{cell}" if cell.lstrip("'")[:1] in FORMULA else cell


def _csv_line(example: WholeExample) -> bytes:
    return _csv_row(
        defused(example.text),
        defused(example.label or ""),
        example.split or "",
        example.source,
        len({vote.annotator for vote in example.votes}),
        example.id,
        datetime.fromtimestamp(example.created_at, UTC).isoformat(timespec="seconds"),
    )


def _csv_row(*cells: object) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


def _json_line(example: WholeExample) -> bytes:
    whole = {
        "text": example.text,
        "label": example.label,
        "split": example.split,
        "source": example.source,
        "id": example.id,
        "created_at": example.created_at,
        "votes": [
            {"annotator": vote.annotator, "label": vote.label, "kind": vote.kind, "created_at": vote.created_at}
            for vote in example.votes
        ],
    }
    return json.dumps(whole, ensure_ascii=False).encode() + b"\n"


_WRITERS: dict[ExportFormat, tuple[bytes, Callable[[WholeExample], bytes]]] = {
    ExportFormat.CSV: (BYTE_ORDER_MARK.encode() + _csv_row(*COLUMNS), _csv_line),
    ExportFormat.JSONL: (b"", _json_line),
}
