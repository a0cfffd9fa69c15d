"""What the bot and a trainer say to each other: the messages, their JSON form and the version in the path.

Routes (all under /v1; bodies are JSON unless said; every request is signed, see `trainer.client`):

    GET    /health                              Health
    PUT    /snapshots/{sha256}                  the file's bytes; 204, also when it is there already
    PUT    /jobs/{id}                           JobSpec -> JobStatus; the same id and attempt again is the same job
    GET    /jobs/{id}?after={seq}&wait={s}      JobStatus with the events after `seq`; waits up to `s` for a newer one
    DELETE /jobs/{id}                           cancels; idempotent
    GET    /bases/{name}                        {"artifact": id} of the exported base encoder (exported on first use)
    GET    /artifacts/{id}/{file}               a file of an artifact, with Range; `manifest.json` names the others
    PUT    /artifacts/{id}/{file}               gives a champion back to a trainer that has lost it; manifest.json last

Errors are `{"error": sentence}` with a 4xx or 5xx status.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from storage.errors import InvalidInput

VERSION = 1

T = TypeVar("T")


class Phase(StrEnum):
    """What a training is doing, in this order."""

    QUEUED = "queued"
    PREPARING = "preparing"
    """Reading the snapshot, loading the encoder, embedding."""
    MEASURING = "measuring"
    """Training the shadow that yields out-of-fold evidence."""
    TRAINING = "training"
    """Training the candidate on every train row."""
    EXPORTING = "exporting"
    EVALUATING = "evaluating"
    """Candidate and champion on the same rows."""


class RunState(StrEnum):
    """How a trainer sees a job it was given."""

    WAITING = "waiting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Progress:
    """One event of a running job. `seq` grows by one from 1 within an attempt."""

    seq: int
    phase: Phase
    fraction: float
    """Share of the whole job that is done, in [0, 1]; never falls."""
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    steps: int = 0
    loss: float | None = None
    eta_seconds: float | None = None
    """Estimated wall seconds until the job ends."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """Everything a trainer needs besides the snapshot's bytes and the champion's files."""

    job_id: str
    attempt: int
    snapshot: str
    """sha256 of the snapshot file."""
    base: str
    """Base encoder: package name, Hugging Face id or directory on the trainer's host."""
    champion: str | None = None
    """Artifact id of the champion; None: version 0, the base with the instant head."""
    champion_version: str = "v0"
    """What to call it in the report."""
    seed: int = 0
    recipe: dict[str, Any] = field(default_factory=dict)
    """Fields of `trainer.finetune.Recipe` that differ from its defaults."""


@dataclass(frozen=True, slots=True)
class JobStatus:
    job_id: str
    attempt: int
    state: RunState
    events: tuple[Progress, ...] = ()
    artifact: str | None = None
    """Artifact id, once succeeded. The report is the file report.json in it."""
    error: str | None = None
    """One sentence, once failed."""
    retryable: bool = False
    """Whether another attempt might succeed (a killed process: yes; too few texts: no)."""


@dataclass(frozen=True, slots=True)
class Health:
    version: int
    device: str
    """"cpu", or the GPU's name."""
    free_gpu_bytes: int | None
    jobs_waiting: int
    jobs_running: int


def to_json(message: Any) -> str:
    """Any dataclass of this module or of `storage.records` as one line of JSON."""
    return json.dumps(dataclasses.asdict(message), ensure_ascii=False, separators=(",", ":"))


def from_json(kind: type[T], text: str | bytes) -> T:
    """The dataclass `kind` from its JSON. Unknown keys are ignored, so that a newer peer can add fields.

    Raises:
        InvalidInput: not JSON, or not the shape of `kind`.
    """
    try:
        value: T = _build(kind, json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InvalidInput(f"This is not a valid {kind.__name__}: {error}.") from None
    return value


def _build(kind: Any, value: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            return None
        return _build(next(option for option in arguments if option is not type(None)), value)
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError(f"a list was expected, not {type(value).__name__}")
        return tuple(_build(arguments[0], item) for item in value)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(value, dict):
            raise TypeError(f"an object was expected, not {type(value).__name__}")
        hints = typing.get_type_hints(kind)
        known = {f.name for f in dataclasses.fields(kind)}
        return kind(**{name: _build(hints[name], item) for name, item in value.items() if name in known})
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(value)
    if kind in (int, float, str, bool):
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise TypeError(f"{kind.__name__} was expected, not {type(value).__name__}")
    return value
