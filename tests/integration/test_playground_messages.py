"""What becomes of a message body: attachments, links, pings, edits; and of what a person types into options."""

from __future__ import annotations

import io
from collections.abc import Iterator

import discord
import pytest

from bot.playground.mentions import Pings, find_pings
from bot.playground.objects import TEACHERS
from bot.playground.options import check_options
from bot.playground.server import CHANNEL_IDS, GUILD_ID, Playground
from bot.playground.store import Store
from bot.playground.world import World
from storage.errors import NotFound
from tests.fakes.playground_bot import Connected, TestBot, served


def _support(bot: TestBot) -> discord.TextChannel:
    channel = bot.get_channel(int(CHANNEL_IDS["support"]))
    assert isinstance(channel, discord.TextChannel)
    return channel


def _shown(playground: Playground) -> dict:
    return playground.person("ada").messages()[-1]


async def test_attached_picture_is_shown_in_an_embed() -> None:
    async with served() as playground, Connected(playground) as bot:
        picture = discord.File(io.BytesIO(b"\x89PNG"), "plot.png", description="accuracy over time")
        embed = discord.Embed(title="Accuracy").set_image(url="attachment://plot.png")
        await _support(bot).send(embed=embed, file=picture)
        attachment = _shown(playground)["attachments"][0]
        assert attachment["description"] == "accuracy over time"
        assert attachment["content_type"] == "image/png"
        assert _shown(playground)["embeds"][0]["image"]["url"] == attachment["url"]


async def test_edit_keeps_the_listed_attachments_and_adds_the_new() -> None:
    async with served() as playground, Connected(playground) as bot:
        files = [discord.File(io.BytesIO(b"1"), "one.txt"), discord.File(io.BytesIO(b"2"), "two.txt")]
        message = await _support(bot).send("files", files=files)
        new = discord.File(io.BytesIO(b"3"), "three.txt")
        await message.edit(attachments=[message.attachments[1], new])
        assert [one["filename"] for one in _shown(playground)["attachments"]] == ["two.txt", "three.txt"]
        await message.edit(content="still")
        assert len(_shown(playground)["attachments"]) == 2
        await message.edit(attachments=[])
        assert _shown(playground)["attachments"] == []


async def test_edit_that_leaves_the_text_alone_brings_no_ping_to_life() -> None:
    async with served() as playground, Connected(playground) as bot:
        bot._connection.allowed_mentions = None
        message = await _support(bot).send("@everyone", allowed_mentions=discord.AllowedMentions.none())
        await message.edit(embed=discord.Embed(title="new"))
        assert _shown(playground)["embeds"][0]["title"] == "new"
        assert _shown(playground)["mention_everyone"] is False


async def test_message_of_somebody_else_cannot_be_edited_by_the_bot() -> None:
    async with served() as playground, Connected(playground) as bot:
        said = await playground.person("ada").say("mine")
        with pytest.raises(discord.Forbidden) as refused:
            await _support(bot).get_partial_message(int(said["id"])).edit(content="yours")
        assert refused.value.code == 50005


async def test_deleted_message_is_gone_with_10008() -> None:
    async with served() as playground, Connected(playground) as bot:
        message = await _support(bot).send("x")
        await message.delete()
        assert playground.person("ada").messages() == []
        with pytest.raises(discord.NotFound) as refused:
            await _support(bot).fetch_message(message.id)
        assert refused.value.code == 10008


async def test_messages_that_a_person_was_shown_do_not_change_under_them() -> None:
    async with served() as playground, Connected(playground) as bot:
        message = await _support(bot).send("before")
        shown = _shown(playground)
        await message.edit(content="after")
        assert (shown["content"], _shown(playground)["content"]) == ("before", "after")


@pytest.mark.parametrize(
    ("text", "allowed", "pings"),
    [
        ("<@1> <@!2> <@1>", None, Pings(users=("1", "2"))),
        ("<@1> <@2>", {"parse": [], "users": ["2"]}, Pings(users=("2",))),
        ("<@1> <@&5> @everyone", {"parse": ["roles"]}, Pings(roles=("5",))),
        ("@here", {"parse": ["everyone"]}, Pings(everyone=True)),
        ("<@1> @everyone", {"parse": []}, Pings()),
        ("`<@1>` ```\n@everyone\n``` <@&5>", None, Pings(roles=("5",))),
        ("@everyonehere @nobody", None, Pings()),
    ],
)
def test_pings_follow_allowed_mentions_and_code_never_pings(text: str, allowed: dict | None, pings: Pings) -> None:
    assert find_pings(text, allowed, may_mention_everyone=True) == pings


def test_everyone_needs_the_permission() -> None:
    assert not find_pings("@everyone", None, may_mention_everyone=False).everyone


@pytest.fixture
def world() -> Iterator[World]:
    store = Store(None)
    yield World(store)
    store.close()


def _command(*options: dict) -> dict:
    return {"name": "admin", "type": 1, "options": list(options)}


def test_group_and_subcommand_stay_nested_and_options_come_in_the_declared_order(world: World) -> None:
    leaf = [
        {"type": 6, "name": "who", "description": "d", "required": True},
        {"type": 7, "name": "where", "description": "d"},
        {"type": 5, "name": "sure", "description": "d"},
    ]
    command = _command({"type": 2, "name": "roles", "options": [{"type": 1, "name": "give", "options": leaf}]})
    typed = [
        {"name": "sure", "value": True},
        {"name": "where", "value": CHANNEL_IDS["training"]},
        {"name": "who", "value": "100000000000000101"},
    ]
    nested = [{"name": "roles", "options": [{"name": "give", "options": typed}]}]
    result = check_options(command, nested, world)
    assert result.path == "admin roles give"
    (group,) = result.options
    (subcommand,) = group["options"]
    assert (group["type"], subcommand["type"]) == (2, 1)
    assert [option["name"] for option in subcommand["options"]] == ["who", "where", "sure"]
    assert result.resolved["users"]["100000000000000101"]["username"] == "jonas"
    assert result.resolved["members"]["100000000000000101"]["permissions"]
    assert result.resolved["channels"][CHANNEL_IDS["training"]]["name"] == "training"


def test_mentionable_is_a_role_or_a_person(world: World) -> None:
    command = _command({"type": 9, "name": "whom", "description": "d", "required": True})
    resolved = check_options(command, [{"name": "whom", "value": GUILD_ID}], world).resolved
    assert resolved["roles"][GUILD_ID]["name"] == "@everyone"
    resolved = check_options(command, [{"name": "whom", "value": TEACHERS}], world).resolved
    assert resolved["roles"][TEACHERS]["name"] == "Teachers"
    with pytest.raises(NotFound, match="no mentionable"):
        check_options(command, [{"name": "whom", "value": "5"}], world)


def test_unknown_subcommand_is_named_with_those_there_are(world: World) -> None:
    command = _command({"type": 1, "name": "start"}, {"type": 1, "name": "stop"})
    with pytest.raises(NotFound, match=r"no subcommand 'pause'\. It has: start, stop"):
        check_options(command, [{"name": "pause"}], world)
