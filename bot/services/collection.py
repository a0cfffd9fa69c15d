"""A table of texts and labels from the bytes of a file: CSV, TSV or JSON Lines with the columns `text` and `label`.

`read_table` keeps what can be used and says which lines cannot; `every_pair` of such a table is for who takes all or
nothing. Either way the whole file is checked before its first row is used. Knows no classifier: whether a label
exists is decided by whoever imports the rows.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath

from bot.services.texts import check_text
from storage.errors import InvalidInput
from storage.events import is_whole
from storage.records import MAX_LABEL

MAX_FILE = 10 * 2**20
"""Bytes."""
MAX_ROWS = 50_000
SHOWN = 10
"""Bad lines that a refusal names."""

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_JSON_LINES = {".jsonl", ".ndjson"}
_EXPORTED = {"split", "source", "annotators"}
"""Columns that only a table exported by Pupil has. There an apostrophe before a formula is no part of the text."""
_DEFUSED = re.compile(r"'+[=+\-@\t\r]")


@dataclass(frozen=True, slots=True)
class Row:
    """One row that can be used."""

    line: int
    """Counted from 1, the header included; of a row that spans several lines, the last."""
    text: str
    label: str | None
    """None: the text has none yet."""


@dataclass(frozen=True, slots=True)
class BadLine:
    line: int
    why: str
    """A sentence, or what follows "line 3:"."""


@dataclass(frozen=True, slots=True)
class Table:
    """What a file holds. `name` is its name, fit to be shown."""

    name: str
    rows: list[Row]
    bad: list[BadLine]
    unlabelled: list[int]
    """Lines without a label of a table exported by Pupil, left out where every row should have one."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One row of the file before it is checked. `problem`: why it could not even be read."""

    number: int
    text: str = ""
    label: str = ""
    problem: str | None = None
    exported: bool = False
    """Pupil has written it: it may well have no label yet, or none any more."""


def read_table(data: bytes, filename: str, *, labelled: bool = False) -> Table:
    """The rows in the order of the file, and the lines that cannot be used. The suffix of `filename` says the format.

    Blank lines are skipped and other columns ignored; a semicolon-separated CSV, as some spreadsheets write it, is
    understood. Without a column `label`, or with an empty cell there, a text has no label; `labelled` wants both, but
    of a table exported by Pupil only passes over the texts that have none.
    Limits: MAX_FILE bytes, MAX_ROWS rows, MAX_TEXT and MAX_LABEL characters.

    Raises:
        InvalidInput: the file as a whole cannot be used.
    """
    name = _shown(PurePath(filename).name) or "The file"
    content = _decode(data, name)
    suffix = PurePath(filename).suffix.casefold()
    if suffix in _JSON_LINES:
        lines = _json_lines(content)
    elif suffix in _DELIMITERS:
        lines = _table_lines(content, name, _DELIMITERS[suffix], labelled)
    else:
        raise InvalidInput(f"{name} is neither CSV, TSV nor JSONL: its name should end in .csv, .tsv or .jsonl.")
    return _check_lines(lines, name, labelled)


def every_pair(table: Table) -> list[tuple[str, str]]:
    """(text, label) of every row that has both, in the order of the file; all or nothing.

    Raises:
        InvalidInput: with the name of the file and up to SHOWN bad lines, or that there is no row with a label.
    """
    if table.bad:
        raise InvalidInput(_refusal(table.name, table.bad))
    if not table.rows:
        raise InvalidInput(f"No text of {table.name} has a label.")
    return [(row.text, row.label) for row in table.rows if row.label is not None]


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
    text, label = row.get("text"), row.get("label")
    if not isinstance(text, str):
        return _Line(number, problem=f"`text` is {'not a string' if 'text' in row else 'missing'}")
    if not isinstance(label, str | None):
        return _Line(number, problem="`label` is not a string")
    return _Line(number, text, label or "", exported="votes" in row)


