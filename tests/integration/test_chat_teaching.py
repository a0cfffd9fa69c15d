"""Asking and teaching in the chat: the real client, the real wire protocol, services in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.services.people import Role
from storage.records import normalise
from tests.fakes.chat_stage import Stage, chat_stage


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with chat_stage(tmp_path) as stage:
        await stage.classifier()
        yield stage


async def test_asking_shows_label_confidence_and_version_to_the_asker_alone(stage: Stage) -> None:
    reply = await stage.jonas.command("ask", text="there is a bug in it")
    assert reply.ephemeral
    assert "**`bug` 90 %**" in reply.text
    assert "v0" in reply.text
    assert reply.buttons == ["Right", "Wrong", "Why", "Share"]


async def test_right_becomes_a_label_on_the_same_card(stage: Stage) -> None:
    reply = await stage.jonas.command("ask", text="there is a bug in it")
    taught = await stage.jonas.click(reply, "Right")
    assert taught.kind == "update"
    assert "Taught: `bug` (#1)." in taught.text
    assert "9 more until the next training." in taught.text
    assert taught.buttons == ["Undo", "Change"]
    undone = await stage.jonas.click(taught, "Undo")
    assert "Took `bug` back" in undone.text
    assert [vote.retracted for vote in stage.fake.memory.votes] == [True]


async def test_wrong_offers_the_other_labels_and_the_choice_becomes_a_label(stage: Stage) -> None:
    reply = await stage.jonas.command("ask", text="there is a bug in it")
    picker = await stage.jonas.click(reply, "Wrong")
    options = picker.components[0]["components"][0]["options"]
    assert [option["value"] for option in options] == ["question", "idea"]
    taught = await stage.jonas.select(picker, "idea")
    assert "Taught: `idea` (#1)." in taught.text
    assert [(vote.label, vote.annotator) for vote in stage.fake.memory.votes] == [("idea", stage.jonas.id)]
    again = await stage.jonas.command("ask", text="There is a  bug in it")
    assert "Taught: `idea` (#1)" in again.text


async def test_back_from_the_choice_of_labels_shows_the_answer_again(stage: Stage) -> None:
    reply = await stage.jonas.command("ask", text="there is a bug in it")
    picker = await stage.jonas.click(reply, "Wrong")
    back = await stage.jonas.click(picker, "Back")
    assert back.buttons == ["Right", "Wrong", "Why", "Share"]


async def test_an_unsure_answer_is_taught_with_one_click(stage: Stage) -> None:
    reply = await stage.jonas.command("ask", text="hello")
    assert "not sure: `bug` 0.33 / `question` 0.33" in reply.text
    taught = await stage.jonas.click(reply, "question")
    assert "Taught: `question` (#1)." in taught.text


async def test_a_text_like_nothing_taught_is_said_to_be_and_taught_with_one_click(stage: Stage) -> None:
    reply = await stage.jonas.command("ask", text="a bug elsewhere")
    assert "This looks like nothing I was taught. The nearest label: `bug` 90 %" in reply.text
    assert reply.buttons == ["bug", "question", "Neither", "Why", "Share"]
    picker = await stage.jonas.click(reply, "Neither")
    options = picker.components[0]["components"][0]["options"]
    assert [option["value"] for option in options] == ["bug", "question", "idea"]
    taught = await stage.jonas.select(picker, "idea")
    assert "Taught: `idea` (#1)." in taught.text
    again = await stage.jonas.command("ask", text="a bug elsewhere")
    assert "Taught: `idea` (#1)" in again.text
    assert "nothing I was taught" not in again.text


async def test_with_60_labels_the_choice_has_pages_and_takes_a_typed_name(stage: Stage) -> None:
    await stage.classifier("wide", " ".join(f"label-{number}" for number in range(60)))
    reply = await stage.maria.command("ask", text="hello", classifier="wide")
    picker = await stage.maria.click(reply, "Neither")
    assert "Page 1 of 3; 60 labels in all" in picker.text
    second = await stage.maria.click(picker, "▶")
    assert "Page 2 of 3" in second.text
    assert second.components[0]["components"][0]["options"][0]["value"] == "label-25"
    form = await stage.maria.click(second, "Type it")
    assert form.kind == "modal"
    taught = await stage.maria.submit(form, label="Label-59")
    assert "Taught: `label-59`" in taught.text


async def test_a_shared_answer_is_seen_by_all_and_judged_by_each_for_themselves(stage: Stage) -> None:
    reply = await stage.jonas.command("ask", text="there is a bug in it")
    kept = await stage.jonas.click(reply, "Share")
    assert "Shared with the channel." in kept.text
    assert kept.buttons == ["Right", "Wrong", "Why"]
    shared = await stage.maria.wait_for(lambda message: "asked:" in str(message["embeds"]))
    assert not shared["flags"] & 64
    receipt = await stage.maria.click(shared, "Right")
    assert receipt.ephemeral
    assert receipt.text.startswith("Saved as `bug` (#1).")
    assert [vote.annotator for vote in stage.fake.memory.votes] == [stage.maria.id]
    again = await stage.person("ada").click(shared, "Wrong")
    assert again.ephemeral
    assert "Taught: `idea` (#1)." in (await stage.person("ada").select(again, "idea")).text


async def test_a_label_says_what_the_model_had_said_and_what_is_left(stage: Stage) -> None:
    reply = await stage.jonas.command("label", text="there is a bug in it", label="idea")
    assert reply.ephemeral
    assert reply.content == "Saved as `idea` (#1). I had said `bug` 90 % (v0). 9 more until the next training."
    assert reply.buttons == ["Undo", "Change"]


async def test_change_replaces_a_label(stage: Stage) -> None:
    reply = await stage.jonas.command("label", text="there is a bug in it", label="idea")
    picker = await stage.jonas.click(reply, "Change")
    changed = await stage.jonas.select(picker, "bug")
    assert changed.text.startswith("Saved as `bug` (#1). It was `idea` before.")
    assert [(vote.label, vote.retracted) for vote in stage.fake.memory.votes] == [("idea", False), ("bug", False)]


async def test_without_a_text_a_form_opens_for_a_long_one(stage: Stage) -> None:
    form = await stage.jonas.command("label")
    assert form.kind == "modal"
    long_text = "A long story.\n" * 200
    saved = await stage.jonas.submit(form, text=long_text, label="question")
    assert saved.text.startswith("Saved as `question` (#1).")
    assert normalise(stage.fake.memory.votes[0].text) == normalise(long_text)


async def test_a_long_text_comes_back_when_its_label_was_misspelt(stage: Stage) -> None:
    await stage.classifier("wide", " ".join(f"label-{number}" for number in range(60)))
    story = "A story I do not want to type again"
    form = await stage.jonas.command("label", text=story, classifier="wide")
    assert form.components[0]["component"]["value"] == story
    answer = await stage.jonas.submit(form, text=story, label="no such label")
    assert "has no label of this name" in answer.text
    assert story in answer.text
    long = "_A long story_ with **marks**.\n" * 120
    form = await stage.jonas.command("label", classifier="wide")
    answer = await stage.jonas.submit(form, text=long, label="no such label")
    (file,) = answer.message["attachments"] if answer.message else ()
    assert file["size"] == len(long)


async def test_undo_takes_the_newest_own_label_back_and_once_more_gives_it_again(stage: Stage) -> None:
    await stage.maria.command("label", text="hers", label="idea")
    assert "nothing to take back" in (await stage.jonas.command("undo")).text
    await stage.jonas.command("label", text="his", label="bug")
    assert "Took `bug` back; it has no label now." in (await stage.jonas.command("undo")).text
    assert [vote.retracted for vote in stage.fake.memory.votes] == [False, True]
    assert "Gave `bug` again." in (await stage.jonas.command("undo")).text
    assert [vote.retracted for vote in stage.fake.memory.votes] == [False, False]


async def test_a_double_click_labels_once(stage: Stage) -> None:
    reply = await stage.jonas.command("ask", text="there is a bug in it")
    first, second = await asyncio.gather(stage.jonas.click(reply, "Right"), stage.jonas.click(reply, "Right"))
    assert "(#1)" in first.text
    assert "(#1)" in second.text
    assert len(stage.fake.memory.votes) == 1


async def test_autocomplete_ranks_labels_by_what_the_model_makes_of_the_text_so_far(stage: Stage) -> None:
    offered = await stage.jonas.autocomplete("label", focused="label", text="I have an idea")
    assert [choice["value"] for choice in offered] == ["idea", "bug", "question"]
    assert offered[0]["name"] == "idea · 90 %"
    narrowed = await stage.jonas.autocomplete("label", focused="label", text="I have an idea", label="que")
    assert [choice["value"] for choice in narrowed] == ["question"]


async def test_autocomplete_answers_with_nothing_when_the_services_fail(stage: Stage) -> None:
    stage.fake.memory.failing = RuntimeError("the disk is on fire")
    for command, focused in (("label", "label"), ("ask", "classifier"), ("model promote", "version")):
        assert (
            await stage.jonas.autocomplete(
                command, focused=focused, **{"text": "x"} if command != "model promote" else {}
            )
            == []
        )


async def test_the_message_menu_predicts_without_keeping_the_text(stage: Stage) -> None:
    message = await stage.jonas.say("there is a bug in it")
    reply = await stage.maria.menu("Predict", message)
    assert "**`bug` 90 %**" in reply.text
    assert "there is" not in reply.text
    counted = await stage.maria.click(reply, "Wrong")
    assert "Counted" in counted.text
    assert stage.fake.memory.votes == []
    assert [right for _, right in stage.fake.memory.feedback] == [False]


async def test_the_message_menu_label_answers_why_it_does_nothing(stage: Stage) -> None:
    reply = await stage.maria.menu("Label", await stage.jonas.say("there is a bug in it"))
    assert reply.ephemeral
    assert "Developer Policy (rule 21)" in reply.text
    assert stage.fake.memory.votes == []


async def test_roles_come_from_the_server_for_every_interaction(stage: Stage) -> None:
    await stage.maria.command("ask", text="bug")
    await stage.jonas.command("ask", text="bug")
    roles = {actor.name: actor.role for actor in stage.fake.memory.asked_with}
    assert min(roles.values()) == Role.MEMBER
    assert max(roles.values()) >= Role.LEAD


async def test_leads_base_one_classifier_on_another(stage: Stage) -> None:
    created = await stage.maria.command("classifier create", name="mood", labels="good, bad", based_on="triage@v3")
    assert "Its trainings start from `triage` v3." in created.text
    assert "`mood` — based on `triage` v3" in (await stage.jonas.command("classifier list")).text
    refused = await stage.jonas.command("classifier base", name="mood", on="none")
    assert "lead" in refused.text
    undone = await stage.maria.command("classifier base", name="mood", on="none")
    assert "`mood` is based on no other classifier" in undone.text
    assert "based on" not in (await stage.jonas.command("classifier list")).text
    again = await stage.maria.command("classifier base", name="mood", on="triage@v2")
    assert "`mood` is based on `triage` v2 now" in again.text


async def test_leads_choose_how_many_answers_should_be_right(stage: Stage) -> None:
    seen = await stage.jonas.command("classifier sure", name="triage")
    assert "`triage`: The threshold is the model's own." in seen.text
    assert "lead" in (await stage.jonas.command("classifier sure", name="triage", right="95")).text
    assert stage.fake.memory.classifiers[0].settings.precision is None
    early = await stage.maria.command("classifier sure", name="triage", right="95")
    assert "With 20 checked answers 95 % cannot be promised yet; until then the model's own threshold" in early.text
    stage.fake.memory.checked = 200
    assert "95 % of its answers should be right." in (await stage.jonas.command("classifier sure", name="triage")).text
    assert "95 % of its answers should be right." in (await stage.jonas.command("stats")).text
    back = await stage.maria.command("classifier sure", name="triage", right="none")
    assert "The threshold is the model's own." in back.text
    assert "95" in (await stage.maria.command("classifier sure", name="triage", right="many")).text
