"""The files a trainer keeps: snapshots and artifacts by their digest, and a folder per run.

    <root>/snapshots/<sha256>.jsonl
    <root>/artifacts/<id>/              complete and verified; <id>.part/ while a bot is giving one back
    <root>/jobs/<job>/<attempt>/        run folders
    <root>/bases/<digest of the name>/  run folders of exports
    <root>/lock                         held by the one trainer that works here

To the bot all of this is a cache: what a trainer has lost or finds damaged, the bot gives again.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from storage.artifacts import ALLOWED, MANIFEST, delete, is_artifact_id, sweep, verify
from storage.errors import ArtifactError, ConfigurationError, InvalidInput, NotFound
from storage.files import PART, file_errors, sha256_of, sync_directory, sync_file
from storage.snapshots import snapshot_path
from trainer.protocol import BASE_EXPORT, ArtifactFiles
from trainer.run_folder import RunFolder

log = logging.getLogger(__name__)

_JOB_ID = re.compile(r"[0-9a-f]{8,64}")


class Store:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.snapshots = root / "snapshots"
        self.artifacts = root / "artifacts"
        self._asked: dict[str, set[str]] = {}
        """By artifact: the names of its files that were asked for since this trainer began."""

    @asynccontextmanager
    async def opened(self, patience: float = 15.0) -> AsyncIterator[None]:
        """Own the folder: made if missing, left-overs of a crash removed, other trainers kept out.

        Args:
            patience: seconds to wait for a trainer that is still ending (its bot was killed and started again).

        Raises:
            ConfigurationError: another trainer works here.
        """
        for folder in (self.root, self.snapshots, self.artifacts):
            with file_errors(f"creating the data directory {folder}"):
                folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            await self._lock(descriptor, patience)
            sweep(self.artifacts)
            sweep(self.snapshots)
            for folder in (self.root / "bases", *self.root.glob("jobs/*"), *self.root.glob("jobs/*/*")):
                sweep(folder)
            yield
        finally:
            os.close(descriptor)

    async def _lock(self, descriptor: int, patience: float) -> None:
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            try:
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if asyncio.get_running_loop().time() >= deadline:
                    raise ConfigurationError(
                        f"Another trainer works in {self.root}. Stop it, or choose another folder with --data."
                    ) from None
            await asyncio.sleep(0.1)

    def job_folders(self, job_id: str) -> dict[int, RunFolder]:
        """Run folders of a job by attempt."""
        home = self._job_home(job_id)
        names = [path.name for path in home.iterdir()] if home.is_dir() else []
        return {int(name): RunFolder(home / name) for name in names if name.isdecimal()}

    def job_folder(self, job_id: str, attempt: int) -> RunFolder:
        return RunFolder(self._job_home(job_id) / str(attempt))

    def base_folder(self, base: str, precision: str) -> RunFolder:
        """Where `base` is exported in "int8" or "fp32". A directory whose weights were changed is another base."""
        weights = Path(base).expanduser() / "model.safetensors"
        state = f"{weights.stat().st_mtime_ns}:{weights.stat().st_size}" if weights.is_file() else ""
        told = f"{base}\n{state}\n{precision}\n{BASE_EXPORT}"
        return RunFolder(self.root / "bases" / hashlib.sha256(told.encode()).hexdigest()[:32])

    async def exported(self, base: str, precision: str) -> Path | None:
        """Directory of the artifact of a base encoder that was exported here; None: it was not, or is not whole.

        Asking counts as use, of the artifact and of the folder that tells its id.
        """
        folder = self.base_folder(base, precision)
        result = folder.result()
        if result is None or result.artifact is None:
            return None
        os.utime(folder.path)
        return await self.whole(result.artifact)

    def snapshot(self, sha256: str) -> Path | None:
        """Path of a snapshot that is here and whole. Asking counts as use (see `trainer.retention`)."""
        path = snapshot_path(self.snapshots, _digest(sha256))
        if not (path.is_file() and sha256_of(path) == sha256):
            return None
        os.utime(path)
        return path

    async def receive_snapshot(self, sha256: str, chunks: AsyncIterable[bytes]) -> None:
        await receive_file(chunks, snapshot_path(self.snapshots, _digest(sha256)))

    def artifact(self, artifact: str) -> Path | None:
        """Directory of an artifact that is here. Asking counts as use (see `trainer.retention`)."""
        path = self.artifacts / _digest(artifact)
        if not (path / MANIFEST).is_file():
            return None
        os.utime(path)
        return path

    async def whole(self, artifact: str) -> Path | None:
        """Directory of an artifact that is here, after every byte of it was checked (in a thread).

        A damaged one is deleted, so that its bot gives it again, or it is exported anew. Counts as use.
        """
        if (path := self.artifact(artifact)) is None:
            return None
        try:
            await asyncio.to_thread(verify, path)
        except ArtifactError as error:
            log.warning("artifact.damaged", extra={"artifact": artifact, "reason": str(error)})
            await asyncio.to_thread(delete, path)
            return None
        return path

    async def artifact_files(self, artifact: str) -> ArtifactFiles:
        """What a bot need not give any more."""
        complete = await self.whole(artifact) is not None
        folder = self.artifacts / (artifact if complete else artifact + PART)
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
        return ArtifactFiles(complete, tuple(name for name in names if name in ALLOWED))

    def artifact_file(self, artifact: str, name: str) -> Path:
        """Path of one file of a complete artifact.

        Raises:
            InvalidInput: no artifact can have that id or file.
            NotFound
        """
        folder, _ = self.artifact(artifact), _allowed(name)
        if folder is None or not (folder / name).is_file():
            raise NotFound(f"This trainer has no file {name} of the model {artifact[:12]}. Give the model to it first.")
        self._asked.setdefault(artifact, set()).add(name)
        return folder / name

    def was_fetched(self, artifact: str) -> bool:
        """Whether every file of it was asked for, or it is not here any more."""
        folder = self.artifacts / _digest(artifact)
        return not folder.is_dir() or self._asked.get(artifact, set()) >= {path.name for path in folder.iterdir()}

    async def receive_artifact_file(self, artifact: str, name: str, chunks: AsyncIterable[bytes]) -> None:
        """Take one file. With manifest.json, which comes last, the artifact is verified and becomes complete.

        Raises:
            InvalidInput: the files do not make up that artifact; they are dropped.
        """
        folder = self.artifacts / (_digest(artifact) + PART)
        _allowed(name)
        if self.artifact(artifact) is not None:  # sent twice: nothing can be new
            return await _drop(chunks)
        await receive_file(chunks, folder / name)
        if name == MANIFEST:
            await asyncio.to_thread(self._complete, artifact, folder)
        return None

    def _complete(self, artifact: str, folder: Path) -> None:
        try:
            verify(folder, artifact)
        except ArtifactError as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise InvalidInput(f"{error} What was received is dropped; send it again.") from error
        self.adopt(folder, artifact)
        log.info("artifact.received", extra={"artifact": artifact})

    def adopt(self, folder: Path, artifact: str) -> None:
        """Make a sealed directory of this file system an artifact of the store. Idempotent."""
        target = self.artifacts / artifact
        if folder.is_dir() and not target.exists():
            with file_errors(f"storing the model {artifact[:12]}"):
                folder.rename(target)
                sync_directory(self.artifacts)
        shutil.rmtree(folder, ignore_errors=True)

    def _job_home(self, job_id: str) -> Path:
        if not _JOB_ID.fullmatch(job_id):
            raise InvalidInput("A job's id has 8 to 64 hex digits.")
        return self.root / "jobs" / job_id


def _digest(text: str) -> str:
    if not is_artifact_id(text):
        raise InvalidInput("An id of a snapshot or model has 64 hex digits.")
    return text


def _allowed(name: str) -> str:
    # An exact list, so that no name from outside ever becomes part of a path.
    if name not in ALLOWED:
        raise InvalidInput("No model has a file of that name.")
    return name


async def receive_file(chunks: AsyncIterable[bytes], target: Path) -> None:
    """Write what arrives to `target`, which appears whole, on disk, or not at all.

    Raises:
        StorageError: DiskFull, or the operating system refused; and whatever `chunks` raises.
    """
    aside = target.with_name(f"{target.name}.{secrets.token_hex(4)}{PART}")
    with file_errors(f"receiving {target.name}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("xb") as file:
                async for chunk in chunks:
                    file.write(chunk)
            await asyncio.to_thread(_publish, aside, target)
        finally:
            aside.unlink(missing_ok=True)


async def _drop(chunks: AsyncIterable[bytes]) -> None:
    async for _ in chunks:
        pass


def _publish(aside: Path, target: Path) -> None:
    sync_file(aside)
    aside.replace(target)
    sync_directory(target.parent)
