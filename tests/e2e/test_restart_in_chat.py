"""The bot is killed while it trains; the chat server lives on in a process of its own, as Discord would.

Everything a person sees goes through the page's socket: the command, the progress message, the result.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.playground.objects import CHANNEL_IDS
from bot.playground.reply import message_text
from tests.fakes.running import BotProcess, make_base, make_texts, start_bot, start_process

LABELS = ("bug", "refund", "account")
SUPPORT = CHANNEL_IDS["support"]


@asynccontextmanager
async def playground(state: Path) -> AsyncIterator[str]:
    """The address of a playground in a process of its own."""
    process = await start_process("bot.playground", "--port", "0", "--state", str(state))
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    try:
        yield line.removeprefix("The playground is ready: ").strip().rstrip("/")
    finally:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0


class Page:
    """A browser's side of the socket, as far as this story needs it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0

    async def ask(self, op: str, **fields: Any) -> Any:
        self._number += 1
        await self._socket.send_json({"op": op, "n": self._number, **fields})
        while True:
            frame = await asyncio.wait_for(self._socket.receive_json(), 20)
            if frame.get("n") == self._number:
                assert frame["ok"], frame
                return frame["data"]

    async def messages(self) -> list[dict[str, Any]]:
        return (await self.ask("hello"))["messages"][SUPPORT]

    async def command(self, group: str, sub: str, **options: str) -> None:
        commands = (await self.ask("hello"))["commands"]
        found = next(command for command in commands if command["name"] == group)
        typed = [{"name": name, "type": 3, "value": value} for name, value in options.items()]
        chosen = [{"name": sub, "type": 1, "options": typed}]
        before = len(await self.messages())
        await self.ask("command", channel_id=SUPPORT, command_id=found["id"], options=chosen)
        await self.answered(lambda message: message["flags"] & 64 and message_text(message), before)

    async def answered(self, check: Callable[[dict[str, Any]], Any], after: int = 0) -> None:
        """Returns once there is such a message among those after the first `after`."""
        for _ in range(400):
            if any(map(check, (await self.messages())[after:])):
                return
            await asyncio.sleep(0.05)
        raise AssertionError([message_text(message) for message in await self.messages()])

    async def training(self, words: str) -> dict[str, Any]:
        """The one public message about the training, once it says `words`."""
        for _ in range(400):
            public = [message for message in await self.messages() if not message["flags"] & 64]
            assert len(public) <= 1, [message_text(message) for message in public]
            if public and words in message_text(public[0]):
                return public[0]
            await asyncio.sleep(0.15)
        raise AssertionError([message_text(message) for message in await self.messages()])


@asynccontextmanager
async def page_of(url: str) -> AsyncIterator[Page]:
    async with (
        aiohttp.ClientSession(headers={"Origin": url}) as session,
        session.ws_connect(f"{url}/playground/socket") as socket,
    ):
        yield Page(socket)


def button(message: dict[str, Any], label: str) -> str:
    """The id of the button with this label."""
    rows = [part for row in message["components"] for part in row.get("components", [])]
    return next(part["custom_id"] for part in rows if part.get("label") == label)


async def command_versions(page: Page) -> dict[str, str]:
    """Each command's own version: registering commands anew changes it."""
    return {command["id"]: command["version"] for command in (await page.ask("hello"))["commands"]}


async def answer_with(page: Page, label: str) -> dict[str, Any]:
    return next(
        message
        for message in reversed(await page.messages())
        if message["flags"] & 64 and label in json.dumps(message["components"])
    )


@pytest.mark.slow
async def test_after_a_kill_in_a_training_chat_goes_on_where_it_was(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    recipe = json.dumps({"frozen_layers": 0, "body_rate": 0.005, "epochs": 20})
    bots: list[BotProcess] = []
    async with playground(tmp_path / "playground.db") as url, page_of(url) as page:
        variables = {"PUPIL_RECIPE": recipe, "PUPIL_PLAYGROUND_URL": url, "PUPIL_PROGRESS_INTERVAL": "0.2"}
        try:
            bots.append(await start_bot(tmp_path / "data", base, **variables))
            await page.command("classifier", "create", name="triage", labels=", ".join(LABELS))
            rows = [{"text": text, "label": label} for text, label in make_texts(240, LABELS)]
            await bots[0].call("POST", "/classifiers/triage/examples", rows)
            ask = next(each for each in (await page.ask("hello"))["commands"] if each["name"] == "ask")
            typed = [{"name": "text", "type": 3, "value": "the app crashes again today"}]
            await page.ask("command", channel_id=SUPPORT, command_id=ask["id"], options=typed)
            await page.answered(lambda message: "Right" in json.dumps(message["components"]))
            await page.command("train", "now")
            before, commands = await page.training("%"), await command_versions(page)
            assert await bots[0].end(signal.SIGKILL) == -signal.SIGKILL

            bots.append(await start_bot(tmp_path / "data", base, **variables))
            assert await command_versions(page) == commands
            old = await answer_with(page, "Right")
            fields = {"message_id": old["id"], "custom_id": button(old, "Right"), "component_type": 2}
            await page.ask("component", **fields)
            await page.answered(lambda message: "Taught" in message_text(message))
            after = await page.training("held-out texts")
            assert after["id"] == before["id"]
            versions = (await bots[1].call("GET", "/classifiers/triage/versions"))["versions"]
            assert [version["number"] for version in versions] == [1]
            assert await bots[1].end() == 0
        finally:
            for bot in bots:
                if bot.process.returncode is None:
                    await bot.end(signal.SIGKILL)
