"""Processes as the kernel sees them, and a trainer that runs by itself."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from tests.fakes.running import ROOT, environment
from tests.fakes.trainer_bench import is_alive
from trainer.run_folder import LOG

__all__ = ["TrainerProcess", "is_alive", "kill", "strays", "told_pid", "trainer_of", "tree"]

KEY = "f" * 64


def kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def children(pid: int) -> list[int]:
    found = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += [int(word) for word in (task / "children").read_text().split()]
    return found


def tree(pid: int) -> list[int]:
    """Everything below a process, now."""
    found = children(pid)
    for child in list(found):
        found += tree(child)
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def trainer_of(bot: int) -> int:
    """Pid of the trainer that a bot has started."""
    return next((pid for pid in children(bot) if " serve " in command_line(pid) and is_alive(pid)), 0)


def strays(folders: Sequence[Path], known: set[int]) -> list[int]:
    """Living processes whose command line names one of the folders, and that are none of the known ones."""
    found = []
    for pid in pids():
        told = command_line(pid)
        if pid not in known and any(str(folder) in told for folder in folders) and is_alive(pid):
            found.append(pid)
    return found


def pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def writes_to(pid: int, log: Path) -> bool:
    """Whether what a process prints goes there: a spare process is told its run folder by no argument."""
    try:
        return os.readlink(f"/proc/{pid}/fd/1") == str(log) and is_alive(pid)
    except OSError:
        return False


def told_pid(folder: Path, real: bool) -> int | None:
    """Pid of the process that works in a run folder."""
    if real:
        return next((pid for pid in pids() if writes_to(pid, folder / LOG)), None)
    with suppress(OSError, ValueError):
        return int((folder / "pid").read_text())
    return None


class TrainerProcess:
    """`pupil-trainer serve` by itself, as on another host; started again it has the same folder and another port."""

    def __init__(self, data: Path, control: Path, real: bool) -> None:
        self.data = data
        self.key_file = control / "trainer.key"
        self.key_file.write_text(KEY)
        self.key_file.chmod(0o600)
        self._control = control
        self._module = "trainer" if real else "tests.faults.trainer_process"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def start(self) -> int:
        """Its port."""
        with (self._control.parent / "trainer.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self._module, "serve", "--port", "0", "--data", str(self.data)),
                *("--key-file", str(self.key_file), "--device", "cpu"),
                *("--parent", str(os.getpid())),  # ends with the test, however that ends
                cwd=ROOT,
                env=environment(FAULTS_CONTROL=str(self._control)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        return int(json.loads(line)["port"])

    async def died(self) -> None:
        assert self._process is not None
        await asyncio.wait_for(self._process.wait(), 60)

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            kill(self._process.pid, signal.SIGCONT)
            kill(self._process.pid, signal.SIGKILL)
            await self._process.wait()
