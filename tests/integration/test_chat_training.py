"""Trainings in the chat: one message that shows progress and becomes the verdict, also over a restart."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from bot.chat import progress as board_module
from storage.records import (
    Classifier,
    EvaluationReport,
    JobState,
    LabelReport,
    PairedOutcome,
    PromotionDecision,
    Split,
    VersionState,
)
from tests.fakes.chat_stage import LEAD, Stage, chat_stage
from trainer.protocol import Phase, Progress, to_json

STEP = Progress(1, Phase.TRAINING, 0.5, epoch=2, epochs=4, loss=0.42, eta_seconds=60)
REPORT = EvaluationReport(
    tuple(PairedOutcome(number, "bug", Split.TRAIN, "bug", "bug") for number in range(118)),
    0.87, 0.84, 0.86, 0.83, (LabelReport("bug", 40, 0.9, 0.88, 0.71),), ((40,),), 0.03, "v0+48", 240, 26,
)  # fmt: skip


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with chat_stage(tmp_path) as stage:
        await stage.classifier()
        yield stage


def board(stage: Stage, channel: str = "training") -> list[dict[str, Any]]:
    """The messages everybody sees in a channel."""
    return [message for message in stage.jonas.messages(channel) if not message["flags"] & 64]


async def shown(stage: Stage, words: str, channel: str = "training") -> dict[str, Any]:
    return await stage.jonas.wait_for(lambda message: words in str(message), channel)


async def begin(stage: Stage) -> str:
    """Starts a training from the channel "training"; its job id."""
    reply = await stage.maria.command("train now", channel="training")
    assert "Watch it in <#100000000000000011>." in reply.text
    return stage.fake.memory.jobs[-1].id


def finish(stage: Stage, job: str, classifier: Classifier, *, live: bool) -> None:
    version = stage.fake.add_version(classifier, to_json(REPORT))
    if live:
        version = replace(version, state=VersionState.CHAMPION)
    words = "Better than v0+48." if live else "Kept v0+48: it is not clearly better."
    stage.fake.training.move(
        job,
        JobState.SUCCEEDED,
        decision=PromotionDecision(live, words, 8, 5),
        report=REPORT,
        version=version,
    )


async def only(stage: Stage) -> Classifier:
    return stage.fake.memory.classifiers[0]


async def test_one_message_shows_progress_and_becomes_the_verdict(stage: Stage) -> None:
    job = await begin(stage)
    assert "waiting for its turn" in str(board(stage)[0])
    stage.fake.training.move(job, JobState.RUNNING, progress=STEP)
    message = await shown(stage, "epoch 2 of 4 · loss 0.42 · about 60 s left")
    assert "████████░░░░░░░░ 50 %" in str(message)
    finish(stage, job, await only(stage), live=True)
    verdict = await shown(stage, "v1 is live: 0.84 → 0.87 on 118 held-out texts")
    assert "Roll back" in str(verdict)
    assert "0.71 0.88" in str(verdict)
    assert len(board(stage)) == 1


async def test_the_message_and_the_status_tell_its_place_in_the_queue_while_it_changes(stage: Stage) -> None:
    job = await begin(stage)
    for ahead in (2, 1):
        stage.fake.training.move(job, JobState.RUNNING, ahead=ahead)
        await shown(stage, f"waiting, {ahead} ahead")
        assert f"waiting, {ahead} ahead" in (await stage.jonas.command("train status")).text
    stage.fake.training.move(job, JobState.RUNNING, ahead=None, progress=STEP)
    await shown(stage, "epoch 2 of 4")
    assert len(board(stage)) == 1


async def test_a_kept_champion_says_why_and_a_lead_may_promote_anyway(stage: Stage) -> None:
    job = await begin(stage)
    finish(stage, job, await only(stage), live=False)
    verdict = await shown(stage, "Kept v0+48: it is not clearly better.")
    assert "Only a lead" in (await stage.jonas.click(verdict, "Promote anyway")).text
    promoted = await stage.maria.click(verdict, "Promote anyway")
    assert promoted.text == "Done: v1 of `triage` answers now (was v0)."
    await shown(stage, "Maria promoted v1 of `triage`: it answers now (was v0).")
    assert stage.fake.memory.champion(await only(stage)) == 1
    assert "live already" in (await stage.maria.click(verdict, "Promote anyway")).text


async def test_cancel_is_for_leads_and_ends_the_message(stage: Stage) -> None:
    job = await begin(stage)
    stage.fake.training.move(job, JobState.RUNNING, progress=STEP)
    message = await shown(stage, "epoch 2 of 4")
    assert "Only a lead" in (await stage.jonas.click(message, "Cancel")).text
    assert "Stopped." in (await stage.maria.click(message, "Cancel")).text
    ended = await shown(stage, "Training cancelled")
    assert "Train again" in str(ended)
    assert len(board(stage)) == 1


async def test_a_second_request_joins_the_first(stage: Stage) -> None:
    await begin(stage)
    reply = await stage.maria.command("train now", channel="training")
    assert "is being trained already" in reply.text
    assert len(board(stage)) == 1
    assert len(stage.fake.memory.jobs) == 1


async def test_no_training_is_refused_with_its_reason(stage: Stage) -> None:
    stage.fake.training.refusal = "`idea` has 2; at least 2 labels need 5 each."
    assert (await stage.maria.command("train now")).text == "Not yet. `idea` has 2; at least 2 labels need 5 each."
    assert "has not been trained yet" in (await stage.jonas.command("train status")).text
    assert "No training is under way" in (await stage.maria.command("train cancel")).text


async def test_status_shows_where_it_stands_to_everybody(stage: Stage) -> None:
    job = await begin(stage)
    stage.fake.training.move(job, JobState.RUNNING, progress=STEP)
    reply = await stage.jonas.command("train status")
    assert reply.ephemeral
    assert "epoch 2 of 4" in reply.text


async def test_progress_goes_on_in_the_same_message_after_a_restart(stage: Stage) -> None:
    job = await begin(stage)
    await stage.restart()
    stage.fake.training.move(job, JobState.RUNNING, progress=STEP)
    await shown(stage, "epoch 2 of 4")
    await stage.restart()
    finish(stage, job, await only(stage), live=True)
    await shown(stage, "v1 is live")
    assert len(board(stage)) == 1


async def test_a_message_catches_up_at_start_without_waiting_for_the_next_step(stage: Stage) -> None:
    job = await begin(stage)
    await stage.end()
    stage.fake.training.move(job, JobState.RUNNING, progress=STEP)
    await stage.start()
    await shown(stage, "epoch 2 of 4")
    assert len(board(stage)) == 1


async def test_a_scheduled_training_is_shown_in_the_teams_channel(stage: Stage) -> None:
    classifier = await only(stage)
    await stage.fake.training.request(LEAD, classifier, "50 new labels", "100000000000000011")
    message = await shown(stage, "50 new labels")
    assert "Training triage" in str(message)


async def test_an_hour_long_training_moves_on_to_a_new_message(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await begin(stage)
    monkeypatch.setattr(stage.bot.board, "_life", 0.0)
    stage.fake.training.move(job, JobState.RUNNING, progress=STEP)
    await shown(stage, "epoch 2 of 4")
    await shown(stage, "goes on in a newer message")
    first, second = board(stage)
    assert not first["embeds"]
    assert stage.fake.memory.jobs[0].message_id == second["id"]


async def test_a_result_stays_in_its_message_also_if_that_is_old(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await begin(stage)
    finish(stage, job, await only(stage), live=True)
    await shown(stage, "v1 is live")
    monkeypatch.setattr("bot.chat.progress.snowflake_time", lambda message: datetime(2020, 1, 1, tzinfo=UTC))
    update = await stage.fake.training.job(LEAD.guild, job)
    for _ in range(2):
        async with asyncio.timeout(10):
            while stage.bot.board._panels:  # else it is still the same drawing
                await asyncio.sleep(0.01)
        await stage.bot.board.show(update)
        (message,) = board(stage)
        assert "v1 is live" in str(message)


async def test_a_deleted_progress_message_is_written_again(stage: Stage) -> None:
    job = await begin(stage)
    await stage.bot.http.delete_message("100000000000000011", board(stage)[0]["id"])
    stage.fake.training.move(job, JobState.RUNNING, progress=STEP)
    await shown(stage, "epoch 2 of 4")
    assert len(board(stage)) == 1


async def test_the_result_outlives_a_discord_that_fails_meanwhile(stage: Stage) -> None:
    job = await begin(stage)
    stage.playground.fail_next(403, {"code": 40001, "message": "no"})
    stage.playground.fail_next(429, {"message": "slow down"}, Via="1.1 x")  # no retry_after: discord.py raises KeyError
    stage.fake.training.move(job, JobState.RUNNING, progress=STEP)
    await asyncio.sleep(0.15)
    finish(stage, job, await only(stage), live=True)
    await shown(stage, "v1 is live")


async def test_a_channel_that_cannot_be_written_is_said_to_who_asked(stage: Stage) -> None:
    classifier = await only(stage)
    team = replace(classifier.settings, team_channel="100000000000000099")
    stage.fake.memory.classifiers[0] = replace(classifier, settings=team)
    reply = await stage.maria.command("train now")
    assert "I could not write into the channel; `/train status` shows how it goes." in reply.text


async def test_a_training_that_a_program_began_is_shown_to_a_lead_who_asks_for_one(stage: Stage) -> None:
    classifier = await only(stage)
    await stage.fake.training.request(LEAD, classifier)
    reply = await stage.maria.command("train now", channel="training")
    assert reply.text == "`triage` is being trained already. Watch it in <#100000000000000011>."
    stage.fake.training.move(stage.fake.memory.jobs[-1].id, JobState.RUNNING, progress=STEP)
    await shown(stage, "epoch 2 of 4")


async def test_cancelling_what_has_ended_brings_its_message_up_to_date(stage: Stage) -> None:
    job = await begin(stage)
    await stage.end()  # the end of the training is missed, as after a crash
    finish(stage, job, await only(stage), live=True)
    await stage.start()
    reply = await stage.maria.click(board(stage)[0], "Cancel")
    assert reply.text == "That training has ended already."
    await shown(stage, "v1 is live")
    assert len(board(stage)) == 1


async def test_edits_are_no_more_frequent_than_the_interval(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await begin(stage)
    monkeypatch.setattr(stage.bot.board, "_interval", 0.3)
    before = len(stage.sent("PATCH", board(stage)[0]["id"]))
    for step in range(40):
        stage.fake.training.move(job, JobState.RUNNING, progress=replace(STEP, fraction=step / 40))
        await asyncio.sleep(0.01)
    assert len(stage.sent("PATCH", board(stage)[0]["id"])) - before <= 3


def berlin(stamp: str) -> str:
    """What a clock in Berlin shows at a Discord timestamp."""
    return f"{datetime.fromtimestamp(int(stamp), ZoneInfo('Europe/Berlin')):%H:%M}"


async def test_the_schedule_is_set_in_words_and_shown(stage: Stage) -> None:
    assert "does not retrain by itself" in (await stage.jonas.command("train schedule")).text
    reply = await stage.maria.command("train schedule", at="03:00", timezone="Europe/Berlin", after_labels=50)
    assert "every day at 03:00 (Europe/Berlin) and after 50 new labels" in reply.text
    assert reply.text.count("<t:") == 3
    kept = await stage.maria.command("train schedule", at="4:30")
    assert "every day at 04:30 (Europe/Berlin) and after 50 new labels" in kept.text
    quiet = await stage.maria.command("train schedule", quiet="22 - 7:00")
    assert "and after 50 new labels, if there is something new, but not between 22:00 and 07:00" in quiet.text
    assert [berlin(stamp) for stamp in re.findall(r"<t:(\d+):f>", quiet.text)] == ["07:00"] * 3
    assert "between 22:00 and 07:00" in (await stage.jonas.command("train schedule")).text
    for wrong, words in (("25:00-7", "`25:00-7` is not from one time of day"), ("22:00-22:00", "none or all day")):
        refused = (await stage.maria.command("train schedule", quiet=wrong)).text
        assert words in refused
        assert "Write quiet hours like `22:00-07:00`, or `none`" in refused
    assert "between 22:00 and 07:00" in (await stage.maria.command("train schedule", after_labels=40)).text
    loud = await stage.maria.command("train schedule", quiet="none")
    assert "every day at 04:30 (Europe/Berlin) and after 40 new labels, if there is something new." in loud.text
    assert [berlin(stamp) for stamp in re.findall(r"<t:(\d+):f>", loud.text)] == ["04:30"] * 3
    assert "does not retrain" in (await stage.maria.command("train schedule", off=True)).text
    zones = await stage.maria.autocomplete("train schedule", focused="timezone", timezone="berl")
    assert [zone["value"] for zone in zones] == ["Europe/Berlin"]


async def test_versions_are_listed_promoted_and_rolled_back(stage: Stage) -> None:
    classifier = await only(stage)
    assert "no trained version yet" in (await stage.jonas.command("model list")).text
    stage.fake.add_version(classifier, to_json(REPORT))
    offered = await stage.maria.autocomplete("model promote", focused="version")
    assert [choice["value"] for choice in offered] == ["v1", "v0"]
    promoted = await stage.maria.command("model promote", version="v1")
    assert promoted.ephemeral
    assert "v1 of `triage` answers now (was v0)" in promoted.text
    listed = await stage.maria.command("model list")
    assert "**v1** live · 0.84 → 0.87 on 118 texts" in listed.text
    back = await stage.maria.command("model rollback")
    assert "v0 of `triage` answers now (was v1)" in back.text
    await shown(stage, "Maria rolled `triage` back: v0 answers now (was v1).", "support")
    assert "v1 is not live any more" in (await stage.maria.click(listed, "Roll back")).text


async def test_labels_and_classifiers_are_created_and_listed(stage: Stage) -> None:
    created = await stage.maria.command("labels create", names="praise, spam")
    assert "`triage` has the new labels `praise`, `spam`" in created.text
    assert "has a label `spam` already" in (await stage.maria.command("labels create", names="spam")).text
    assert "5 labels" in (await stage.jonas.command("labels list")).text
    second = await stage.maria.command("classifier create", name="mood", labels="good, bad")
    assert "Created `mood` with `good`, `bad`" in second.text
    assert "`mood` is meant" in (await stage.maria.command("classifier use", name="mood")).text
    assert "`mood` — used in this channel" in (await stage.jonas.command("classifier list")).text
    offered = await stage.jonas.autocomplete("ask", focused="classifier", text="x", classifier="mo")
    assert [choice["value"] for choice in offered] == ["mood"]


async def test_statistics_say_what_answers_and_who_teaches(stage: Stage) -> None:
    await stage.jonas.command("label", text="x bug", label="bug")
    text = (await stage.jonas.command("stats")).text
    assert "v0+1, not fine-tuned" in text
    assert "1 new label since the last one" in text
    assert "Taught by" in text


def test_results_are_tried_for_minutes_before_they_are_given_up() -> None:
    waits = [min(60.0, 5.0 * 2**attempt) for attempt in range(board_module.LAST_TRIES)]
    assert sum(waits) > 120
