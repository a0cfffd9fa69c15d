"""The real discord.py client against the playground: slash commands, menus, attachments, messages."""

from __future__ import annotations

import aiohttp
import discord
import pytest

from bot.playground.server import APPLICATION_ID, CHANNEL_IDS, GUILD_ID, Playground
from storage.errors import InvalidInput, NotAllowed, NotFound
from tests.fakes.playground_bot import Connected, served
from tests.fakes.spec_check import discord_spec


async def test_slash_command_is_deferred_edited_and_names_who_used_it() -> None:
    async with served() as playground, Connected(playground):
        reply = await playground.person("maria").command("ask", text="where is my invoice")
        assert reply.kind == "message"
        assert reply.text == "> where is my invoice\nbug\n91 %\nversion\nv3"
        assert reply.buttons == ["Clicked 0"]
        assert reply.message is not None
        assert reply.message["interaction_metadata"]["name"] == "ask"
        assert reply.message["interaction_metadata"]["user"]["username"] == "maria"
        assert reply.message["edited_timestamp"] is None, "the text after a defer is no edit for people"
        assert reply.message["flags"] == 0


async def test_subcommand_gets_typed_options_and_defaults() -> None:
    async with served() as playground, Connected(playground):
        maria = playground.person("maria")
        assert (await maria.command("train now", epochs=7)).text == "training 7"
        assert (await maria.command("train now")).text == "training 3"


async def test_autocomplete_gives_choices_for_what_was_typed_so_far() -> None:
    async with served() as playground, Connected(playground):
        choices = await playground.person("jonas").autocomplete("label", focused="label", label="bi", text="x")
        assert choices == [{"name": "billing", "value": "billing"}]


async def test_autocomplete_of_an_option_without_any_is_refused() -> None:
    async with served() as playground, Connected(playground):
        with pytest.raises(InvalidInput, match="no autocomplete"):
            await playground.person("jonas").autocomplete("label", focused="text")


async def test_attachment_goes_to_the_bot_and_another_one_back() -> None:
    async with served() as playground, Connected(playground):
        maria = playground.person("maria")
        reply = await maria.command("import", file=("../etc/rows 1.csv", b"abc"))
        assert reply.text == "rows_1.csv: 3"
        assert reply.ephemeral, "the first follow-up keeps what the defer said"
        assert reply.message is not None
        attachment = reply.message["attachments"][0]
        assert (attachment["filename"], attachment["size"]) == ("r.txt", 3)
        second = await maria.next(reply)
        assert second.text == "a second one"


async def test_message_menu_hands_over_the_whole_message() -> None:
    async with served() as playground, Connected(playground):
        jonas = playground.person("jonas")
        message = await jonas.say("the export is broken")
        reply = await jonas.menu("Echo", message)
        assert reply.text == "the export is broken"
        assert reply.ephemeral


async def test_ephemeral_reply_is_seen_by_one_person_and_not_by_the_bots_token() -> None:
    async with served() as playground, Connected(playground) as bot:
        maria, jonas = playground.person("maria"), playground.person("jonas")
        reply = await maria.command("label", text="it crashes", label="bug")
        assert reply.ephemeral
        assert [one["content"] for one in maria.messages()] == ["it crashes is bug x1"]
        assert jonas.messages() == []
        channel = await bot.fetch_channel(int(CHANNEL_IDS["support"]))
        assert [one async for one in channel.history()] == []  # type: ignore[union-attr]
        maria.dismiss(reply)
        assert maria.messages() == []


async def test_lead_command_is_hidden_from_members_and_cannot_be_run() -> None:
    async with served() as playground, Connected(playground) as bot:
        ada = playground.person("ada")
        assert "train" in playground.person("maria").commands()
        assert "train" not in ada.commands()
        with pytest.raises(NotAllowed, match="Manage Server"):
            await ada.command("train now")
        # A server can grant it all the same; then the bot's own check is what is left.
        playground.actions.grant(ada.user, "train")
        assert "train" in ada.commands()
        ada.timeout = 0.3
        with pytest.raises(TimeoutError):
            await ada.command("train now")
        assert bot.errors == [0]


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("ask", {}, "needs the option 'text'"),
        ("ask", {"text": "x" * 51}, "1 to 50 characters; it has 51"),
        ("ask", {"text": "   "}, "is empty"),
        ("train now", {"epochs": 10}, "between 1 and 9"),
        ("train now", {"epochs": "many"}, "whole number"),
        ("label", {"text": "a", "label": "b", "colour": "red"}, "no option 'colour'"),
        ("import", {"file": "123"}, "no attachment"),
    ],
)
async def test_what_discord_would_not_let_a_person_send_is_refused(name: str, options: dict, sentence: str) -> None:
    async with served() as playground, Connected(playground):
        with pytest.raises((InvalidInput, NotFound), match=sentence):
            await playground.person("maria").command(name, **options)


async def test_channel_message_is_sent_edited_and_the_reply_deleted() -> None:
    async with served() as playground, Connected(playground):
        maria = playground.person("maria")
        await maria.command("say", channel="training", text="epoch 1")
        edited = await maria.wait_for(lambda one: one["content"] == "epoch 1!", channel="training")
        assert edited["edited_timestamp"]
        gone = await maria.wait_for(lambda one: True, channel="training")
        assert gone["id"] == edited["id"], "the deleted reply is gone"


