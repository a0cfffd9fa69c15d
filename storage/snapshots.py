"""Freeze current labels into an immutable file whose name is its sha256, and read it back.

A snapshot is JSON lines: one header (guild, classifier, labels, newest event), then one row per example, by id. There
is no time in it, so the same labels always give the same id. Knows nothing of the database: bot and trainer share it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from storage.errors import DamagedFile, StorageError
from storage.files import file_errors, sha256_of, write_whole
from storage.records import Source, Split

FORMAT = 1
"""Grows when a reader of today could not read the file; part of the header, so also of the id."""

_FILE_NAME = re.compile(r"([0-9a-f]{64})\.jsonl")


@dataclass(frozen=True, slots=True)
class SnapshotLabel:
    id: int
    name: str
    description: str
    merged: tuple[int, ...] = ()
    """Ids of labels that were merged into this one: older models and their evidence know it by those, too."""


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    """An example with its current label."""

    id: int
    text: str
    label: str
    """Name of one of the snapshot's labels."""
    split: Split
    source: Source


@dataclass(frozen=True, slots=True)
class SnapshotContent:
    guild: str
    classifier: str
    labels: tuple[SnapshotLabel, ...]
    """In order of position, also those that have no row yet: they are the rows of the head."""
    rows: tuple[SnapshotRow, ...]
    last_event_id: int
    """The newest label event it contains; later ones are "new since"."""


def snapshot_path(root: Path, sha256: str) -> Path:
    return root / f"{sha256}.jsonl"


def snapshots_in(root: Path) -> set[str]:
    """The ids of the snapshot files that are there, whole or damaged."""
    return {found[1] for path in root.glob("*.jsonl") if (found := _FILE_NAME.fullmatch(path.name))}


def write_snapshot(content: SnapshotContent, root: Path) -> str:
    """Write `content` to `root/<sha256>.jsonl` and return the sha256 (64 hex digits).

    The file is whole and on disk when this returns. Writing the same content again changes nothing; a damaged file of
    that name is replaced. The order of `content.rows` does not matter.

    Raises:
        StorageError: the content contradicts itself (a row's label is unknown, an id twice); DiskFull.
    """
    if flaw := _flaw(content):
        raise StorageError(f"The snapshot of {content.classifier} was not written: {flaw}.")
    data = _encode(content)
    sha256 = hashlib.sha256(data).hexdigest()
    path = snapshot_path(root, sha256)
    with file_errors(f"writing a snapshot in {root}"):
        root.mkdir(parents=True, exist_ok=True)
        if not (path.exists() and sha256_of(path) == sha256):
            write_whole(path, data)
    return sha256


def read_snapshot(path: Path) -> SnapshotContent:
    """Read a snapshot, trusting nothing: its name must be the sha256 of its bytes, its rows must agree with its header.

    Raises:
        DamagedFile: missing, other bytes than its name says, or another shape.
    """
    named = _FILE_NAME.fullmatch(path.name)
    if named is None:
        raise DamagedFile(f"{path.name} is not the name of a snapshot (64 hex digits and .jsonl).")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DamagedFile(f"The snapshot {path.name} cannot be read: {error.strerror}.") from error
    if hashlib.sha256(data).hexdigest() != named[1]:
        raise DamagedFile(f"The snapshot {path.name} is damaged: its bytes do not have that sha256. Fetch it again.")
    try:
        content = _decode(data)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedFile(f"The snapshot {path.name} has an unknown shape ({type(error).__name__}: {error}).") from None
    if flaw := _flaw(content):
        raise DamagedFile(f"The snapshot {path.name} contradicts itself: {flaw}.")
    return content


def _encode(content: SnapshotContent) -> bytes:
    header = {
        "format": FORMAT,
        "guild": content.guild,
        "classifier": content.classifier,
        "labels": [_label_fields(label) for label in content.labels],
        "rows": len(content.rows),
        "last_event_id": content.last_event_id,
    }
    rows = (asdict(row) for row in sorted(content.rows, key=lambda row: row.id))
    return b"".join(_line(line) for line in (header, *rows))


def _label_fields(label: SnapshotLabel) -> dict[str, Any]:
    """`merged` only where there is something: other snapshots keep the ids that they have always had."""
    fields = {"id": label.id, "name": label.name, "description": label.description}
    return fields | {"merged": list(label.merged)} if label.merged else fields


def _line(value: dict[str, Any]) -> bytes:
    # Sorted keys and fixed separators: the bytes, and so the id, depend on the content alone.
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _decode(data: bytes) -> SnapshotContent:
    # Split at the newline byte alone: texts may hold U+2028 and other characters that str.splitlines cuts at.
    header, *rows = [json.loads(line) for line in data.removesuffix(b"\n").split(b"\n")]
    if header["format"] != FORMAT:
        raise ValueError(f"format {header['format']}, this Pupil reads {FORMAT}")
    if header["rows"] != len(rows):
        raise ValueError(f"{header['rows']} rows announced, {len(rows)} there")
    return SnapshotContent(
        guild=header["guild"],
        classifier=header["classifier"],
        labels=tuple(_label(**label) for label in header["labels"]),
        rows=tuple(_row(**row) for row in rows),
        last_event_id=int(header["last_event_id"]),
    )


def _label(id: int, name: str, description: str, merged: Sequence[int] = ()) -> SnapshotLabel:
    return SnapshotLabel(id, name, description, tuple(int(other) for other in merged))


def _row(id: int, text: str, label: str, split: str, source: str) -> SnapshotRow:
    if not (isinstance(id, int) and isinstance(text, str) and isinstance(label, str)):
        raise TypeError(f"row {id}: a field has another type")
    return SnapshotRow(id, text, label, Split(split), Source(source))


def _flaw(content: SnapshotContent) -> str | None:
    """What is wrong with it, in words; None when nothing is."""
    names = {label.name for label in content.labels}
    if len(names) != len(content.labels):
        return "two labels have the same name"
    if len({row.id for row in content.rows}) != len(content.rows):
        return "two rows have the same example id"
    return next(
        (f"example {row.id} has a label it does not list" for row in content.rows if row.label not in names), None
    )
