"""/privacy through the real client and the real services: shown, exported, forgotten, opted out of."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.chat import privacy_cards
from bot.chat.privacy_cards import MOST_BYTES, export_card
from bot.playground.people import Person
from bot.playground.reply import Reply
from bot.services import privacy
from bot.services.people import Actor, Role
from bot.services.training import Requested
from storage.errors import DiskFull, InvalidInput, NotAllowed
from storage.records import Classifier, JobState, Source
from tests.fakes.real_stage import LEAD, RealStage, real_stage
from tests.fakes.tiny_encoder import make_tiny_base

HOSTILE = "@everyone `x` \u202e <@&1> **" + "🎉" * 300


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
async def stage(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path, base, monkeypatch) as stage:
        await stage.classifier()
        yield stage


async def forget(person: Person) -> Reply:
    preview = await person.command("privacy forget")
    return await person.click(preview, "Delete all of it")


async def train(stage: RealStage, classifier: Classifier) -> None:
    started = await stage.services.training.request(LEAD, classifier)
    assert isinstance(started, Requested)
    assert (await stage.services.training.wait(LEAD.guild, started.job.id)).job.state is JobState.SUCCEEDED


async def exported(stage: RealStage, person: Person) -> dict[str, Any]:
    reply = await person.command("privacy export")
    assert reply.message is not None
    assert reply.ephemeral
    file = stage.playground.world.store.file(reply.message["attachments"][0]["id"])
    assert file is not None
    assert file.name == "pupil-my-data.json"
    found: dict[str, Any] = json.loads(file.data)
    return found


async def test_show_counts_what_one_person_left_here(stage: RealStage) -> None:
    assert (await stage.ada.command("privacy show")).text == "I store nothing about you here."
    await stage.ada.command("label", text="the app crashes", label="bug")
    asked = await stage.ada.command("ask", text="how do I pay")
    await stage.ada.click(asked, asked.buttons[0])
    shown = await stage.ada.command("privacy show")
    assert shown.ephemeral
    for words in ("2 texts", "2 labels", "1 question ", "1 judgement", "Ada"):
        assert words in shown.text
    assert (await stage.jonas.command("privacy show")).text == "I store nothing about you here."


async def test_a_large_export_is_packed_beside_the_event_loop(
    stage: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty thousand texts take seconds, and meanwhile others ask."""
    await stage.ada.command("label", text="the app crashes", label="bug")
    threads: list[threading.Thread] = []

    def packed(content: bytes) -> bytes:
        threads.append(threading.current_thread())
        return gzip_compress(content)

    gzip_compress = gzip.compress
    monkeypatch.setattr(privacy_cards, "MOST_BYTES", 400)
    monkeypatch.setattr(gzip, "compress", packed)
    await stage.ada.command("privacy export")
    assert threads
    assert threading.main_thread() not in threads


async def test_the_export_holds_every_text_label_question_and_judgement(stage: RealStage) -> None:
    await stage.ada.command("label", text=HOSTILE, label="bug")
    asked = await stage.ada.command("ask", text="how do I pay")
    await stage.ada.click(asked, asked.buttons[0])
    await stage.jonas.command("label", text="not Ada's", label="bug")
    found = await exported(stage, stage.ada)
    assert [text["text"] for text in found["texts"]] == [HOSTILE, "how do I pay"]
    assert [event["text"] for event in found["label_events"]] == [HOSTILE, "how do I pay"]
    assert [question["text"] for question in found["questions"]] == ["how do I pay"]
    assert len(found["feedback"]) == 1
    assert "not Ada's" not in json.dumps(found)
    assert found["person"] == stage.ada.id
    assert found["name"] == "Ada"


def test_a_large_export_is_packed_and_a_huge_one_is_refused_in_words() -> None:
    packed = export_card(b"x" * (MOST_BYTES + 1)).files[0]
    assert packed.name.endswith(".json.gz")
    assert len(gzip.decompress(packed.content)) == MOST_BYTES + 1
    import random

    with pytest.raises(InvalidInput, match="Ask the operator"):
        export_card(random.Random(0).randbytes(MOST_BYTES + 1))