def _table_lines(content: str, name: str, delimiter: str, labelled: bool) -> Iterator[_Line]:
    first = content.partition("\n")[0]
    if delimiter == "," and ";" in first and "," not in first:
        delimiter = ";"
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [cell.strip().casefold() for cell in next(reader, [])]
        columns = _columns(header, name, labelled)
        exported = {*header} >= _EXPORTED
        for row in reader:
            if any(cell.strip() for cell in row):
                cells = [_undefused(cell) for cell in row] if exported else row
                yield replace(_table_line(cells, header, columns, reader.line_num), exported=exported)
    except csv.Error as error:
        # After a broken quote nothing that follows can be trusted, so this one line is the whole answer.
        raise InvalidInput(f"{name}, line {reader.line_num}: this is not valid CSV ({error}).") from None


def _columns(header: list[str], name: str, labelled: bool) -> tuple[int, int | None]:
    """Where the text and the label stand; None: there is no column for a label."""
    if header.count("text") == 1 and (header.count("label") == 1 or not (labelled or "label" in header)):
        return header.index("text"), header.index("label") if "label" in header else None
    wanted = "one column `text` and one column `label`" if labelled else "one column `text` and at most one `label`"
    if not any(header):
        raise InvalidInput(f"{name} is empty. Its first line should be: text,label")
    found = ", ".join(f"`{_shown(cell)}`" for cell in header[:SHOWN])
    raise InvalidInput(f"{name} needs {wanted}; its first line has {found}.")


def _table_line(row: list[str], header: list[str], columns: tuple[int, int | None], number: int) -> _Line:
    if len(row) != len(header):
        cells = f"{len(row)} cell{'s' if len(row) != 1 else ''}"
        there = f"there {'is' if len(row) == 1 else 'are'} {cells}"
        problem = f"{there} where the header has {len(header)}; is a comma not in quotes?"
        return _Line(number, problem=problem)
    text, label = columns
    return _Line(number, row[text], "" if label is None else row[label])


def _undefused(cell: str) -> str:
    """A cell as it was before `bot.services.examples_files` kept spreadsheets from running it."""
    return cell[1:] if _DEFUSED.match(cell) else cell


def _check_lines(lines: Iterable[_Line], name: str, labelled: bool) -> Table:
    table = Table(name, [], [], [])
    for count, line in enumerate(lines, start=1):
        if count > MAX_ROWS:
            raise InvalidInput(f"{name} has more than {MAX_ROWS:,} rows. Split it into several files.")
        try:
            row = _check_line(line)
        except InvalidInput as error:
            table.bad.append(BadLine(line.number, str(error)))
            continue
        if row.label is not None or not labelled:
            table.rows.append(row)
        elif line.exported:
            table.unlabelled.append(line.number)
        else:
            table.bad.append(BadLine(line.number, "`label` is missing"))
    if not (table.rows or table.bad or table.unlabelled):
        raise InvalidInput(f"{name} has no rows.")
    return table


def _check_line(line: _Line) -> Row:
    if line.problem is not None:
        raise InvalidInput(line.problem)
    if not is_whole(line.text + line.label):
        raise InvalidInput("there is half of a surrogate pair, which is no character")
    text, label = check_text(line.text), line.label.strip()
    if len(label) > MAX_LABEL:
        raise InvalidInput(f"the label has {len(label):,} characters; at most {MAX_LABEL} are possible")
    return Row(line.number, text, label or None)


def _refusal(name: str, bad: list[BadLine]) -> str:
    first = f"{name}, line {bad[0].line}: {bad[0].why.rstrip('.')}."
    if len(bad) == 1:
        return f"{first} Nothing was imported."
    others = ", ".join(str(each.line) for each in bad[1:SHOWN])
    rest = f" and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
    return f"{first} Lines {others}{rest} cannot be used either. Nothing was imported."


def _shown(text: str) -> str:
    """A piece of the file for a message: short, on one line, unable to end a code span."""
    return "".join(character for character in text if character.isprintable())[:40].replace("`", "'")
