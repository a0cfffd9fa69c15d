"""Collecting and looking after examples in the chat, over the real services: import, paste, search, remove, export."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bot.playground.people import Person
from bot.playground.reply import Reply
from bot.playground.server import GUILD_ID
from bot.services import examples, imports
from bot.services.examples_files import ExportFormat
from bot.services.people import Actor, Role
from bot.services.training import NotYet, Requested
from storage.errors import InvalidInput, NotAllowed, NotFound
from storage.records import Classifier, Source
from tests.fakes.real_stage import LEAD, RealStage, real_stage
from tests.fakes.tiny_encoder import make_tiny_base

STRANGER = Actor("999", "maria", "Maria elsewhere", Role.LEAD)
HOSTILE = "@everyone `x` **b** <@1> \u202e ```"
FILE = b"text,label\nit crashes,bug\nhow do I pay?,question\nwaits,\nlove it,praise\n,bug\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
async def stage(tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RealStage]:
    async with real_stage(tmp_path, base, monkeypatch) as stage:
        await stage.classifier()
        yield stage


async def triage(stage: RealStage) -> Classifier:
    return await stage.services.classifiers.resolve(GUILD_ID, "triage")


async def labels_of(stage: RealStage) -> dict[str, str | None]:
    """Text → current label, of every example, as the export tells it."""
    data = await stage.services.examples.export(LEAD, await triage(stage), ExportFormat.JSONL)
    lines = [json.loads(line) for line in data.decode().split("\n") if line]
    return {line["text"]: line["label"] for line in lines}


async def upload(person: Person, data: bytes, name: str = "texts.csv", **options: Any) -> Reply:
    return await person.command("examples import", file=(name, data), **options)


async def attached(reply: Reply) -> list[tuple[str, bytes]]:
    assert reply.message is not None
    found = []
    async with aiohttp.ClientSession() as session:
        for attachment in reply.message["attachments"]:
            async with session.get(attachment["url"]) as response:
                found.append((attachment["filename"], await response.read()))
    return found


def button_id(reply: Reply, label: str) -> str:
    return next(part["custom_id"] for row in reply.components for part in row["components"] if part["label"] == label)


# Importing a file


async def test_a_file_is_previewed_applied_and_taken_back_as_a_whole(stage: RealStage) -> None:
    await stage.ada.command("label", text="It crashes", label="question")
    preview = await upload(stage.maria, FILE)
    assert "`texts.csv`: 5 rows. **Nothing is imported yet.**" in preview.text
    assert "• 2 new texts with a label" in preview.text
    assert "• your vote for another label on 1 text" in preview.text
    assert "• 1 new text without a label" in preview.text
    assert "• 1 new label: `praise`" in preview.text
    assert "`question` → `bug` it crashes" in preview.text
    assert "line 6: the text is empty" in preview.text
    assert await labels_of(stage) == {"It crashes": "question"}
    receipt = await stage.maria.click(preview, "Apply")
    assert receipt.text == (
        "Imported `texts.csv` into `triage`: 2 new texts, your vote on 1 text with another label, 1 text without a "
        "label for `/teach`. New labels: `praise`. 1 line was left out."
    )
    assert await labels_of(stage) == {
        "It crashes": None,  # a tie
        "how do I pay?": "question",
        "waits": None,
        "love it": "praise",
    }
    undone = await stage.maria.click(receipt, "Undo import")
    assert undone.text == (
        "Took the import into `triage` back: 3 labels and 1 text without a label. The new labels stay: `praise`."
    )
    assert {text: label for text, label in (await labels_of(stage)).items() if label} == {"It crashes": "question"}
    assert "waits" not in await labels_of(stage)


async def test_a_preview_and_its_undo_survive_a_restart(stage: RealStage) -> None:
    preview = await upload(stage.maria, FILE)
    await stage.restart()
    receipt = await stage.maria.click(preview, "Apply")
    assert receipt.text.startswith("Imported `texts.csv`")
    await stage.restart()
    assert (await stage.maria.click(receipt, "Undo import")).text.startswith("Took the import")


async def test_apply_twice_imports_once_and_undo_twice_says_so(stage: RealStage) -> None:
    preview = await upload(stage.maria, FILE)
    apply = button_id(preview, "Apply")
    first = await stage.maria.click(preview, "Apply")
    token = apply.partition(":")[2]
    maria = Actor(GUILD_ID, stage.maria.id, "Maria", Role.LEAD)
    again = await stage.services.imports.apply(maria, token)
    assert again.again
    assert again.did.new == 3
    votes = [label for label in (await labels_of(stage)).values() if label]
    assert len(votes) == 3
    assert (await stage.services.imports.undo(maria, token)) is not None
    assert (await stage.maria.click(first, "Undo import")).text == "That import was taken back already."
    assert (await stage.services.imports.apply(maria, token)).undone


async def test_two_clicks_on_apply_at_once_import_once(stage: RealStage) -> None:
    preview = await upload(stage.maria, FILE)
    maria = Actor(GUILD_ID, stage.maria.id, "Maria", Role.LEAD)
    token = button_id(preview, "Apply").partition(":")[2]
    both = await asyncio.gather(*(stage.services.imports.apply(maria, token) for _ in range(2)))
    assert sorted(one.again for one in both) == [False, True]
    undone = await stage.services.imports.undo(maria, token)
    assert undone is not None
    assert undone.labels == 3


async def test_a_cancelled_import_is_gone_and_says_so(stage: RealStage) -> None:
    preview = await upload(stage.maria, FILE)
    token = button_id(preview, "Apply").partition(":")[2]
    assert (await stage.maria.click(preview, "Cancel")).text == "Nothing was imported."
    maria = Actor(GUILD_ID, stage.maria.id, "Maria", Role.LEAD)
    with pytest.raises(NotFound, match="Import the texts again"):
        await stage.services.imports.apply(maria, token)
    assert not await stage.services.imports.cancel(maria, token)
    assert await labels_of(stage) == {}


async def test_a_preview_expires_after_an_hour_and_is_swept(stage: RealStage, monkeypatch: pytest.MonkeyPatch) -> None:
    preview, other = await upload(stage.maria, FILE), await upload(stage.maria, FILE)
    monkeypatch.setattr(imports, "KEPT", -1.0)
    assert "more than an hour old" in (await stage.maria.click(preview, "Apply")).text
    assert await stage.system.stores.imports.sweep(time.time() + 1) == 1
    assert "Import the texts again" in (await stage.maria.click(other, "Apply")).text
    await upload(stage.maria, FILE)
    await stage.restart()
    assert await stage.system.stores.imports.sweep(time.time() + 1) == 0, "it was swept at the start"
    assert await labels_of(stage) == {}


async def test_only_the_person_who_brought_the_texts_may_apply_cancel_or_undo(stage: RealStage) -> None:
    preview = await upload(stage.maria, FILE)
    token = button_id(preview, "Apply").partition(":")[2]
    other = Actor(GUILD_ID, "someone", "Someone", Role.OPERATOR)
    for act in (stage.services.imports.apply, stage.services.imports.cancel, stage.services.imports.undo):
        with pytest.raises(NotAllowed, match="Only the person who brought"):
            await act(other, token)
    demoted = Actor(GUILD_ID, stage.maria.id, "Maria", Role.MEMBER)
    with pytest.raises(NotAllowed, match="Only a lead may import a file"):
        await stage.services.imports.apply(demoted, token)
    assert await labels_of(stage) == {}


async def test_another_servers_tokens_find_nothing(stage: RealStage) -> None:
    preview = await upload(stage.maria, FILE)
    token = button_id(preview, "Apply").partition(":")[2]
    elsewhere = Actor("999", stage.maria.id, "Maria", Role.LEAD)
    for act in (stage.services.imports.apply, stage.services.imports.undo):
        with pytest.raises(NotFound):
            await act(elsewhere, token)
    assert not await stage.services.imports.cancel(elsewhere, token)
    assert (await stage.maria.click(preview, "Apply")).text.startswith("Imported")


async def test_a_member_may_not_import_a_file(stage: RealStage) -> None:
    assert "Only a lead may import a file" in (await upload(stage.ada, FILE)).text


async def test_what_changed_between_preview_and_apply_is_taken_as_it_is(stage: RealStage) -> None:
    preview = await upload(stage.maria, FILE)
    await stage.maria.command("labels create", names="praise")
    await stage.maria.command("label", text="it crashes", label="bug")
    receipt = await stage.maria.click(preview, "Apply")
    assert "2 new texts" in receipt.text
    assert "New labels" not in receipt.text
    assert (await labels_of(stage))["it crashes"] == "bug"


async def test_a_file_without_labels_fills_the_pool_and_its_undo_empties_it(stage: RealStage) -> None:
    receipt = await stage.maria.click(await upload(stage.maria, b"text\none\ntwo\nONE\n"), "Apply")
    assert "2 texts without a label for `/teach`" in receipt.text
    await stage.ada.command("label", text="two", label="bug")
    undone = await stage.maria.click(receipt, "Undo import")
    assert "0 labels and 1 text without a label" in undone.text
    assert "Somebody has labelled 1 text since: they stay." in undone.text
    assert await labels_of(stage) == {"two": "bug"}


async def test_repeated_texts_and_texts_already_here_are_told(stage: RealStage) -> None:
    await stage.ada.command("label", text="old", label="bug")
    data = b'{"text": "OLD", "label": "BUG"}\n{"text": "twice", "label": "bug"}\n{"text": "Twice", "label": "idea"}\n'
    preview = await upload(stage.maria, data, "texts.jsonl")
    assert "• nothing to do for 1 text already here" in preview.text
    assert "• 1 row repeats a text of the file (1 with another label: the last one counts)" in preview.text
    await stage.maria.click(preview, "Apply")
    assert await labels_of(stage) == {"old": "bug", "Twice": "idea"}


async def test_a_file_with_nothing_new_offers_no_apply(stage: RealStage) -> None:
    await stage.ada.command("label", text="old", label="bug")
    preview = await upload(stage.maria, b"text\tlabel\nold\tbug\n", "texts.tsv")
    assert "There is nothing to import." in preview.text
    assert preview.buttons == []


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (b"text,label\na,b\n", "texts.xlsx", "neither CSV, TSV nor JSONL"),
        ("text,label\ncafé,bug\n".encode("latin-1"), "texts.csv", "is not UTF-8"),
        (b"", "texts.csv", "is empty"),
        (b"x" * (10 * 2**20 + 1), "texts.csv", "at most 10 MiB"),
        (b"text,label\n" + b"a,b\n" * 50_001, "texts.csv", "more than 50,000 rows"),
        (b"label\nbug\n", "texts.csv", "needs one column `text`"),
        (b"text,label\n" + b"".join(b"%d,l%d\n" % (n, n) for n in range(501)), "texts.csv", "501 labels would be new"),
    ],
)
async def test_a_file_that_cannot_be_used_is_refused_in_words(
    stage: RealStage, data: bytes, name: str, words: str
) -> None:
    assert words in (await upload(stage.maria, data, name)).text
    assert await labels_of(stage) == {}


async def test_hostile_texts_labels_and_file_names_do_no_harm(stage: RealStage) -> None:
    await stage.ada.command("label", text=HOSTILE, label="bug")
    rows = [[HOSTILE, "idea"], ["😀" * 4000, "bug"], ["x", "@everyone"], ["y", "`code`"], ["z", "a\u202eb"]]
    data = io.StringIO()
    csv.writer(data).writerows([["text", "label"], *rows])
    preview = await upload(stage.maria, data.getvalue().encode(), "`@everyone`.csv")
    assert "@everyone" not in preview.text.replace("_everyone_", "")
    assert "```" not in preview.text
    assert "line 4: the label's name holds @" in preview.text
    assert "3 lines left out" in preview.text
    receipt = await stage.maria.click(preview, "Apply")
    assert "1 new text, your vote on 1 text" in receipt.text
    assert (await labels_of(stage))["😀" * 4000] == "bug"


async def test_the_biggest_file_is_previewed_while_others_are_answered(
    stage: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {step: (threading.Event(), threading.Event()) for step in ("read_table", "plan_import", "encode")}

    def hold(step: str) -> None:
        """It is not done before somebody else has had an answer: on the event loop nobody would ever have one."""
        work, (begun, answered) = getattr(imports, step), steps[step]

        def held(*given: Any) -> Any:
            done = work(*given)
            begun.set()
            assert answered.wait(20), f"others waited for {step}"
            return done

        monkeypatch.setattr(imports, step, held)

    for step in steps:
        hold(step)
    lines = "".join(f'{{"text": "text number {n} of many", "label": "bug"}}\n' for n in range(50_000))
    stage.maria.timeout = 60
    waiting = asyncio.create_task(upload(stage.maria, lines.encode(), "big.jsonl"))
    for begun, answered in steps.values():
        assert await asyncio.to_thread(begun.wait, 40)
        await stage.ada.command("ask", text="does it wait?")
        answered.set()
    preview = await waiting
    assert "50,000 new texts" in preview.text
    assert "50,000 new texts" in (await stage.maria.click(preview, "Apply")).text


# Pasting


async def paste(person: Person, texts: str, label: str = "bug", **options: Any) -> Reply:
    form = await person.command("examples paste", **options)
    return await person.submit(form, texts=texts, label=label)


async def test_a_member_pastes_several_texts_with_one_label_and_takes_them_back(stage: RealStage) -> None:
    await stage.jonas.command("label", text="two", label="idea")
    preview = await paste(stage.ada, "one\n\n  two \nThree\nthree\n")
    assert preview.ephemeral
    assert "The pasted texts: 4 rows." in preview.text
    assert "• 2 new texts with a label" in preview.text
    assert "`idea` → `bug` two" in preview.text
    await stage.restart()
    receipt = await stage.ada.click(preview, "Apply")
    assert receipt.text.startswith("Imported the pasted texts into `triage`: 2 new texts")
    assert await labels_of(stage) == {"two": None, "one": "bug", "three": "bug"}
    found = await stage.system.stores.examples.find(GUILD_ID, (await triage(stage)).id, "one")
    assert found is not None
    assert found.source is Source.MODAL
    await stage.ada.click(receipt, "Undo import")
    assert (await labels_of(stage))["two"] == "idea"


async def test_a_pasted_label_must_exist_and_the_texts_are_not_lost(stage: RealStage) -> None:
    await stage.maria.command("labels create", names=", ".join(f"label {n}" for n in range(23)))
    await stage.ada.command("examples paste", label="x" * 300)
    form = await stage.ada.command("examples paste", label="bug")  # 26 labels: typed, not chosen
    refused = await stage.ada.submit(form, texts="one\ntwo", label="bugg")
    assert "`triage` has no label `bugg`. It has `bug`, `question`, `idea`" in refused.text
    assert "> one\n> two" in refused.text
    assert await attached(refused) == []
    many = "\n".join(f"*text* number {n}" for n in range(180))
    refused = await stage.ada.submit(await stage.ada.command("examples paste", label="bug"), texts=many, label="bugg")
    assert "whole in the file" in refused.text
    ((_, data),) = await attached(refused)
    assert data.decode() == many
    assert "• 1 new text" in (await paste(stage.ada, "one", "BUG")).text


async def test_empty_and_hostile_pastes_are_answered(stage: RealStage) -> None:
    assert "There is no text" in (await paste(stage.ada, " \n \n")).text
    receipt = await stage.ada.click(await paste(stage.ada, f"{HOSTILE}\n{'😀' * 100}"), "Apply")
    assert "2 new texts" in receipt.text


async def test_a_label_that_went_away_before_apply_is_not_made_anew_by_a_member(stage: RealStage) -> None:
    preview = await paste(stage.ada, "one")
    await stage.system.stores.database.write(
        lambda tables: tables.conn.execute("UPDATE labels SET name = 'defect', key = 'defect' WHERE name = 'bug'")
    )
    assert "The label of these texts is gone" in (await stage.ada.click(preview, "Apply")).text


# Searching


async def test_examples_are_found_by_words_and_label_page_by_page_also_after_a_restart(stage: RealStage) -> None:
    rows = [(f"Straße number {n}", "bug" if n % 2 else "idea") for n in range(46)]
    await stage.teach(await triage(stage), rows)
    first = await stage.ada.command("examples search", query="STRASSE number", label="bug")
    assert first.ephemeral
    assert "23 examples labelled `bug` with strasse number, newest first" in first.text
    assert first.text.count("**#") == 10
    assert first.buttons == ["▶"]
    await stage.restart()
    second = await stage.ada.click(first, "▶")
    assert second.buttons == ["◀", "▶"]
    third = await stage.ada.click(second, "▶")
    assert third.text.count("**#") == 3
    assert "Page 3 of 3" in third.text
    assert third.buttons == ["◀"]
    assert (await stage.ada.click(third, "◀")).text == second.text


async def test_a_search_that_finds_nothing_says_what_it_looked_for(stage: RealStage) -> None:
    assert (await stage.ada.command("examples search")).text == "No example of `triage` is there."
    assert (await stage.ada.command("examples search", query="unicorn", label="bug")).text == (
        "No example of `triage` labelled `bug` with unicorn."
    )
    assert "has no label `nope`" in (await stage.ada.command("examples search", label="nope")).text


async def test_long_and_hostile_searches_keep_their_state_in_the_button(stage: RealStage) -> None:
    await stage.teach(await triage(stage), [(f"{HOSTILE} {'ﷺ' * 50} {n}", "bug") for n in range(12)])
    found = await stage.ada.command("examples search", query=f"{HOSTILE}\n {'ﷺ' * 50}")
    assert "12 examples" in found.text
    assert "@everyone" not in found.text
    assert len(button_id(found, "▶")) <= 100
    assert (await stage.ada.click(found, "▶")).text.count("**#") == 2


async def test_a_search_in_another_servers_classifier_finds_nothing(stage: RealStage) -> None:
    with pytest.raises(NotFound):
        await stage.services.classifiers.by_id(STRANGER.guild, (await triage(stage)).id)


# Removing


async def test_a_removed_example_counts_nowhere_and_comes_back_with_one_click(stage: RealStage) -> None:
    await stage.teach(await triage(stage), [("it crashes", "bug"), ("why?", "question")])
    removed = await stage.maria.command("examples remove", id="#1")
    assert removed.text == "Removed #1 (`bug`). It counts nowhere any more.\n> it crashes"
    assert "Taught" not in (await stage.ada.command("ask", text="it crashes")).text
    assert await labels_of(stage) == {"why?": "question"}
    assert "#1 was removed already." in (await stage.maria.command("examples remove", id="1")).text
    await stage.restart()
    back = await stage.maria.click(removed, "Bring it back")
    assert back.text == "#1 is back. It is `bug`, as before.\n> it crashes"
    assert "Taught: `bug`" in (await stage.ada.command("ask", text="it crashes")).text
    classifier = await triage(stage)
    assert not (await stage.services.examples.restore(LEAD, 1)).done
    assert await stage.system.stores.examples.newest_event(GUILD_ID, classifier.id) == 4


async def test_a_removal_changes_the_answer_and_the_version_says_so(stage: RealStage) -> None:
    classifier = await triage(stage)
    await stage.teach(classifier, [("zebra umbrella", "bug"), ("why?", "question")])
    before = await stage.system.serving.answer(classifier, "zebra umbrella")
    found = await stage.system.stores.examples.find(GUILD_ID, classifier.id, "zebra umbrella")
    assert found is not None
    await stage.maria.command("examples remove", id=f"#{found.id}")
    await stage.system.serving.settle(classifier)
    after = await stage.system.serving.answer(classifier, "zebra umbrella")
    assert (before.version, after.version) == ("v0+2", "v0+1")
    bug = {score.label: score.confidence for score in after.scores}["bug"]
    assert bug < {score.label: score.confidence for score in before.scores}["bug"]


async def test_a_version_that_learned_a_removed_text_can_be_trained_anew(stage: RealStage) -> None:
    classifier, training = await triage(stage), stage.services.training
    await stage.teach(classifier, [(f"text {n} about it", "bug" if n % 2 else "idea") for n in range(40)])
    first = await training.request(LEAD, classifier)
    assert isinstance(first, Requested)
    await training.wait(GUILD_ID, first.job.id)
    assert isinstance(await training.request(LEAD, classifier), NotYet)
    await stage.maria.command("examples remove", id="#1")
    again = await training.request(LEAD, classifier)
    assert isinstance(again, Requested)
    assert again.new_since == 1
    await training.wait(GUILD_ID, again.job.id)


async def test_a_member_removes_only_their_own_text_that_nobody_else_has_labelled(stage: RealStage) -> None:
    await stage.ada.command("label", text="mine", label="bug")
    await stage.jonas.command("label", text="his", label="bug")
    assert "Only a lead may remove" in (await stage.ada.command("examples remove", id="2")).text
    removed = await stage.ada.command("examples remove", id="#1")
    assert removed.text.startswith("Removed #1")
    await stage.ada.click(removed, "Bring it back")
    await stage.jonas.command("label", text="mine", label="idea")
    assert "Only a lead may remove" in (await stage.ada.command("examples remove", id="1")).text
    with pytest.raises(NotAllowed):
        await stage.services.examples.restore(Actor(GUILD_ID, stage.ada.id, "Ada"), 1)


async def test_labelling_a_removed_text_brings_it_back_and_golden_stays_golden(stage: RealStage) -> None:
    classifier, stores = await triage(stage), stage.system.stores
    rows = [(f"text {n}", "bug") for n in range(40)]
    await stage.teach(classifier, rows)
    golden = next(row for row in await stores.examples.current(GUILD_ID, classifier.id) if row.split == "golden")
    await stage.maria.command("examples remove", id=str(golden.example_id))
    await stage.ada.command("label", text=golden.text, label="bug")
    assert golden in await stores.examples.current(GUILD_ID, classifier.id)


@pytest.mark.parametrize("id", ["", "#", "four", "-1", "9" * 30, "#1; drop", "١"])
async def test_a_number_that_is_none_is_answered(stage: RealStage, id: str) -> None:
    if id:  # Discord sends no empty option
        assert "That is no number of an example" in (await stage.maria.command("examples remove", id=id)).text


async def test_examples_that_are_not_there_or_elsewhere_are_not_found(stage: RealStage) -> None:
    await stage.ada.command("label", text="mine", label="bug")
    assert "There is no example with the id 77" in (await stage.maria.command("examples remove", id="77")).text
    for act in (stage.services.examples.remove, stage.services.examples.restore):
        with pytest.raises(NotFound):
            await act(STRANGER, 1)


# Exporting


async def test_an_export_as_csv_is_safe_in_a_spreadsheet_and_reads_back_the_same(stage: RealStage) -> None:
    texts = ["=1+1", "+x", "-x", "@x", "'=quoted", "two\nlines", "ünï", HOSTILE]
    await stage.teach(await triage(stage), [(text, "bug") for text in texts])
    reply = await stage.maria.command("examples export")
    assert reply.ephemeral
    ((name, data),) = await attached(reply)
    assert name.startswith("triage-")
    assert name.endswith(".csv")
    assert data.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))
    assert not [row["text"] for row in rows if row["text"][0] in "=+-@\t\r"]
    assert {row["annotators"] for row in rows} == {"1"}
    preview = await upload(stage.maria, data, name)
    assert "There is nothing to import." in preview.text
    assert f"nothing to do for {len(texts)} texts already here" in preview.text


async def test_an_export_as_jsonl_is_lossless_and_can_be_imported_elsewhere(stage: RealStage) -> None:
    classifier = await triage(stage)
    await stage.teach(classifier, [("one", "bug"), (HOSTILE, "idea")])
    await stage.ada.command("label", text="one", label="bug")
    await stage.maria.click(await upload(stage.maria, b"text\nwaits\n"), "Apply")
    ((name, data),) = await attached(await stage.maria.command("examples export", format="jsonl"))
    lines = [json.loads(line) for line in data.decode().split("\n") if line]
    assert [(line["text"], line["label"]) for line in lines] == [("one", "bug"), (HOSTILE, "idea"), ("waits", None)]
    assert [(vote["annotator"], vote["label"], vote["kind"]) for vote in lines[0]["votes"]] == [
        ("setup", "bug", "vote"),
        (stage.ada.id, "bug", "vote"),
    ]
    assert lines[2]["split"] is None
    assert lines[2]["votes"] == []
    await stage.classifier("other", "x")
    await stage.maria.click(await upload(stage.maria, data, name, classifier="other"), "Apply")
    other = await stage.services.classifiers.resolve(GUILD_ID, "other")
    again = await stage.services.examples.export(LEAD, other, ExportFormat.JSONL)
    copied = [json.loads(line) for line in again.decode().split("\n") if line]
    assert [(line["text"], line["label"]) for line in copied] == [(line["text"], line["label"]) for line in lines]


async def test_a_large_export_comes_in_several_files_each_with_its_header(
    stage: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.teach(await triage(stage), [(f"text {n}", "bug") for n in range(40)])
    monkeypatch.setattr(examples, "MOST_FILE", 1000)
    reply = await stage.maria.command("examples export")
    files = await attached(reply)
    assert f"in {len(files)} files" in reply.text
    assert files[0][0].endswith(f"-1-of-{len(files)}.csv")
    assert all(len(data) <= 1000 and data.startswith(b"\xef\xbb\xbftext,label") for _, data in files)
    assert sum(data.count(b"\n") - 1 for _, data in files) == 40
    monkeypatch.setattr(examples, "MOST_FILES", 1)
    assert "pupil labels export FILE" in (await stage.maria.command("examples export")).text


async def test_only_leads_of_the_same_server_export(stage: RealStage) -> None:
    assert "Only a lead may export" in (await stage.ada.command("examples export")).text
    with pytest.raises(NotAllowed):
        await stage.services.examples.export(Actor(GUILD_ID, "x", "x"), await triage(stage), ExportFormat.CSV)
    with pytest.raises(InvalidInput, match="pupil labels export"):
        await _too_large(stage)


async def _too_large(stage: RealStage) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "MOST_FILES", 0)
        await stage.services.examples.export_files(LEAD, await triage(stage), ExportFormat.CSV)
