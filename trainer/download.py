"""Brings an artifact here, file by file: resumed where a connection broke, checked by digest, and visible only whole.

The parts lie in `root/<id>.part` until every byte is verified; then one rename makes them `root/<id>`. A download that
was given up goes on from there the next time. Knows nothing of HTTP: a `Source` opens files at an offset.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from storage.artifacts import ALLOWED, MANIFEST, MAX_MANIFEST, FileEntry, read_manifest, verify
from storage.errors import ArtifactError, DiskFull, TrainerUnavailable
from storage.files import PART, file_errors, sha256_of, sync_directory, sync_file

log = logging.getLogger(__name__)

FRUITLESS_TRIES = 4
"""Broken connections in a row that brought no byte, after which a download is given up."""
_PAUSE = 0.3
"""Seconds before a broken download goes on; times the number of fruitless tries."""


class ConnectionBroke(TrainerUnavailable):
    """A transfer ended early: worth going on at once."""


class Source(Protocol):
    def open(
        self, artifact: str, name: str, start: int, sha256: str
    ) -> AbstractAsyncContextManager[tuple[int, AsyncIterator[bytes]]]:
        """(offset at which the bytes begin: `start`, or 0 if the file is not the one with this sha256; the bytes).

        Raises, on entering or inside the block:
            ConnectionBroke, TrainerUnavailable, NotFound
        """


async def fetch_artifact(source: Source, artifact: str, root: Path) -> Path:
    """Directory of the artifact, verified. One that is here already is verified too, and replaced if it is damaged.

    Raises:
        ArtifactError: what the source has is not that artifact.
        TrainerUnavailable, NotFound, DiskFull, StorageError
    """
    target = root / artifact
    if await asyncio.to_thread(_is_here, target):
        return target
    part = root / f"{artifact}{PART}"
    with file_errors(f"receiving the model {artifact[:12]}"):
        part.mkdir(parents=True, exist_ok=True)
        await _fetch_manifest(source, artifact, part)
        files = read_manifest(part).files
        _require_room(part, files, artifact)
        for name, entry in files.items():
            await fetch_file(source, artifact, name, entry, part, owner=f"the model {artifact[:12]}")
        await asyncio.to_thread(_publish, part, target, files.keys())
    log.info("artifact.fetched", extra={"artifact": artifact, "bytes": sum(entry.bytes for entry in files.values())})
    return target


def _is_here(target: Path) -> bool:
    if not target.is_dir():
        return False
    try:
        verify(target)
    except ArtifactError as error:
        log.warning("artifact.damaged", extra={"artifact": target.name, "reason": str(error)})
        shutil.rmtree(target, ignore_errors=True)
        return False
    return True


async def _fetch_manifest(source: Source, artifact: str, part: Path) -> None:
    """The manifest is fetched whole: it is small, and its digest is the artifact's id."""
    path = part / MANIFEST
    for _ in range(2):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == artifact:
            return
        path.unlink(missing_ok=True)
        await _fill(source, artifact, path, MAX_MANIFEST, artifact, exact=False)
    if hashlib.sha256(path.read_bytes()).hexdigest() != artifact:
        path.unlink()
        raise ArtifactError(f"The trainer's manifest of the model {artifact[:12]} belongs to another id.")


async def fetch_file(source: Source, artifact: str, name: str, entry: FileEntry, part: Path, *, owner: str) -> None:
    """One file to `part/name`, verified; damaged twice, it is not taken. `owner`: what people call the artifact.

    Raises:
        ArtifactError, TrainerUnavailable, NotFound, DiskFull, StorageError
    """
    path = part / name
    for _ in range(2):
        await _fill(source, artifact, path, entry.bytes, entry.sha256, exact=True)
        if path.stat().st_size == entry.bytes and await asyncio.to_thread(sha256_of, path) == entry.sha256:
            return
        log.warning("artifact.file_damaged", extra={"artifact": artifact, "file": name})
        path.unlink()
    raise ArtifactError(f"The file {name} of {owner} arrived damaged twice; it was not taken.")


async def _fill(source: Source, artifact: str, path: Path, size: int, sha256: str, *, exact: bool) -> None:
    """Append to `path` until the source has no more or `size` bytes are there; broken connections are taken up again.

    Args:
        exact: `size` is the file's real size, so a file that has it needs no request; else it is only a limit.
    """
    path.touch()
    fruitless = 0
    while not exact or path.stat().st_size < size:
        before = path.stat().st_size
        try:
            await _append(source, artifact, path, before, size, sha256)
            return
        except ConnectionBroke:
            fruitless = 0 if path.stat().st_size > before else fruitless + 1
            if fruitless == FRUITLESS_TRIES:
                raise
            await asyncio.sleep(_PAUSE * (1 + fruitless))


async def _append(source: Source, artifact: str, path: Path, start: int, size: int, sha256: str) -> None:
    async with source.open(artifact, path.name, start, sha256) as (offset, chunks):
        with path.open("r+b") as file:
            file.seek(offset)
            file.truncate()
            async for chunk in chunks:
                if file.tell() + len(chunk) > size:
                    raise ArtifactError(f"The file {path.name} of the model {artifact[:12]} is larger than it says.")
                file.write(chunk)


def _require_room(part: Path, files: dict[str, FileEntry], artifact: str) -> None:
    here = sum((part / name).stat().st_size for name in files if name in ALLOWED and (part / name).is_file())
    missing = sum(entry.bytes for entry in files.values()) - here
    free = shutil.disk_usage(part).free
    if missing > free:
        raise DiskFull(
            f"The model {artifact[:12]} needs {missing:,} bytes more, but only {free:,} are free. Free some space."
        )


def _publish(part: Path, target: Path, files: Collection[str]) -> None:
    """Make verified files an artifact; what else lies there is not part of it."""
    for path in part.iterdir():
        if path.name == MANIFEST or path.name in files:
            sync_file(path)
        else:
            path.unlink()
    sync_directory(part)
    part.rename(target)
    sync_directory(target.parent)
