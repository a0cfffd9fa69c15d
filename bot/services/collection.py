"""A table of labelled texts from the bytes of a file: CSV, TSV or JSON Lines with the columns `text` and `label`.

The whole file is checked before its first row is used; a refusal names the lines. Knows no classifier: whether a label
exists is decided by whoever imports the rows.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from bot.services.texts import check_text
from storage.errors import InvalidInput
from storage.records import MAX_LABEL

MAX_FILE = 10 * 2**20
"""Bytes."""
MAX_ROWS = 50_000
SHOWN = 10
"""Bad lines that a refusal names."""

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_JSON_LINES = {".jsonl", ".ndjson"}


@dataclass(frozen=True, slots=True)
class _Line:
    """One row of the file before it is checked. `problem`: why it could not even be read."""

    number: int
    """Counted from 1, the header included; of a row that spans several lines, the last."""
    text: Any = None
    label: Any = None
    problem: str | None = None


def parse_table(data: bytes, filename: str) -> list[tuple[str, str]]:
    """(text, label) rows in the order of the file. The suffix of `filename` says the format.

    Blank lines are skipped and other columns ignored; a semicolon-separated CSV, as some spreadsheets write it, is
    understood. Limits: MAX_FILE bytes, MAX_ROWS rows, MAX_TEXT and MAX_LABEL characters.

    Raises:
        InvalidInput: with the name of the file and up to SHOWN bad lines. Nothing is returned in parts.
    """
    name = _shown(PurePath(filename).name) or "The file"
    content = _decode(data, name)
    suffix = PurePath(filename).suffix.casefold()
    if suffix in _JSON_LINES:
        lines = _json_lines(content)
    elif suffix in _DELIMITERS:
        lines = _table_lines(content, name, _DELIMITERS[suffix])
    else:
        raise InvalidInput(f"{name} is neither CSV, TSV nor JSONL: its name should end in .csv, .tsv or .jsonl.")
    return _check_lines(lines, name)


def _decode(data: bytes, name: str) -> str:
    if len(data) > MAX_FILE:
        raise InvalidInput(f"{name} has {len(data) / 2**20:.1f} MiB; at most {MAX_FILE // 2**20} MiB are possible.")
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(f"{name} is not UTF-8 (line {line}). Save it as “CSV UTF-8” and try again.") from None
    if "\x00" in content:
        line = content.count("\n", 0, content.index("\x00")) + 1
        raise InvalidInput(f"{name}, line {line}: there is a NUL character, so this is not a text file.")
    return content


def _json_lines(content: str) -> Iterator[_Line]:
    # Not splitlines(): JSON strings may hold U+2028 and its kind as they are.
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            yield _json_line(line, number)


def _json_line(line: str, number: int) -> _Line:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return _Line(number, problem="this is not JSON")
    if not isinstance(row, dict):
        return _Line(number, problem='this is not an object like {"text": "…", "label": "…"}')
    for column in ("text", "label"):
        if not isinstance(row.get(column), str):
            return _Line(number, problem=f"`{column}` is {'not a string' if column in row else 'missing'}")
    return _Line(number, row["text"], row["label"])


def _table_lines(content: str, name: str, delimiter: str) -> Iterator[_Line]:
    first = content.partition("\n")[0]
    if delimiter == "," and ";" in first and "," not in first:
        delimiter = ";"
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [cell.strip().casefold() for cell in next(reader, [])]
        columns = _columns(header, name)
        for row in reader:
            if any(cell.strip() for cell in row):
                yield _table_line(row, len(header), columns, reader.line_num)
    except csv.Error as error:
        # After a broken quote nothing that follows can be trusted, so this one line is the whole answer.
        raise InvalidInput(f"{name}, line {reader.line_num}: this is not valid CSV ({error}).") from None


def _columns(header: list[str], name: str) -> tuple[int, int]:
    if header.count("text") == 1 and header.count("label") == 1:
        return header.index("text"), header.index("label")
    if not any(header):
        raise InvalidInput(f"{name} is empty. Its first line should be: text,label")
    found = ", ".join(f"`{_shown(cell)}`" for cell in header[:SHOWN])
    raise InvalidInput(f"{name} needs one column `text` and one column `label`; its first line has {found}.")


def _table_line(row: list[str], width: int, columns: tuple[int, int], number: int) -> _Line:
    if len(row) != width:
        cells = f"{len(row)} cell{'s' if len(row) != 1 else ''}"
        return _Line(number, problem=f"there are {cells} where the header has {width}; is a comma not in quotes?")
    return _Line(number, row[columns[0]], row[columns[1]])


def _check_lines(lines: Iterable[_Line], name: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    bad: list[tuple[int, str]] = []
    for line in lines:
        try:
            rows.append(_check_line(line))
        except InvalidInput as error:
            bad.append((line.number, str(error)))
        if len(rows) > MAX_ROWS:
            raise InvalidInput(f"{name} has more than {MAX_ROWS:,} rows. Split it into several files.")
    if bad:
        raise InvalidInput(_refusal(name, bad))
    if not rows:
        raise InvalidInput(f"{name} has no rows.")
    return rows


def _check_line(line: _Line) -> tuple[str, str]:
    if line.problem is not None:
        raise InvalidInput(line.problem)
    if _has_surrogate(line.text + line.label):
        raise InvalidInput("there is half of a surrogate pair, which is no character")
    text, label = check_text(line.text), line.label.strip()
    if not label:
        raise InvalidInput("there is no label")
    if len(label) > MAX_LABEL:
        raise InvalidInput(f"the label has {len(label):,} characters; at most {MAX_LABEL} are possible")
    return text, label


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _refusal(name: str, bad: list[tuple[int, str]]) -> str:
    number, problem = bad[0]
    first = f"{name}, line {number}: {problem.rstrip('.')}."
    if len(bad) == 1:
        return f"{first} Nothing was imported."
    others = ", ".join(str(number) for number, _ in bad[1:SHOWN])
    rest = f" and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
    return f"{first} Lines {others}{rest} cannot be used either. Nothing was imported."


def _shown(text: str) -> str:
    """A piece of the file for a message: short, on one line, unable to end a code span."""
    return "".join(character for character in text if character.isprintable())[:40].replace("`", "'")
