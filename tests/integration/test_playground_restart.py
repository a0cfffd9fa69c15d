"""What outlives a restart of the playground, of the bot, or of both."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import aiohttp
import pytest

from bot.playground.server import Playground
from bot.playground.store import Store
from storage.errors import DamagedFile, InstanceLocked
from tests.fakes.playground_bot import Connected, TestBot, served


async def test_button_of_an_old_message_works_after_both_were_restarted(tmp_path: Path) -> None:
    state = tmp_path / "playground.sqlite"
    async with served(state) as playground, Connected(playground):
        maria = playground.person("maria")
        await maria.click(await maria.command("count"), "Clicked 0")
    async with served(state) as playground, Connected(playground):
        maria = playground.person("maria")
        (message,) = maria.messages()
        assert message["content"] == "count 1"
        assert (await maria.click(message, "Clicked 1")).text == "count 2"


async def test_commands_are_there_before_the_bot_is(tmp_path: Path) -> None:
    state = tmp_path / "playground.sqlite"
    async with served(state) as playground, Connected(playground):
        before = playground.commands.all()
    async with served(state) as playground:
        assert playground.commands.all() == before
        assert "train" not in playground.person("ada").commands()


async def test_running_client_finds_a_restarted_playground_again(tmp_path: Path) -> None:
    state = tmp_path / "playground.sqlite"
    async with served(state) as playground:
        port = int(playground.base_url.rpartition(":")[2])
        connected = Connected(playground)
        bot = await connected.__aenter__()
    try:
        async with served(state, port=port) as playground:
            await _until_ready_twice(bot)
            assert (await playground.person("maria").command("count")).text == "count 0"
    finally:
        await connected.__aexit__(None, None, None)


async def _until_ready_twice(bot: TestBot) -> None:
    async with asyncio.timeout(20):
        while bot.seen.count("ready") < 2:
            await asyncio.sleep(0.02)


async def test_links_to_files_follow_to_the_new_port(tmp_path: Path) -> None:
    state = tmp_path / "playground.sqlite"
    async with served(state) as playground:
        await playground.person("ada").say("look", files=[("cat.png", b"\x89PNG")])
        old = playground.base_url
    async with served(state) as playground:
        assert playground.base_url != old
        url = playground.person("maria").messages()[0]["attachments"][0]["url"]
        async with aiohttp.request("GET", url) as answer:
            assert await answer.read() == b"\x89PNG"
            assert answer.headers["Content-Type"] == "image/png"


async def test_a_channel_keeps_its_newest_messages_only(tmp_path: Path) -> None:
    state = tmp_path / "playground.sqlite"
    async with served(state, messages_per_channel=5) as playground:
        for number in range(8):
            await playground.person("ada").say(str(number))
    async with served(state, messages_per_channel=5) as playground:
        assert [one["content"] for one in playground.person("ada").messages()] == ["3", "4", "5", "6", "7"]


async def test_what_one_person_alone_sees_pushes_no_public_message_out(tmp_path: Path) -> None:
    state = tmp_path / "playground.sqlite"
    async with served(state, messages_per_channel=3) as playground, Connected(playground):
        await playground.person("ada").say("for all")
        for number in range(5):
            assert (await playground.person("maria").command("label", text=str(number), label="bug")).ephemeral
        seen = playground.person("maria").messages()
        assert [one["content"] for one in seen if one["content"] == "for all"] == ["for all"]
        assert len(seen) == 1 + 3
    async with served(state, messages_per_channel=3) as playground:
        assert [one["content"] for one in playground.person("ada").messages()] == ["for all"]


async def test_ephemeral_message_is_gone_after_a_restart_as_after_a_reload_of_discord(tmp_path: Path) -> None:
    state = tmp_path / "playground.sqlite"
    async with served(state) as playground, Connected(playground):
        maria = playground.person("maria")
        assert (await maria.command("label", text="a", label="bug")).ephemeral
    async with served(state) as playground:
        assert playground.person("maria").messages() == []


async def test_ids_go_on_rising_after_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "playground.sqlite"
    async with served(state) as playground:
        first = await playground.person("ada").say("one")
    async with served(state) as playground:
        second = await playground.person("ada").say("two")
    assert int(second["id"]) > int(first["id"])


async def test_thinking_message_of_an_earlier_run_says_that_no_answer_came(tmp_path: Path) -> None:
    state = tmp_path / "playground.sqlite"
    async with served(state) as playground, Connected(playground):
        maria = playground.person("maria")
        asking = asyncio.create_task(maria.command("late"))
        thinking = await maria.wait_for(lambda one: one["flags"] & 128)
        asking.cancel()
        assert thinking["content"] == ""
    async with served(state) as playground:
        assert playground.person("maria").messages()[0]["content"] == "The application did not respond"


def test_file_that_is_no_database_is_refused_in_one_sentence(tmp_path: Path) -> None:
    state = tmp_path / "playground.sqlite"
    state.write_bytes(b"not a database, but long enough to be looked at as one" * 20)
    with pytest.raises(DamagedFile, match="Move it away"):
        Playground(state)


def test_second_playground_on_the_same_file_is_refused(tmp_path: Path) -> None:
    first = Store(tmp_path / "playground.sqlite")
    with pytest.raises(InstanceLocked, match="Another process"):
        Playground(tmp_path / "playground.sqlite")
    first.close()
    assert Playground(tmp_path / "playground.sqlite").commands.all() == []


async def test_alone_it_serves_until_sigterm_and_keeps_what_was_said_after_a_kill(tmp_path: Path) -> None:
    state = tmp_path / "playground.sqlite"
    child, base = await _start_alone(state)
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{base}playground/socket") as page:
        await page.send_json(
            {"op": "say", "n": 1, "channel_id": "100000000000000010", "content": "remember me", "attachments": []}
        )
        while (frame := await page.receive_json(timeout=5))["op"] != "reply":
            pass
        assert frame["ok"]
    child.kill()
    await child.wait()
    child, base = await _start_alone(state)
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{base}playground/socket") as page:
        await page.send_json({"op": "hello", "n": 1})
        hello = await page.receive_json(timeout=5)
        assert [one["content"] for one in hello["data"]["messages"]["100000000000000010"]] == ["remember me"]
        child.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(child.wait(), 10) == 0


async def _start_alone(state: Path) -> tuple[asyncio.subprocess.Process, str]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot.playground", "--port", "0", "--state", str(state)),
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
    )
    assert child.stdout is not None
    line = (await asyncio.wait_for(child.stdout.readline(), 20)).decode()
    return child, line.rpartition(" ")[2].strip()


async def test_port_in_use_is_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    async with served() as playground:
        port = playground.base_url.rpartition(":")[2]
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bot.playground", "--port", port), stderr=asyncio.subprocess.PIPE
        )
        _, errors = await asyncio.wait_for(child.communicate(), 20)
    assert child.returncode == 1
    assert f"Port {port} cannot be used" in errors.decode()
    assert "Traceback" not in errors.decode()