async def test_forgetting_shows_first_what_it_means_and_deletes_only_after_the_button(stage: RealStage) -> None:
    await stage.ada.command("label", text="the app crashes", label="bug")
    preview = await stage.ada.command("privacy forget")
    assert preview.ephemeral
    assert "1 text that you submitted" in preview.text
    assert "2 labels" not in preview.text
    kept = await stage.ada.click(preview, "Keep it")
    assert kept.text == "Nothing was deleted."
    assert "1 text" in (await stage.ada.command("privacy show")).text
    receipt = await forget(stage.ada)
    assert "Forgotten" in receipt.text
    assert "1 text that you submitted" in receipt.text
    assert (await stage.ada.command("privacy show")).text == "I store nothing about you here."
    assert (await stage.ada.command("privacy forget")).text == "There is nothing of yours to delete here."


async def test_the_next_answer_does_not_know_forgotten_labels(stage: RealStage) -> None:
    actor = Actor(LEAD.guild, stage.ada.id, "Ada")
    classifier = await stage.services.classifiers.resolve(LEAD.guild, None)
    before = await stage.services.prediction.ask(LEAD, classifier, "zebra xylophone", Source.API)
    for text in ("zebra", "xylophone", "zebra zebra", "xylophone zebra"):
        await stage.services.labeling.label(actor, classifier, text, "idea", Source.COMMAND)
    await stage.system.serving.relearn(classifier)  # the labels are in the fit itself, not only on top of it
    taught = await stage.services.prediction.ask(LEAD, classifier, "zebra xylophone", Source.API)
    assert taught.label == "idea"
    assert taught.version != before.version
    await forget(stage.ada)
    after = await stage.services.prediction.ask(LEAD, classifier, "zebra xylophone", Source.API)
    assert after.version == before.version
    assert {score.label: pytest.approx(score.confidence, abs=1e-3) for score in before.scores} == {
        score.label: score.confidence for score in after.scores
    }


async def test_a_text_that_others_labelled_too_stays_without_a_name(stage: RealStage) -> None:
    await stage.ada.command("label", text="shared text", label="bug")
    await stage.jonas.command("label", text="shared text", label="bug")
    receipt = await forget(stage.ada)
    assert "1 text that others labelled too stays, without your name." in receipt.text
    assert "Taught: `bug`" in (await stage.maria.command("ask", text="shared text")).text
    example = await stage.system.stores.examples.find(LEAD.guild, 1, "shared text")
    assert example is not None
    assert example.submitted_by == "forgotten"


async def test_nothing_of_a_forgotten_person_is_left_in_the_files(stage: RealStage) -> None:
    await stage.teach(
        await stage.services.classifiers.resolve(LEAD.guild, None),
        [(f"{label} number {n}", label) for label in ("bug", "question", "idea") for n in range(12)],
    )
    await stage.ada.command("label", text="unforgettable walrus", label="bug")
    await stage.ada.command("ask", text="questionable walrus")
    await stage.jonas.command("ask", text="Unforgettable  WALRUS")  # quotes Ada's spelling as "taught"
    started = await stage.services.training.request(LEAD, await stage.services.classifiers.resolve(LEAD.guild, None))
    await stage.services.training.wait(LEAD.guild, started.job.id)  # type: ignore[union-attr]
    receipt = await forget(stage.ada)
    assert "`triage v1` has learned from them; a new training makes a version without." in receipt.text
    assert "1 training file" in receipt.text
    assert list((stage.data / "playground" / "snapshots").glob("*.jsonl")) == []
    await stage.restart()  # folds the log into the file
    raw = (stage.data / "playground" / "pupil.db").read_bytes()
    assert b"unforgettable walrus" not in raw
    assert b"questionable walrus" not in raw


