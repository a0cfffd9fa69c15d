"""The work of one run, in a process of its own: from a run folder's task to its artifact and result.json.

Whatever happens is written down in one sentence, with the answer to "is it worth trying again?". Heavy imports happen
inside the functions: the trainer's server imports this package's other modules and must stay light. Knows nothing of
servers, keys or networks.
"""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import logging
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from storage.artifacts import is_artifact_id, read_manifest, seal, verify
from storage.errors import ArtifactError, DiskFull, PupilError, StorageError, TrainerUnavailable, TrainingFailed
from storage.files import FULL, file_errors
from storage.snapshots import SnapshotContent, read_snapshot, snapshot_path
from trainer.protocol import JobSpec, Phase, Progress, RunState, learned
from trainer.run_folder import Result, RunFolder

log = logging.getLogger(__name__)

_LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "onnxruntime", "numpy", "scipy", "scikit-learn")

Learn = Callable[..., str | None]
"""`trainer.learn.learn`, or what a test puts in its place."""


def run(path: Path, device: str = "auto", learn: Learn | None = None) -> Result:
    """Do the task of the run folder at `path` and write its result. Never raises for what a task can do wrong."""
    folder = RunFolder(path)
    try:
        result = _work(folder, device, learn)
    except PupilError as error:
        result = _failed(str(error), retryable=_may_pass(error))
        log.warning("run.failed", extra={"reason": str(error)})
    except ImportError as error:
        result = _failed(f"The trainer lacks {error.name}. Run on its host: pip install 'pupil[train]'", False)
    except MemoryError:
        result = _failed("The trainer's memory did not suffice for this training.", True)
    except Exception as error:
        log.exception("run.broken")
        result = _failed(
            f"The training ended on an unexpected {type(error).__name__}; see output.log in {path} on the trainer.",
            True,
        )
    if result.artifact is None:
        shutil.rmtree(folder.staging, ignore_errors=True)  # on a full disk this makes room for the result
    folder.finish(result)
    return result


def load_ahead(wanted: Callable[[], bool]) -> None:
    """Import what a training imports, and rehearse one unless somebody waits already (`wanted`).

    Raises:
        ImportError: a library is missing. `run` will say which.
        ConfigurationError: there is no base to rehearse with.
    """
    _import_libraries()
    from trainer.rehearsal import rehearse

    rehearse(wanted)


def _import_libraries() -> None:
    """Everything that a training with a BERT-like encoder imports sooner or later.

    Without looking for garbage meanwhile, as there is none: that took an eighth of the time.
    """
    gc.disable()
    try:
        for name in (
            "trainer.learn",
            "transformers.models.auto.modeling_auto",
            "transformers.models.bert.modeling_bert",
        ):
            importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()


