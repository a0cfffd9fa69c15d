"""Model directories: written aside, manifest last, renamed into place; and verified before anyone reads them.

An artifact exists when its manifest exists. Its id is the sha256 of `manifest.json`, which holds the sha256 and size
of every other file, so the id stands for every byte. Knows nothing of what is in the files: `trainer.model` does.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from storage.errors import ArtifactError
from storage.files import PART, file_errors, sha256_of, sync_directory, sync_file, write_whole

ALLOWED = frozenset(
    {
        "config.json",
        "model.safetensors",
        "encoder.onnx",
        "encoder.json",
        "head.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "canary.json",
        "evidence.json",
        "report.json",
        "manifest.json",
        "README.md",
    }
)
"""The only names an artifact may hold. Nothing in it is ever unpickled, and no remote name becomes a path."""

MANIFEST = "manifest.json"
FORMAT = 1
MAX_MANIFEST = 1 << 20
"""Bytes; a real one has a few KB. A larger one is refused before it is parsed."""

Kind = Literal["version", "base"]

_ARTIFACT_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileEntry:
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    kind: Kind
    """"version": a fine-tuned encoder with its head. "base": a pretrained encoder without one."""
    labels: tuple[dict[str, Any], ...]
    """{"id", "name", "description"} in the order of the head's rows; empty for a base."""
    files: dict[str, FileEntry]
    """Every file but the manifest itself."""
    lineage: dict[str, Any]
    """Where it came from: snapshot, base, base_sha256, recipe, seed, libraries, champion."""
    created_at: float


def is_artifact_id(name: str) -> bool:
    return _ARTIFACT_ID.fullmatch(name) is not None


def seal(
    staging: Path,
    root: Path,
    kind: Kind,
    labels: Sequence[Mapping[str, Any]],
    lineage: Mapping[str, Any],
    now: float,
) -> str:
    """Turn the directory `staging` into the artifact `root/<id>` and return its id; `staging` is gone afterwards.

    `staging` must lie on the file system of `root`. A crash leaves `staging` or the artifact, never half of one. If an
    artifact of that id is there already, `staging` is dropped.

    Raises:
        ArtifactError: `staging` is empty or holds a file outside `ALLOWED`.
        StorageError: DiskFull, or the operating system refused.
    """
    with file_errors(f"storing a model in {root}"):
        root.mkdir(parents=True, exist_ok=True)
        (staging / MANIFEST).unlink(missing_ok=True)  # of an attempt that was interrupted while sealing
        files = {path.name: _measure(path) for path in _listed(staging)}
        if not files:
            raise ArtifactError(f"The model in {staging} was not stored: the directory is empty.")
        manifest = Manifest(kind, tuple(dict(label) for label in labels), files, dict(lineage), now)
        data = _encode(manifest)
        write_whole(staging / MANIFEST, data)
        artifact = hashlib.sha256(data).hexdigest()
        _move(staging, root / artifact)
    return artifact


def read_manifest(directory: Path) -> Manifest:
    """Read the manifest alone; the files it names are not looked at (see `verify`).

    Raises:
        ArtifactError: missing, too large or of another shape.
    """
    return _decode(_manifest_bytes(directory), directory)


def verify(directory: Path, artifact: str | None = None) -> Manifest:
    """Check every byte of an artifact: exactly the files of its manifest, each with its size and sha256.

    Args:
        artifact: the id it must have; None: the directory's name. (A download still lies in "<id>.part".)

    Raises:
        ArtifactError: names the first file that is missing, extra or different.
    """
    expected = artifact or directory.name
    data = _manifest_bytes(directory)
    if hashlib.sha256(data).hexdigest() != expected:
        raise ArtifactError(
            f"The model {expected[:12]} is damaged: its manifest belongs to another id. Fetch it again."
        )
    manifest = _decode(data, directory)
    try:
        present = {path.name: path for path in _listed(directory) if path.name != MANIFEST}
        if stray := sorted(present.keys() ^ manifest.files.keys()):
            problem = "is missing" if stray[0] in manifest.files else "is not in its manifest"
            raise ArtifactError(f"The model {expected[:12]} is damaged: {stray[0]} {problem}.")
        for name, entry in manifest.files.items():
            _compare(present[name], entry, expected)
    except OSError as error:
        raise ArtifactError(f"The model {expected[:12]} cannot be read: {error}.") from error
    return manifest


