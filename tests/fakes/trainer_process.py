"""Programs for tests that kill: a trainer with pretended trainings, and a bot that has nothing but its own trainer."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bot.local_trainer import LocalTrainer
from storage.settings import Settings
from tests.fakes.fake_job import COMMAND, SPARE_COMMAND
from tests.fakes.tiny_encoder import make_tiny_encoder
from tests.fakes.trainer_bench import make_snapshot
from trainer import __main__ as program
from trainer.client import local_trainer_command
from trainer.executors import subprocess
from trainer.executors.spare import Spare
from trainer.protocol import JobSpec


def command(data: Path, key_file: Path, device: str) -> tuple[list[str], dict[str, str]]:
    """Like `local_trainer_command`, with pretended trainings."""
    arguments, environment = local_trainer_command(data, key_file, device)
    return [sys.executable, "-m", "tests.fakes.trainer_process", *arguments[arguments.index("serve") :]], environment


async def start_sleeping_job(local: LocalTrainer, folder: Path) -> None:
    snapshot = make_snapshot(folder / "out")
    base = make_tiny_encoder(folder / "base")
    await local.client.put_snapshot(snapshot)
    script = [["event", 0.1], ["sleep", 600]]
    await local.client.submit(JobSpec("a" * 8, 1, snapshot.stem, str(base), recipe={"script": script}))


async def be_a_bot(folder: Path) -> None:
    async with LocalTrainer(folder / "trainer", Settings(data=folder), command=command) as local:
        await start_sleeping_job(local, folder)
        (folder / "trainer.pid").write_text(str(local.pid))
        await asyncio.sleep(600)


async def be_a_bot_before_a_training(folder: Path) -> None:
    async with LocalTrainer(folder / "trainer", Settings(data=folder), command=command) as local:
        await local.client.warm()
        (folder / "trainer.pid").write_text(str(local.pid))
        await asyncio.sleep(600)


BOTS = {"bot": be_a_bot, "bot-before-a-training": be_a_bot_before_a_training}


def main() -> None:
    if sys.argv[1] in BOTS:
        asyncio.run(BOTS[sys.argv[1]](Path(sys.argv[2])))
        return
    real = subprocess.SubprocessExecutor
    subprocess.SubprocessExecutor = lambda _, spare: real(  # type: ignore[assignment,misc]
        COMMAND, spare=spare and Spare(SPARE_COMMAND)
    )
    program.main()


if __name__ == "__main__":
    main()
