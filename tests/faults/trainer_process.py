"""`pupil-trainer` with trainings that take their steps from the test, and with named moments to die at."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.faults.crash import Point, plant
from tests.faults.fault_job import COMMAND
from trainer import __main__ as program
from trainer.client import local_trainer_command
from trainer.executors import subprocess
from trainer.jobs import Jobs
from trainer.store import Store

POINTS = {
    "before it takes the job": Point(Jobs, "submit"),
    "when it has taken the job": Point(Jobs, "submit", after=True),
    "before it keeps the result": Point(Jobs, "_settle"),
    "during the upload": Point(Store, "artifact_file"),
}


def command(data: Path, key_file: Path, device: str) -> tuple[list[str], dict[str, str]]:
    """Like `local_trainer_command`."""
    arguments, environment = local_trainer_command(data, key_file, device)
    return [
        sys.executable,
        "-m",
        "tests.faults.trainer_process",
        *arguments[arguments.index("serve") :],
    ], environment | told()


def told() -> dict[str, str]:
    return {"FAULTS_CONTROL": os.environ["FAULTS_CONTROL"]}


def main() -> None:
    plant(POINTS, Path(os.environ["FAULTS_CONTROL"]) / "trainer.json")
    real = subprocess.SubprocessExecutor
    subprocess.SubprocessExecutor = lambda _, spare: real(COMMAND, told())  # type: ignore[assignment,misc]
    program.main()


if __name__ == "__main__":
    main()
