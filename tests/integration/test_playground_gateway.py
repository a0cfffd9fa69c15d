"""The playground's gateway: with the real discord.py client, and frame by frame."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import discord
import pytest

from bot.playground.server import Playground
from tests.fakes.playground_bot import Connected, served


class Wire:
    """A gateway client that shows every frame."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, zlib_stream: bool) -> None:
        self.socket = socket
        self._inflate = zlib.decompressobj() if zlib_stream else None

    async def take(self) -> dict[str, Any]:
        data = (await self.socket.receive(timeout=5)).data
        if self._inflate:
            assert data.endswith(b"\x00\x00\xff\xff"), "each message ends with a sync flush"
            data = self._inflate.decompress(data)
        return json.loads(data)

    async def give(self, op: int, data: Any) -> None:
        await self.socket.send_json({"op": op, "d": data})

    async def closed_with(self) -> int | None:
        while not self.socket.closed:
            await self.socket.receive(timeout=5)
        return self.socket.close_code

    async def identify(self, intents: int = 1 << 0 | 1 << 9) -> dict[str, Any]:
        """Identifies; the data of READY."""
        assert (await self.take())["op"] == 10
        await self.give(2, {"token": "playground", "intents": intents, "properties": {}})
        return (await self.take())["d"]


@asynccontextmanager
async def wired(playground: Playground, *, zlib_stream: bool = False) -> AsyncIterator[Wire]:
    query = "?v=10&encoding=json" + ("&compress=zlib-stream" if zlib_stream else "")
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(playground.gateway_url + query) as socket,
    ):
        yield Wire(socket, zlib_stream)


async def _until(check: Callable[[], Any]) -> None:
    async with asyncio.timeout(8):
        while not check():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("zlib_stream", [True, False])
async def test_identify_gets_ready_then_the_guild_with_channels_and_members(zlib_stream: bool) -> None:
    async with served() as playground, wired(playground, zlib_stream=zlib_stream) as wire:
        hello = await wire.take()
        assert hello["d"]["heartbeat_interval"] == 41250
        await wire.give(1, None)
        assert (await wire.take())["op"] == 11
        await wire.give(2, {"token": "playground", "intents": 1, "properties": {}})
        ready, guild = await wire.take(), await wire.take()
        assert (ready["t"], ready["s"], guild["t"], guild["s"]) == ("READY", 1, "GUILD_CREATE", 2)
        assert ready["d"]["resume_gateway_url"] == playground.gateway_url
        assert [channel["name"] for channel in guild["d"]["channels"]] == ["support", "training"]
        assert guild["d"]["member_count"] == len(guild["d"]["members"]) == 4


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"op": 2, "d": {"token": "wrong", "intents": 0}}, 4004),
        ({"op": 3, "d": {}}, 4003),
        ({"op": 99, "d": {}}, 4001),
        ({"d": {}}, 4002),
        ([], 4002),
    ],
)
async def test_wrong_frame_ends_the_connection_with_its_code(frame: Any, code: int) -> None:
    async with served() as playground, wired(playground) as wire:
        await wire.take()
        await wire.socket.send_json(frame)
        assert await wire.closed_with() == code


async def test_second_identify_ends_the_connection() -> None:
    async with served() as playground, wired(playground) as wire:
        await wire.identify()
        await wire.give(2, {"token": "playground", "intents": 1})
        assert await wire.closed_with() == 4005


async def test_connection_without_heartbeats_is_ended() -> None:
    async with served(heartbeat=0.05) as playground, wired(playground) as wire:
        await wire.identify()
        assert await wire.closed_with() == 4009
        await _until(lambda: not playground.gateway.online)


async def test_resume_replays_exactly_what_was_missed() -> None:
    async with served() as playground:
        jonas = playground.person("jonas")
        async with wired(playground) as wire:
            session = (await wire.identify())["session_id"]
            await wire.take()
            await jonas.say("seen")
            assert (await wire.take())["s"] == 3
            await wire.socket.close(code=4000)
        await _until(lambda: not playground.gateway.online)
        await jonas.say("missed one")
        await jonas.say("missed two")
        async with wired(playground) as wire:
            await wire.take()
            await wire.give(6, {"token": "playground", "session_id": session, "seq": 3})
            frames = [await wire.take() for _ in range(3)]
            assert [(frame["t"], frame["s"]) for frame in frames] == [
                ("MESSAGE_CREATE", 4),
                ("MESSAGE_CREATE", 5),
                ("RESUMED", 6),
            ]


async def test_resume_of_an_unknown_session_is_refused_and_identify_still_works() -> None:
    async with served() as playground, wired(playground) as wire:
        await wire.take()
        await wire.give(6, {"token": "playground", "session_id": "gone", "seq": 3})
        assert await wire.take() == {"op": 9, "d": False, "t": None, "s": None}
        await wire.give(2, {"token": "playground", "intents": 1})
        assert (await wire.take())["t"] == "READY"


async def test_contents_of_peoples_messages_need_the_intent() -> None:
    async with (
        served() as playground,
        wired(playground) as without,
        wired(playground) as within,
        wired(playground) as deaf,
    ):
        await without.identify()
        await within.identify(1 << 0 | 1 << 9 | 1 << 15)
        await deaf.identify(1 << 0)
        for wire in (without, within, deaf):
            assert (await wire.take())["t"] == "GUILD_CREATE"
        await playground.person("ada").say("private matters")
        assert (await without.take())["d"]["content"] == ""
        assert (await within.take())["d"]["content"] == "private matters"
        playground.gateway.ask_to_reconnect()
        assert (await deaf.take())["op"] == 7, "no message event came before"


async def test_ephemeral_messages_never_reach_the_gateway() -> None:
    async with served() as playground, Connected(playground) as bot:
        maria = playground.person("maria")
        assert (await maria.command("label", text="a", label="b")).ephemeral
        await maria.say("after it")
        await _until(lambda: "message maria: " in bot.seen)
        assert bot.seen == ["ready", "message maria: "]


async def test_client_whose_connection_drops_resumes_and_answers_what_came_meanwhile() -> None:
    async with served() as playground, Connected(playground) as bot:
        await playground.gateway.drop(4000)
        reply = await playground.person("maria").command("count")
        assert reply.text == "count 0"
        await _until(lambda: "resumed" in bot.seen)
        assert bot.seen.count("ready") == 1


async def test_client_reconnects_when_asked_to() -> None:
    async with served() as playground, Connected(playground) as bot:
        playground.gateway.ask_to_reconnect()
        await _until(lambda: "resumed" in bot.seen)
        assert (await playground.person("maria").command("count")).text == "count 0"


async def test_client_identifies_again_when_its_session_is_invalid() -> None:
    async with served() as playground, Connected(playground) as bot:
        playground.gateway.invalidate()
        await _until(lambda: bot.seen.count("ready") == 2)
        assert (await playground.person("maria").command("count")).text == "count 0"


async def test_client_with_a_wrong_token_is_told_so() -> None:
    async with served() as playground:
        discord.http.Route.BASE = playground.api_url
        client = discord.Client(intents=discord.Intents.none())
        async with client:
            with pytest.raises(discord.LoginFailure):
                await client.start("wrong")