async def test_a_training_under_way_keeps_its_file_until_it_has_ended(stage: RealStage) -> None:
    classifier = await stage.services.classifiers.resolve(LEAD.guild, None)
    await stage.teach(classifier, [(f"{label} {n}", label) for label in ("bug", "question", "idea") for n in range(12)])
    await stage.ada.command("label", text="unforgettable walrus", label="bug")
    stage.trainer.gate.clear()
    started = await stage.services.training.request(LEAD, classifier)
    receipt = await forget(stage.ada)
    assert "1 of them goes when the training that uses it has ended" in receipt.text
    folder = stage.data / "playground" / "snapshots"
    assert len(list(folder.glob("*.jsonl"))) == 1
    stage.trainer.gate.set()
    await stage.services.training.wait(LEAD.guild, started.job.id)  # type: ignore[union-attr]
    await stage.services.privacy.sweep()
    assert list(folder.glob("*.jsonl")) == []


@pytest.mark.parametrize("archived", [False, True])
async def test_the_receipt_names_what_has_learned_it_also_from_another_classifier(
    stage: RealStage, archived: bool
) -> None:
    triage = await stage.services.classifiers.resolve(LEAD.guild, None)
    rows = [(f"{label} {n}", label) for label in ("bug", "question", "idea") for n in range(12)]
    await stage.teach(triage, rows)
    await stage.ada.command("label", text="unforgettable walrus", label="bug")
    await train(stage, triage)
    other = await stage.services.classifiers.create(LEAD, "other", ["bug", "question", "idea"], "triage@v1")
    await stage.teach(other, rows)
    await train(stage, other)
    if archived:  # brought back, it starts there again
        await stage.services.classifiers.archive(LEAD, other)
    receipt = await forget(stage.ada)
    assert "`other v1`, `triage v1` have learned from them; a new training makes a version without." in receipt.text
    assert "`other` starts from `triage v1`, so choose another for it first, with `/classifier base`." in receipt.text


