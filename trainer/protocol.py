"""What the bot and a trainer say to each other: the messages, their JSON form and the version in the path.

The routes they travel on stand in `trainer.openapi`, with their parameters, limits and errors.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from storage.errors import InvalidInput

VERSION = 1

BASE_EXPORT = 2
"""Counts up when the same base is exported otherwise than before: trainers then do so anew, and bots fetch it."""

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
    """Everything a trainer needs besides the snapshot's bytes and the files of the champion and the start."""

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
    start: str | None = None
    """Artifact id of another classifier's version at which training begins; None: at the base encoder.

    Given like the champion, together with the snapshots it has learned (`learned`). A trainer that lacks any of it, or
    cannot use it, begins at the base and says why in the report.
    """
    start_name: str = ""
    """What to call it in the report: "support v3"."""
    anew: bool = False
    """Whether training must not go on from the champion: it has learned what was forgotten since."""
    owner: str = field(default="", compare=False)
    """Whose job it is, for a fair queue: owners run in turn. Any text; no part of what the job is."""


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
    ahead: int = 0
    """While it waits: how many jobs end before it begins, if nobody else comes."""


@dataclass(frozen=True, slots=True)
class BaseStatus:
    """A base encoder as an artifact; `artifact` is None while it is being exported."""

    artifact: str | None


@dataclass(frozen=True, slots=True)
class ArtifactFiles:
    """What a trainer holds of an artifact."""

    complete: bool
    """Sealed: its manifest is there and every file was verified."""
    files: tuple[str, ...]
    """Names of the files that need not be sent (again)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer to a request that was not carried out."""

    error: str
    """One sentence: what happened, to which id, and what to do next."""


@dataclass(frozen=True, slots=True)
class Health:
    version: int
    device: str
    """"cpu", or the first GPU's name."""
    free_gpu_bytes: int | None
    """Of the first GPU's memory."""
    jobs_waiting: int
    jobs_running: int
    gpus: int = 0
    free_memory_bytes: int | None = None
    """Of main memory, within a container's limit."""
    free_disk_bytes: int | None = None
    """Where snapshots, checkpoints and artifacts are kept."""
    pupil: str | None = None
    """Installed version."""
    torch: str | None = None
    """Installed version; None: not installed."""
    seconds_up: float = 0.0


def learned(lineage: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of the snapshots that a version's encoder was trained on: its own, and those of the versions before it.

    `lineage` is that of its manifest. () when it does not say.
    """
    own = lineage.get("snapshot")
    return tuple(str(one) for one in lineage.get("learned", (own,) if own else ()))


def to_json(message: Any) -> str:
    """Any dataclass of this module or of `storage.records` as one line of JSON, in ASCII.

    Escapes keep a lone surrogate, which no encoding can write, from breaking a file or a request.
    """
    return json.dumps(dataclasses.asdict(message), separators=(",", ":"))


def from_json(kind: type[T], text: str | bytes) -> T:
    """The dataclass `kind` from its JSON. Unknown keys are ignored, so that a newer peer can add fields.

    Raises:
        InvalidInput: not JSON, or not the shape of `kind`.
    """
    try:
        value: T = _build(kind, json.loads(text))
    except RecursionError:
        raise InvalidInput(f"This is not a valid {kind.__name__}: it is nested too deeply.") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidInput(f"This is not a valid {kind.__name__}: {error}.") from None
    return value


def _build(kind: Any, value: Any) -> Any:
    """`value`, as `json.loads` gives it, as an instance of the annotation `kind`."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return None if value is None else _build(_not_none(arguments), value)
    if origin is tuple:
        return tuple(_build(arguments[0], item) for item in _expect(list, value))
    if origin is dict:
        return {key: _build(arguments[1], item) for key, item in _expect(dict, value).items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _build_dataclass(kind, _expect(dict, value))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return kind(value)
    if kind is float:
        return float(_expect((int, float), value))
    return value if kind is Any else _expect(kind, value)


def _build_dataclass(kind: Any, value: dict[str, Any]) -> Any:
    hints = _hints(kind)
    fields = dataclasses.fields(kind)
    for f in fields:
        required = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        if required and f.name not in value:
            raise TypeError(f"{f.name} is missing")
    return kind(**{f.name: _build(hints[f.name], value[f.name]) for f in fields if f.name in value})


@functools.cache
def _hints(kind: Any) -> Mapping[str, Any]:
    """Annotations are text until they are looked up, which takes longer than building the object."""
    return typing.get_type_hints(kind)


def _not_none(options: tuple[Any, ...]) -> Any:
    return next(option for option in options if option is not types.NoneType)


def _expect(kind: Any, value: Any) -> Any:
    # To Python, True is an int; to us it is a mistake.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        expected = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise TypeError(f"{expected} was expected, not {type(value).__name__}")
    return value