@pytest.mark.parametrize("text", ["@everyone look", "<@100000000000000101>", "<@&100000000000000001>", "@here"])
async def test_ping_is_visible_when_allowed_and_absent_when_not(text: str) -> None:
    async with served() as playground, Connected(playground):
        maria = playground.person("maria")
        await maria.command("say", text=text, ping=False)
        quiet = await maria.wait_for(lambda one: one["content"] == f"{text}!")
        assert _pings(quiet) == 0
        await maria.command("say", text=text, ping=True)
        loud = await maria.wait_for(lambda one: one["id"] > quiet["id"] and one["content"] == f"{text}!")
        assert _pings(loud) == 1


def _pings(message: dict) -> int:
    return len(message["mentions"]) + len(message["mention_roles"]) + int(message["mention_everyone"])


async def test_overwritten_command_keeps_its_id_and_a_missing_one_goes() -> None:
    async with served() as playground, Connected(playground) as bot:
        before = {one["name"]: one["id"] for one in playground.commands.all()}
        bot.tree.remove_command("big")
        await bot.tree.sync()
        after = {one["name"]: one["id"] for one in playground.commands.all()}
        assert "big" not in after
        assert after == {name: before[name] for name in after}


async def test_single_command_can_be_fetched_changed_and_deleted() -> None:
    async with served() as playground, Connected(playground) as bot:
        command = next(one for one in await bot.tree.fetch_commands() if one.name == "big")
        await command.edit(description="Says far too much.")
        assert (await bot.tree.fetch_command(command.id)).description == "Says far too much."
        await command.delete()
        assert "big" not in playground.person("maria").commands()
        with pytest.raises(discord.NotFound) as refused:
            await bot.tree.fetch_command(command.id)
        assert refused.value.code == 10063


async def test_commands_of_one_guild_are_registered_beside_the_global_ones() -> None:
    async with served() as playground, Connected(playground) as bot:
        guild = discord.Object(GUILD_ID)
        bot.tree.copy_global_to(guild=guild)
        bot.tree.clear_commands(guild=None)
        await bot.tree.sync()
        await bot.tree.sync(guild=guild)
        names = playground.person("maria").commands()
        assert names.count("count") == 1
        assert (await playground.person("maria").command("count")).text == "count 0"


async def test_lookups_of_guild_channel_user_and_member_answer() -> None:
    async with served() as playground, Connected(playground) as bot:
        guild = await bot.fetch_guild(100000000000000001)
        assert guild.name == "Pupil playground"
        assert guild.owner_id == int(playground.person("maria").id)
        assert [one.name for one in await guild.fetch_channels()] == ["support", "training"]
        assert (await guild.fetch_member(100000000000000101)).guild_permissions.manage_guild is False
        assert (await bot.fetch_user(100000000000000102)).display_name == "Ada"
        assert (await bot.application_info()).owner.name == "maria"


async def test_unknown_route_is_answered_404_and_recorded() -> None:
    async with served() as playground, Connected(playground) as bot:
        with pytest.raises(Exception, match="404"):
            await bot.fetch_sticker(1)
        assert [(one.method, one.path) for one in playground.unhandled] == [("GET", "/stickers/1")]


async def test_every_request_of_the_client_is_described_by_discord() -> None:
    spec = discord_spec()
    async with served() as playground, Connected(playground):
        await _use_everything(playground)
        assert spec.violations(playground.requests) == []
        assert not playground.unhandled
        too_long = spec.check("POST", "/interactions/1/abc/callback", {"type": 4, "data": {"content": "x" * 2001}})
        assert too_long is not None, "the check itself must be able to fail"


async def test_every_answer_of_the_playground_is_described_by_discord() -> None:
    spec = discord_spec()
    async with served() as playground, Connected(playground):
        await _use_everything(playground)
        message, command = playground.person("ada").messages()[0], playground.commands.all()[0]
        guild, channel = f"/guilds/{GUILD_ID}", f"/channels/{CHANNEL_IDS['support']}"
        application = f"/applications/{APPLICATION_ID}/commands"
        paths = [
            *("/gateway", "/gateway/bot", "/users/@me", "/users/@me/guilds", "/applications/@me"),
            *("/oauth2/applications/@me", f"/users/{APPLICATION_ID}", guild, f"{guild}/channels", f"{guild}/roles"),
            *(f"{guild}/members", f"{guild}/members/{APPLICATION_ID}", channel, f"{channel}/messages"),
            *(f"{channel}/messages/{message['id']}", application, f"{application}/{command['id']}"),
        ]
        async with aiohttp.ClientSession(headers={"Authorization": "Bot playground"}) as session:
            for path in paths:
                async with session.get(playground.api_url + path) as answer:
                    assert spec.check_answer("GET", path, answer.status, await answer.json()) is None


async def _use_everything(playground: Playground) -> None:
    maria = playground.person("maria")
    await maria.command("ask", text="a")
    await maria.command("import", file=("a.csv", b"a"))
    await maria.command("card")
    await maria.command("say", text="hello")
    await maria.click(await maria.command("count"), "Clicked 0")
    await maria.select(await maria.command("pick"), ["bug"])
    await maria.autocomplete("label", focused="label", label="b")
    await maria.submit(await maria.command("survey"), why="x", label=["ham"], sure="n", public=False)
