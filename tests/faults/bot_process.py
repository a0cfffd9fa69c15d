"""Real bots, started quickly, with short patience and with named moments to die at.

A bot takes seconds to import. So one process, the nursery, imports it once, opens nothing, and forks for every bot that
is asked for: the fork is `bot.run.run` in a session of its own, with its log in a file. What differs from `pupil run`:
waits are a tenth as long, and `crash` orders are obeyed.

    stdin   one JSON object a line: {"settings": …, "control": folder, "log": file, "real": whether trainings are real}
    stdout  the pid of the bot that was started
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bot.app
import bot.local_trainer
import bot.services.job_runner
from bot.run import run
from bot.services.serving import Serving
from storage.errors import PupilError
from storage.jobs import Jobs
from storage.registry import Registry
from storage.settings import load_settings
from tests.faults.crash import Point, meanwhile, plant, take
from tests.faults.trainer_process import command
from trainer.client import TrainerClient
from trainer.transport import Transport

PR_SET_PDEATHSIG = 1
TIMEOUT = 3.0
"""Seconds instead of 30."""
BACK_OFF = 0.1
"""Share of the pause between two attempts."""
AWAY = 15.0
"""Seconds for which an attempt waits for a trainer, instead of 15 minutes."""
POLL = 1.0
"""Seconds of a long poll instead of 10."""

POINTS = {
    "before it hands the job over": Point(TrainerClient, "submit"),
    "when it has handed the job over": Point(TrainerClient, "submit", after=True),
    "before the download": Point(TrainerClient, "fetch_artifact"),
    "after the download": Point(TrainerClient, "fetch_artifact", after=True),
    "when the version is registered": Point(Registry, "add", after=True),
    "between promotion and swap": Point(Registry, "promote", after=True),
    "after the swap": Point(Serving, "swap", after=True),
}
DOWNLOADING = "during the download"
"""`hits` counts pieces of files."""
PIECES = 11
"""Of a version at least, when it is downloaded: its files, large ones sometimes in two."""


def be_impatient(real: bool) -> None:
    client = functools.partial(TrainerClient, timeout=TIMEOUT)
    bot.app.TrainerClient = bot.local_trainer.TrainerClient = client  # type: ignore[assignment,misc]
    bot.local_trainer.PAUSES = (0.1,)
    bot.services.job_runner.AWAY_SECONDS = AWAY
    if not real:
        bot.app.LocalTrainer = functools.partial(  # type: ignore[assignment,misc]
            bot.local_trainer.LocalTrainer, command=command
        )
    poll, change = TrainerClient.poll, Jobs.change

    async def poll_briefly(self: TrainerClient, job_id: str, after: int = 0, wait: float = POLL) -> Any:
        return await poll(self, job_id, after, min(wait, POLL))

    async def change_soon(self: Jobs, job: Any, state: Any, now: float, **fields: Any) -> Any:
        if "not_before" in fields:
            fields["not_before"] = now + BACK_OFF * (fields["not_before"] - now)
        return await change(self, job, state, now, **fields)

    TrainerClient.poll = poll_briefly  # type: ignore[method-assign]
    Jobs.change = change_soon  # type: ignore[method-assign]


def plant_points(file: Path) -> None:
    plant(POINTS, file)
    opened = Transport.open

    @asynccontextmanager
    async def open_and_watch(self: Transport, *asked: Any) -> AsyncIterator[Any]:
        async with opened(self, *asked) as (offset, chunks):

            async def watched() -> AsyncIterator[bytes]:
                async for chunk in chunks:
                    yield chunk[: len(chunk) // 2]
                    await meanwhile(take(file, DOWNLOADING))
                    yield chunk[len(chunk) // 2 :]

            yield offset, watched()

    Transport.open = open_and_watch  # type: ignore[method-assign]


def become(order: dict[str, Any]) -> int:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # with the nursery, so with the test
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["FAULTS_CONTROL"] = order["control"]
    be_impatient(order["real"])
    plant_points(Path(order["control"]) / "bot.json")
    try:
        return run(load_settings(**order["settings"]))
    except PupilError as error:
        print(error, file=sys.stderr)
        return 1


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the dead
    assert len(os.listdir("/proc/self/task")) == 1, "forking a process with threads would copy their locks"
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = become(json.loads(line))
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
