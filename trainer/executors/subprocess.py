"""Runs work in a child process of this host: its own process group, low priority, no secrets, and never an orphan.

A fresh interpreter instead of a fork: torch's threads and CUDA contexts do not survive one, and the child's memory
goes back to the system when it ends. Where a `Spare` is at hand, which has done its imports, that is the child.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from storage.errors import TrainerUnavailable
from storage.processes import PYTHON
from trainer.children import child_environment
from trainer.executors.base import GRACE, Executor, Exit, Run
from trainer.executors.spare import Spare
from trainer.run_folder import LOG

log = logging.getLogger(__name__)

CLOSING_GRACE = 2.0
"""Seconds a run gets when the whole trainer ends: whoever waits for the trainer waits for this too."""


class SubprocessExecutor(Executor):
    def __init__(
        self,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        spare: Spare | None = None,
    ) -> None:
        """Args:
        command: what is started; the folder and "--parent PID" are appended. None: `python -m trainer run-job`.
        environment: added to `trainer.children.child_environment`, never the parent's own environment.
        spare: prepares processes for runs; ended with this executor. None: every run starts cold.
        """
        self._command = tuple(command or (*PYTHON, "-m", "trainer", "run-job"))
        self._environment = dict(environment or {})
        self._spare = spare
        self._runs: dict[str, ProcessRun] = {}
        self._starting = asyncio.Lock()

    async def start(self, run_id: str, folder: Path) -> Run:
        async with self._starting:
            if (run := self._runs.get(run_id)) is not None and not run.ended:
                return run
            try:
                run = ProcessRun(run_id, await self._ready_child(folder) or await self._spawn(folder))
            except OSError as error:
                raise TrainerUnavailable(f"No process could be started for {run_id}: {error.strerror}.") from error
            self._runs = {name: other for name, other in self._runs.items() if not other.ended}
            self._runs[run_id] = run
        log.info("run.started", extra={"run": run_id, "pid": run.pid})
        return run

    async def prepare(self) -> None:
        # Not beside a run: two of these would share its cores and memory, and who comes next has to wait anyway.
        if self._spare is not None and all(run.ended for run in self._runs.values()):
            await self._spare.prepare()

    async def close(self) -> None:
        if self._spare is not None:
            await self._spare.close()
        await asyncio.gather(*(run.stop(CLOSING_GRACE) for run in self._runs.values()))

    async def _ready_child(self, folder: Path) -> Process | None:
        return None if self._spare is None else await self._spare.take(folder)

    async def _spawn(self, folder: Path) -> Process:
        # stdin stays open for as long as this process lives: its end tells the child that we are gone.
        with (folder / LOG).open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *self._command,
                str(folder),
                "--parent",
                str(os.getpid()),
                stdin=asyncio.subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=child_environment(self._environment),
                start_new_session=True,
            )


class ProcessRun(Run):
    def __init__(self, run_id: str, process: Process) -> None:
        self._run_id = run_id
        self._process = process
        self._killed = False
        """By us."""
        self._end = asyncio.create_task(self._reap())

    @property
    def pid(self) -> int:
        """Of the child, which is also the id of its process group."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._end.done()

    async def wait(self) -> Exit:
        return await asyncio.shield(self._end)

    async def stop(self, grace: float = GRACE) -> Exit:
        if not self.ended:
            self._signal_group(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    return await self.wait()
            self._killed = True
            self._signal_group(signal.SIGKILL)
        return await self.wait()

    async def _reap(self) -> Exit:
        code = await self._process.wait()
        # Grandchildren, if the work had any, must not go on writing into the folder.
        self._signal_group(signal.SIGKILL)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        log.info("run.ended", extra={"run": self._run_id, "pid": self.pid, "how": how})
        # `trainer.children.give_way` makes it the kernel's first choice when memory runs out.
        return Exit(clean=code == 0, how=how, out_of_memory=code == -signal.SIGKILL and not self._killed)

    def _signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # macOS says "not permitted" of a group of zombies
            os.killpg(self.pid, number)
