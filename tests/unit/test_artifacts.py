"""Artifacts: whole or absent, and every byte accounted for."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from storage import artifacts
from storage.artifacts import ALLOWED, MANIFEST, is_artifact_id, read_manifest, seal, sweep, verify
from storage.errors import ArtifactError, StorageError

LABELS = [{"id": 1, "name": "bug", "description": ""}]
LINEAGE = {"snapshot": "s" * 64, "seed": 0, "libraries": {"torch": "2.13"}}
FILES = {"encoder.onnx": b"onnx" * 3000, "encoder.json": b"{}", "README.md": "Ünï".encode()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


def stage(tmp_path: Path, files: dict[str, bytes] | None = None) -> Path:
    staging = tmp_path / "staging"
    staging.mkdir()
    for name, data in (FILES if files is None else files).items():
        (staging / name).write_bytes(data)
    return staging


def make(tmp_path: Path, root: Path) -> Path:
    return root / seal(stage(tmp_path), root, "version", LABELS, LINEAGE, 5.0)


def test_a_sealed_model_says_what_it_is(tmp_path: Path, root: Path) -> None:
    directory = make(tmp_path, root)
    manifest = verify(directory)
    assert manifest == read_manifest(directory)
    assert (manifest.kind, manifest.labels, manifest.lineage, manifest.created_at) == (
        "version",
        tuple(LABELS),
        LINEAGE,
        5.0,
    )
    assert {name: entry.bytes for name, entry in manifest.files.items()} == {k: len(v) for k, v in FILES.items()}
    assert hashlib.sha256((directory / MANIFEST).read_bytes()).hexdigest() == directory.name
    assert is_artifact_id(directory.name)
    assert not (tmp_path / "staging").exists()


def test_sealing_the_same_again_drops_the_copy(tmp_path: Path, root: Path) -> None:
    directory = make(tmp_path, root)
    before = (directory / MANIFEST).stat().st_ino
    assert make(tmp_path, root) == directory
    assert (directory / MANIFEST).stat().st_ino == before
    assert [path.name for path in root.iterdir()] == [directory.name]
    assert not (tmp_path / "staging").exists()


def test_sealing_again_heals_a_damaged_one(tmp_path: Path, root: Path) -> None:
    directory = make(tmp_path, root)
    (directory / "encoder.onnx").write_bytes(b"broken")
    assert make(tmp_path, root) == directory
    verify(directory)
    assert [path.name for path in root.iterdir()] == [directory.name]


def test_every_change_of_any_file_is_noticed(tmp_path: Path, root: Path) -> None:
    directory = make(tmp_path, root)
    for name in (*FILES, MANIFEST):
        path = directory / name
        data = path.read_bytes()
        step = max(1, len(data) // 20)
        damaged = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in range(0, len(data), step)]
        damaged += [data[:at] for at in range(0, len(data), step)] + [data + b"\n"]
        for bad in damaged:
            path.write_bytes(bad)
            with pytest.raises(ArtifactError):
                verify(directory)
        path.write_bytes(data)
    verify(directory)


def test_missing_extra_and_swapped_files_are_noticed(tmp_path: Path, root: Path) -> None:
    directory = make(tmp_path, root)
    extra = directory / "config.json"
    extra.write_text("{}")
    with pytest.raises(ArtifactError, match=r"config\.json is not in its manifest"):
        verify(directory)
    extra.unlink()
    one, other = directory / "encoder.json", directory / "README.md"
    one.rename(directory / "aside"), other.rename(one), (directory / "aside").rename(other)
    with pytest.raises(ArtifactError, match="damaged"):
        verify(directory)
    one.unlink()
    with pytest.raises(ArtifactError, match=r"encoder\.json is missing"):
        verify(directory)


def test_a_model_under_another_name_is_not_that_model(tmp_path: Path, root: Path) -> None:
    directory = make(tmp_path, root)
    moved = directory.rename(root / ("0" * 64))
    with pytest.raises(ArtifactError):
        verify(moved)
    part = moved.rename(root / f"{directory.name}.part")
    with pytest.raises(ArtifactError):
        verify(part)
    verify(part, directory.name)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.py", ".hidden", "training_args.bin"])
def test_a_file_that_no_model_may_hold_is_refused(tmp_path: Path, root: Path, name: str) -> None:
    assert name not in ALLOWED
    with pytest.raises(ArtifactError, match="may hold"):
        seal(stage(tmp_path, {**FILES, name: b"x"}), root, "base", [], {}, 1.0)
    assert list(root.iterdir()) == []


def test_links_and_directories_are_refused(tmp_path: Path, root: Path) -> None:
    staging = stage(tmp_path)
    (tmp_path / "elsewhere").write_text("secret")
    (staging / "config.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError):
        seal(staging, root, "base", [], {}, 1.0)
    (staging / "config.json").unlink()
    (staging / "config.json").mkdir()
    with pytest.raises(ArtifactError):
        seal(staging, root, "base", [], {}, 1.0)


def test_nothing_is_not_a_model(tmp_path: Path, root: Path) -> None:
    with pytest.raises(ArtifactError, match="empty"):
        seal(stage(tmp_path, {}), root, "base", [], {}, 1.0)


def base_manifest(**changes: Any) -> dict[str, Any]:
    entry = {"sha256": "a" * 64, "bytes": 1}
    good = {"format": 1, "kind": "base", "labels": [], "files": {"encoder.onnx": entry}, "lineage": {}, "created_at": 1}
    return good | changes


BAD_CHANGES: list[dict[str, Any]] = [
    {"format": 2},
    {"kind": "other"},
    {"files": {"../../etc/passwd": {"sha256": "a" * 64, "bytes": 1}}},
    {"files": {"manifest.json": {"sha256": "a" * 64, "bytes": 1}}},
    {"files": {"encoder.onnx": {"sha256": "a", "bytes": 1}}},
    {"files": {"encoder.onnx": {"sha256": "a" * 64, "bytes": -1}}},
    {"files": {"encoder.onnx": {"sha256": "a" * 64, "bytes": "1"}}},
    {"files": []},
    {"labels": [1]},
    {"created_at": "yesterday"},
]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b"x" * (artifacts.MAX_MANIFEST + 1),
        *(json.dumps(base_manifest(**change)).encode() for change in BAD_CHANGES),
    ],
)
def test_a_manifest_of_another_shape_is_refused(tmp_path: Path, data: bytes) -> None:
    directory = tmp_path / hashlib.sha256(data).hexdigest()
    directory.mkdir()
    (directory / MANIFEST).write_bytes(data)
    with pytest.raises(ArtifactError):
        read_manifest(directory)
    with pytest.raises(ArtifactError):
        verify(directory)


def test_a_directory_without_a_manifest_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no manifest"):
        verify(stage(tmp_path))


def test_a_seal_that_is_interrupted_leaves_no_model(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise OSError(28, "No space left on device")

    staging = stage(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(artifacts, "sync_directory", stop)
        with pytest.raises(StorageError):
            seal(staging, root, "base", [], {}, 1.0)
    assert list(root.iterdir()) == []
    verify(root / seal(staging, root, "base", [], {}, 1.0))


def test_sweeping_removes_left_overs_alone(tmp_path: Path, root: Path) -> None:
    directory = make(tmp_path, root)
    (root / "abc.part").mkdir()
    (root / "abc.part" / "encoder.onnx").write_bytes(b"half")
    (root / "file.part").write_bytes(b"half")
    sweep(root)
    assert [path.name for path in root.iterdir()] == [directory.name]
    sweep(tmp_path / "never made")
