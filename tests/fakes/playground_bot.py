"""A small discord.py bot with one of everything Pupil uses on the wire, for the tests of the playground itself."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import discord
import yarl
from aiohttp import web
from discord import app_commands, ui
from discord.ext import commands

from bot.playground.server import Playground


class CountButton(ui.DynamicItem[ui.Button[ui.View]], template=r"count:(?P<number>\d+)"):
    """Its state lives in its id, so it works after a restart."""

    def __init__(self, number: int) -> None:
        super().__init__(ui.Button(label=f"Clicked {number}", custom_id=f"count:{number}"))
        self.number = number

    @classmethod
    async def from_custom_id(cls, interaction: Any, item: Any, match: Any) -> CountButton:
        return cls(int(match["number"]))

    async def callback(self, interaction: discord.Interaction) -> None:
        view = ui.View(timeout=None)
        view.add_item(CountButton(self.number + 1))
        await interaction.response.edit_message(content=f"count {self.number + 1}", view=view)


class Survey(ui.Modal, title="Survey"):
    why: ui.Label[Any] = ui.Label(text="Why", component=ui.TextInput(custom_id="why", max_length=20))
    label: ui.Label[Any] = ui.Label(
        text="Label",
        component=ui.Select(custom_id="label", options=[discord.SelectOption(label=one) for one in ("spam", "ham")]),
    )
    sure: ui.Label[Any] = ui.Label(
        text="Sure?",
        component=ui.RadioGroup(
            custom_id="sure",
            options=[discord.RadioGroupOption(label="Yes", value="y"), discord.RadioGroupOption(label="No", value="n")],
        ),
    )
    public: ui.Label[Any] = ui.Label(text="Public", component=ui.Checkbox(custom_id="public"))
    file: ui.Label[Any] = ui.Label(text="File", component=ui.FileUpload(custom_id="file", required=False))

    async def on_submit(self, interaction: discord.Interaction) -> None:
        files = [await one.read() for one in self.file.component.values]  # type: ignore[attr-defined]
        parts = (self.why, self.label, self.sure, self.public)
        values = [getattr(one.component, "values", None) or getattr(one.component, "value", None) for one in parts]
        await interaction.response.send_message(f"{values} {files}", ephemeral=True)


class Card(ui.LayoutView):
    """A Components V2 message."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        box: ui.Container[Card] = ui.Container()
        box.add_item(ui.TextDisplay("## Training"))
        row: ui.ActionRow[Card] = ui.ActionRow()
        row.add_item(CountButton(0))
        box.add_item(row)
        self.add_item(box)


