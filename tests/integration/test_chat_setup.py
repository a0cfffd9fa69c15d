"""The first run through the real client and the real services: the greeting, /setup, and roles that hold everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.playground import objects
from bot.playground.objects import CHANNEL_IDS, LEADS, TEACHERS
from bot.playground.people import Person
from bot.playground.reply import Reply
from bot.services.people import Actor, Role
from storage.errors import NotAllowed, NotFound
from storage.label_changes import ChangeKind
from storage.records import GuildSettings, Source
from tests.fakes.real_stage import LEAD, RealStage, real_stage
from tests.fakes.tiny_encoder import make_tiny_base

HOSTILE = "@everyone `x` \u202e " + "🎉" * 300


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
async def stage(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path, base, monkeypatch) as stage:
        yield stage


async def named(person: Person, name: str = "triage", labels: str = "bug: it broke\nquestion, idea") -> Reply:
    form = await person.click(await person.command("setup"), "Name it")
    return await person.submit(form, name=name, labels=labels)


async def choose(person: Person, reply: Reply, custom_id: str, value: str) -> Reply:
    return await person.select(reply, value, custom_id)


# The guide


async def test_the_guide_leads_in_one_card_from_nothing_to_a_team_that_can_teach(stage: RealStage) -> None:
    maria = stage.maria
    reply = await named(maria)
    assert "Who may do what?" in reply.text
    assert reply.ephemeral
    reply = await choose(maria, reply, "setup:lead:1", LEADS)
    reply = await choose(maria, reply, "setup:member:1", TEACHERS)
    assert f"<@&{LEADS}>" in reply.text
    reply = await maria.click(reply, "Next")
    reply = await choose(maria, reply, "setup:channel:1", CHANNEL_IDS["training"])
    assert "What may I learn from?" in reply.text
    reply = await maria.click(reply, "Keep questions for labelling")
    reply = await choose(maria, reply, "setup:zone:1", "Europe/Berlin")
    for words in (
        "`triage` tells apart `bug`, `question`, `idea`",
        f"<@&{TEACHERS}>",
        f"<#{CHANNEL_IDS['training']}>",
        "and questions",
        "every day at 03:00 (Europe/Berlin)",
        "Try: `/label text:… label:bug`",
    ):
        assert words in reply.text
    classifier = await stage.services.classifiers.resolve(LEAD.guild, "triage")
    assert classifier.settings.team_channel == CHANNEL_IDS["training"]
    assert classifier.settings.learn_from_questions
    descriptions = [count.label.description for count in await stage.services.classifiers.labels(classifier)]
    assert descriptions == ["it broke", "", ""]


async def test_every_step_can_be_skipped_and_gone_back_to(stage: RealStage) -> None:
    reply = await named(stage.maria)
    for title in ("hear of trainings", "learn from", "train by myself"):
        reply = await stage.maria.click(reply, "Skip" if "Skip" in reply.buttons else "Next")
        assert title in reply.text
    reply = await stage.maria.click(reply, "Back")
    assert "learn from" in reply.text
    reply = await stage.maria.click(await stage.maria.click(reply, "Next"), "Next")
    assert reply.text.startswith("Ready")
    assert "every day at 03:00 (UTC)" in reply.text


async def test_without_a_classifier_only_the_roles_can_be_chosen(stage: RealStage) -> None:
    reply = await stage.maria.click(await stage.maria.command("setup"), "Skip")
    reply = await stage.maria.click(reply, "Skip")
    assert "There is no classifier yet" in reply.text
    assert "Name it" in reply.buttons


async def test_a_restart_in_the_middle_goes_on_where_it_was(stage: RealStage) -> None:
    reply = await named(stage.maria)
    reply = await stage.maria.click(reply, "Skip")
    await stage.restart()
    assert "hear of trainings" in (await stage.maria.command("setup")).text
    reply = await stage.maria.click(reply, "This channel")
    assert "learn from" in reply.text


async def test_setup_again_shows_what_is_set_and_lets_one_thing_be_changed(stage: RealStage) -> None:
    await stage.classifier()
    await stage.services.setup.reach(LEAD, 6)
    summary = await stage.maria.command("setup")
    assert summary.text.startswith("Ready")
    reply = await stage.maria.select(summary, "When do I train by myself?")
    reply = await stage.maria.click(reply, "Never")
    assert reply.text.startswith("Ready")
    assert "does not retrain by itself" in reply.text
    reply = await stage.maria.click(await stage.maria.select(reply, "Who may do what?"), "Done")
    assert reply.text.startswith("Ready")


async def test_a_time_can_be_typed_and_a_mistake_is_told(stage: RealStage) -> None:
    await stage.classifier()
    await stage.services.setup.reach(LEAD, 6)
    step = await stage.maria.select(await stage.maria.command("setup"), "When do I train by myself?")
    wrong = await stage.maria.submit(await stage.maria.click(step, "Type it"), at="03:00", zone="Mars/Base", count="")
    assert "There is no time zone `Mars/Base`" in wrong.text
    assert "Type it" in wrong.buttons
    wrong = await stage.maria.submit(await stage.maria.click(wrong, "Type it"), at="", zone="", count="many")
    assert "whole number" in wrong.text
    wrong = await stage.maria.submit(await stage.maria.click(wrong, "Type it"), at="4:30", quiet="at night")
    assert "Write quiet hours like `22:00-07:00`" in wrong.text
    right = await stage.maria.submit(
        await stage.maria.click(wrong, "Type it"), at="4:30", zone="Europe/Berlin", count="50", quiet="22-6"
    )
    assert "every day at 04:30 (Europe/Berlin) and after 50 new labels" in right.text
    assert "not between 22:00 and 06:00" in right.text
    # Another zone from the menu keeps them.
    step = await stage.maria.select(right, "When do I train by myself?")
    moved = await choose(stage.maria, step, "setup:zone:1", "Asia/Tokyo")
    assert "every day at 03:00 (Asia/Tokyo) and after 50 new labels" in moved.text
    assert "not between 22:00 and 06:00" in moved.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"at": "0 6 * * 5", "timezone": "Europe/Berlin"}, "at `0 6 * * 5` (Europe/Berlin)"),
        ({"at": "4:30", "quiet": "22-6"}, "every day at 04:30 (UTC)"),
        ({"after_labels": 50}, "after 50 new labels"),
    ],
)
async def test_the_form_for_a_time_keeps_what_is_set(
    stage: RealStage, options: dict[str, str | int], words: str
) -> None:
    await stage.classifier()
    await stage.maria.command("train schedule", off=True)
    told = await stage.maria.command("train schedule", **options)
    assert f"It retrains {words}, if there is something new" in told.text
    await stage.services.setup.reach(LEAD, 6)
    step = await stage.maria.select(await stage.maria.command("setup"), "When do I train by myself?")
    form = await stage.maria.click(step, "Type it")
    assert form.modal is not None
    inputs = [label["component"] for label in form.modal["components"]]
    same = await stage.maria.submit(form, **{each["custom_id"]: each.get("value", "") for each in inputs})
    assert f"It retrains {words}, if there is something new" in same.text


async def test_labels_of_which_one_is_archived_are_not_created_in_part(stage: RealStage) -> None:
    classifier = await stage.classifier()
    archive = await stage.services.curation.preview(LEAD, classifier, ChangeKind.ARCHIVE, "bug")
    await stage.services.curation.confirm(LEAD, archive.draft_id)
    before = await stage.services.classifiers.labels(classifier)
    form = await stage.maria.click(await stage.maria.command("setup"), "Add labels")
    refused = await stage.maria.submit(form, name="triage", labels="alpha, bug, gamma")
    assert "There is a label bug already, archived." in refused.text
    assert "Nothing was created. The labels that you typed are in the file" in refused.text
    (file,) = refused.message["attachments"] if refused.message else ()
    assert (file["filename"], file["size"]) == ("typed.txt", len("alpha, bug, gamma"))
    assert not (await stage.maria.click(refused, "Keep triage")).message["attachments"]
    assert await stage.services.classifiers.labels(classifier) == before


async def test_a_refused_form_is_filled_in_when_it_is_opened_again(stage: RealStage) -> None:
    refused = await named(stage.maria, name="triage", labels="bug: it breaks\n" + "a" * 61)
    form = await stage.maria.click(refused, "Name it")
    assert typed_in(form) == {"name": "triage", "labels": "bug: it breaks\n" + "a" * 61}
    await stage.classifier("mood", "good bad")
    other = await stage.maria.click(await stage.maria.command("setup"), "Add labels")
    assert typed_in(other) == {"name": "mood", "labels": ""}, "the mistake was made with another one"
    await stage.maria.submit(form, name="triage", labels="bug: it breaks\nidea")
    assert await stage.services.classifiers.list(LEAD.guild)
    again = await stage.maria.click(await stage.maria.command("setup"), "Back")
    assert typed_in(await stage.maria.click(again, "Add labels"))["labels"] == "", "it was used"


async def test_refused_labels_for_one_that_is_there_stay_with_it(stage: RealStage) -> None:
    await stage.classifier("triage")
    await stage.classifier("mail", "offer bill")
    await stage.services.classifiers.use(LEAD, CHANNEL_IDS["support"], "triage")
    form = await stage.maria.click(await stage.maria.command("setup"), "Name another")
    refused = await stage.maria.submit(form, name="mail", labels="offer\n" + "a" * 61)
    assert "`mail` tells apart" in refused.text
    assert typed_in(await stage.maria.click(refused, "Add labels"))["labels"] == "offer\n" + "a" * 61
    assert typed_in(await stage.maria.click(refused, "Name another")) == {"name": "", "labels": ""}


def typed_in(form: Reply) -> dict[str, str]:
    """What stands in the fields of a form."""
    assert form.modal is not None
    inputs = [label["component"] for label in form.modal["components"]]
    return {each["custom_id"]: each.get("value", "") for each in inputs}


async def test_more_than_25_labels_and_a_second_form_for_more(stage: RealStage) -> None:
    await named(stage.maria, labels="\n".join(f"label {n}" for n in range(40)))
    classifier = await stage.services.classifiers.resolve(LEAD.guild, None)
    assert len(await stage.services.classifiers.labels(classifier)) == 40
    reply = await stage.maria.click(await stage.maria.command("setup"), "Back")
    form = await stage.maria.click(reply, "Add labels")
    for _ in range(2):  # the same form twice adds its label once
        await stage.services.setup.name_classifier(LEAD, "triage", "label 0, one more")
    assert len(await stage.services.classifiers.labels(classifier)) == 41
    assert form.modal is not None


@pytest.mark.parametrize("labels", [HOSTILE, "", "a" * 61, "x: " + "y" * 300])
async def test_hostile_names_create_nothing_and_ping_nobody(stage: RealStage, labels: str) -> None:
    reply = await named(stage.maria, name="@everyone `x`", labels=labels or "-")
    assert "Nothing was created" in reply.text
    assert "What should I tell apart?" in reply.text
    if labels:
        assert "Nothing was created" in (await named(stage.maria, labels=labels)).text
    assert await stage.services.classifiers.list(LEAD.guild) == []


async def test_members_and_other_servers_cannot_set_up(stage: RealStage) -> None:
    classifier = await stage.classifier()
    assert "Only a lead may" in (await stage.ada.command("setup")).text
    member, stranger = Actor(LEAD.guild, "1", "x"), Actor("999", "1", "x", Role.LEAD)
    setup = stage.services.setup
    for call in (
        setup.state(member),
        setup.reach(member, 3),
        setup.choose_roles(member, lead_role="1"),
        setup.name_classifier(member, "mine", "a"),
        setup.choose(member, classifier.id, learn_from_questions=True),
    ):
        with pytest.raises(NotAllowed):
            await call
    with pytest.raises(NotFound):
        await setup.choose(stranger, classifier.id, learn_from_questions=True)
    assert (await setup.state(stranger, classifier.id)).classifier is None
    await setup.choose_roles(stranger, member_role="7")
    assert setup.settings(LEAD.guild) == GuildSettings()


# Roles


async def test_without_the_members_role_one_may_ask_and_nothing_else(stage: RealStage) -> None:
    await stage.classifier()
    asked = await stage.jonas.command("ask", text="it broke")
    saved = await stage.jonas.command("label", text="it broke", label="bug")
    await stage.services.setup.choose_roles(LEAD, member_role=TEACHERS)
    for _ in range(2):
        refused = [
            await stage.jonas.command("label", text="again", label="bug"),
            await stage.jonas.command("label"),
            await stage.jonas.command("undo"),
            await stage.jonas.click(saved, "Undo"),
            await stage.jonas.click(saved, "Change"),
            await stage.jonas.click(asked, asked.buttons[0]),
        ]
        for reply in refused:
            assert f"You need the role <@&{TEACHERS}>" in reply.text
        await stage.restart()
    assert "You need" not in (await stage.jonas.command("ask", text="it broke")).text
    assert "You need" not in (await stage.jonas.command("help")).text
    assert "Saved as" in (await stage.ada.command("label", text="mine", label="bug")).text
    assert "Saved as" in (await stage.maria.command("label", text="the owner's", label="bug")).text
    await stage.services.setup.choose_roles(LEAD, member_role=None)
    assert "Saved as" in (await stage.jonas.command("label", text="free again", label="bug")).text


async def test_the_services_themselves_refuse_a_guest(stage: RealStage) -> None:
    classifier = await stage.classifier()
    guest = Actor(LEAD.guild, "1", "x", Role.GUEST)
    prediction = await stage.services.prediction.ask(guest, classifier, "it broke", Source.COMMAND)
    textless = await stage.services.prediction.ask(guest, classifier, "a message", Source.MESSAGE)
    for call in (
        stage.services.labeling.label(guest, classifier, "t", "bug", Source.COMMAND),
        stage.services.labeling.undo(guest),
        stage.services.prediction.right(guest, prediction.id),
        stage.services.prediction.right(guest, textless.id),
        stage.services.prediction.wrong(guest, prediction.id, "bug"),
    ):
        with pytest.raises(NotAllowed, match="Only a member"):
            await call


async def test_of_two_leads_who_choose_roles_at_once_neither_loses(stage: RealStage) -> None:
    setup = stage.services.setup
    await asyncio.gather(
        setup.choose_roles(LEAD, lead_role=LEADS),
        setup.choose_roles(LEAD, member_role=TEACHERS),
        setup.reach(LEAD, 3),
    )
    for chosen in (setup.settings(LEAD.guild), (await stage.system.stores.guilds.all_settings())[LEAD.guild]):
        assert chosen == GuildSettings(LEADS, TEACHERS, 3)


async def test_the_leads_role_makes_a_lead(stage: RealStage) -> None:
    await stage.classifier()
    assert "Only a lead" in (await stage.jonas.command("labels create", names="praise")).text
    await stage.services.setup.choose_roles(LEAD, lead_role=LEADS)
    assert "praise" in (await stage.jonas.command("labels create", names="praise")).text
    assert "Only a lead" in (await stage.ada.command("labels create", names="more")).text


async def test_everyone_as_teachers_is_no_restriction_and_as_leads_is_refused(stage: RealStage) -> None:
    await stage.classifier()
    await stage.services.setup.reach(LEAD, 6)
    reply = await stage.maria.select(await stage.maria.command("setup"), "Who may do what?")
    refused = await choose(stage.maria, reply, "setup:lead:1", LEAD.guild)
    assert "nothing would be protected" in refused.text
    await choose(stage.maria, reply, "setup:member:1", LEAD.guild)
    assert stage.services.setup.settings(LEAD.guild).member_role is None


async def test_a_role_or_channel_that_is_gone_is_not_preset(stage: RealStage) -> None:
    classifier = await stage.classifier()
    await stage.services.setup.choose_roles(LEAD, member_role="404", lead_role=LEADS)
    await stage.services.setup.choose(LEAD, classifier.id, team_channel="405")
    await stage.services.setup.reach(LEAD, 6)
    roles = await stage.maria.select(await stage.maria.command("setup"), "Who may do what?")
    presets = [row["components"][0].get("default_values") for row in roles.components[:2]]
    # Discord gives ids as strings, whatever discord.py sent: a page would round the number.
    assert presets == [[{"id": LEADS, "type": "role"}], None]
    reply = await stage.maria.click(roles, "Done")
    channel = await stage.maria.select(reply, "Where does your team hear of trainings?")
    assert not channel.components[0]["components"][0].get("default_values")


# Questions as texts to label


async def test_questions_wait_for_labels_only_where_a_lead_said_so_and_the_reply_says_so(stage: RealStage) -> None:
    classifier = await stage.classifier()
    assert "labelling" not in (await stage.ada.command("ask", text="kept nowhere")).text
    await stage.services.setup.choose(LEAD, classifier.id, learn_from_questions=True)
    asked = await stage.ada.command("ask", text="kept for the team")
    assert "This text may be shown to your team for labelling." in asked.text
    await stage.ada.command("ask", text="Kept for  the team")
    examples = stage.system.stores.examples
    kept = await examples.find(LEAD.guild, classifier.id, "kept for the team")
    assert kept is not None
    assert (kept.split, kept.source, kept.submitted_by) == (None, Source.COMMAND, stage.ada.id)
    assert await examples.find(LEAD.guild, classifier.id, "kept nowhere") is None
    await stage.ada.command("privacy opt-out")
    assert "labelling" not in (await stage.ada.command("ask", text="not mine")).text
    assert await examples.find(LEAD.guild, classifier.id, "not mine") is None


# The greeting


async def joined(stage: RealStage) -> None:
    stage.playground.gateway.join()
    await asyncio.sleep(0.3)


async def test_a_server_is_greeted_once_also_over_a_restart(stage: RealStage) -> None:
    stage.playground.gateway.join()
    message = await stage.maria.wait_for(lambda one: "I am Pupil" in one["content"])
    assert "</setup:" in message["content"]
    assert not message["mentions"]
    await joined(stage)
    await stage.restart()
    await joined(stage)
    greetings = [one for one in stage.maria.messages() if "I am Pupil" in one["content"]]
    assert len(greetings) == 1


async def test_the_greeting_goes_to_the_system_channel(stage: RealStage, monkeypatch: pytest.MonkeyPatch) -> None:
    guild = objects.guild_create_object() | {"system_channel_id": CHANNEL_IDS["training"]}
    stage.playground.gateway.join(guild)
    await stage.maria.wait_for(lambda one: "I am Pupil" in one["content"], channel="training")
    assert stage.maria.messages() == []


async def test_where_it_may_write_nowhere_nothing_fails(stage: RealStage, caplog: pytest.LogCaptureFixture) -> None:
    for _ in CHANNEL_IDS:
        stage.playground.fail_next(403, {"code": 50013, "message": "Missing Permissions"})
    await joined(stage)
    assert "guild.not_greeted" in caplog.messages
    await stage.classifier()
    assert "bug" in (await stage.ada.command("ask", text="a bug")).text
