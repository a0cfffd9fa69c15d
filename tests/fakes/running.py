"""The whole bot for end-to-end tests: in this process with a handle on everything, or as people start it."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from bot.app import System, open_system
from bot.chat.client import PupilBot, connect_to, run_bot
from bot.playground.people import Person
from bot.playground.server import Playground
from bot.run import open_port
from storage.settings import load_settings
from tests.fakes.tiny_encoder import make_tiny_encoder

ROOT = Path(__file__).parents[2]
RECIPE = {"frozen_layers": 0, "body_rate": 0.005, "epochs": 10}
"""Trains a tiny random encoder in a second, so far that it finds the one word that matters."""

KEYWORDS = {
    "bug": ["crashes", "error", "broken", "freezes"],
    "refund": ["refund", "money", "charged", "billing"],
    "account": ["password", "login", "reset", "locked"],
    "praise": ["great", "thanks", "love", "wonderful"],
}
FILLER = [
    *("the", "my", "a", "is", "it", "on", "please", "app", "today", "again", "we", "they", "this", "that", "with"),
    *("from", "here", "there", "now", "then", "very", "just", "some", "every"),
]


def make_texts(count: int, labels: tuple[str, ...], seed: int = 1, filler: int = 12) -> list[tuple[str, str]]:
    """Different (text, label) rows in turn; a label is one word among `filler` words that say nothing.

    The random encoder averages that word away, so a head on it is often wrong; a fine-tuned encoder looks for it.
    """
    chance = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        label = labels[len(rows) % len(labels)]
        words = [chance.choice(KEYWORDS[label]), *chance.sample(FILLER, filler)]
        chance.shuffle(words)
        rows.setdefault(" ".join(words), label)
    return list(rows.items())


def make_base(directory: Path) -> Path:
    words = [word for each in KEYWORDS.values() for word in each]
    return make_tiny_encoder(directory, texts=[" ".join([*words, *FILLER])])


STARTED: list[asyncio.subprocess.Process] = []
"""Every process a test has started; `tests/e2e/conftest.py` ends what a failed one has left behind."""


@dataclass
class Running:
    """A bot in this process, its playground and its address."""

    system: System
    playground: Playground
    url: str

    def person(self, name: str) -> Person:
        one = self.playground.person(name)
        one.timeout = 60.0  # the first answer waits for the base encoder: a process that imports torch exports it
        return one

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        return await call(self.url, method, path, body)


@asynccontextmanager
async def running_bot(data: Path, base: Path, **settings: Any) -> AsyncIterator[Running]:
    """The same parts as `bot.run`, wired in the same order, without signals."""
    options: dict[str, Any] = {"progress_interval": 0.2, "lease": 10.0, "recipe": RECIPE, "port": 0} | settings
    chosen = load_settings(data=data, base=str(base), **options)
    stop = asyncio.Event()
    async with open_system(chosen) as system:
        playground = Playground(chosen.space / "playground.db")
        async with open_port(chosen, system, playground) as url:
            playground.bind(url)
            connect_to(playground.api_url, playground.gateway_url)
            bot = PupilBot(
                system.services,
                chosen,
                get_state=system.stores.database.get_state,
                set_state=system.stores.database.set_state,
                guild_ready_timeout=0.05,
            )
            life = asyncio.create_task(run_bot(bot, "playground", stop))
            await asyncio.sleep(0)
            await asyncio.wait_for(bot.wait_until_ready(), 20)
            try:
                yield Running(system, playground, url)
            finally:
                stop.set()
                await life


@dataclass
class BotProcess:
    """`pupil run` as a child: real signals, real exit codes."""

    process: asyncio.subprocess.Process
    url: str
    lines: list[str] = field(default_factory=list)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 30)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        return await call(self.url, method, path, body)


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PUPIL_", "DISCORD_"))}
    return kept | {"PYTHONUNBUFFERED": "1"} | more


async def start_process(*arguments: str, **variables: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *arguments,
        cwd=ROOT,
        env=environment(**variables),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    STARTED.append(process)
    return process


BRIEF = {"PUPIL_RECIPE": json.dumps({"epochs": 3, "least_steps": 20})}
"""For the packaged base: a third of a training shows on the page all that a whole one does."""


async def start_bot(data: Path, base: Path | None, **variables: str) -> BotProcess:
    """Starts `pupil run` and returns after its ready line."""
    if base is not None:
        variables = {"PUPIL_BASE": str(base), "PUPIL_RECIPE": json.dumps(RECIPE)} | variables
    process = await start_process("bot", "run", "--data", str(data), "--port", "0", **variables)
    assert process.stdout is not None
    assert process.stderr is not None
    drain = asyncio.create_task(process.stderr.read())  # a full pipe would stop the child
    process.drained = drain  # type: ignore[attr-defined]
    line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
    if not line:
        raise AssertionError(f"The bot did not start: {(await drain).decode()[-2000:]}")
    return BotProcess(process, line.removeprefix("Pupil is ready: ").strip().rstrip("/"), [line])


async def call(url: str, method: str, path: str, body: Any = None) -> Any:
    """One API call; the decoded answer. Raises AssertionError with the error's sentence unless it is a success."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{url}/api/v1{path}", json=body) as response,
    ):
        answer = await response.json()
        assert response.status < 400, (response.status, answer)
        return answer