class TestBot(commands.Bot):
    """`seen`: what it noticed, in order."""

    __test__ = False

    def __init__(self) -> None:
        super().__init__(
            commands.when_mentioned,
            intents=discord.Intents(guilds=True, guild_messages=True),
            allowed_mentions=discord.AllowedMentions.none(),
            guild_ready_timeout=0.05,
        )
        self.seen: list[str] = []
        self.errors: list[int] = []

    async def setup_hook(self) -> None:
        self.add_dynamic_items(CountButton)
        for command in _commands():
            self.tree.add_command(command)
        self.tree.error(self.note_error)
        await self.tree.sync()

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Without the five seconds that discord.py waits before it identifies again."""

    async def note_error(self, interaction: discord.Interaction, error: app_commands.AppCommandError) -> None:
        original = getattr(error, "original", error)
        self.errors.append(getattr(original, "code", 0))

    async def on_ready(self) -> None:
        self.seen.append("ready")

    async def on_resumed(self) -> None:
        self.seen.append("resumed")

    async def on_message(self, message: discord.Message) -> None:
        self.seen.append(f"message {message.author.name}: {message.content}")


@app_commands.command(description="Answers after a defer.")
async def ask(interaction: discord.Interaction, text: app_commands.Range[str, 1, 50]) -> None:
    await interaction.response.defer(thinking=True)
    view = ui.View(timeout=None)
    view.add_item(CountButton(0))
    embed = discord.Embed(title="bug", description="91 %").add_field(name="version", value="v3")
    await interaction.edit_original_response(content=f"> {text}", embed=embed, view=view)


@app_commands.command(description="Labels privately.")
async def label(interaction: discord.Interaction, text: str, label: str, times: int = 1) -> None:
    await interaction.response.send_message(f"{text} is {label} x{times}", ephemeral=True)


@label.autocomplete("label")
async def _labels(interaction: discord.Interaction, current: str) -> list[app_commands.Choice[str]]:
    return [app_commands.Choice(name=one, value=one) for one in ("bug", "billing", "praise") if current in one]


@app_commands.command(name="import", description="Reads a file and gives one back.")
async def load(interaction: discord.Interaction, file: discord.Attachment) -> None:
    await interaction.response.defer(thinking=True, ephemeral=True)
    data = await file.read()
    await interaction.followup.send(f"{file.filename}: {len(data)}", file=discord.File(io.BytesIO(data[::-1]), "r.txt"))
    await interaction.followup.send("a second one", ephemeral=True)


@app_commands.command(description="A button that counts.")
async def count(interaction: discord.Interaction) -> None:
    view = ui.View(timeout=None)
    view.add_item(CountButton(0))
    await interaction.response.send_message("count 0", view=view)


@app_commands.command(description="Opens a form.")
async def survey(interaction: discord.Interaction) -> None:
    await interaction.response.send_modal(Survey())


@app_commands.command(description="A Components V2 card.")
async def card(interaction: discord.Interaction) -> None:
    await interaction.response.send_message(view=Card())


class Pick(ui.Select[ui.View]):
    def __init__(self) -> None:
        options = [discord.SelectOption(label=one.title(), value=one) for one in ("bug", "billing")]
        super().__init__(custom_id="pick", max_values=2, options=options)

    async def callback(self, interaction: discord.Interaction) -> None:
        await interaction.response.defer()
        await interaction.followup.send(f"picked {self.values}", ephemeral=True)


@app_commands.command(description="A select.")
async def pick(interaction: discord.Interaction, private: bool = False) -> None:
    view = ui.View(timeout=None)
    view.add_item(Pick())
    await interaction.response.send_message("pick", view=view, ephemeral=private)


@app_commands.command(description="Replies too late.")
async def slow(interaction: discord.Interaction) -> None:
    await asyncio.sleep(0.5)
    await interaction.response.send_message("late")


@app_commands.command(description="Blocks the event loop, then replies.")
async def hog(interaction: discord.Interaction) -> None:
    time.sleep(0.3)
    await interaction.response.send_message("too late, though no timer has fired yet")


@app_commands.command(description="Finishes after its token is gone.")
async def late(interaction: discord.Interaction) -> None:
    await interaction.response.defer(thinking=True)
    await asyncio.sleep(0.8)
    await interaction.edit_original_response(content="done")


@app_commands.command(description="Answers two times.")
async def twice(interaction: discord.Interaction) -> None:
    await interaction.response.send_message("one")
    interaction.response._response_type = None  # as if a second process had the same interaction
    await interaction.response.send_message("two")


@app_commands.command(description="Says something in the channel, and edits it.")
async def say(interaction: discord.Interaction, text: str, ping: bool = False) -> None:
    await interaction.response.send_message("saying it", ephemeral=True)
    assert isinstance(interaction.channel, discord.TextChannel)
    allowed = discord.AllowedMentions.all() if ping else discord.AllowedMentions.none()
    message = await interaction.channel.send(text, allowed_mentions=allowed)
    await interaction.channel.get_partial_message(message.id).edit(content=f"{text}!", allowed_mentions=allowed)
    await interaction.delete_original_response()


@app_commands.command(description="Says too much.")
async def big(interaction: discord.Interaction) -> None:
    await interaction.response.send_message("x" * 2001)


@app_commands.context_menu(name="Echo")
async def echo_menu(interaction: discord.Interaction, message: discord.Message) -> None:
    await interaction.response.defer(ephemeral=True, thinking=True)
    await interaction.followup.send(message.content)


train = app_commands.Group(
    name="train", description="Training.", default_permissions=discord.Permissions(manage_guild=True), guild_only=True
)


@train.command(name="now", description="Starts one.")
@app_commands.checks.has_permissions(manage_guild=True)
async def train_now(interaction: discord.Interaction, epochs: app_commands.Range[int, 1, 9] = 3) -> None:
    await interaction.response.send_message(f"training {epochs}")


def _commands() -> tuple[Any, ...]:
    return ask, label, load, count, survey, card, pick, slow, hog, late, twice, say, train, echo_menu, big


@asynccontextmanager
async def served(state: Path | None = None, port: int = 0, **times: Any) -> AsyncIterator[Playground]:
    """A playground on a free port of 127.0.0.1."""
    playground = Playground(state, **times)
    app = web.Application()
    playground.add_routes(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    playground.bind(f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        yield playground
    finally:
        await runner.cleanup()


class Connected:
    """`async with Connected(playground) as bot`: the bot, ready."""

    def __init__(self, playground: Playground, bot: TestBot | None = None) -> None:
        self._playground = playground
        self._bot = bot or TestBot()
        self._run: asyncio.Task[None] | None = None

    async def __aenter__(self) -> TestBot:
        discord.http.Route.BASE = self._playground.api_url
        discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(self._playground.gateway_url)
        self._run = asyncio.create_task(self._bot.start(self._playground.token))
        ready = asyncio.create_task(self._wait_ready())
        await asyncio.wait({self._run, ready}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if self._run.done():
            self._run.result()
        return self._bot

    async def _wait_ready(self) -> None:
        while "ready" not in self._bot.seen:
            await asyncio.sleep(0.01)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._bot.close()
        if self._run is not None:
            await asyncio.wait({self._run}, timeout=5)
