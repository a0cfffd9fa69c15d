"""No silent button, no ping, no limit broken, no command sent twice, no label twice; restarts and shutdowns."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import discord
import pytest

from bot.chat import choices, client
from bot.chat.client import PupilBot, connect_to, run_bot
from bot.chat.errors import RESTARTING
from bot.chat.help_cards import TOPICS
from bot.chat.people import operators_of
from bot.playground.server import GUILD_ID
from bot.services.people import Actor
from storage.errors import Busy, ConfigurationError, StorageError, TrainerUnavailable
from storage.records import Classifier, Prediction, Source
from storage.settings import Settings
from tests.fakes.chat_stage import Stage, chat_stage
from tests.fakes.fake_services import FakeServices

HOSTILE = "@everyone <@100000000000000100> ```\ncode\n``` **bold** [click](http://x.test) ||spoiler|| # head"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with chat_stage(tmp_path) as stage:
        await stage.classifier()
        yield stage


class TestNobodyIsLeftWithoutAnAnswer:
    async def test_a_button_nobody_knows(self, stage: Stage) -> None:
        message = await post_button(stage, "from:another:age")
        reply = await stage.jonas.click(message, "from:another:age")
        assert reply.ephemeral
        assert "older Pupil" in reply.text

    async def test_a_handler_that_breaks_gives_an_id_that_is_in_the_log(
        self, stage: Stage, caplog: pytest.LogCaptureFixture
    ) -> None:
        reply = await stage.jonas.command("ask", text="there is a bug in it")
        stage.fake.memory.failing = ZeroDivisionError("1/0")
        answer = await stage.jonas.click(reply, "Right")
        assert answer.ephemeral
        reference = answer.text.split("error `")[1].split("`")[0]
        assert any(getattr(record, "error_id", "") == reference for record in caplog.records)
        assert "1/0" not in answer.text

    async def test_a_command_that_breaks(self, stage: Stage) -> None:
        stage.fake.memory.failing = ZeroDivisionError("1/0")
        answer = await stage.jonas.command("ask", text="x")
        assert "Something on my side went wrong" in answer.text

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (Busy("Too many questions at once; try again.", 3.0), "try again. (about 3 s)"),
            (StorageError("disk I/O error at /var/x"), "could not be saved, so nothing has changed"),
            (TrainerUnavailable("The trainer does not answer."), "The trainer does not answer."),
        ],
    )
    async def test_errors_of_the_project_have_their_words(self, stage: Stage, error: Exception, words: str) -> None:
        stage.fake.memory.failing = error
        answer = await stage.jonas.command("ask", text="x")
        assert words in answer.text
        assert "/var/x" not in answer.text

    async def test_a_form_sent_after_a_restart_still_saves(self, stage: Stage) -> None:
        form = await stage.jonas.command("label")
        await stage.restart()
        saved = await stage.jonas.submit(form, text="a story", label="idea")
        assert saved.text.startswith("Saved as `idea` (#1).")

    async def test_a_button_of_the_client_before_is_answered_by_the_next(self, stage: Stage) -> None:
        asked = await stage.jonas.command("ask", text="there is a bug in it")
        await stage.restart()
        taught = await stage.jonas.click(asked, "Right")
        assert "Taught: `bug` (#1)." in taught.text
        await stage.restart()
        assert "Took `bug` back" in (await stage.jonas.click(taught, "Undo")).text

    async def test_a_handler_that_says_nothing_is_answered_for(self, stage: Stage, caplog: Any) -> None:
        asked = await stage.jonas.command("ask", text="there is a bug in it")

        async def silent(interaction: object, **groups: str) -> None:
            return None

        stage.bot.router._routes = [(pattern, silent) for pattern, _ in stage.bot.router._routes]
        answer = await stage.jonas.click(asked, "Right")
        assert "Something on my side" in answer.text

    async def test_direct_words_for_an_unknown_classifier_and_a_missing_text(self, stage: Stage) -> None:
        assert "no classifier `nope`" in (await stage.jonas.command("ask", text="x", classifier="nope")).text
        form = await stage.jonas.command("label")
        assert "text is empty" in (await stage.jonas.submit(form, text="   ", label="bug")).text
        assert "4,001 characters" in (await stage.jonas.command("ask", text="x" * 4001)).text

    async def test_an_autocomplete_never_waits_for_slow_services(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(choices, "SECONDS", 0.05)

        async def slow(*_: object) -> list[tuple[str, float | None]]:
            await asyncio.sleep(5)
            return []

        monkeypatch.setattr(stage.fake.labeling, "suggest", slow)
        assert await stage.jonas.autocomplete("label", focused="label", text="x") == []


class TestTextsOfPeople:
    async def test_hostile_text_pings_nobody_and_stays_text(self, stage: Stage) -> None:
        asked = await stage.jonas.command("ask", text=HOSTILE)
        await stage.jonas.click(asked, "Share")
        shared = await stage.maria.wait_for(lambda message: "asked" in str(message["embeds"]))
        assert not shared["mention_everyone"]
        assert not shared["mentions"]
        assert "```" not in str(shared["embeds"]).replace("\\\\`", "")
        bodies = [body for _, _, body in stage.playground.requests if isinstance(body, dict)]
        messages = [body.get("data", body) for body in bodies if "content" in str(body) or "embeds" in str(body)]
        assert messages
        assert all(message.get("allowed_mentions") == {"parse": []} for message in messages if "embeds" in message)

    async def test_4000_characters_are_answered_shared_and_taught_within_all_limits(self, stage: Stage) -> None:
        text = (HOSTILE * 60)[:4000]
        asked = await stage.jonas.command("ask", text=text)
        assert "more characters)" in asked.text
        await stage.jonas.click(asked, "Share")
        taught = await stage.jonas.command("label", text=text, label="bug")
        assert taught.text.startswith("Saved as `bug`")
        assert "Took `bug` back" in (await stage.jonas.click(taught, "Undo")).text


class TestPermissions:
    @pytest.mark.parametrize(
        ("command", "options"),
        [
            ("train now", {}),
            ("train cancel", {}),
            ("train schedule", {"off": True}),
            ("model promote", {"version": "v1"}),
            ("model rollback", {}),
            ("labels create", {"names": "x"}),
            ("classifier create", {"name": "x"}),
            ("classifier use", {"name": "triage"}),
            ("status", {}),
        ],
    )
    async def test_a_member_is_refused_in_words(self, stage: Stage, command: str, options: dict[str, Any]) -> None:
        reply = await stage.jonas.command(command, **options)
        assert reply.ephemeral
        assert "Only a" in reply.text

    async def test_a_member_is_refused_at_the_buttons_too(self, stage: Stage) -> None:
        classifier = (await stage.fake.classifiers.list(GUILD_ID))[0]
        stage.fake.add_version(classifier)
        await stage.maria.command("model promote", version="v1")
        team = await stage.jonas.wait_for(lambda message: "promoted v1" in str(message))
        refused = await stage.jonas.click(team, "Back to v0")
        assert "Only a lead" in refused.text
        assert stage.fake.memory.champion(classifier) == 1
        back = await stage.maria.click(team, "Back to v0")
        assert "v0 of `triage` answers now" in back.text
        stale = await stage.maria.click(team, "Back to v0")
        assert "v1 is not live any more; v0 is." in stale.text

    async def test_an_answer_is_shared_once(self, stage: Stage) -> None:
        asked = await stage.jonas.command("ask", text="bug")
        before = len(stage.maria.messages())
        await asyncio.gather(*(stage.jonas.click(asked, "Share") for _ in range(3)))
        assert len(stage.maria.messages()) == before + 1

    async def test_an_answer_is_shared_by_its_asker_alone(self, stage: Stage) -> None:
        await stage.maria.command("ask", text="there is a bug in it")
        button = f"share:{next(iter(stage.fake.memory.predictions))}"
        refused = await stage.jonas.click(await post_button(stage, button), button)
        assert "Only the person who asked can share" in refused.text

    def test_operators_are_those_configured_else_the_owner(self) -> None:
        assert operators_of(("7",), None) == {"7"}
        assert operators_of((), None) == frozenset()


class TestCommands:
    async def test_they_are_sent_once_and_again_only_when_they_change(self, stage: Stage) -> None:
        assert len(stage.sent("PUT", "/commands")) == 1
        await stage.restart()
        assert len(stage.sent("PUT", "/commands")) == 1
        stage.state[client.COMMANDS_KEY] = "another version's"
        await stage.restart()
        assert len(stage.sent("PUT", "/commands")) == 2

    async def test_they_are_sent_again_when_discord_has_lost_them(self, stage: Stage) -> None:
        await stage.end()
        book = stage.playground.commands
        book.delete("", book.registered()[0]["id"])
        await stage.start()
        assert len(stage.sent("PUT", "/commands")) == 2

    async def test_help_links_every_command_also_after_a_restart_without_a_sync(self, stage: Stage) -> None:
        await stage.restart()
        text = (await stage.jonas.command("help")).text
        every = [
            command.qualified_name for command in stage.bot.tree.walk_commands() if not hasattr(command, "commands")
        ]
        assert [name for name in every if f"</{name}:" not in text] == ["status"]
        assert "…" not in text

    async def test_help_tells_a_sentence_of_every_command_under_one_topic(self, stage: Stage) -> None:
        card, told = await stage.jonas.command("help"), ""
        for topic in TOPICS:
            card = await stage.jonas.select(card, topic)
            told += card.text
        every = [command for command in stage.bot.tree.walk_commands() if not hasattr(command, "commands")]
        named = [told.count(f"</{command.qualified_name}:") for command in every]
        assert named == [int(command.qualified_name != "status") for command in every]
        assert [command.name for command in every if command.name != "status" and command.description not in told] == []

    async def test_every_button_that_a_card_can_have_finds_its_function(self, stage: Stage) -> None:
        ids = [
            "right:ab", "rival:ab:1", "miss:ab", "share:ab", "pick:p.ab:0", "picked:p.ab", "name:p.ab", "named:p.ab",
            "back:p.ab", "undo:7", "pick:e.a-b_c.7:0", "picked:e.a-b_c.7", "back:e.a-b_c.7", "teach:a-b", "cancel:ab",
            "train:a-b", "promote:a-b:3", "rollback:a-b:3", "swap:a-b:3:2", "redo:7", "history:-:1", "takeback:a-b:0",
            "change:7", "unchange:7", "changes:a-b:1", "unchanges:a-b", "revert:7", "unrevert:7", "rules:a-b:0",
            "unrule:a-b", "rerule:7", "tie:a-b:7", "settle:a-b:7:8", "unsettle:a-b:7:9", "rule:a-b:7:8:9",
            "ruled:a-b:7:8:9", "pick:c.a-b.7:0", "create:7", "propose:7", "accept:7", "decline:7", "help",
            "stats:a-b", "labels:a-b:1", "versions:a-b:1",
            "round:ab:1:is:7", "round:ab:1:pick", "round:ab:1:page:2", "round:ab:1:type", "round:ab:1:typed",
            "round:ab:1:unsure", "round:ab:1:skipped", "round:ab:undo", "round:ab:undo:3", "more:a-b:10",
        ]  # fmt: skip
        assert all(stage.bot.router.find(custom_id) for custom_id in ids)
        assert stage.bot.router.find("undo:7; drop table") is None


class TestLife:
    async def test_a_shutdown_lets_running_handlers_finish_and_answers_new_ones(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        original, entered = stage.fake.prediction.ask, asyncio.Event()

        async def slow(actor: Actor, classifier: Classifier, text: str, source: Source) -> Prediction:
            entered.set()
            await asyncio.sleep(0.5)
            return await original(actor, classifier, text, source)

        monkeypatch.setattr(stage.fake.prediction, "ask", slow)
        running = asyncio.create_task(stage.jonas.command("ask", text="there is a bug in it"))
        await entered.wait()
        stage.stop.set()
        await asyncio.sleep(0.05)
        refused = await stage.maria.command("ask", text="x")
        assert refused.text == RESTARTING
        assert "`bug` 90 %" in (await running).text
        await asyncio.wait_for(stage.life, 5)

    async def test_fifty_questions_at_once_are_all_answered_in_time(self, stage: Stage) -> None:
        asked = (stage.jonas.command("ask", text=f"there is bug {number} in it") for number in range(50))
        replies = await asyncio.gather(*asked)
        assert [reply.kind for reply in replies] == ["message"] * 50  # "failed" would mean: no reply within 3 s
        assert [f"bug {number} " in replies[number].text for number in range(50)] == [True] * 50

    async def test_views_are_not_kept_in_memory(self, stage: Stage) -> None:
        """discord.py keeps every view it could dispatch to; ours are data in the message and nowhere else."""
        for number in range(5):
            asked = await stage.jonas.command("ask", text=f"there is bug {number} in it")
            await stage.jonas.click(asked, "Wrong")
        await stage.jonas.command("label")
        store = stage.bot._connection._view_store
        assert not store._views
        assert not store._modals

    async def test_a_handler_that_hangs_does_not_hold_up_the_shutdown(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with chat_stage(tmp_path, started=False) as stage:
            await stage.classifier()
            await stage.start(grace=0.2)
            entered = asyncio.Event()

            async def hang(*_: object) -> None:
                entered.set()
                await asyncio.sleep(60)

            monkeypatch.setattr(stage.fake.prediction, "ask", hang)
            waiting = asyncio.create_task(stage.jonas.command("ask", text="x"))
            await entered.wait()
            stage.stop.set()
            await asyncio.wait_for(stage.life, 3)
            waiting.cancel()

    async def test_a_token_that_discord_refuses_is_said_in_one_sentence(self, tmp_path: Path) -> None:
        async with chat_stage(tmp_path, started=False) as stage:
            with pytest.raises(ConfigurationError, match="Discord refused the token"):
                await run_bot(_bot(stage), "wrong", asyncio.Event())

    async def test_a_discord_that_is_down_is_tried_again_until_it_answers(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(client, "_pauses", lambda: iter([0.05] * 200))
        caplog.set_level(logging.WARNING, "bot.chat.client")
        async with chat_stage(tmp_path, started=False) as stage:
            await stage.classifier()
            connect_to("http://127.0.0.1:9/api/v10", "ws://127.0.0.1:9/gateway/")
            starting = asyncio.create_task(stage.start())
            while not any(record.message == "discord.unreachable" for record in caplog.records):
                await asyncio.sleep(0.02)
            connect_to(stage.playground.api_url, stage.playground.gateway_url)
            await starting
            assert "`bug` 90 %" in (await stage.jonas.command("ask", text="bug")).text

    async def test_a_discord_that_fails_as_it_is_sent_the_commands_is_logged_into_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(client, "_pauses", lambda: iter([0.05] * 20))
        async with chat_stage(tmp_path, started=False) as stage:
            await stage.classifier()
            caplog.set_level(logging.WARNING, "bot.chat.client")

            async def before_they_are_sent(key: str) -> None:
                if not caplog.records:
                    stage.playground.fail_next(503)

            monkeypatch.setattr(stage, "_get", before_they_are_sent)
            await stage.start()
            assert [record.message for record in caplog.records] == ["discord.unreachable"]
            assert "`bug` 90 %" in (await stage.jonas.command("ask", text="bug")).text

    async def test_stop_is_obeyed_while_discord_cannot_be_reached(self, tmp_path: Path) -> None:
        async with chat_stage(tmp_path, started=False) as stage:
            connect_to("http://127.0.0.1:9/api/v10", "ws://127.0.0.1:9/gateway/")
            stop = asyncio.Event()
            life = asyncio.create_task(run_bot(_bot(stage), "playground", stop))
            await asyncio.sleep(0.2)
            stop.set()
            await asyncio.wait_for(life, 3)


async def post_button(stage: Stage, custom_id: str) -> dict[str, Any]:
    """A message of the bot, seen by all, with one button."""
    view = discord.ui.View(timeout=None)
    view.add_item(discord.ui.Button(label="Press", custom_id=custom_id))
    view.stop()
    sent = await stage.bot.get_partial_messageable(100000000000000010).send("A message", view=view)
    return await stage.jonas.wait_for(lambda message: message["id"] == str(sent.id))


def _bot(stage: Stage) -> PupilBot:
    return PupilBot(
        FakeServices().services,
        Settings(data=stage.settings.data),
        get_state=stage._get,
        set_state=stage._set,
        guild_ready_timeout=0.05,
    )
