"""What a training has reached, on disk: whoever takes it up after a crash goes on from there and gets the same result.

    <folder>/<stage>.<step>.<digest>.safetensors

A stage is one pass of the training loop, or the answers of a shadow that is done. A file appears whole, its name holds
the sha256 of its bytes, and only the newest of a stage stays: one that is damaged, or belongs to another training,
counts as none. Weights, optimizer and random state are tensors, so nothing is ever unpickled.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from storage.errors import StorageError
from storage.files import PART, file_errors, sha256_of, sync_directory, sync_file

log = logging.getLogger(__name__)

Tensors = Mapping[str, Tensor]
_TRAINING = "training"


@dataclass(frozen=True)
class Saved:
    step: int
    """Steps that were done."""
    tensors: Tensors


class Checkpoints:
    """The stages of one training."""

    def __init__(
        self, folder: Path, training: str, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Args:
        folder: made when something is kept; others may hold it for this training alone.
        training: digest of all that decides the result; what another one left is no use.
        seconds: between two states of a stage that are kept; 0 keeps every one.
        """
        self._folder, self._training, self._seconds, self._clock = folder, training, seconds, clock

    def stage(self, name: str) -> Stage:
        return Stage(self._folder, name, self._training, self._seconds, self._clock)


class Stage:
    def __init__(self, folder: Path, name: str, training: str, seconds: float, clock: Callable[[], float]) -> None:
        self._folder, self._name, self._training = folder, name, training
        self._seconds, self._clock = seconds, clock
        self._kept_at = clock()

    def read(self) -> Saved | None:
        """The newest state that is whole and of this training; None: the stage begins anew."""
        found = sorted(self._files(), key=lambda path: _step(path), reverse=True)
        return next((saved for path in found if (saved := self._open(path)) is not None), None)

    def offer(self, step: int, state: Callable[[], Tensors]) -> None:
        """Keep the state after `step`, if the last one is old enough."""
        if self._clock() - self._kept_at >= self._seconds:
            self.keep(step, state())

    def keep(self, step: int, tensors: Tensors) -> None:
        """Replace what was kept. Where it cannot be written the training goes on without."""
        try:
            with file_errors("keeping a checkpoint"):
                self._write(step, tensors)
        except (StorageError, SafetensorError) as error:
            log.warning("checkpoint.unwritten", extra={"stage": self._name, "reason": str(error)})
        self._kept_at = self._clock()

    def drop(self) -> None:
        """The stage is done: what it kept is of no more use."""
        for path in self._files():
            path.unlink(missing_ok=True)

    def _write(self, step: int, tensors: Tensors) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = self._folder / f"{self._name}{PART}"
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, aside, self._about())
        sync_file(aside)
        before = self._files()
        path = aside.rename(self._folder / f"{self._name}.{step}.{sha256_of(aside)}.safetensors")
        sync_directory(self._folder)
        for older in before:
            if older != path:
                older.unlink(missing_ok=True)

    def _open(self, path: Path) -> Saved | None:
        try:
            if sha256_of(path) != path.name.split(".")[2]:
                return None
            with safe_open(path, framework="pt") as file:
                if file.metadata() != self._about():
                    return None
                return Saved(_step(path), {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
        except (OSError, SafetensorError):
            return None

    def _about(self) -> dict[str, str]:
        return {_TRAINING: self._training}

    def _files(self) -> list[Path]:
        return list(self._folder.glob(f"{self._name}.*.*.safetensors"))


def _step(path: Path) -> int:
    step = path.name.split(".")[1]
    return int(step) if step.isdecimal() else -1


def random_state() -> dict[str, Tensor]:
    """Of torch's generators: what dropout will draw next."""
    states = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random.cuda"] = torch.cuda.get_rng_state()
    return states


def restore_random_state(tensors: Tensors) -> None:
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
