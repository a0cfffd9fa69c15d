"""Snapshots: the same content has the same id, and nothing else has."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import DamagedFile, StorageError
from storage.records import Label, Source, Split
from storage.snapshots import (
    SnapshotContent,
    SnapshotLabel,
    SnapshotRow,
    read_snapshot,
    snapshot_path,
    snapshots_in,
    write_snapshot,
)


def make_label(name: str = "bug") -> Label:
    return Label(1, "g1", 1, name)


def make_content(rows: int = 3) -> SnapshotContent:
    return SnapshotContent(
        guild="g1",
        classifier="triage",
        labels=(SnapshotLabel(1, "bug", ""), SnapshotLabel(2, "question", "people who ask")),
        rows=tuple(
            SnapshotRow(number, f"text {number}", ("bug", "question")[number % 2], Split.TRAIN, Source.COMMAND)
            for number in range(1, rows + 1)
        ),
        last_event_id=17,
    )


NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True)


@st.composite
def contents(draw: st.DrawFn) -> SnapshotContent:
    names = draw(NAMES)
    ids = draw(st.lists(st.integers(1, 10**9), max_size=8, unique=True))
    row = st.tuples(st.text(max_size=40), st.sampled_from(names), st.sampled_from(Split), st.sampled_from(Source))
    return SnapshotContent(
        guild=draw(st.text(max_size=5)),
        classifier=draw(st.text(max_size=5)),
        labels=tuple(SnapshotLabel(number, name, draw(st.text(max_size=9))) for number, name in enumerate(names)),
        rows=tuple(SnapshotRow(id, *draw(row)) for id in sorted(ids)),
        last_event_id=draw(st.integers(0, 10**9)),
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=contents(), seed=st.integers())
def test_what_was_written_is_read_and_order_does_not_matter(
    tmp_path: Path, content: SnapshotContent, seed: int
) -> None:
    sha256 = write_snapshot(content, tmp_path)
    assert read_snapshot(snapshot_path(tmp_path, sha256)) == content
    shuffled = list(content.rows)
    random.Random(seed).shuffle(shuffled)
    assert write_snapshot(dataclasses.replace(content, rows=tuple(shuffled)), tmp_path) == sha256


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(one=contents(), other=contents())
def test_other_content_has_another_id(tmp_path: Path, one: SnapshotContent, other: SnapshotContent) -> None:
    assert (write_snapshot(one, tmp_path) == write_snapshot(other, tmp_path)) == (one == other)


def test_line_separators_of_unicode_stay_in_their_text(tmp_path: Path) -> None:
    row = SnapshotRow(1, 'a\u2028b\u0085c\n"d"\\', "bug", Split.GOLDEN, Source.MODAL)
    content = dataclasses.replace(make_content(), rows=(row,))
    assert read_snapshot(snapshot_path(tmp_path, write_snapshot(content, tmp_path))).rows == (row,)


def test_the_id_is_the_sha256_of_the_file_and_does_not_change_with_time(tmp_path: Path) -> None:
    sha256 = write_snapshot(make_content(), tmp_path)
    path = snapshot_path(tmp_path, sha256)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    before = path.stat().st_mtime_ns
    assert write_snapshot(make_content(), tmp_path) == sha256
    assert path.stat().st_mtime_ns == before
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_the_format_is_pinned(tmp_path: Path) -> None:
    """An id that changed by accident would make every old snapshot unreadable and every job new."""
    expected = "c27507b1b1ac9df0"
    assert write_snapshot(make_content(), tmp_path)[:16] == expected


def test_the_files_of_a_folder_are_told_by_their_names(tmp_path: Path) -> None:
    sha256 = write_snapshot(make_content(), tmp_path)
    (tmp_path / f"{'0' * 64}.jsonl").write_text("damaged")
    for name in (f"{sha256}.jsonl.1.part", "short.jsonl", sha256):
        (tmp_path / name).write_text("something else")
    assert snapshots_in(tmp_path) == {sha256, "0" * 64}


def test_every_flipped_or_missing_byte_is_noticed(tmp_path: Path) -> None:
    path = snapshot_path(tmp_path, write_snapshot(make_content(), tmp_path))
    data = path.read_bytes()
    for position in range(0, len(data), 7):
        path.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
        with pytest.raises(DamagedFile):
            read_snapshot(path)
        path.write_bytes(data[:position])
        with pytest.raises(DamagedFile):
            read_snapshot(path)
    write_snapshot(make_content(), tmp_path)
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null\n",
        b"[" * 100_000,
        b'{"format": 2}\n',
        b'{"classifier":"c","format":1,"guild":"g","labels":[],"last_event_id":0,"rows":1}\n',
        b'{"classifier":"c","format":1,"guild":"g","labels":[],"last_event_id":0,"rows":1}\n'
        b'{"id":1,"label":"unknown","source":"api","split":"train","text":"x"}\n',
        b'{"classifier":"c","format":1,"guild":"g","labels":[],"last_event_id":0,"rows":1}\n'
        b'{"id":1,"label":"unknown","source":"api","split":"elsewhere","text":"x"}\n',
        b"\xff\xfe\n",
    ],
)
def test_a_file_of_another_shape_is_damaged_even_if_its_name_is_right(tmp_path: Path, data: bytes) -> None:
    path = snapshot_path(tmp_path, hashlib.sha256(data).hexdigest())
    path.write_bytes(data)
    with pytest.raises(DamagedFile):
        read_snapshot(path)


def test_a_missing_or_misnamed_file_is_damaged(tmp_path: Path) -> None:
    for name in ("f" * 64 + ".jsonl", "latest.jsonl"):
        with pytest.raises(DamagedFile):
            read_snapshot(tmp_path / name)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": (SnapshotLabel(1, "bug", ""),)},
        {"labels": (*make_content().labels, SnapshotLabel(3, "bug", ""))},
        {"rows": make_content().rows * 2},
    ],
)
def test_content_that_contradicts_itself_is_not_written(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(StorageError):
        write_snapshot(dataclasses.replace(make_content(), **change), tmp_path)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_merged_labels_are_kept_and_snapshots_without_them_have_the_ids_they_always_had(tmp_path: Path) -> None:
    content = make_content()
    first, *others = content.labels
    merged = dataclasses.replace(content, labels=(dataclasses.replace(first, merged=(7, 8)), *others))
    assert read_snapshot(snapshot_path(tmp_path, write_snapshot(merged, tmp_path))) == merged
    plain = snapshot_path(tmp_path, write_snapshot(content, tmp_path))
    assert '"merged"' not in plain.read_text()
