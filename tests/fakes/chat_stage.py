"""The real discord.py client, logged in to the real playground on loopback, with services of a test's choice.

    async with chat_stage(tmp_path) as stage:
        reply = await stage.maria.command("ask", text="it crashes")

At the end the stage fails the test if the bot asked the playground for something it does not know, or, where Discord's
OpenAPI file is there, sent anything that Discord does not describe.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from bot.chat.client import PupilBot, connect_to, run_bot
from bot.playground.people import Person
from bot.playground.server import GUILD_ID, Playground
from bot.services.people import Actor, Role
from storage.records import Classifier
from storage.settings import Settings
from tests.fakes.fake_services import FakeServices
from tests.fakes.spec_check import discord_spec, find_spec

LEAD = Actor(GUILD_ID, "setup", "setup", Role.LEAD)


@dataclass
class Stage:
    playground: Playground
    fake: FakeServices
    settings: Settings
    state: dict[str, str] = field(default_factory=dict)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.maria, self.jonas = self.person("maria"), self.person("jonas")

    def person(self, name: str) -> Person:
        return self.playground.person(name)

    async def classifier(self, name: str = "triage", labels: str = "bug question idea") -> Classifier:
        return await self.fake.classifiers.create(LEAD, name, labels.split())

    async def start(self, grace: float = 10.0) -> None:
        """Logs a client in; returns when it is ready."""
        self.stop = asyncio.Event()
        self.bot = PupilBot(
            self.fake.services,
            self.settings,
            get_state=self._get,
            set_state=self._set,
            guild_ready_timeout=0.05,
        )
        self.life = asyncio.create_task(run_bot(self.bot, self.playground.token, self.stop, grace=grace))
        ready = asyncio.create_task(self._ready())
        await asyncio.wait({self.life, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
        ready.cancel()
        if self.life.done():
            self.life.result()
        assert self.bot.is_ready()

    async def _ready(self) -> None:
        while not self.bot.is_ready():
            await asyncio.sleep(0.01)

    async def end(self) -> None:
        """Shuts the client down in an orderly way."""
        self.stop.set()
        await asyncio.wait_for(self.life, 15)

    async def restart(self) -> None:
        """Another process, as far as Discord can tell: a new client that knows only what is stored."""
        await self.end()
        await self.start()

    async def _get(self, key: str) -> str | None:
        return self.state.get(key)

    async def _set(self, key: str, value: str) -> None:
        self.state[key] = value

    def sent(self, method: str, ending: str) -> list[object]:
        """Bodies of the bot's requests of one kind."""
        return [body for how, path, body in self.playground.requests if how == method and path.endswith(ending)]


@asynccontextmanager
async def served_playground(deadline: float = 3.0) -> AsyncIterator[Playground]:
    """A playground on a free port of loopback."""
    playground, app = Playground(deadline=deadline), web.Application()
    playground.add_routes(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    playground.bind(f"http://127.0.0.1:{runner.addresses[0][1]}")
    connect_to(playground.api_url, playground.gateway_url)
    try:
        yield playground
    finally:
        await runner.cleanup()


@asynccontextmanager
async def chat_stage(data: Path, *, started: bool = True, deadline: float = 3.0) -> AsyncIterator[Stage]:
    async with served_playground(deadline) as playground:
        settings = Settings(data=data, progress_interval=0.05)
        stage = Stage(playground, FakeServices(), settings)
        if started:
            await stage.start()
        try:
            yield stage
        finally:
            if hasattr(stage, "life") and not stage.life.done():
                await stage.end()
        assert not playground.unhandled
        if find_spec() is not None:
            assert discord_spec().violations(playground.requests) == []
