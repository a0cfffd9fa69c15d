"""A classifier as a whole, through the real client and services: its settings, archiving, and news of a bad night."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bot.playground.objects import CHANNEL_IDS
from bot.playground.wire import Json, MessageFlag
from bot.services.people import Actor, Role, timer
from bot.services.training import Requested
from storage.errors import Conflict, NotAllowed, NotFound
from storage.records import Classifier, Source
from tests.fakes.real_stage import LEAD, RealStage, real_stage
from tests.fakes.tiny_encoder import make_tiny_base

NIGHT = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
EIGHT = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
async def stage(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path, base, monkeypatch) as stage:
        await stage.classifier()
        yield stage


async def triage(stage: RealStage) -> Classifier:
    return await stage.system.stores.classifiers.get(LEAD.guild, "triage")


# Settings


async def test_settings_show_everything_that_is_set(stage: RealStage) -> None:
    classifier = await triage(stage)
    await stage.services.setup.choose(
        LEAD, classifier.id, team_channel=CHANNEL_IDS["training"], learn_from_questions=True, precision=0.95
    )
    for options in ({}, {"name": "triage"}):
        shown = await stage.ada.command("classifier settings", **options)
        for words in (
            "`bug`, `question`, `idea`",
            "95 of 100",
            f"<#{CHANNEL_IDS['training']}>",
            "and questions",
            "every day at 03:00 (UTC)",
            "tiny",
        ):
            assert words in shown.text
        assert shown.ephemeral


async def test_settings_of_40_labels_fit_on_the_card(stage: RealStage) -> None:
    classifier = await triage(stage)
    for n in range(60):
        await stage.services.classifiers.create_label(LEAD, classifier, f"{n} {'x' * 55}")
    shown = await stage.ada.command("classifier settings")
    assert "(63)" in shown.text
    assert "and 23 more" in shown.text
    assert "Training" in shown.text


# Archiving


async def test_an_archived_classifier_answers_no_more_until_undo(stage: RealStage) -> None:
    asked = await stage.ada.command("ask", text="it broke")
    await stage.ada.command("label", text="it broke", label="bug")
    preview = await stage.maria.command("classifier archive", name="triage")
    assert "3 labels and 1 labelled text" in preview.text
    assert "Nothing was changed." in (await stage.maria.click(preview, "Keep it")).text
    done = await stage.maria.click(await stage.maria.command("classifier archive", name="triage"), "Archive")
    assert "Archived `triage`" in done.text
    for _ in range(2):
        schedule = await stage.services.training.get_schedule(await triage(stage))
        assert schedule is not None
        assert not schedule.enabled
        assert "`triage` is archived" in (await stage.ada.command("ask", text="it broke")).text
        refused = [
            await stage.ada.command("ask", text="it broke", classifier="triage"),
            await stage.ada.command("label", text="x", label="bug", classifier="triage"),
            await stage.ada.click(asked, asked.buttons[0]),
            await stage.maria.command("train now", classifier="triage"),
        ]
        for reply in refused:
            assert "`triage` is archived" in reply.text
        taken = await stage.maria.command("classifier create", name="triage")
        assert "triage is archived, and keeps its name" in taken.text
        await stage.restart()
    back = await stage.maria.click(done, "Undo")
    assert "back as it was. It retrains every day at 03:00" in back.text
    assert "Taught: `bug`" in (await stage.ada.command("ask", text="it broke")).text
    assert "back as it was" in (await stage.maria.command("classifier restore", name="triage")).text


async def test_restore_offers_what_is_archived(stage: RealStage) -> None:
    await stage.services.classifiers.archive(LEAD, await triage(stage))
    offered = await stage.maria.autocomplete("classifier restore", focused="name", name="tri")
    assert [one["value"] for one in offered] == ["triage"]
    assert "back as it was" in (await stage.maria.command("classifier restore", name="triage")).text
    assert "no classifier" in (await stage.maria.command("classifier restore", name="@everyone `x`")).text


async def test_archiving_stops_a_training_and_a_schedule_that_was_off_stays_off(stage: RealStage) -> None:
    classifier = await triage(stage)
    await stage.teach(classifier, [(f"{label} {n}", label) for label in ("bug", "question", "idea") for n in range(12)])
    await stage.services.training.schedule(LEAD, classifier, None, None)
    stage.trainer.gate.clear()
    started = await stage.services.training.request(LEAD, classifier)
    assert isinstance(started, Requested)
    await stage.maria.click(await stage.maria.command("classifier archive", name="triage"), "Archive")
    assert (await stage.services.training.job(LEAD.guild, started.job.id)).job.state == "cancelled"
    stage.trainer.gate.set()
    await stage.services.classifiers.restore(LEAD, "triage")
    schedule = await stage.services.training.get_schedule(classifier)
    assert schedule is not None
    assert not schedule.enabled


async def test_members_and_other_servers_archive_nothing(stage: RealStage) -> None:
    assert "Only a lead" in (await stage.ada.command("classifier archive", name="triage")).text
    assert "Only a lead" in (await stage.ada.command("classifier restore", name="triage")).text
    classifier = await triage(stage)
    services = stage.services.classifiers
    for call in (services.archive(Actor(LEAD.guild, "1", "x"), classifier), services.restore(timer("x"), "triage")):
        with pytest.raises((NotAllowed, NotFound)):
            await call
    with pytest.raises(NotFound):
        await services.archive(Actor("999", "1", "x", Role.LEAD), classifier)
    assert not (await triage(stage)).archived


async def test_the_services_refuse_an_archived_classifier(stage: RealStage) -> None:
    archived = await stage.services.classifiers.archive(LEAD, await triage(stage))
    for call in (
        stage.services.prediction.ask(LEAD, archived, "t", Source.API),
        stage.services.labeling.label(LEAD, archived, "t", "bug", Source.API),
        stage.services.labeling.import_rows(LEAD, "triage", [("t", "bug")], Source.FILE),
        stage.services.training.request(LEAD, archived),
    ):
        with pytest.raises(Conflict, match="archived"):
            await call


# A bad night


async def failed_night(stage: RealStage, by: Actor, ended: datetime = NIGHT) -> str:
    """A training that fails; the id of its job. The database says that it ended at `ended`."""
    classifier = await triage(stage)
    await stage.teach(classifier, [(f"{label} {n}", label) for label in ("bug", "question", "idea") for n in range(12)])
    stage.trainer.failure = ("The disk of the trainer is full.", False)
    asked = await stage.services.training.request(by, classifier, channel_id=CHANNEL_IDS["support"])
    assert isinstance(asked, Requested)
    await stage.services.training.wait(LEAD.guild, asked.job.id)
    await stage.maria.wait_for(lambda one: "Training failed" in str(one["embeds"]))
    await stage.system.stores.database.write(
        lambda tables: tables.execute("UPDATE jobs SET updated_at = ?", (ended.timestamp(),)).rowcount
    )
    return asked.job.id


def news(stage: RealStage, channel: str = "support") -> list[Json]:
    return [one for one in stage.maria.messages(channel) if "in the night" in one["content"]]


async def tick(stage: RealStage, now: datetime) -> None:
    await stage.services.morning.tick(now)
    await asyncio.sleep(0.2)


async def test_a_training_that_failed_at_night_is_told_at_eight_and_once(stage: RealStage) -> None:
    await failed_night(stage, timer(LEAD.guild))
    await tick(stage, EIGHT.replace(hour=7, minute=59))
    assert news(stage) == []
    await stage.restart()
    await tick(stage, EIGHT)
    message = await stage.maria.wait_for(lambda one: "in the night" in one["content"])
    told = f"The training of `triage` in the night (<t:{int(NIGHT.timestamp())}:R>) did not work out: The disk of the"
    assert message["content"].startswith(told)
    assert "keeps answering" in message["content"]
    await tick(stage, EIGHT)
    await stage.restart()
    await tick(stage, EIGHT.replace(hour=9))
    assert len(news(stage)) == 1
    stage.trainer.failure = None
    assert "Training `triage`" in (await stage.maria.click(message, "Train again")).text


async def test_a_bot_that_was_away_in_the_morning_tells_it_later_but_not_at_night(stage: RealStage) -> None:
    await failed_night(stage, timer(LEAD.guild))
    await tick(stage, EIGHT.replace(hour=23))
    await tick(stage, EIGHT.replace(hour=2) + timedelta(days=1))
    assert news(stage) == []
    await tick(stage, EIGHT.replace(hour=15) + timedelta(days=1))
    await stage.maria.wait_for(lambda one: "in the night" in one["content"])


async def test_its_message_at_night_wakes_nobody(stage: RealStage) -> None:
    await failed_night(stage, timer(LEAD.guild))
    (message,) = [one for one in stage.maria.messages() if one["embeds"]]
    assert message["flags"] & MessageFlag.SUPPRESS_NOTIFICATIONS


async def test_what_a_person_asked_for_or_failed_by_day_or_was_mended_is_not_told(stage: RealStage) -> None:
    await failed_night(stage, LEAD)
    await tick(stage, EIGHT)
    assert news(stage) == []
    database = stage.system.stores.database
    await database.write(
        lambda tables: (
            tables.execute(
                "UPDATE jobs SET requested_by = 'timer', updated_at = ?", (NIGHT.replace(hour=12).timestamp(),)
            ).rowcount
        )
    )
    await tick(stage, EIGHT.replace(day=25))
    await database.write(lambda tables: tables.execute("UPDATE jobs SET updated_at = ?", (NIGHT.timestamp(),)).rowcount)
    stage.trainer.failure = None
    again = await stage.services.training.request(LEAD, await triage(stage))
    assert isinstance(again, Requested)
    await stage.services.training.wait(LEAD.guild, again.job.id)
    await tick(stage, EIGHT)
    assert news(stage) == []


async def test_it_goes_to_the_team_channel_and_a_discord_that_fails_is_tried_again(
    stage: RealStage, caplog: pytest.LogCaptureFixture
) -> None:
    await failed_night(stage, timer(LEAD.guild))
    await stage.services.setup.choose(LEAD, (await triage(stage)).id, team_channel=CHANNEL_IDS["training"])
    stage.playground.fail_next(400, {"code": 0, "message": "not now"})
    await tick(stage, EIGHT)
    assert "morning.not_told" in caplog.messages
    await tick(stage, EIGHT)
    assert len(news(stage, "training")) == 1
    assert news(stage) == []


async def test_a_channel_that_is_closed_to_the_bot_is_not_tried_for_ever(
    stage: RealStage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await failed_night(stage, timer(LEAD.guild))
    stage.playground.fail_next(403, {"code": 50013, "message": "Missing Permissions"})
    await tick(stage, EIGHT)
    assert "morning.not_allowed" in caplog.messages
    await tick(stage, EIGHT)
    assert news(stage) == []