class Reporter:
    """Writes what the work reports as events of the run: numbered without gaps, never going back."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._last = Progress(seq=0, phase=Phase.QUEUED, fraction=0.0)

    def __call__(self, progress: Progress) -> None:
        """Add one event; its `seq` is replaced by the next one of the run.

        Raises:
            StorageError: it cannot be written; so could no model.
        """
        fraction = max(self._last.fraction, min(1.0, progress.fraction))
        event = replace(progress, seq=self._last.seq + 1, fraction=fraction)
        with file_errors("writing progress"):
            self._folder.append(event)
        self._last = event


def _work(folder: RunFolder, device: str, learn: Learn | None) -> Result:
    if (task := folder.base_task()) is not None:
        return _export_base(folder, task.base, task.precision)
    if (spec := folder.job()) is not None:
        return _train(folder, spec, device, learn)
    raise TrainingFailed(f"There is no task in {folder.path}.")


def _train(folder: RunFolder, spec: JobSpec, device: str, learn: Learn | None) -> Result:
    report = Reporter(folder)
    report(Progress(1, Phase.PREPARING, 0.0))  # before the libraries load: somebody is waiting for a sign of life
    snapshot = read_snapshot(snapshot_path(folder.inputs, spec.snapshot))
    if learn is None:
        _import_libraries()
        from trainer.learn import learn as real_learn

        learn = real_learn
    base, base_digest = _base(spec.base)
    champion = folder.inputs / spec.champion if spec.champion else None
    start = folder.inputs / spec.start if spec.start else None
    with _room_for("writing the model"):
        folder.staging.mkdir(exist_ok=True)
        began_at = learn(
            snapshot,
            base,
            champion,
            spec,
            folder.staging,
            report,
            device,
            start=start,
            checkpoint=folder.checkpoint,
            exported=_exported(folder.inputs, _base_lineage(spec.base, base_digest)),
        )
    labels = [{"id": one.id, "name": one.name, "description": one.description} for one in snapshot.labels]
    lineage = _lineage(snapshot, spec, base_digest) | _carried(spec, folder.inputs, began_at)
    return Result(RunState.SUCCEEDED, seal(folder.staging, folder.outputs, "version", labels, lineage, time.time()))


def _export_base(folder: RunFolder, base: str, precision: str) -> Result:
    from trainer.export import export_encoder

    directory, digest = _base(base)
    with _room_for("writing the model"):
        folder.staging.mkdir(exist_ok=True)
        export_encoder(directory, folder.staging, precision=precision)
    lineage = _base_lineage(base, digest)
    return Result(RunState.SUCCEEDED, seal(folder.staging, folder.outputs, "base", (), lineage, time.time()))


@contextmanager
def _room_for(doing: str) -> Iterator[None]:
    """Translate a full disk into DiskFull, whoever writes; anything else stays what it is, with its traceback."""
    try:
        yield
    except Exception as error:
        if (number := _system_error(error)) not in FULL:
            raise
        with file_errors(doing):
            raise OSError(number, os.strerror(number)) from error


def _system_error(error: Exception) -> int | None:
    """Its errno. Libraries in Rust (safetensors, tokenizers) name it in the text: "... (os error 28)"."""
    if isinstance(error, OSError):
        return error.errno
    told = re.search(r"\(os error (\d+)\)", str(error))
    return int(told[1]) if told else None


def _exported(inputs: Path, lineage: dict[str, Any]) -> Path | None:
    """Directory of the base's artifact of this lineage, if it is among the inputs and whole."""
    for path in inputs.iterdir():
        with suppress(ArtifactError):
            if is_artifact_id(path.name) and read_manifest(path).kind == "base" and verify(path).lineage == lineage:
                return path
    return None


def _base(name: str) -> tuple[Path, str]:
    from trainer.bases import resolve, weights_digest

    directory = resolve(name)
    return directory, weights_digest(directory)


def _lineage(snapshot: SnapshotContent, spec: JobSpec, base_digest: str) -> dict[str, Any]:
    return {
        "snapshot": spec.snapshot,
        "last_event_id": snapshot.last_event_id,
        "champion": spec.champion,
        "recipe": spec.recipe,
        "seed": spec.seed,
    } | _base_lineage(spec.base, base_digest)


def _base_lineage(base: str, digest: str) -> dict[str, Any]:
    return {"base": base, "base_sha256": digest, "libraries": _libraries()}


def _carried(spec: JobSpec, inputs: Path, began_at: str | None) -> dict[str, Any]:
    """Whose weights the version goes back to (an artifact id; None: the base's), and every snapshot they have learned.

    Nothing that one of these held is evidence for whoever begins at this version. A training that went on from the
    champion goes back to what that goes back to.
    """
    before = {} if began_at is None else read_manifest(inputs / began_at).lineage
    start = before.get("start") if began_at == spec.champion else began_at
    return {"start": start, "learned": list(dict.fromkeys([spec.snapshot, *learned(before)]))}


def _libraries() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _may_pass(error: PupilError) -> bool:
    """Whether another attempt might succeed: disks and connections recover, data and settings stay as they are."""
    return isinstance(error, (TrainerUnavailable, DiskFull)) or type(error) is StorageError


def _failed(reason: str, retryable: bool) -> Result:
    return Result(RunState.FAILED, error=reason, retryable=retryable)
