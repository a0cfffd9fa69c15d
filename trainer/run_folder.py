"""The folder through which the trainer and one run of its work speak: what is asked, what happens, what came of it.

    job.json       what to do: a `JobSpec`; or base.json, a `BaseTask`. Written before the run begins
    inputs/        <sha256>.jsonl, the snapshot, and <id>/, the artifacts of the champion and, if the base was exported
                   before, of the base, as hard links; where training begins at another classifier's version, that
                   too, and <sha256>.jsonl of what it has learned
    events.jsonl   one `Progress` per line, appended by the run
    checkpoint/    how far the training came, for the next attempt (see `trainer.checkpoint`)
    staging/       the artifact in the making
    outputs/<id>/  the artifact, sealed
    result.json    a `Result`, written whole and last, so its existence means that the run is over
    output.log     what the run printed

Files instead of pipes, and everything in one place: a run may be anywhere the folder can be, and a restart of the
trainer loses nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from storage.errors import InvalidInput
from storage.files import file_errors, write_whole
from trainer.protocol import JobSpec, Progress, RunState, from_json, to_json

LOG = "output.log"
_JOB, _BASE, _EVENTS, _RESULT = "job.json", "base.json", "events.jsonl", "result.json"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BaseTask:
    """Export a base encoder as an artifact."""

    base: str
    precision: str = "int8"
    """Or "fp32"."""


@dataclass(frozen=True, slots=True)
class Result:
    state: RunState
    artifact: str | None = None
    error: str | None = None
    retryable: bool = False


class RunFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.inputs = path / "inputs"
        self.checkpoint = path / "checkpoint"
        self.staging = path / "staging"
        self.outputs = path / "outputs"

    def create(self, task: JobSpec | BaseTask, inputs: Iterable[Path] = ()) -> None:
        """Begin anew: whatever an earlier run left here is removed.

        Args:
            inputs: files and directories of this file system that the run may read, also when others delete them.

        Raises:
            StorageError: DiskFull, or the operating system refused.
        """
        with file_errors(f"preparing {self.path}"):
            shutil.rmtree(self.path, ignore_errors=True)
            self.inputs.mkdir(parents=True)
            for source in inputs:
                _link(source, self.inputs / source.name)
        write_whole(self.path / (_JOB if isinstance(task, JobSpec) else _BASE), to_json(task).encode())

    def take_checkpoint(self, older: RunFolder) -> None:
        """Go on from what the folder of an older attempt holds, if it holds anything and nothing newer is here."""
        if older.checkpoint.is_dir() and not self.checkpoint.exists():
            with file_errors(f"preparing {self.path}"):
                older.checkpoint.rename(self.checkpoint)

    def job(self) -> JobSpec | None:
        return self._read(_JOB, JobSpec)

    def base_task(self) -> BaseTask | None:
        return self._read(_BASE, BaseTask)

    def result(self) -> Result | None:
        """What came of the run; None while it is not over, or when it died without a word."""
        return self._read(_RESULT, Result)

    def finish(self, result: Result) -> None:
        """Write the outcome. The first one stands: a run that was already over stays what it was."""
        if self.result() is None:
            write_whole(self.path / _RESULT, to_json(result).encode())

    def append(self, event: Progress) -> None:
        """Add one event in a single write, so that a reader sees whole lines however this process ends."""
        line = to_json(event).encode() + b"\n"
        with open(self.path / _EVENTS, "ab", buffering=0) as file:
            file.write(line)

    def events(self) -> EventReader:
        return EventReader(self.path / _EVENTS)

    def clear(self, *, resumable: bool = False) -> None:
        """Remove what only a living run needs: every directory, also those a killed run made for itself.

        `resumable` keeps the checkpoint: another attempt is to be expected.
        """
        with suppress(FileNotFoundError):
            for path in list(self.path.iterdir()):
                if path.is_dir() and not (resumable and path == self.checkpoint):
                    shutil.rmtree(path, ignore_errors=True)

    def _read(self, name: str, kind: type[T]) -> T | None:
        try:
            return from_json(kind, (self.path / name).read_bytes())
        except (FileNotFoundError, NotADirectoryError, InvalidInput):
            return None


class EventReader:
    """Reads a growing events.jsonl piece by piece: each event once, in order, and no half line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def read(self) -> list[Progress]:
        """The events that were added since the last call."""
        try:
            if os.stat(self._path).st_size <= self._offset:
                return []
            with open(self._path, "rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for line in lines if (event := _event(line)) is not None]


def _link(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, copy_function=os.link)
    else:
        os.link(source, target)


def _event(line: bytes) -> Progress | None:
    try:
        return from_json(Progress, line)
    except InvalidInput:  # cut short by a full disk, with the next one behind it
        return None
