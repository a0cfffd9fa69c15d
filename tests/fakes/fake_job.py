"""A run's process with a pretended training: everything real but `learn`, which does what the recipe says.

Recipe keys: `script`, a list of steps, each one of
    ["event", fraction]   ["sleep", seconds]   ["fail", sentence]   ["crash"]   ["exit", code]   ["kill"]
    ["checkpoint"] (leaves one for the next attempt)
    ["deaf"] (ignores SIGTERM)   ["grandchild"] (leaves a sleeping process of its own)   ["disk_full"]
Without a script it reports three events and succeeds. Its artifact holds README.md with the snapshot's rows, and with
the attempts whose checkpoint it found.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from storage.errors import TrainingFailed
from storage.files import file_errors
from storage.logs import set_up_logging
from storage.snapshots import SnapshotContent
from trainer.__main__ import begin_run
from trainer.executors.spare import await_folder
from trainer.protocol import JobSpec, Phase, Progress
from trainer.run_job import run

DEFAULT = [["event", 0.2], ["event", 0.5], ["event", 0.9]]
COMMAND = [sys.executable, "-m", "tests.fakes.fake_job"]
SPARE_COMMAND = [*COMMAND, "--spare", "nothing"]


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
) -> str | None:
    (staging.parent / "pid").write_text(str(os.getpid()))
    found = sorted(path.name for path in checkpoint.iterdir()) if checkpoint is not None and checkpoint.is_dir() else []
    for action, *arguments in spec.recipe.get("script", DEFAULT):
        step(action, arguments, staging.parent, progress)
    inputs = sorted(path.name for path in (staging.parent / "inputs").iterdir())
    texts = {
        "rows": [row.text for row in snapshot.rows],
        "champion": champion is not None,
        "inputs": inputs,
        "found": found,
    }
    (staging / "README.md").write_text(json.dumps(texts))
    return start.name if start is not None and start.is_dir() else None


def step(action: str, arguments: list, folder: Path, progress: Callable[[Progress], None]) -> None:
    if action == "event":
        progress(Progress(seq=0, phase=Phase.TRAINING, fraction=arguments[0]))
    elif action == "sleep":
        time.sleep(arguments[0])
    elif action == "fail":
        raise TrainingFailed(arguments[0])
    elif action == "crash":
        raise RuntimeError("planted")
    elif action == "exit":
        os._exit(arguments[0])
    elif action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "checkpoint":
        (folder / "checkpoint").mkdir(exist_ok=True)
        (folder / "checkpoint" / f"of attempt {folder.name}").touch()
    elif action == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif action == "grandchild":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.DEVNULL)
        (folder / "grandchild").write_text(str(child.pid))
    elif action == "disk_full":
        with file_errors("writing a model of 123 bytes"):
            raise OSError(errno.ENOSPC, "No space left on device")
    else:
        raise ValueError(action)


def _fail(_: object) -> None:
    print("a library's farewell")
    raise RuntimeError("planted")


LOADS: dict[str, Callable[[Callable[[], bool]], object]] = {
    "nothing": lambda _: None,
    "long": lambda _: time.sleep(1.0),
    "fail": _fail,
    "stop": lambda _: os.kill(os.getpid(), signal.SIGSTOP),  # hung, as only SIGKILL can end it
}
"""What a spare process imports ahead of time (`--spare NAME` in place of a folder)."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--spare", choices=LOADS)
    parser.add_argument("--parent", type=int)
    arguments = parser.parse_args()
    if arguments.spare is None:
        begin_run(arguments.parent)
        run(arguments.folder, learn=learn)
    else:
        folder = await_folder(arguments.parent, LOADS[arguments.spare])
        set_up_logging()
        run(folder, learn=learn)


if __name__ == "__main__":
    main()
