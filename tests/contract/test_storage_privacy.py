"""Forgetting a person: what goes, what stays, and that the rules of the schema are the same afterwards."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from typing import Any

import pytest

from storage.errors import StorageError
from storage.imports import StoredImport, encode
from storage.records import LabelledText, Outcome, Round, Source, Split, text_hash
from storage.rows import rows, value
from tests.contract.conftest import GUILD, Store, Triage, make_job, make_triage
from tests.contract.test_storage_imports import waiting_import
from tests.contract.test_storage_predictions import make_prediction

FORGOTTEN_IN = {
    "examples": "deleted, or submitted_by changed where others labelled the text too",
    "annotators": "deleted",
    "label_events": "deleted",
    "vectors": "deleted with the last text of that hash",
    "predictions": "deleted, or text, taught and asked_by emptied where others judged the answer",
    "feedback": "deleted",
    "rounds": "deleted",
    "imports": "deleted, with what was about to be imported",
    "removals": "by: emptied",
    "drafts": "deleted, also those about the person",
    "reverts": "deleted where it was their labels; by: who decided",
    "revert_events": "deleted with the reverts",
    "rules": "by: emptied; the text is the team's codebook",
    "kept_labels": "kept_by: emptied",
    "pins": "deleted: whoever pinned a text typed it",
    "proposals": "deleted; decided_by: who decided",
    "questions": "deleted",
}
KEPT_IN = {
    "classifiers": "created_by: who decided",
    "jobs": "requested_by: who decided",
    "promotions": "by: who decided",
    "label_changes": "by: who decided",
    "versions": "a report names examples by id, no text",
    "labels": "a name is the team's",
    "channel_defaults": "names nobody",
    "champions": "names nobody",
    "origins": "names nobody",
    "schedules": "names nobody",
    "state": "names nobody",
    "guild_settings": "names nobody",
    "opt_outs": "a wish about the future, which forgetting must not undo",
    "doomed_snapshots": "names nobody",
    "morning_news": "names nobody",
    "trials": "names texts by id",
}


async def schema(store: Store) -> list[tuple[Any, ...]]:
    return await store.db.read(
        lambda connection: [
            tuple(each)
            for each in rows(connection, "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name")
        ]
    )


async def count(store: Store, sql: str) -> int:
    return int(await store.db.read(lambda connection: value(connection, sql)))


async def test_every_table_is_accounted_for(store: Store) -> None:
    """Whoever adds a table says here whether it holds words of a person; if so, `storage.privacy` forgets them."""
    tables = {
        name
        for kind, name, *_ in await schema(store)
        if kind == "table" and not name.startswith(("sqlite_", "_sqlite"))
    }
    assert tables == {*FORGOTTEN_IN, *KEPT_IN}


async def test_the_schema_is_word_for_word_the_same_afterwards(store: Store, triage: Triage) -> None:
    await store.examples.add_label(GUILD, triage.id, "a", triage.bug.id, "ada", Source.COMMAND, 1.0)
    before = await schema(store)
    await store.privacy.forget(GUILD, "ada", {})
    assert await schema(store) == before
    await store.examples.add_label(GUILD, triage.id, "b", triage.bug.id, "maria", Source.COMMAND, 1.0)
    with pytest.raises(StorageError, match="append-only"):
        await store.db.write(lambda tables: tables.execute("DELETE FROM label_events"))


async def test_what_fails_half_way_has_deleted_nothing(
    store: Store, triage: Triage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.examples.add_label(GUILD, triage.id, "a", triage.bug.id, "ada", Source.COMMAND, 1.0)
    before = await schema(store)

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("planted")

    monkeypatch.setattr("storage.privacy._delete_texts", fail)
    with pytest.raises(StorageError):
        await store.privacy.forget(GUILD, "ada", {})
    assert await schema(store) == before
    assert await count(store, "SELECT count(*) FROM label_events") == 1


async def test_nothing_of_the_person_is_left_in_any_row(store: Store, triage: Triage) -> None:
    labelled = await store.examples.add_label(GUILD, triage.id, "walrus", triage.bug.id, "ada", Source.COMMAND, 1.0)
    await store.examples.retract(GUILD, labelled.event.id, "ada", 2.0)
    await store.examples.add_label(GUILD, triage.id, "walrus", triage.question.id, "ada", Source.COMMAND, 3.0)
    await store.examples.add_unlabelled(GUILD, triage.id, ["walrus waits"], "ada", Source.FILE, 1.0, batch="pool")
    await store.examples.remember_annotator(GUILD, "ada", "Walrus Ada")
    await store.examples.save_vectors(GUILD, "e", [(text_hash("walrus"), b"1234"), (text_hash("other"), b"1234")])
    asked = dataclasses.replace(make_prediction(triage), text="walrus?", asked_by="ada")
    await store.predictions.add(asked, 1, 0)
    await store.predictions.record_feedback(GUILD, "p1", "ada", True, labelled.event.id, 1.0)
    await everything_else(store, triage, labelled.example.id)
    erased = await store.privacy.forget(GUILD, "ada", {})
    assert (erased.texts, erased.label_events, erased.questions, erased.feedback) == (2, 4, 1, 1)
    left = await store.db.read(lambda connection: "\n".join(connection.iterdump()))
    assert "alrus" not in left
    assert "'ada'" not in left
    assert await count(store, "SELECT count(*) FROM vectors") == 1


async def everything_else(store: Store, triage: Triage, example_id: int) -> None:
    """What Ada does in the chat beside labelling and asking, and what a lead does about her labels."""
    waiting = await store.rounds.pool(GUILD, triage.id, 1)
    await store.rounds.create(Round("r1", GUILD, triage.id, "ada", 3, 1.0))
    await store.rounds.ask(GUILD, "r1", waiting[0].example_id, picked_by_model=False, now=1.0)
    await store.imports.keep(dataclasses.replace(waiting_import(triage, "t"), by="ada"), '[["walrus file", "bug"]]')
    await store.rules.add(GUILD, triage.id, triage.bug.id, "what crashes", example_id, "ada", 1.0)
    await store.pins.add(GUILD, triage.id, "walrus pinned", triage.bug.id, "ada", 1.0)
    await store.proposals.type(GUILD, triage.id, "animal", "walrus!", Source.COMMAND, "ada", 1.0)
    draft = await store.drafts.add(GUILD, triage.id, {"annotator": "ada", "since": 0.0}, "maria", 1.0)
    await store.reverts.confirm(GUILD, draft.id, "maria", 4.0)
    await store.examples.remove(GUILD, example_id, "ada", 5.0)


async def test_what_others_share_stays_without_the_person(store: Store, triage: Triage) -> None:
    await store.examples.add_label(GUILD, triage.id, "shared", triage.bug.id, "ada", Source.COMMAND, 1.0)
    await store.examples.add_label(GUILD, triage.id, "shared", triage.bug.id, "jonas", Source.COMMAND, 2.0)
    await store.examples.save_vectors(GUILD, "e", [(text_hash("shared"), b"1234")])
    await store.predictions.add(dataclasses.replace(make_prediction(triage), text="walrus?", asked_by="ada"), 1, 0)
    await store.predictions.record_feedback(GUILD, "p1", "jonas", False, None, 1.0)
    erased = await store.privacy.forget(GUILD, "ada", {})
    assert (erased.texts, erased.kept_texts) == (0, 1)
    example = await store.examples.find(GUILD, triage.id, "shared")
    assert example is not None
    assert example.submitted_by == "forgotten"
    assert await store.opinions.annotator_counts(GUILD, triage.id) == [("jonas", 1)]
    assert await count(store, "SELECT count(*) FROM vectors") == 1
    judged = await store.predictions.get(GUILD, "p1")
    assert (judged.text, judged.taught, judged.asked_by) == (None, None, "forgotten")
    assert await store.predictions.feedback_counts(GUILD, triage.id) == (0, 1)


async def test_a_label_that_a_lead_took_back_goes_with_what_took_it_back(store: Store, triage: Triage) -> None:
    made = await store.examples.add_label(GUILD, triage.id, "walrus", triage.bug.id, "ada", Source.COMMAND, 1.0)
    await store.db.write(
        lambda tables: (
            tables.execute(
                "INSERT INTO label_events (guild, classifier_id, example_id, annotator, kind, undoes, source, "
                "created_at) VALUES (?, ?, ?, 'lead', 'retraction', ?, 'command', 2)",
                (GUILD, triage.id, made.example.id, made.event.id),
            ).rowcount
        )
    )
    erased = await store.privacy.forget(GUILD, "ada", {})
    assert (erased.texts, erased.kept_texts, erased.label_events) == (1, 0, 2)
    assert await store.examples.find(GUILD, triage.id, "walrus") is None


async def test_an_answer_to_somebody_else_no_longer_quotes_the_text(store: Store, triage: Triage) -> None:
    made = await store.examples.add_label(GUILD, triage.id, "walrus", triage.bug.id, "ada", Source.COMMAND, 1.0)
    taught = LabelledText(made.example.id, "walrus", "bug", Split.TRAIN, Source.COMMAND)
    await store.predictions.add(dataclasses.replace(make_prediction(triage), asked_by="jonas", taught=taught), 1, 0)
    await store.privacy.forget(GUILD, "ada", {})
    assert (await store.predictions.get(GUILD, "p1")).taught is None


async def test_the_same_person_elsewhere_is_not_forgotten(store: Store, triage: Triage) -> None:
    other = await make_triage(store, "g2")
    for guild, place in ((GUILD, triage), ("g2", other)):
        await store.examples.add_label(guild, place.id, "same words", place.bug.id, "ada", Source.COMMAND, 1.0)
        await store.examples.save_vectors(guild, "e", [(text_hash("same words"), b"1234")])
    await store.privacy.forget(GUILD, "ada", {})
    assert (await store.privacy.holdings("g2", "ada")).label_events == 1
    assert await count(store, "SELECT count(*) FROM vectors WHERE guild = 'g2'") == 1


async def test_a_doomed_file_is_due_once_no_training_needs_it(store: Store, triage: Triage) -> None:
    made = await store.examples.add_label(GUILD, triage.id, "walrus", triage.bug.id, "ada", Source.COMMAND, 1.0)
    await store.jobs.create(make_job(triage.classifier, "j1", snapshot="s" * 64))
    held = {"s" * 64: frozenset({made.example.id}), "t" * 64: frozenset({made.example.id + 1})}
    erased = await store.privacy.forget(GUILD, "ada", held)
    assert erased.snapshots == erased.doomed == {"s" * 64}
    assert await store.privacy.forgotten_of(GUILD, "s" * 64) == 1
    assert await store.privacy.forgotten_of(GUILD, "t" * 64) == 0
    assert await store.privacy.doomed() == []
    await store.db.write(lambda tables: tables.execute("UPDATE jobs SET state = 'failed'"))
    assert await store.privacy.doomed() == [(GUILD, "s" * 64)]
    await store.privacy.is_deleted(GUILD, "s" * 64)
    assert await store.privacy.doomed() == []


async def test_questions_that_were_asked_and_imports_that_wait_are_told(store: Store, triage: Triage) -> None:
    await store.examples.add_unlabelled(GUILD, triage.id, ["waits"], "maria", Source.FILE, 1.0, batch="b")
    (text,) = await store.rounds.pool(GUILD, triage.id, 1)
    await store.rounds.create(Round("r", GUILD, triage.id, "ada", 3, 5.0))
    await store.rounds.ask(GUILD, "r", text.example_id, picked_by_model=False, now=6.0)
    await store.rounds.settle(GUILD, "r", 1, Outcome.UNSURE, None, 7.0)
    waiting = StoredImport(GUILD, "t", triage.id, "ada", Source.FILE, "texts.csv", 0, 8.0)
    await store.imports.keep(waiting, encode([("mine", "bug")]))
    held = await store.privacy.holdings(GUILD, "ada")
    assert (held.rounds, held.imports, held.since, held.anything) == (1, 1, 5.0, True)
    told = json.dumps(await store.privacy.everything(GUILD, "ada"))
    assert "waits" in told
    assert "unsure" in told
    assert "mine" in told


async def test_since_is_the_oldest_of_all_that_is_stored(store: Store, triage: Triage) -> None:
    await store.examples.add_label(GUILD, triage.id, "a", triage.bug.id, "ada", Source.COMMAND, 30.0)
    await store.predictions.add(dataclasses.replace(make_prediction(triage), asked_by="ada", created_at=20.0), 1, 0)
    held = await store.privacy.holdings(GUILD, "ada")
    assert (held.texts, held.label_events, held.questions, held.since) == (1, 1, 1, 20.0)
    assert (await store.privacy.holdings(GUILD, "maria")).decisions == 1


async def test_opting_out_is_remembered_for_one_person_in_one_guild(store: Store) -> None:
    await store.privacy.opt_out(GUILD, "ada", 1.0)
    await store.privacy.opt_out(GUILD, "ada", 2.0)
    assert await store.privacy.opt_outs() == {(GUILD, "ada")}
    await store.privacy.opt_in(GUILD, "ada")
    await store.privacy.opt_in(GUILD, "ada")
    assert await store.privacy.opt_outs() == set()


async def test_a_guild_is_greeted_once(store: Store) -> None:
    assert [await store.guilds.greet(guild, 1.0) for guild in (GUILD, GUILD, "g2")] == [True, False, True]


async def test_a_chat_message_goes_with_its_author_whoever_labelled_it(store: Store, triage: Triage) -> None:
    await store.examples.add_unlabelled(GUILD, triage.id, ["walrus said"], "ada", Source.MESSAGE, 1.0)
    for who in ("jonas", "maria"):
        await store.examples.add_label(GUILD, triage.id, "walrus said", triage.bug.id, who, Source.MESSAGE, 2.0)
    draft = await store.drafts.add(GUILD, triage.id, {"annotator": "jonas", "since": 0.0}, "maria", 1.0)
    await store.reverts.confirm(GUILD, draft.id, "maria", 4.0)
    await store.examples.add_label(GUILD, triage.id, "another", triage.bug.id, "jonas", Source.COMMAND, 5.0)
    erased = await store.privacy.forget(GUILD, "ada", {})
    assert (erased.texts, erased.kept_texts, erased.label_events) == (1, 0, 3)
    assert "alrus" not in await store.db.read(lambda connection: "\n".join(connection.iterdump()))
    assert [row.text for row in await store.examples.current(GUILD, triage.id)] == ["another"]
