"""A process that has the libraries imported already and waits for one run: importing them takes longer than the rest.

`Spare` is the trainer's side, `await_folder` what the process does. They speak over its stdin and stdout: one line with
the run folder in, one line back once the folder's log is the process's output. From then on nothing tells it from a
process that was started for this run. Where it is dead or does not answer, it is ended, and the run starts anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import queue
import signal
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from storage.errors import TrainerUnavailable
from trainer.children import child_environment, end_with_parent, give_way
from trainer.run_folder import LOG

log = logging.getLogger(__name__)

IDLE = 600.0
"""Seconds a spare waits for a run; then its memory is worth more to others."""

PATIENCE = 10.0
"""Seconds it may take to answer. It answers while it still imports, but a library that is being loaded is not
interrupted: the largest takes a second, several on a busy machine."""

TAKEN = b"taken\n"


class Spare:
    """At most one such process. All methods are for one event loop and may be called at the same time."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        idle: float = IDLE,
        patience: float = PATIENCE,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Args:
        command: what is started; "--parent PID" is appended. It has to call `await_folder`.
        environment: added to `trainer.children.child_environment`, as for a run.
        sleep: the clock by which it is idle.
        """
        self._command = tuple(command)
        self._environment = dict(environment or {})
        self._idle, self._patience, self._sleep = idle, patience, sleep
        self._process: Process | None = None
        self._retiring: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Of the process that waits now."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def prepare(self) -> None:
        """See to it that one waits; its idle time begins anew.

        Raises:
            TrainerUnavailable: it could not be started.
        """
        async with self._lock:
            self._stay()
            if self.pid is None:
                try:
                    self._process = await self._spawn()
                except OSError as error:
                    raise TrainerUnavailable(f"No spare process could be started: {error.strerror}.") from error
                log.info("spare.started", extra={"pid": self._process.pid})
            self._retiring = asyncio.create_task(self._retire())

    async def take(self, folder: Path) -> Process | None:
        """The process, at work on `folder` from now on; None where there is none that answers: then none is alive.

        One that has not finished importing is taken too: waiting for it is never longer than starting anew.
        """
        async with self._lock:
            self._stay()
            process, self._process = self._process, None
            if process is None:
                return None
            taken = False
            try:
                taken = process.returncode is None and await self._hand_over(process, folder)
            finally:  # also when whoever asked has given up: nobody would know of it
                if not taken:
                    await _end(process)
            log.info("spare.taken" if taken else "spare.useless", extra={"pid": process.pid})
            return process if taken else None

    async def close(self) -> None:
        """End it. Idempotent."""
        async with self._lock:
            self._stay()
            process, self._process = self._process, None
            if process is not None:
                await _end(process)

    def _stay(self) -> None:
        if self._retiring is not None:
            self._retiring.cancel()
            self._retiring = None

    async def _retire(self) -> None:
        await self._sleep(self._idle)
        async with self._lock:
            process, self._process = self._process, None
            if process is not None:
                await _end(process)
                log.info("spare.retired", extra={"pid": process.pid})

    async def _spawn(self) -> Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            "--parent",
            str(os.getpid()),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=child_environment(self._environment),
            start_new_session=True,
        )

    async def _hand_over(self, process: Process, folder: Path) -> bool:
        if process.stdin is None or process.stdout is None:
            return False
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(self._patience):
                process.stdin.write(json.dumps(str(folder.absolute())).encode() + b"\n")
                await process.stdin.drain()
                return await process.stdout.readline() == TAKEN
        return False


def await_folder(parent: int, load: Callable[[], object]) -> Path:
    """In the spare process: call `load`, then return the run folder that was handed over meanwhile or afterwards.

    Never returns where none is: the process ends with `parent`, which holds its stdin open. Trouble of `load` is no
    trouble yet: the run will meet it again, and has a place to say so.
    """
    give_way()
    answer = os.dup(1)
    os.dup2(2, 1)  # what libraries print while they load is no answer
    handed: queue.SimpleQueue[Path] = queue.SimpleQueue()

    def take(line: bytes) -> None:
        folder = Path(json.loads(line))
        try:
            with (folder / LOG).open("ab") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            os.write(answer, TAKEN)
            os.close(answer)
        except OSError:
            os._exit(1)  # seen at once, and the run starts cold
        handed.put(folder)

    end_with_parent(parent, on_end=lambda: None, grace=0.0, on_line=take)
    try:
        load()
    except Exception as error:
        log.warning("spare.unloaded", extra={"reason": type(error).__name__})
    return handed.get()


async def _end(process: Process) -> None:
    """Its whole group, at once: it holds nothing that anybody would miss."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())