def sweep(root: Path) -> None:
    """Remove what a crash left half-written (`*.part`) in `root`. Only while nobody writes there."""
    with file_errors(f"removing left-overs in {root}"):
        for path in root.glob(f"*{PART}"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def size_of_all(root: Path) -> int:
    """Bytes of the artifacts in `root`; what goes away meanwhile counts nothing."""
    total = 0
    for path in root.glob("*/*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def delete(directory: Path) -> None:
    """Take an artifact away; again does nothing. A crash leaves it whole, or `*.part` for `sweep`.

    Raises:
        StorageError: the operating system refused; it is still there.
    """
    with file_errors(f"deleting the model {directory.name[:12]}"), suppress(FileNotFoundError):
        # Renamed away first, so that no moment shows a directory of that name that is being emptied.
        aside = directory.rename(directory.with_name(f"{directory.name}.{secrets.token_hex(4)}{PART}"))
        shutil.rmtree(aside, ignore_errors=True)


def _listed(directory: Path) -> list[Path]:
    """Plain files of a directory by name.

    Raises:
        ArtifactError: something in it is no plain file, or has a name outside `ALLOWED`.
    """
    paths = sorted(directory.iterdir())
    for path in paths:
        if path.name not in ALLOWED or path.is_symlink() or not path.is_file():
            raise ArtifactError(f"The model in {directory.name} holds {path.name!r}, which no model may hold.")
    return paths


def _measure(path: Path) -> FileEntry:
    sync_file(path)
    return FileEntry(sha256_of(path), path.stat().st_size)


def _compare(path: Path, entry: FileEntry, artifact: str) -> None:
    # The size first: it is free, and tells a truncated download from a changed file.
    if (size := path.stat().st_size) != entry.bytes:
        raise ArtifactError(f"The model {artifact[:12]} is damaged: {path.name} has {size} bytes, not {entry.bytes}.")
    if sha256_of(path) != entry.sha256:
        raise ArtifactError(f"The model {artifact[:12]} is damaged: {path.name} has another sha256.")


def _move(staging: Path, target: Path) -> None:
    sync_directory(staging)
    if target.exists():
        try:
            verify(target)
        except ArtifactError:
            delete(target)
        else:
            shutil.rmtree(staging)
            return
    staging.rename(target)
    sync_directory(target.parent)


def _encode(manifest: Manifest) -> bytes:
    return json.dumps({"format": FORMAT} | asdict(manifest), ensure_ascii=False, sort_keys=True, indent=2).encode()


def _manifest_bytes(directory: Path) -> bytes:
    path = directory / MANIFEST
    try:
        if path.is_symlink() or path.stat().st_size > MAX_MANIFEST:
            raise ArtifactError(f"The model in {directory.name} has a manifest of impossible size or kind.")
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"The model in {directory.name} has no manifest ({error.strerror}).") from error


def _decode(data: bytes, directory: Path) -> Manifest:
    try:
        value = json.loads(data)
        if value["format"] != FORMAT:
            raise ValueError(f"format {value['format']}, this Pupil reads {FORMAT}")
        return Manifest(
            kind=_kind(value["kind"]),
            labels=tuple(dict(label) for label in value["labels"]),
            files={name: _entry(name, **entry) for name, entry in value["files"].items()},
            lineage=dict(value["lineage"]),
            created_at=float(value["created_at"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"The manifest in {directory.name} has an unknown shape: {error}.") from None


def _kind(value: str) -> Kind:
    if value == "version":
        return "version"
    if value == "base":
        return "base"
    raise ValueError(f"kind {value!r}")


def _entry(name: str, sha256: str, bytes: int) -> FileEntry:
    if name not in ALLOWED or name == MANIFEST:
        raise ValueError(f"file {name!r}")
    if not is_artifact_id(sha256) or type(bytes) is not int or bytes < 0:
        raise ValueError(f"entry of {name}")
    return FileEntry(sha256, bytes)
