"""Deciding what goes live, in the chat: pinned tests that hold a version back, what changed, and what is confused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.playground.people import Person
from bot.playground.reply import Reply
from bot.playground.server import GUILD_ID
from bot.services.people import Actor, Role
from storage.errors import NotFound
from storage.records import Classifier, EvaluationReport, LabelReport, PairedOutcome, Split, VersionState
from tests.fakes.fake_trainer import report_of
from tests.fakes.real_stage import LEAD, RealStage, real_stage
from tests.fakes.tiny_encoder import make_tiny_base

STRANGER = Actor("999", "7", "Eve", Role.OPERATOR)
HOSTILE = "@everyone `x` ```y``` **z** \u202e [a](http://b) <@1> > q"
QUESTION = "how do I change my password"
SHORT = "please add a dark mode feature"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
async def stage(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealStage]:
    """A classifier that was taught enough to be trained; the first label is what an untrained candidate answers."""
    async with real_stage(tmp_path, base, monkeypatch) as stage:
        classifier = await stage.classifier("triage", "bug question")
        rows = [(f"the app crashes and shows an error {n}", "bug") for n in range(12)]
        rows += [(f"{QUESTION} {n}", "question") for n in range(12)]
        await stage.teach(classifier, rows)
        yield stage


async def triage(stage: RealStage) -> Classifier:
    return await stage.services.classifiers.resolve(GUILD_ID, "triage")


def board(stage: RealStage) -> list[dict[str, Any]]:
    return [message for message in stage.jonas.messages("training") if not message["flags"] & 64]


async def trained(stage: RealStage, report: EvaluationReport, *, say: str) -> dict[str, Any]:
    """The result of a training whose candidate answers `bug` to everything, once the channel shows `say`."""
    stage.trainer.report = report
    reply = await stage.maria.command("train now", channel="training")
    assert "Watch it" in reply.text, reply.text
    return await stage.jonas.wait_for(lambda message: say in str(message), "training")


def measured(*outcomes: tuple[int, str, str, str]) -> EvaluationReport:
    """(example id, label, champion, candidate) each; five more rows that only the candidate has right."""
    rows = [PairedOutcome(number, label, Split.TRAIN, old, new) for number, label, old, new in outcomes]
    rows += [PairedOutcome(900 + n, "bug", Split.TRAIN, "question", "bug") for n in range(9)]
    labels = tuple(LabelReport(name, 9, 0.9, 0.9, 0.8) for name in ("bug", "question"))
    return EvaluationReport(tuple(rows), 0.9, 0.5, 0.9, 0.5, labels, ((9, 1), (2, 4)), 0.1, "v0+24", 20, 4)


def printed(reply: Reply | dict[str, Any]) -> str:
    """What a person reads."""
    return reply.text if isinstance(reply, Reply) else str(reply["embeds"])


# Pinning


async def test_a_pin_tells_at_once_whether_it_holds(stage: RealStage) -> None:
    holds = await stage.maria.command("pin add", text=QUESTION, label="question")
    assert holds.ephemeral
    assert "Pinned: `question`." in holds.text
    assert "It holds now (`question` " in holds.text
    assert "Nothing is trained on a pinned test" in holds.text
    broken = await stage.maria.command("pin add", text="the app crashes and shows an error", label="question")
    assert "It is broken now: `bug` " in broken.text


async def test_a_pin_teaches_nothing_until_somebody_says_so(stage: RealStage) -> None:
    reply = await stage.maria.command("pin add", text=SHORT, label="question")
    assert await stage.system.stores.examples.find(GUILD_ID, (await triage(stage)).id, SHORT) is None
    taught = await stage.maria.click(reply, "Teach it too")
    assert taught.text.startswith("Saved as `question`")
    assert await stage.system.stores.examples.find(GUILD_ID, (await triage(stage)).id, SHORT) is not None


async def test_pinning_twice_is_one_pin_and_another_label_is_refused(stage: RealStage) -> None:
    await stage.maria.command("pin add", text=QUESTION, label="question")
    again = await stage.maria.command("pin add", text=QUESTION.upper(), label="question")
    assert "Pinned already: `question`." in again.text
    other = await stage.maria.command("pin add", text=QUESTION, label="bug")
    assert other.text == "That text is pinned to `question` already, by Maria. Remove that pin first."
    assert (await stage.maria.command("pin list")).text.count("#1 ") == 1


async def test_undo_and_redo_of_a_pin_also_after_a_restart_and_twice(stage: RealStage) -> None:
    reply = await stage.maria.command("pin add", text=QUESTION, label="question")
    await stage.restart()
    gone = await stage.maria.click(reply, "Undo")
    assert "Not pinned any more: `question`." in gone.text
    assert await stage.services.pins.remove(LEAD, 1) is None
    back = await stage.maria.click(gone, "Undo")
    assert "Pinned again: `question`. It holds now" in back.text
    assert await stage.services.pins.restore(LEAD, 1) is None


async def test_a_double_click_is_answered_twice_and_done_once(stage: RealStage) -> None:
    reply = await stage.maria.command("pin add", text=QUESTION, label="question")
    both = await asyncio.gather(stage.maria.click(reply, "Undo"), stage.maria.click(reply, "Undo"))
    assert "That test is not pinned any more." in {one.text for one in both}
    assert "has no pinned test yet" in (await stage.maria.command("pin list")).text


async def test_removing_by_choice_or_by_text(stage: RealStage) -> None:
    await stage.maria.command("pin add", text=QUESTION, label="question")
    await stage.maria.command("pin add", text=SHORT, label="question")
    offered = await stage.maria.autocomplete("pin remove", focused="pin", pin="PASSWORD")
    assert offered == [{"name": f"question: {QUESTION}", "value": "#1"}]
    assert await stage.jonas.autocomplete("pin remove", focused="pin", pin="") == []
    removed = await stage.maria.command("pin remove", pin="#1")
    assert "Not pinned any more" in removed.text
    assert "Not pinned any more" in (await stage.maria.command("pin remove", pin=f" {SHORT.upper()}")).text
    assert "has no such pinned test" in (await stage.maria.command("pin remove", pin="#1")).text
    assert "has no pinned test yet" in (await stage.maria.command("pin list")).text
    assert "Pinned again" in (await stage.maria.click(removed, "Undo")).text


async def test_the_list_shows_broken_pins_first_and_has_pages(stage: RealStage) -> None:
    for number in range(9):
        await stage.services.pins.add(LEAD, await triage(stage), f"{QUESTION} please {number}", "question")
    await stage.services.pins.add(LEAD, await triage(stage), "it crashes and shows an error", "question")
    first = await stage.maria.command("pin list")
    assert "Pinned tests of triage: 9 hold, 1 broken" in first.text
    assert "❌ #10 “it crashes and shows an error” → `question` is broken now: `bug` " in first.text
    assert "Page 1 of 2" in first.text
    assert first.text.index("❌") < first.text.index("✅")
    second = await stage.maria.click(first, "▶")
    assert "Page 2 of 2" in second.text
    assert second.buttons == ["◀"]


async def test_pins_are_for_leads(stage: RealStage) -> None:
    refused = "Only a lead may"
    reply = await stage.maria.command("pin add", text=QUESTION, label="question")
    assert refused in (await stage.jonas.command("pin add", text="x", label="bug")).text
    assert refused in (await stage.jonas.command("pin list")).text
    assert refused in (await stage.jonas.command("pin remove", pin="#1")).text
    gone = await stage.maria.command("pin remove", pin="#1")
    pins = stage.services.pins
    member = Actor(GUILD_ID, stage.jonas.id, "Jonas")
    for call in (pins.remove(member, 1), pins.restore(member, 1), pins.get(member, 1)):
        with pytest.raises(Exception, match=refused):
            await call
    assert reply.ephemeral
    assert gone.ephemeral


async def test_another_servers_pins_are_not_found(stage: RealStage) -> None:
    await stage.maria.command("pin add", text=QUESTION, label="question")
    pins = stage.services.pins
    for call in (pins.remove(STRANGER, 1), pins.restore(STRANGER, 1), pins.get(STRANGER, 1)):
        with pytest.raises(NotFound):
            await call
    assert await pins.known(STRANGER, await triage(stage)) == []
    with pytest.raises(NotFound):
        await pins.add(STRANGER, await triage(stage), "mine", "bug")


@pytest.mark.parametrize("text", [HOSTILE, "🙂" * 4000, "| a | b |\n" * 40])
async def test_hostile_texts_are_pinned_and_shown_without_harm(stage: RealStage, text: str) -> None:
    reply = await stage.maria.command("pin add", text=text, label="question")
    listed = await stage.maria.command("pin list")
    gone = await stage.maria.command("pin remove", pin="#1")
    for shown in (reply, listed, gone):
        assert "@everyone" not in shown.text.replace("\u200b", "\0")
        assert "<@1>" not in shown.text
        assert len(shown.text) < 1500


@pytest.mark.parametrize("text", ["", "   ", "x" * 4001])
async def test_what_is_no_text_is_refused_in_words(stage: RealStage, text: str) -> None:
    with pytest.raises(Exception, match=r"empty|characters"):
        await stage.services.pins.add(LEAD, await triage(stage), text, "bug")
    assert "has no label `nonsense`" in (await stage.maria.command("pin add", text="x", label="nonsense")).text


# Pins decide


async def test_a_broken_pin_blocks_and_names_who_pinned_it(stage: RealStage) -> None:
    await stage.maria.command("pin add", text=f"{QUESTION} {HOSTILE}", label="question")
    await stage.maria.command("pin add", text="the app crashes", label="bug")
    result = await trained(stage, measured(), say="Kept v0+24: v1 breaks 1 pinned test")
    told = printed(result)
    assert "1 holds, 1 broken" in told
    assert "should be `question` (pinned by Maria), it says `bug` " in told
    assert (await stage.services.promotion.versions(await triage(stage)))[0].state is VersionState.CANDIDATE
    assert "v0+24" in (await stage.jonas.command("ask", text="hello")).text
    await stage.restart()
    status = await stage.jonas.command("train status")
    assert "v1 breaks 1 pinned test" in status.text
    assert "1 holds, 1 broken" in status.text


async def test_a_lead_may_promote_anyway_and_is_told_first_and_logged(stage: RealStage) -> None:
    await stage.maria.command("pin add", text=QUESTION, label="question")
    result = await trained(stage, measured(), say="v1 breaks 1 pinned test")
    assert "Only a lead" in (await stage.jonas.click(result, "Promote anyway")).text
    done = await stage.maria.click(result, "Promote anyway")
    lines = done.text.split("\n")
    assert lines[0] == "It breaks 1 pinned test:"
    assert lines[1].startswith(f"“{QUESTION}” should be `question` (pinned by Maria), it says `bug` ")
    assert lines[2] == "Done: v1 of `triage` answers now (was v0)."
    swap = (await stage.services.promotion.promotions(await triage(stage)))[0]
    assert (swap.by, swap.reason) == (stage.maria.id, "chosen by a lead, although it breaks 1 pinned test")
    assert "live already" in (await stage.maria.click(result, "Promote anyway")).text
    back = await stage.maria.command("model rollback")
    assert back.text == "Done: v0 of `triage` answers now (was v1)."
    by_command = await stage.maria.command("model promote", version="v1")
    assert by_command.text == done.text


async def test_a_pin_that_is_broken_already_is_told_and_blocks_nothing(stage: RealStage) -> None:
    await stage.maria.command("pin add", text="the app crashes and shows an error", label="question")
    told = printed(await trained(stage, measured(), say="v1 is live"))
    assert "0 hold, 1 broken" in told
    assert "it was broken before, too" in told


async def test_a_pin_of_an_archived_label_is_told_and_blocks_nothing(stage: RealStage) -> None:
    await stage.maria.command("pin add", text=QUESTION, label="question")
    database = stage.system.stores.database
    await database.write(
        lambda tables: tables.execute("UPDATE labels SET archived = 1 WHERE name = 'question'").rowcount
    )
    stage.system.serving.touch(await triage(stage))
    listed = await stage.maria.command("pin list")
    assert "0 hold, 0 broken, 1 not asked" in listed.text
    assert "is not asked: `question` is archived" in listed.text
    await database.write(lambda tables: tables.execute("UPDATE labels SET archived = 0").rowcount)
    stage.trainer.gate.clear()
    await stage.maria.command("train now", channel="training")
    await database.write(
        lambda tables: tables.execute("UPDATE labels SET archived = 1 WHERE name = 'question'").rowcount
    )
    stage.trainer.report = measured()
    stage.trainer.gate.set()
    told = printed(await stage.jonas.wait_for(lambda message: "v1 is live" in str(message), "training"))
    assert "1 pin not asked: the label is archived" in told


async def test_pins_that_hold_let_a_version_through(stage: RealStage) -> None:
    await stage.maria.command("pin add", text="the app crashes", label="bug")
    assert "1 holds, 0 broken" in printed(await trained(stage, measured(), say="v1 is live"))


async def test_without_pins_there_is_no_word_of_them(stage: RealStage) -> None:
    assert "Pinned" not in printed(await trained(stage, measured(), say="v1 is live"))


# What changed


async def test_what_changed_shows_texts_with_both_answers_in_pages(stage: RealStage) -> None:
    rows = [(13, "question", "question", "bug"), (1, "bug", "question", "bug"), (14, "question", "idea", "bug")]
    result = await trained(stage, measured(*rows), say="v1 is live")
    await stage.restart()
    broken = await stage.jonas.click(result, "What changed")
    assert broken.ephemeral
    assert "v1 against v0+24: 1 now wrong" in broken.text
    assert f"“{QUESTION} 0”\n`question` → `bug` · right is `question`" in broken.text
    fixed = await stage.jonas.click(broken, "Now right (10)")
    assert "Page 1 of 2" in fixed.text
    assert "“the app crashes and shows an error 0”\n`question` → `bug` · right is `bug`" in fixed.text
    assert "This text is no longer here." in fixed.text
    further = await stage.jonas.click(fixed, "▶")
    assert "Page 2 of 2" in further.text
    assert (await stage.jonas.click(further, "◀")).text == fixed.text
    other = await stage.jonas.click(further, "Wrong in another way (1)")
    assert "`idea` → `bug` · right is `question`" in other.text


async def test_recent_questions_that_change_are_shown_from_their_ids(stage: RealStage) -> None:
    await stage.jonas.command("ask", text="how do I change the login")
    await stage.jonas.command("ask", text="the app crashes")
    message = await stage.jonas.say("how do I change a message of mine")
    await stage.ada.menu("Predict", message)
    result = await trained(stage, measured(), say="v1 is live")
    first = await stage.jonas.click(result, "What changed")
    recent = await stage.jonas.click(first, "Recent questions (1)")
    assert "1 of 2 recent questions" in recent.text
    assert "“how do I change the login”\n`question` → `bug`" in recent.text
    assert "right is" not in recent.text
    forget = "UPDATE predictions SET text = NULL"
    await stage.system.stores.database.write(lambda tables: tables.execute(forget).rowcount)
    first = await stage.jonas.click(result, "What changed")
    again = await stage.jonas.click(first, "Recent questions (1)")
    assert "This text is no longer here." in again.text


async def test_what_others_asked_is_shown_to_leads_alone_and_not_where_they_opted_out(stage: RealStage) -> None:
    await stage.jonas.command("ask", text="how do I change the login")
    result = await trained(stage, measured(), say="v1 is live")

    async def seen(person: Person) -> str:
        first = await person.click(result, "What changed")
        return (await person.click(first, "Recent questions (1)")).text

    other = await seen(stage.ada)
    assert "1 of 1 recent questions" in other
    assert "*Somebody's question; its text is not shown to you.*\n`question` → `bug`" in other
    assert "login" not in other
    assert "“how do I change the login”" in await seen(stage.maria)
    await stage.jonas.command("privacy opt-out")
    assert "its text is not shown to you" in await seen(stage.maria)
    assert "“how do I change the login”" in await seen(stage.jonas)


async def test_a_version_measured_on_nothing_has_nothing_to_look_at(stage: RealStage) -> None:
    result = await trained(stage, report_of(0), say="there was no text to compare on")
    assert "What changed" not in str(result["components"])


async def test_looking_is_within_the_server(stage: RealStage) -> None:
    await trained(stage, measured(), say="v1 is live")
    foreign = Classifier((await triage(stage)).id, "999", "triage", 0.0, "x", "tiny")
    for call in (stage.services.decisions.flips(STRANGER, foreign, 1), stage.services.decisions.confusion(foreign, 1)):
        with pytest.raises(NotFound):
            await call


# What it takes for what


async def test_confusion_is_a_picture_with_its_numbers_in_words(stage: RealStage) -> None:
    result = await trained(stage, measured(), say="v1 is live")
    shown, _ = await asyncio.gather(stage.jonas.click(result, "Confusion"), stage.ada.click(result, "Confusion"))
    assert shown.ephemeral
    assert "`question` taken for `bug`: 2" in shown.text
    (file,) = shown.message["attachments"]
    assert file["filename"] == "confusion-v1.png"
    assert file["description"] == (
        "Confusion matrix of v1: 13 of 16 texts right. "
        "Right label, answer, texts: question as bug 2; bug as question 1."
    )
    assert shown.embeds[0]["image"]["url"].endswith("confusion-v1.png")
    changed = await stage.jonas.click(shown, "What changed")
    assert not changed.message["attachments"]
    assert (await stage.jonas.click(changed, "Confusion")).message["attachments"]


async def test_without_a_picture_the_numbers_are_there(stage: RealStage, monkeypatch: pytest.MonkeyPatch) -> None:
    result = await trained(stage, measured(), say="v1 is live")
    monkeypatch.setattr(stage.services.decisions._drawing, "_command", ("false",))
    shown = await stage.jonas.click(result, "Confusion")
    assert "The picture could not be drawn; these are its numbers." in shown.text
    assert "`question` taken for `bug`: 2" in shown.text
    assert not shown.message["attachments"]
