"""Discord's rules against the real client: time, one first reply, limits, errors in Discord's shape."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import aiohttp
import discord
import pytest

from bot.playground.server import CHANNEL_IDS, Playground
from tests.fakes.playground_bot import Connected, served

SUPPORT = CHANNEL_IDS["support"]


async def test_first_reply_after_the_deadline_is_refused_and_the_person_reads_why() -> None:
    async with served(deadline=0.2) as playground, Connected(playground) as bot:
        reply = await playground.person("maria").command("slow")
        assert reply.kind == "failed"
        assert reply.text == "The application did not respond"
        await _until(lambda: bot.errors)
        assert bot.errors == [10062]
        assert playground.person("maria").messages() == []


async def test_bot_that_blocks_its_loop_loses_the_interaction() -> None:
    async with served(deadline=0.2) as playground, Connected(playground) as bot:
        assert (await playground.person("maria").command("hog")).kind == "failed"
        await _until(lambda: bot.errors)
        assert bot.errors == [10062]


async def test_nobody_answers_when_no_bot_is_there() -> None:
    async with served(deadline=0.1) as playground:
        async with Connected(playground):
            pass
        reply = await playground.person("maria").command("count")
        assert reply.kind == "failed"


async def test_second_first_reply_is_refused_with_40060() -> None:
    async with served() as playground, Connected(playground) as bot:
        reply = await playground.person("maria").command("twice")
        assert reply.text == "one"
        await _until(lambda: bot.errors)
        assert bot.errors == [40060]


async def test_edit_after_the_tokens_life_is_refused_and_thinking_does_not_last_for_ever() -> None:
    async with served(token_life=0.3) as playground, Connected(playground) as bot:
        maria = playground.person("maria")
        reply = await maria.command("late")
        assert reply.kind == "failed"
        assert [one["content"] for one in maria.messages()] == ["The application did not respond"]
        await _until(lambda: bot.errors)
        assert bot.errors == [50027]


async def test_content_over_2000_characters_is_refused_with_the_place_of_the_error() -> None:
    async with served(deadline=0.3) as playground, Connected(playground) as bot:
        await playground.person("maria").command("big")
        assert bot.errors == [50035]
        status, body = await _post(playground, f"/channels/{SUPPORT}/messages", {"content": "x" * 2001})
        assert status == 400
        assert body["code"] == 50035
        assert body["errors"]["content"]["_errors"][0]["code"] == "BASE_TYPE_MAX_LENGTH"


def _button(number: int) -> dict:
    return {"type": 2, "style": 1, "label": "x", "custom_id": f"x{number}"}


def _row(*parts: dict) -> dict:
    return {"type": 1, "components": list(parts)}


def _select(**changes: Any) -> dict:
    options = changes.pop("options", [{"label": "a", "value": "a"}])
    return {"type": 3, "custom_id": "s", "options": options} | changes


def _text(content: str) -> dict:
    return {"type": 10, "content": content}


def _option(name: str, **changes: Any) -> dict:
    return {"type": 3, "name": name, "description": "d"} | changes


V2 = 1 << 15
MANY = [{"label": str(number), "value": str(number)} for number in range(26)]


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ({"embeds": [{"description": "x" * 4097}]}, "embeds.0.description"),
        ({"embeds": [{"title": "x" * 257}]}, "embeds.0.title"),
        ({"embeds": [{"fields": [{"name": "n", "value": "v"}] * 26}]}, "embeds.0.fields"),
        ({"embeds": [{"fields": [{"name": "n", "value": "x" * 1025}]}]}, "embeds.0.fields.0.value"),
        ({"embeds": [{"fields": [{"name": "", "value": "v"}]}]}, "embeds.0.fields.0.name"),
        ({"embeds": [{"description": "x" * 3001}] * 2}, "embeds"),
        ({"embeds": [{"title": "x"}] * 11}, "embeds"),
        ({"content": "x", "components": [_row(_button(n)) for n in range(6)]}, "components"),
        ({"content": "x", "components": [_row(*(_button(n) for n in range(6)))]}, "components.0.components"),
        ({"content": "x", "components": [_row(_button(1), _button(1))]}, "components"),
        ({"content": "x", "components": [_row(_button(1) | {"label": "x" * 81})]}, "components.0.components.0.label"),
        (
            {"content": "x", "components": [_row(_button(1) | {"custom_id": "x" * 101})]},
            "components.0.components.0.custom_id",
        ),
        ({"content": "x", "components": [_row(_select(), _button(1))]}, "components.0.components"),
        ({"content": "x", "components": [_row(_select(options=[]))]}, "components.0.components.0.options"),
        (
            {
                "content": "x",
                "components": [_row(_select(options=[{"label": str(n), "value": str(n)} for n in range(26)]))],
            },
            "components.0.components.0.options",
        ),
        (
            {"content": "x", "components": [_row(_select(placeholder="x" * 151))]},
            "components.0.components.0.placeholder",
        ),
        ({"content": "x", "components": [_text("V2 without the flag")]}, "components.0.type"),
        ({"content": "x", "flags": V2, "components": [_text("t")]}, "content"),
        ({"flags": V2, "components": [_text("x" * 2001), _text("x" * 2000)]}, "components"),
        ({"flags": V2, "components": [_text("x")] * 41}, "components"),
        ({"flags": V2, "components": [_button(1)]}, "components.0.type"),
        ({"content": "x", "allowed_mentions": {"parse": ["users"], "users": ["1"]}}, "allowed_mentions.parse"),
    ],
)
async def test_message_over_a_limit_is_refused_at_its_place(message: dict, place: str) -> None:
    async with served() as playground:
        status, body = await _post(playground, f"/channels/{SUPPORT}/messages", message)
        assert (status, body["code"], body["message"]) == (400, 50035, "Invalid Form Body")
        node = body["errors"]
        for key in place.split("."):
            node = node[key]
        assert node["_errors"][0]["message"]
        assert playground.person("maria").messages() == []


async def test_message_at_every_limit_is_taken() -> None:
    message = {
        "content": "x" * 2000,
        "embeds": [{"title": "x" * 256, "description": "x" * 4096, "footer": {"text": "x" * 1648}}],
        "components": [_row(*(_button(10 * row + n) for n in range(5))) for row in range(5)],
    }
    async with served() as playground:
        assert (await _post(playground, f"/channels/{SUPPORT}/messages", message))[0] == 200


async def test_empty_message_is_refused_with_50006() -> None:
    async with served() as playground:
        assert (await _post(playground, f"/channels/{SUPPORT}/messages", {"content": ""}))[1]["code"] == 50006


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ({"name": "Bad Name", "description": "d"}, "0.name"),
        ({"name": "x" * 33, "description": "d"}, "0.name"),
        ({"name": "ok", "description": ""}, "0.description"),
        ({"name": "ok", "description": "x" * 101}, "0.description"),
        ({"name": "ok", "description": "d", "options": [_option(f"o{n}") for n in range(26)]}, "0.options"),
        ({"name": "ok", "description": "d", "options": [_option("a"), _option("a")]}, "0.options.1.name"),
        (
            {"name": "ok", "description": "d", "options": [_option("a"), _option("b", required=True)]},
            "0.options.1.required",
        ),
    ],
)
async def test_ill_formed_command_is_refused_and_nothing_is_registered(command: dict, place: str) -> None:
    async with served() as playground:
        path = "/applications/100000000000000002/commands"
        status, body = await _send(playground, "PUT", path, [command])
        assert (status, body["code"]) == (400, 50035)
        node = body["errors"]
        for key in place.split("."):
            node = node[key]
        assert node["_errors"]
        assert playground.commands.all() == []


async def test_callback_that_does_not_fit_the_interaction_is_refused() -> None:
    async with served() as playground, Connected(playground):
        maria = playground.person("maria")
        command = next(one for one in playground.commands.all() if one["name"] == "slow")
        interaction = playground.actions.command(maria.user, SUPPORT, command["id"], [])
        path = f"/interactions/{interaction.id}/{interaction.token}/callback"
        for body in ({"type": 7, "data": {"content": "no message to update"}}, {"type": 8}, {"type": 4, "data": "x"}):
            status, refused = await _post(playground, path, body)
            assert (status, refused["code"]) == (400, 50035), body
        follow_up = f"/webhooks/100000000000000002/{interaction.token}"
        assert (await _post(playground, follow_up, {"content": "too early"}))[1]["code"] == 10015
        assert (await _post(playground, path, {"type": 4, "data": {"content": "fine"}}))[0] == 204
        assert (await _post(playground, follow_up, {"content": "now"}))[0] == 200


async def test_wrong_token_is_refused() -> None:
    async with served() as playground:
        status, body = await _send(playground, "GET", "/users/@me", None, token="wrong")
        assert (status, body["message"]) == (401, "401: Unauthorized")


async def test_planned_fault_reaches_the_client_once() -> None:
    async with served() as playground, Connected(playground) as bot:
        channel = bot.get_channel(int(SUPPORT))
        assert isinstance(channel, discord.TextChannel)
        playground.fail_next(403, {"code": 50013, "message": "Missing Permissions"})
        with pytest.raises(discord.Forbidden):
            await channel.send("x")
        await channel.send("y")
        assert [one["content"] for one in playground.person("ada").messages()] == ["y"]


async def test_file_over_ten_mebibytes_is_refused_with_413() -> None:
    async with served() as playground, Connected(playground) as bot:
        channel = bot.get_channel(int(SUPPORT))
        assert isinstance(channel, discord.TextChannel)
        with pytest.raises(discord.HTTPException) as refused:
            await channel.send(file=discord.File(io.BytesIO(b"x" * (10 * 1024 * 1024 + 1)), "big.bin"))
        assert (refused.value.status, refused.value.code) == (413, 40005)


async def _post(playground: Playground, path: str, body: Any) -> tuple[int, Any]:
    return await _send(playground, "POST", path, body)


async def _send(
    playground: Playground, method: str, path: str, body: Any, token: str = "playground"
) -> tuple[int, Any]:
    url, headers = playground.api_url + path, {"Authorization": f"Bot {token}"}
    async with aiohttp.request(method, url, json=body, headers=headers) as answer:
        return answer.status, await answer.json() if answer.status != 204 else None


async def _until(check: Any) -> None:
    async with asyncio.timeout(5):
        while not check():
            await asyncio.sleep(0.01)
