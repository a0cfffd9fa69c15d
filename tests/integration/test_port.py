"""The bot's one port: where it listens, who reaches it there, and what a stranger's bytes leave in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import aiohttp
import pytest

from bot.app import System
from bot.playground.server import Playground
from bot.run import hosts, open_port
from storage.settings import load_settings
from tests.fakes.fake_api_services import FakeApiServices


@asynccontextmanager
async def opened(data: Path, host: str = "127.0.0.1", playground: Playground | None = None) -> AsyncIterator[str]:
    """The address of a port with the whole site behind it."""
    settings = load_settings(data=data, host=host, port=0, api_key="correct horse")
    settings.space.mkdir(parents=True)
    system = System(FakeApiServices().services, cast("object", None), cast("object", None))  # type: ignore[arg-type]
    async with open_port(settings, system, playground) as url:
        yield url


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "::1"])
async def test_the_bot_reaches_its_own_playground_and_a_person_the_page(tmp_path: Path, host: str) -> None:
    playground = Playground()
    async with opened(tmp_path, host, playground) as url, aiohttp.ClientSession() as session:
        playground.bind(url)
        async with session.get(
            f"{playground.api_url}/users/@me", headers={"Authorization": "Bot playground"}
        ) as answer:
            assert answer.status == 200
        async with session.get(f"{url}/") as answer:
            assert answer.status == 200


def test_where_it_listens() -> None:
    """Always somewhere on this machine, where the bot's own connection, the page and the command line come from."""
    assert hosts("127.0.0.1") == ("127.0.0.1",)
    assert hosts("::1") == ("::1",)
    assert hosts("0.0.0.0") == ("0.0.0.0",)
    assert hosts("192.0.2.2") == ("192.0.2.2", "127.0.0.1")
    assert hosts("::") == ("::", "127.0.0.1")  # IPv6 alone


async def test_what_a_stranger_sends_is_not_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for sent in (b"GET / HTTP/1.1\r\nHost: x\r\nX-Text: my diagnosis \x01\r\n\r\n", b"my diagnosis\r\n\r\n"):
        async with opened(tmp_path / str(len(sent))) as url:
            assert (await _send(url, sent)).split()[1] == b"400"
    assert "diagnosis" not in caplog.text


async def test_a_crash_of_ours_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Playground, "_give_page", crash)
    async with opened(tmp_path, playground=Playground()) as url, aiohttp.request("GET", url) as answer:
        assert answer.status == 500
    assert "ZeroDivisionError" in caplog.text


async def test_a_key_that_is_no_text_is_a_wrong_key(tmp_path: Path) -> None:
    head = (
        b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer \xff\xfe\r\n\r\n"
    )
    async with opened(tmp_path) as url:
        assert (await _send(url, head)).split()[1] == b"401"


async def _send(url: str, data: bytes) -> bytes:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(400), 10)
    writer.close()
    return answer
