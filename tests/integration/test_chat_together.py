"""What happens where the abilities meet: a label changes under an open card, somebody opts out or loses a role while
something of theirs waits, an undo follows an import. Real services behind the real client; Maria is a lead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.playground.objects import LEADS
from bot.playground.server import GUILD_ID
from bot.playground.wire import Json
from bot.services.people import Actor
from storage.records import Classifier, Source
from tests.fakes.real_stage import LEAD, RealStage, real_stage
from tests.fakes.tiny_encoder import make_tiny_base

OPTED_OUT = "You have opted out here, so nothing that you type is stored"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
async def stage(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path, base, monkeypatch) as stage:
        yield stage


@pytest.fixture
async def triage(stage: RealStage) -> Classifier:
    return await stage.classifier()


async def counts(stage: RealStage, classifier: Classifier) -> dict[str, int]:
    return {count.label.name: count.total for count in await stage.services.classifiers.labels(classifier)}


async def fill_pool(stage: RealStage, classifier: Classifier) -> None:
    texts = [f"unlabelled text {number}" for number in range(8)]
    await stage.system.stores.examples.add_unlabelled(GUILD_ID, classifier.id, texts, "file", Source.FILE, 1.0)


async def rename(stage: RealStage, label: str, new_name: str) -> None:
    await stage.maria.click(await stage.maria.command("labels rename", label=label, new_name=new_name), "Rename")


async def team_message(stage: RealStage, words: str) -> Json:
    return await stage.maria.wait_for(lambda message: words in message["content"] + str(message["embeds"]))


class TestALabelChangesUnderAnOpenCard:
    async def test_an_import_that_waits_follows_a_renaming_instead_of_making_the_old_label_again(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        waiting = await stage.maria.command(
            "examples import", file=("a.csv", b"text,label\nit crashes,bug\na dark mode,idea\n")
        )
        form = await stage.ada.command("examples paste", label="bug")
        pasted = await stage.ada.submit(form, texts="it hangs\nit freezes", label="bug")
        await rename(stage, "bug", "defect")
        applied = await stage.maria.click(waiting, "Apply")
        assert applied.text == "Imported `a.csv` into `triage`: 2 new texts."
        assert (await stage.ada.click(pasted, "Apply")).text == "Imported the pasted texts into `triage`: 2 new texts."
        assert await counts(stage, triage) == {"defect": 3, "question": 0, "idea": 1}

    async def test_a_file_from_before_a_renaming_counts_as_the_label_is_called_now_and_the_preview_says_so(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await rename(stage, "bug", "defect")
        preview = await stage.maria.command("examples import", file=("a.csv", b"text,label\nit crashes,Bug\n"))
        assert "• labels that were renamed or merged count: `Bug` as `defect`" in preview.text
        assert "new label" not in preview.text
        await stage.services.labeling.import_rows(LEAD, "triage", [("it hangs", "bug")], Source.API)
        assert await counts(stage, triage) == {"defect": 1, "question": 0, "idea": 0}
        await stage.maria.command("labels create", names="bug")  # the name is free, and this label comes first
        await stage.maria.click(preview, "Apply")
        assert await counts(stage, triage) == {"defect": 1, "question": 0, "idea": 0, "bug": 1}

    async def test_a_question_whose_label_was_merged_is_shown_again_with_the_labels_of_today(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await fill_pool(stage, triage)
        card = await stage.ada.command("teach")
        merge = await stage.maria.command("labels merge", label="idea", into="question")
        await stage.maria.click(merge, "Merge")
        again = await stage.ada.click(card, "idea")
        assert "That label of `triage` is in use no more. Choose another." in again.text
        assert again.buttons[:2] == ["bug", "question"]
        assert "1 of 10" in again.text
        assert "Saved as `bug`" in (await stage.ada.click(again, "bug")).text


class TestSomebodyOptsOutWhileSomethingOfTheirsWaits:
    async def test_a_proposal_of_theirs_does_not_keep_a_lead_from_creating_the_label(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        for person, text in ((stage.ada, "it is slow"), (stage.jonas, "it takes a minute")):
            await person.click(await person.command("label", text=text, label="speed"), "Propose speed")
        card = await team_message(stage, "proposes the label")
        await stage.ada.command("privacy opt-out")
        created = await stage.maria.click(card, "Create")
        assert "Maria created `speed` in `triage`. Saved 1 text of Jonas with it." in created.text
        assert "1 text of people who have opted out since: not saved." in created.text
        assert "it is slow" not in created.text
        assert await counts(stage, triage) == {"bug": 0, "question": 0, "idea": 0, "speed": 1}

    async def test_nothing_is_proposed_or_asked_any_more(self, stage: RealStage, triage: Classifier) -> None:
        await fill_pool(stage, triage)
        unknown = await stage.ada.command("label", text="it is slow", label="speed")
        question = await stage.ada.command("teach")
        await stage.ada.command("privacy opt-out")
        assert OPTED_OUT in (await stage.ada.click(unknown, "Propose speed")).text
        assert OPTED_OUT in (await stage.ada.click(question, "Unsure")).text
        assert OPTED_OUT in (await stage.ada.click(question, "Skip")).text
        assert OPTED_OUT in (await stage.ada.command("teach")).text

    async def test_they_may_still_ask_why_and_no_example_is_kept_with_their_question(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await stage.teach(triage, [("it crashes", "bug")])
        await stage.ada.command("privacy opt-out")
        why = await stage.ada.command("why", text="it crashes")
        assert "**Why `" in why.text
        assert "> it crashes" in why.text
        stored = await stage.services.privacy.export(Actor(GUILD_ID, stage.ada.id, "Ada"))
        assert b"it crashes" not in stored
        database = b"".join(path.read_bytes() for path in stage.data.glob("*") if path.is_file())
        assert b'"text": "it crashes"' not in database  # as what an answer quotes is kept

    async def test_what_forgetting_takes_along_is_said_before(self, stage: RealStage, triage: Classifier) -> None:
        await stage.maria.command("pin add", text="it crashes", label="bug")
        await stage.maria.command("label", text="it is slow", label="speed")
        await stage.maria.command("examples import", file=("a.csv", b"text,label\nit hangs,bug\n"))
        await fill_pool(stage, triage)
        await stage.jonas.command("teach")
        assert "- 1 round of `/teach`\n" in (await stage.jonas.command("privacy forget")).text
        preview = await stage.maria.command("privacy forget")
        for line in ("1 pinned test of yours", "1 text typed with a label that did not exist", "1 import on record"):
            assert f"- {line}" in preview.text
        assert "1 pinned test" in (await stage.maria.click(preview, "Delete all of it")).text
        assert "nothing" in (await stage.maria.command("privacy forget")).text.casefold()


class TestWhoLostTheRole:
    async def test_cards_from_before_write_nothing(self, stage: RealStage, triage: Classifier) -> None:
        await fill_pool(stage, triage)
        question = await stage.ada.command("teach")
        unknown = await stage.ada.command("label", text="it is slow", label="speed")
        form = await stage.ada.command("examples paste", label="bug")
        imported = await stage.ada.click(await stage.ada.submit(form, texts="it hangs", label="bug"), "Apply")
        await stage.services.setup.choose_roles(LEAD, member_role="12345")
        for card, button in (
            (question, "Unsure"),
            (question, "Skip"),
            (unknown, "Propose speed"),
            (imported, "Undo import"),
        ):
            assert "You need the role <@&12345>" in (await stage.ada.click(card, button)).text
        assert "You need the role <@&12345>" in (await stage.ada.command("examples paste")).text


class TestUndoAfterAnImport:
    async def test_it_offers_the_whole_import_and_takes_no_single_label_of_it(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await stage.maria.command("label", text="it crashes", label="bug")
        rows = "".join(f"text {number},idea\n" for number in range(30))
        preview = await stage.maria.command("examples import", file=("a.csv", f"text,label\n{rows}".encode()))
        await stage.maria.click(preview, "Apply")
        await stage.restart()
        offered = await stage.maria.command("undo")
        assert "What you did last was the import of `a.csv` into `triage` (30 new texts)." in offered.text
        assert (await counts(stage, triage))["idea"] == 30
        assert "30 labels" in (await stage.maria.click(offered, "Undo import")).text
        assert (await counts(stage, triage))["idea"] == 0
        again = await stage.maria.command("undo")
        assert "What you did last was to take the import of `a.csv` into `triage` (30 new texts) back." in again.text
        assert again.buttons == []
        assert await counts(stage, triage) == {"bug": 1, "question": 0, "idea": 0}

    async def test_a_single_label_of_it_that_was_taken_back_is_given_again(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        form = await stage.ada.command("examples paste", label="bug")
        await stage.ada.click(await stage.ada.submit(form, texts="it hangs\nit freezes", label="bug"), "Apply")
        history = await stage.ada.command("history")
        event = await stage.system.stores.writes.last_write(GUILD_ID, stage.ada.id)
        assert event is not None
        await stage.ada.select(history, str(event.id))
        assert (await counts(stage, triage))["bug"] == 1
        assert "Gave `bug` again" in (await stage.ada.command("undo")).text
        assert (await counts(stage, triage))["bug"] == 2


async def test_a_proposal_waits_while_its_classifier_is_archived(stage: RealStage, triage: Classifier) -> None:
    unknown = await stage.ada.command("label", text="it is slow", label="speed")
    await stage.ada.click(unknown, "Propose speed")
    card = await team_message(stage, "proposes the label")
    await stage.services.classifiers.archive(LEAD, triage)
    assert "`triage` is archived" in (await stage.maria.click(card, "Create")).text
    assert await counts(stage, triage) == {"bug": 0, "question": 0, "idea": 0}
    await stage.services.classifiers.restore(LEAD, "triage")
    assert "Maria created `speed`" in (await stage.maria.click(card, "Create")).text


class TestATextIsRemovedUnderAnOpenCard:
    async def test_settling_the_conflict_about_it_does_not_bring_it_back(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await stage.ada.command("label", text="it crashes", label="bug")
        await stage.jonas.command("label", text="it crashes", label="idea")
        card = await stage.maria.command("conflicts")
        removed = await stage.maria.command("examples remove", id="#1")
        assert "#1 was removed meanwhile" in (await stage.maria.click(card, "bug")).text
        assert (await stage.services.examples.search(triage, "")).total == 0
        await stage.maria.click(removed, "Bring it back")
        assert "Settled: #1 is `bug`" in (await stage.maria.click(card, "bug")).text

    async def test_an_answer_to_the_question_about_it_does_not_bring_it_back(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await stage.system.stores.examples.add_unlabelled(GUILD_ID, triage.id, ["secret"], "file", Source.FILE, 1.0)
        card = await stage.ada.command("teach")
        await stage.maria.command("examples remove", id="#1")
        assert "Nothing was taught" in (await stage.ada.click(card, "bug")).text
        assert (await stage.services.examples.search(triage, "")).total == 0

    async def test_an_undone_question_about_it_is_not_asked_again(self, stage: RealStage, triage: Classifier) -> None:
        await fill_pool(stage, triage)
        answered = await stage.ada.click(await stage.ada.command("teach"), "bug")
        await stage.maria.command("examples remove", id="#1")
        undone = await stage.ada.click(answered, "Undo")
        assert "Took `bug` back" in undone.text
        assert "unlabelled text 0" not in undone.text
        assert "Saved as `idea`" in (await stage.ada.click(undone, "idea")).text
        assert (await stage.services.examples.search(triage, "")).total == 7

    async def test_whoever_labels_it_again_is_told_that_it_had_been_removed(
        self, stage: RealStage, triage: Classifier
    ) -> None:
        await stage.jonas.command("label", text="it crashes", label="bug")
        await stage.maria.command("examples remove", id="#1")
        told = await stage.ada.command("label", text="It crashes", label="bug")
        assert told.text.startswith("This text had been removed; now it counts again. Confirmed as `bug` (#1).")
        assert "removed" not in (await stage.ada.command("label", text="It crashes", label="bug")).text


async def test_where_the_only_classifier_is_archived_that_is_said(stage: RealStage, triage: Classifier) -> None:
    await stage.services.classifiers.archive(LEAD, triage)
    assert "`triage` is archived" in (await stage.ada.command("ask", text="it crashes")).text


async def test_the_leads_role_is_enough_to_be_shown_the_pins_to_remove(stage: RealStage, triage: Classifier) -> None:
    await stage.maria.command("pin add", text="it crashes", label="bug")
    assert await stage.jonas.autocomplete("pin remove", focused="pin") == []
    await stage.services.setup.choose_roles(LEAD, lead_role=LEADS)
    assert len(await stage.jonas.autocomplete("pin remove", focused="pin")) == 1
    assert await stage.ada.autocomplete("pin remove", focused="pin") == []


WORDS = {"bug": "crash error freeze", "question": "how what where", "idea": "please add wish"}


def with_wrong_labels() -> list[tuple[str, str]]:
    """210 texts, of which every tenth has the label that comes before its own."""
    labels = list(WORDS)
    return [
        (f"{WORDS[labels[(number + (number % 10 == 0)) % 3]]} {number}", labels[number % 3]) for number in range(210)
    ]


class TestALabelChangesUnderAListOfDoubtfulOnes:
    async def test_the_next_cards_have_the_names_of_today(self, stage: RealStage, triage: Classifier) -> None:
        await stage.teach(triage, with_wrong_labels())
        card = await stage.maria.command("suspects")
        await rename(stage, "bug", "defect")
        seen = ""
        while "Skip" in card.buttons:
            card = await stage.maria.click(card, "Skip")
            seen += card.text + " ".join(card.buttons)
        assert "labelled `defect` by setup" in seen
        assert "Change to defect" in seen
        assert "`bug`" not in seen

    async def test_no_label_that_is_in_use_no_more_is_suggested(self, stage: RealStage, triage: Classifier) -> None:
        await stage.teach(triage, with_wrong_labels())
        card = await stage.maria.command("suspects")
        await stage.maria.click(await stage.maria.command("labels merge", label="question", into="bug"), "Merge")
        await stage.maria.click(await stage.maria.command("labels archive", label="idea"), "Archive")
        card = await stage.maria.click(card, "Skip")
        assert "That was the last one" in card.text


async def test_of_two_leads_who_settle_at_once_the_second_is_told(stage: RealStage, triage: Classifier) -> None:
    await stage.services.setup.choose_roles(LEAD, lead_role=LEADS)
    await stage.ada.command("label", text="it crashes", label="bug")
    await stage.jonas.command("label", text="it crashes", label="idea")
    cards = [await person.command("conflicts") for person in (stage.maria, stage.jonas)]
    told = await asyncio.gather(stage.maria.click(cards[0], "bug"), stage.jonas.click(cards[1], "idea"))
    assert sum(reply.text.startswith("Settled") for reply in told) == 1
    assert sum("#1 is settled already" in reply.text for reply in told) == 1
