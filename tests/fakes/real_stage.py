"""The real services behind the real discord.py client: real database, engine and playground, a scripted trainer.

    async with real_stage(tmp_path, base, monkeypatch) as stage:
        triage = await stage.classifier("triage", "bug question")
        reply = await stage.ada.command("label", text="it crashes", label="bug")

`base` is made once per module by `make_tiny_base`. Maria owns the playground's server, so she is a lead; Ada and Jonas
are members. At the end the stage fails the test if the bot asked the playground for something it does not know, or,
where Discord's OpenAPI file is there, sent anything that Discord does not describe.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bot.app import System
from bot.chat.client import PupilBot, run_bot
from bot.playground.people import Person
from bot.playground.server import GUILD_ID, Playground
from bot.services.people import Actor, Role
from bot.services.system import Services
from storage.records import Classifier, Source
from storage.settings import load_settings
from tests.fakes.chat_stage import served_playground
from tests.fakes.fake_trainer import FakeTrainer, system_with
from tests.fakes.spec_check import discord_spec, find_spec

LEAD = Actor(GUILD_ID, "setup", "setup", Role.LEAD)


@dataclass
class RealStage:
    """`start` and `end` are one life of the bot's process; the playground lives on between them, as Discord would."""

    playground: Playground
    trainer: FakeTrainer
    data: Path
    monkeypatch: pytest.MonkeyPatch
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.maria, self.ada, self.jonas = map(self.playground.person, ("maria", "ada", "jonas"))

    @property
    def services(self) -> Services:
        return self.system.services

    def person(self, name: str) -> Person:
        return self.playground.person(name)

    async def classifier(self, name: str = "triage", labels: str = "bug question idea") -> Classifier:
        return await self.services.classifiers.create(LEAD, name, labels.split())

    async def teach(self, classifier: Classifier, rows: list[tuple[str, str]], by: Actor = LEAD) -> None:
        """Many (text, label) rows, in one go; returns when they take part in the answers."""
        await self.services.labeling.import_rows(by, classifier.name, rows, Source.FILE)
        await self.system.serving.settle(classifier)

    async def start(self) -> None:
        self._system = system_with(self.trainer, self.data, self.monkeypatch, **self.settings)
        self.system: System = await self._system.__aenter__()
        self.stop = asyncio.Event()
        settings = load_settings(data=self.data, base="tiny", progress_interval=0.05, **self.settings)
        database = self.system.stores.database
        self.bot = PupilBot(
            self.system.services,
            settings,
            get_state=database.get_state,
            set_state=database.set_state,
            guild_ready_timeout=0.05,
        )
        self.life = asyncio.create_task(run_bot(self.bot, self.playground.token, self.stop))
        await asyncio.sleep(0)
        await asyncio.wait_for(self.bot.wait_until_ready(), 20)

    async def end(self) -> None:
        self.stop.set()
        await asyncio.wait_for(self.life, 20)
        await self._system.__aexit__(None, None, None)

    async def restart(self) -> None:
        """Another process over the same data directory, as far as Discord and the database can tell."""
        await self.end()
        await self.start()


@asynccontextmanager
async def real_stage(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> AsyncIterator[RealStage]:
    async with served_playground() as playground:
        trainer = FakeTrainer(tmp_path / "trainer", base)
        stage = RealStage(playground, trainer, tmp_path / "data", monkeypatch, settings)
        await stage.start()
        try:
            yield stage
        finally:
            await stage.end()
        assert not playground.unhandled
        if find_spec() is not None:
            assert discord_spec().violations(playground.requests) == []
