"""A run's process without torch: it takes its steps from the test, and hands in the ready-made version of the kit.

`<control>/script.json` is {"steps": [of attempt 1, of attempt 2, …], "defect": name or null}; the last list of steps
counts for all later attempts. Steps are those of `tests.fakes.fake_job`, and
    ["await"]   goes on when the test writes `<control>/go`
    ["sealed"]  (last) kills this process between the artifact and result.json
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from storage import artifacts
from storage.snapshots import SnapshotContent
from tests.fakes.fake_job import step
from tests.faults.defects import spoil_sealed, spoil_staging
from trainer import run_job
from trainer.__main__ import begin_run
from trainer.protocol import JobSpec, Progress, RunState
from trainer.run_folder import Result, RunFolder

COMMAND = [sys.executable, "-m", "tests.faults.fault_job"]


def control() -> Path:
    return Path(os.environ["FAULTS_CONTROL"])


def script_of(attempt: int) -> tuple[list[list[Any]], str | None]:
    told = json.loads((control() / "script.json").read_text())
    return told["steps"][min(attempt, len(told["steps"])) - 1], told["defect"]


def learn(
    snapshot: SnapshotContent,
    base: Path,
    champion: Path | None,
    spec: JobSpec,
    staging: Path,
    progress: Callable[[Progress], None],
    device: str,
    *,
    start: Path | None = None,
    checkpoint: Path | None = None,
    exported: Path | None = None,
) -> None:
    folder = staging.parent
    (folder / "pid").write_text(str(os.getpid()))
    found = sorted(path.name for path in checkpoint.iterdir()) if checkpoint is not None and checkpoint.is_dir() else []
    steps, defect = script_of(spec.attempt)
    for action, *arguments in steps:
        if action == "await":
            wait_for(control() / "go")
        elif action != "sealed":
            step(action, arguments, folder, progress)
    for path in (*base.iterdir(), *(base.parent / "version").iterdir()):
        if path.name in artifacts.ALLOWED:
            shutil.copy(path, staging)
    about = {"rows": [row.text for row in snapshot.rows], "attempt": spec.attempt, "found": found}
    (staging / "README.md").write_text(json.dumps(about))
    spoil_staging(defect, staging)


def wait_for(path: Path, limit: float = 120.0) -> None:
    deadline = time.monotonic() + limit
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.01)


def seal(
    staging: Path, root: Path, kind: artifacts.Kind, labels: Sequence[Mapping[str, Any]], lineage: Any, now: float
) -> str:
    steps, defect = script_of(int(staging.parent.name))
    artifact = spoil_sealed(defect, staging, root, lambda: artifacts.seal(staging, root, kind, labels, lineage, now))
    if steps and steps[-1] == ["sealed"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return artifact


def export_base(folder: RunFolder, base: str, precision: str) -> Result:
    """The kit's base is exported already."""
    folder.staging.mkdir(exist_ok=True)
    for path in Path(base).iterdir():
        shutil.copy(path, folder.staging)
    sealed = artifacts.seal(folder.staging, folder.outputs, "base", (), {"base": base}, time.time())
    return Result(RunState.SUCCEEDED, sealed)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--parent", type=int)
    arguments = parser.parse_args()
    begin_run(arguments.parent)
    run_job._export_base = export_base
    if RunFolder(arguments.folder).job() is not None:
        run_job.seal = seal  # type: ignore[attr-defined]
    run_job.run(arguments.folder, learn=learn)


if __name__ == "__main__":
    main()
