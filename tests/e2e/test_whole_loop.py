"""The story the project tells: label, ask, train, watch, promote, swap, better answers, roll back; over the real wire.

Real discord.py client, real playground, real database, real trainer child. The encoder is tiny and random; the gate is
the ordinary one.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bot.playground.reply import message_text
from tests.fakes.running import Running, make_base, make_texts, running_bot
from tests.fakes.spec_check import discord_spec, find_spec

OLD = ("bug", "refund", "account")
EVERY = (*OLD, "praise")


async def teach(bot: Running, rows: list[tuple[str, str]]) -> None:
    await bot.call("POST", "/classifiers/triage/examples", [{"text": text, "label": label} for text, label in rows])


async def share_right(bot: Running, rows: list[tuple[str, str]]) -> tuple[float, set[str]]:
    """How many of the rows are answered right now, and by which versions."""
    answers = await bot.call("POST", "/classifiers/triage/predict", {"texts": [text for text, _ in rows]})
    right = sum(answer["label"] == label for answer, (_, label) in zip(answers, rows, strict=True))
    return right / len(rows), {answer["version"] for answer in answers}


async def result(bot: Running, words: str) -> dict[str, Any]:
    """The training's message, once it says `words`."""
    return await bot.person("maria").wait_for(lambda message: words in message_text(message), timeout=60)


@pytest.mark.slow
async def test_the_loop_from_the_first_label_to_the_roll_back(tmp_path: Path) -> None:
    async with running_bot(tmp_path / "data", make_base(tmp_path / "base")) as bot:
        maria, ada = bot.person("maria"), bot.person("ada")
        questions = make_texts(80, EVERY, seed=9)

        # A classifier from its label names; it answers from the first minute.
        assert "Created" in (await maria.command("classifier create", name="triage", labels=", ".join(OLD))).text
        first = await ada.command("ask", text="the app crashes again")
        assert "v0" in first.text
        assert first.ephemeral

        # A label, and taking it back.
        saved = await ada.command("label", text="please refund my order", label="refund")
        assert saved.text.startswith("Saved as `refund`")
        assert "back" in (await ada.click(saved, "Undo")).text
        # An answer that is wrong becomes a label.
        right = await ada.click(await ada.command("ask", text="my password is locked"), "Wrong")
        assert "Taught: `account`" in (await ada.select(right, "account")).text

        # Too early to train, in words; a member may not.
        assert "Not enough labels" in (await maria.command("train now")).text
        assert "Only a lead" in (await ada.command("train now")).text

        # A label that did not exist yesterday.
        assert "praise" in (await maria.command("labels create", names="praise")).text
        await teach(bot, make_texts(240, EVERY))
        settled = bot.system.serving.settle(await bot.system.services.classifiers.resolve(*await only_guild(bot)))
        await settled
        before, versions = await share_right(bot, questions)
        assert all(version.startswith("v0+") for version in versions)

        # Training, seen as one message that changes.
        seen: list[str] = []
        stop = bot.playground.world.listen(lambda event: seen.append(event.type))
        started = await maria.command("train now")
        assert "started" in started.text.lower() or "training" in started.text.lower()
        assert "already" in (await maria.command("train now")).text
        message = await result(bot, "v1 is live")
        stop()
        assert seen.count("MESSAGE_UPDATE") >= 2, "progress is shown by editing one message"
        assert "held-out texts" in message_text(message)

        # The swapped-in version answers, and better.
        after, versions = await share_right(bot, questions)
        assert versions == {"v1"}
        assert after > before
        assert "v1" in (await ada.command("ask", text=questions[0][0])).text
        assert "live" in (await maria.command("model list")).text

        # Back, without training; then nothing goes live by itself.
        assert "v0" in (await maria.command("model rollback")).text
        _, versions = await share_right(bot, questions[:3])
        assert all(version.startswith("v0+") for version in versions)
        await teach(bot, make_texts(40, EVERY, seed=5))
        await maria.command("train now")
        update = await bot.system.services.training.status(
            await bot.system.services.classifiers.resolve(*await only_guild(bot))
        )
        assert update is not None
        update = await asyncio.wait_for(bot.system.services.training.wait(update.job.guild, update.job.id), 60)
        assert update.version is not None
        assert update.serving.startswith("v0")
        # It was better, so that only the roll back kept it out.
        assert "because someone rolled back" in update.version.decision

        assert not bot.playground.unhandled
        if find_spec() is not None:
            assert discord_spec().violations(bot.playground.requests) == []


async def only_guild(bot: Running) -> tuple[str, str]:
    classifiers = await bot.system.stores.classifiers.list()
    return classifiers[0].guild, classifiers[0].name


@pytest.mark.slow
async def test_a_training_is_cancelled_by_its_button(tmp_path: Path) -> None:
    slow = {"frozen_layers": 0, "epochs": 200, "least_steps": 3000}
    async with running_bot(tmp_path / "data", make_base(tmp_path / "base"), recipe=slow) as bot:
        maria, ada = bot.person("maria"), bot.person("ada")
        await maria.command("classifier create", name="triage", labels=", ".join(OLD))
        await teach(bot, make_texts(90, OLD))
        await maria.command("train now")
        message = await maria.wait_for(lambda each: "%" in message_text(each) and bool(each["components"]), timeout=30)
        assert "Only a lead" in (await ada.click(message, "Cancel")).text
        maria.timeout = 1.0  # the click is only acknowledged: what comes of it is the message's business
        await maria.click(message, "Cancel")
        await result(bot, "ancelled")
        assert "v0" in (await ada.command("ask", text="it crashes")).text
        assert (await bot.call("GET", "/classifiers/triage/versions"))["versions"] == []