async def test_what_cannot_be_tidied_up_after_a_deletion_does_not_hide_that_it_is_done(
    stage: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise DiskFull("Nothing was saved.")

    await stage.ada.command("label", text="unforgettable walrus", label="bug")
    preview = await stage.ada.command("privacy forget")
    monkeypatch.setattr(stage.system.stores.privacy, "drop_vectors", full)
    assert "Forgotten" in (await stage.ada.click(preview, "Delete all of it")).text


async def test_delete_pressed_again_meanwhile_shows_the_same_receipt(
    stage: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.ada.command("label", text="unforgettable walrus", label="bug")
    preview = await stage.ada.command("privacy forget")
    going_on, entered, forget_once = asyncio.Event(), asyncio.Semaphore(0), stage.services.privacy.forget

    async def held(*_: object) -> set[str]:
        await going_on.wait()
        return set()

    async def counted(actor: Actor) -> privacy.Receipt:
        entered.release()
        return await forget_once(actor)

    monkeypatch.setattr(stage.system.stores.keeping, "named_snapshots", held)
    monkeypatch.setattr(stage.services.privacy, "forget", counted)
    presses = [asyncio.create_task(stage.ada.click(preview, "Delete all of it")) for _ in range(2)]
    for _ in presses:
        await asyncio.wait_for(entered.acquire(), 20)
    going_on.set()
    assert [("Forgotten" in (await press).text) for press in presses] == [True, True]


async def test_a_training_file_written_while_somebody_is_forgotten_is_without_them(
    stage: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = await stage.services.classifiers.resolve(LEAD.guild, None)
    await stage.teach(classifier, [(f"{label} {n}", label) for label in ("bug", "question", "idea") for n in range(12)])
    await stage.ada.command("label", text="unforgettable walrus", label="bug")
    reading, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slowly(*given: Any) -> dict[str, frozenset[int]]:
        loop.call_soon_threadsafe(reading.set)
        go_on.wait(10)
        return read_files(*given)

    read_files = privacy._held
    monkeypatch.setattr(privacy, "_held", slowly)
    forgetting = asyncio.create_task(stage.services.privacy.forget(Actor(LEAD.guild, stage.ada.id, "Ada")))
    await reading.wait()
    training = asyncio.create_task(stage.services.training.request(LEAD, classifier))
    await asyncio.wait([training], timeout=0.5)
    go_on.set()
    await forgetting
    started = await training
    await stage.services.training.wait(LEAD.guild, started.job.id)  # type: ignore[union-attr]
    (file,) = (stage.data / "playground" / "snapshots").glob("*.jsonl")
    assert b"bug 1" in file.read_bytes()
    assert b"walrus" not in file.read_bytes()


async def test_only_the_person_themselves_can_press_delete(stage: RealStage) -> None:
    await stage.ada.command("label", text="the app crashes", label="bug")
    preview = await stage.jonas.command("privacy forget")
    assert preview.text == "There is nothing of yours to delete here."
    stranger = Actor("999", stage.ada.id, "Ada")  # the same person on another server
    assert (await stage.services.privacy.forget(stranger)).erased.texts == 0
    assert "1 text" in (await stage.ada.command("privacy show")).text


async def test_delete_pressed_twice_and_after_a_restart_does_no_more(stage: RealStage) -> None:
    await stage.ada.command("label", text="the app crashes", label="bug")
    preview = await stage.ada.command("privacy forget")
    await stage.restart()
    receipt = await stage.ada.click(preview, "Delete all of it")
    assert "Forgotten" in receipt.text
    actor = Actor(LEAD.guild, stage.ada.id, "Ada")
    assert (await stage.services.privacy.forget(actor)).erased.label_events == 0


async def test_who_has_opted_out_may_ask_and_nothing_they_type_is_stored(stage: RealStage) -> None:
    asked_before = await stage.ada.command("ask", text="before")
    done = await stage.ada.command("privacy opt-out")
    assert "nothing that you type here is stored" in done.text
    refused = await stage.ada.command("label", text="secret walrus", label="bug")
    assert "opted out" in refused.text
    assert "/privacy opt-out off" in refused.text
    asked = await stage.ada.command("ask", text="secret walrus")
    assert "not stored" in asked.text
    assert "secret" not in asked.text
    for reply in (asked_before, asked):
        assert "opted out" in (await stage.ada.click(reply, reply.buttons[0])).text
    await stage.restart()
    assert "opted out" in (await stage.ada.command("label", text="secret walrus", label="bug")).text
    found = await exported(stage, stage.ada)
    assert "walrus" not in json.dumps(found)
    assert found["opted_out"]
    shown = await stage.ada.command("privacy show")
    assert "You have opted out" in shown.text
    assert "label and teach again" in (await stage.ada.click(shown, "Opt in again")).text
    assert "Saved as" in (await stage.ada.command("label", text="public walrus", label="bug")).text


async def test_opting_out_twice_and_back_by_the_option_is_as_once(stage: RealStage) -> None:
    await stage.ada.command("privacy opt-out")
    await stage.ada.command("privacy opt-out")
    await stage.ada.command("privacy opt-out", off=True)
    assert "Saved as" in (await stage.ada.command("label", text="public walrus", label="bug")).text


async def test_an_import_of_somebody_who_opted_out_is_refused(stage: RealStage) -> None:
    maria = Actor(LEAD.guild, stage.maria.id, "Maria", Role.LEAD)
    await stage.services.privacy.opt_out(maria)
    with pytest.raises(NotAllowed, match="opted out"):
        await stage.services.labeling.import_rows(maria, "triage", [("a", "bug")], Source.FILE)


async def test_the_name_of_a_lead_who_has_opted_out_does_not_come_back(stage: RealStage) -> None:
    await stage.maria.command("privacy opt-out")
    preview = await stage.maria.command("labels rename", label="bug", new_name="defect")
    assert "defect" in (await stage.maria.click(preview, "Rename")).text
    assert stage.maria.id not in await stage.system.stores.examples.annotator_names(LEAD.guild)


async def test_a_lead_without_texts_hears_that_decisions_stay(stage: RealStage) -> None:
    await stage.maria.command("classifier create", name="mine")
    assert "1 decision: classifiers created" in (await stage.maria.command("privacy show")).text
    assert (await stage.maria.command("privacy forget")).text == "There is nothing of yours to delete here."
    assert (await exported(stage, stage.maria))["decisions"][0]["subject"] == "mine"
