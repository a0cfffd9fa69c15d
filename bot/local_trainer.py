"""The bot's own trainer: started as a child on loopback, started again when it dies, ended with the bot.

To everything else it is a `TrainerClient` like any other. The key is random for each start of the bot and lies in a
file only this user may read; arguments and environment of the child tell nothing. Knows nothing of trainings.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import time
from asyncio.subprocess import Process
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from storage.errors import StorageError
from storage.settings import Settings
from trainer.client import TrainerClient, local_trainer_command

log = logging.getLogger(__name__)

START_LIMIT = 20.0
"""Seconds until a child must have said that it is ready; one that is still ending may hold its folder for eight."""
STOP_LIMIT = 10.0
"""Seconds a child gets to end by itself."""
PAUSES = (0.2, 1.0, 5.0, 15.0, 30.0)
"""Seconds before the next start, by the number of deaths in a row."""
HEALTHY_AFTER = 60.0
"""Seconds of life after which the next death counts as the first."""

Command = Callable[[Path, Path, str], tuple[list[str], dict[str, str]]]


class LocalTrainer:
    """`async with LocalTrainer(data, settings) as local: local.client ...`

    Entering waits until the trainer is ready, but not for ever, and never fails because of it: a bot without a trainer
    still answers. While the child is away, calls of `client` raise TrainerUnavailable.
    """

    def __init__(self, data: Path, settings: Settings, *, command: Command = local_trainer_command) -> None:
        """Args:
        data: the trainer's folder; made if missing.
        command: gives command line and environment of the child (folder, key file, device).
        """
        self._data = data
        self._device = settings.device
        self._command = command
        self._key = secrets.token_hex(32)
        self._process: Process | None = None
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self.client = TrainerClient(None, self._key)

    @property
    def pid(self) -> int | None:
        """Process id of the child that runs now."""
        return None if self._process is None or self._process.returncode is not None else self._process.pid

    async def __aenter__(self) -> LocalTrainer:
        """Raises:
        StorageError: the folder or the key file cannot be written.
        """
        _write_key(self._data, self._key)
        await self.client.__aenter__()
        self._keeper = asyncio.create_task(self._keep_alive())
        with suppress(TimeoutError):
            async with asyncio.timeout(START_LIMIT):
                await self._ready.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self.client.__aexit__(kind, error, trace)

    async def _keep_alive(self) -> None:
        deaths = 0
        while True:
            began = time.monotonic()
            try:
                await self._live_once()
            except (OSError, ValueError, TimeoutError) as error:
                log.warning("trainer.not_started", extra={"reason": str(error) or type(error).__name__})
            finally:
                self._ready.clear()
                self.client.url = None
                await self._end_child()
            deaths = 1 if time.monotonic() - began > HEALTHY_AFTER else deaths + 1
            await asyncio.sleep(PAUSES[min(deaths, len(PAUSES)) - 1])

    async def _live_once(self) -> None:
        """From the start of a child to its death.

        Raises:
            OSError, ValueError, TimeoutError: it did not get ready.
        """
        command, environment = self._command(self._data, self._data / "key", self._device)
        process = self._process = await asyncio.create_subprocess_exec(
            *command,
            # Open for as long as we live: its end tells the child that we are gone, however that happened.
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C in the terminal is for the bot, which ends its trainer last
        )
        port = await _ready_port(process)
        self.client.url = f"http://127.0.0.1:{port}"
        self._ready.set()
        log.info("trainer.ready", extra={"pid": process.pid, "port": port})
        code = await process.wait()
        log.warning("trainer.died", extra={"pid": process.pid, "code": code})

    async def _end_child(self) -> None:
        """Nothing of the child is alive when this returns; its own children end with it."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_LIMIT):
                await process.wait()
        if process.returncode is None:
            log.warning("trainer.killed", extra={"pid": process.pid})
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _ready_port(process: Process) -> int:
    if process.stdout is None:
        raise ValueError("the child has no output to say that it is ready")
    async with asyncio.timeout(START_LIMIT):
        line = await process.stdout.readline()
    if not line:
        raise ValueError(f"it ended with exit code {await process.wait()} before it was ready")
    try:
        return int(json.loads(line)["port"])
    except (ValueError, KeyError, TypeError):
        raise ValueError("it said something else than that it is ready") from None


def _write_key(data: Path, key: str) -> None:
    path = data / "key"
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key + "\n")
    except OSError as error:
        raise StorageError(f"The trainer's key cannot be written to {path}: {error.strerror}.") from error
