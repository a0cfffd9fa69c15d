"""Imports: kept until Apply, applied once, taken back as a whole; and examples that are removed and come back."""

from __future__ import annotations

import pytest

from storage.errors import NotFound
from storage.events import Vote
from storage.imports import StoredImport, TakenBack, decode, encode
from storage.records import Source, Split, text_hash
from tests.contract.conftest import GUILD, Store, Triage
from tests.contract.test_storage_examples import GOLDEN_TEXT, TRAIN_TEXT, now, say, take_out


def waiting_import(triage: Triage, token: str, created_at: float = 5.0) -> StoredImport:
    return StoredImport(GUILD, token, triage.id, "maria", Source.FILE, "texts.csv", 2, created_at)


def vote(triage: Triage, text: str, batch: str) -> Vote:
    at = (GUILD, triage.id, text, text_hash(text))
    return Vote(*at, triage.bug.id, "maria", Source.FILE, 6.0, batch=batch)


def test_rows_are_kept_as_they_are() -> None:
    rows = [("ünï \u2028 \U0001f600", "bug"), ("waits", None)]
    assert decode(encode(rows)) == rows


async def test_an_import_waits_is_applied_once_and_is_taken_back_once(store: Store, triage: Triage) -> None:
    await store.imports.keep(waiting_import(triage, "t"), "[]")
    assert await store.imports.get(GUILD, "t") == waiting_import(triage, "t")
    assert await store.imports.content(GUILD, "t") == "[]"
    assert await store.imports.undo(GUILD, "t", 7.0) is None
    pool = [("pooled", text_hash("pooled")), ("labelled later", text_hash("labelled later"))]
    for applied in (True, False):
        done = await store.imports.apply(GUILD, "t", [vote(triage, TRAIN_TEXT, "t")], pool, {"new": 1}, 8.0)
        assert done is applied
    assert await store.imports.content(GUILD, "t") is None
    assert (await store.imports.get(GUILD, "t")).result == {"new": 1}
    assert await now(store, triage) == "bug"
    await say(store, triage, "jonas", "question", "labelled later")
    hashes = [hash for _, hash in pool]
    for guild in (GUILD, "g2"):
        await store.examples.save_vectors(guild, "e", [(hash, b"1234") for hash in hashes])
    assert await store.imports.undo(GUILD, "t", 9.0) == TakenBack(labels=1, pool=1)
    assert await store.imports.undo(GUILD, "t", 9.0) is None
    assert (await store.imports.get(GUILD, "t")).undone_at is not None
    assert await now(store, triage) is None
    assert await now(store, triage, "labelled later") == "question"
    assert await store.examples.find(GUILD, triage.id, "pooled") is None
    assert (await store.examples.vectors(GUILD, "e", hashes)).keys() == {text_hash("labelled later")}
    assert len(await store.examples.vectors("g2", "e", hashes)) == 2, "another server's are its own"


async def test_labels_that_were_given_again_are_still_of_their_import(store: Store, triage: Triage) -> None:
    async def imported(token: str) -> int:
        """What came with it: ten labels. The id of a lead's revert of all of them."""
        await store.imports.keep(waiting_import(triage, token), "[]")
        votes = [vote(triage, f"{token} {number}", token) for number in range(10)]
        await store.imports.apply(GUILD, token, votes, [], {}, 6.0)
        draft = await store.drafts.add(GUILD, triage.id, {"annotator": "maria", "since": 0.0}, "lead", 7.0)
        return (await store.reverts.confirm(GUILD, draft.id, "lead", 8.0))[0].id

    first = await store.reverts.undo(GUILD, await imported("one"), "lead", 9.0)
    assert first is not None
    assert (first.labels, first.left) == (10, 0)
    assert await store.imports.undo(GUILD, "one", 10.0) == TakenBack(labels=10, pool=0)
    revert = await imported("two")
    assert await store.imports.undo(GUILD, "two", 10.0) == TakenBack(labels=0, pool=0)
    second = await store.reverts.undo(GUILD, revert, "lead", 11.0)
    assert second is not None
    assert (second.labels, second.left) == (0, 10), "who imported them has taken them back"


async def test_what_waits_too_long_is_swept_and_what_was_applied_stays(store: Store, triage: Triage) -> None:
    for token, created_at in (("old", 5.0), ("new", 50.0), ("applied", 5.0)):
        await store.imports.keep(waiting_import(triage, token, created_at), "[]")
    await store.imports.apply(GUILD, "applied", [], [], {}, 6.0)
    assert await store.imports.sweep(20.0) == 1
    with pytest.raises(NotFound):
        await store.imports.get(GUILD, "old")
    assert not await store.imports.drop(GUILD, "applied")
    assert await store.imports.drop(GUILD, "new")
    assert not await store.imports.drop(GUILD, "new")


async def test_a_failed_import_leaves_nothing(store: Store, triage: Triage) -> None:
    await store.imports.keep(waiting_import(triage, "t"), "[]")
    bad = Vote(GUILD, triage.id, "x", text_hash("x"), 999, "maria", Source.FILE, 6.0, batch="t")
    with pytest.raises(NotFound):
        await store.imports.apply(GUILD, "t", [vote(triage, TRAIN_TEXT, "t"), bad], [], {}, 8.0)
    assert (await store.imports.get(GUILD, "t")).result is None
    assert await store.examples.find(GUILD, triage.id, TRAIN_TEXT) is None


async def test_a_removed_example_counts_nowhere_until_it_is_restored(store: Store, triage: Triage) -> None:
    example = (await say(store, triage, "maria", "bug", GOLDEN_TEXT)).example
    assert await store.examples.remove(GUILD, example.id, "maria", 6.0)
    assert not await store.examples.remove(GUILD, example.id, "maria", 6.0)
    assert await store.examples.current(GUILD, triage.id) == []
    assert await store.listing.search(GUILD, triage.id, [], None, 0, 10) == ([], 0)
    assert await store.listing.whole(GUILD, triage.id) == []
    assert (await store.listing.known(GUILD, triage.id)).texts == {text_hash(GOLDEN_TEXT): None}
    assert await store.examples.restore(GUILD, example.id, "maria", 7.0)
    assert not await store.examples.restore(GUILD, example.id, "maria", 7.0)
    (row,) = await store.examples.current(GUILD, triage.id)
    assert (row.label, row.split) == ("bug", Split.GOLDEN)


async def test_labelling_brings_a_removed_example_back_also_with_the_label_it_had(store: Store, triage: Triage) -> None:
    example = (await say(store, triage, "maria", "bug")).example
    await store.examples.remove(GUILD, example.id, "maria", 6.0)
    await say(store, triage, "maria", "bug")
    assert await now(store, triage) == "bug"
    assert not await store.examples.restore(GUILD, example.id, "maria", 7.0)


async def test_a_label_taken_back_removes_the_text_again_that_it_brought_back(store: Store, triage: Triage) -> None:
    example = (await say(store, triage, "maria", "bug")).example
    await store.examples.remove(GUILD, example.id, "lead", 6.0)
    first = await say(store, triage, "jonas", "question")
    assert (first.came_back, await now(store, triage)) == (True, None)
    undone = await store.examples.retract(GUILD, first.event.id, "jonas", 7.0)
    assert undone is not None
    assert await store.examples.texts(GUILD, triage.id, [example.id]) == {}
    await store.examples.give_again(GUILD, undone.event.id, "jonas", 8.0)
    assert await store.examples.texts(GUILD, triage.id, [example.id]) == {example.id: TRAIN_TEXT}


async def test_a_text_that_came_back_stays_while_a_label_given_since_stands(store: Store, triage: Triage) -> None:
    example = (await say(store, triage, "maria", "bug")).example
    await store.examples.remove(GUILD, example.id, "lead", 6.0)
    again = await say(store, triage, "maria", "bug")
    other = await say(store, triage, "jonas", "bug")
    await store.examples.retract(GUILD, again.event.id, "maria", 7.0)
    assert await now(store, triage) == "bug"
    await store.examples.retract(GUILD, other.event.id, "jonas", 8.0)
    assert await now(store, triage) is None
    assert await store.examples.restore(GUILD, example.id, "lead", 9.0)
    last = await say(store, triage, "jonas", "bug")
    await store.examples.retract(GUILD, last.event.id, "jonas", 10.0)
    assert await now(store, triage) == "bug", "it was brought back as such"


async def test_an_undone_import_removes_the_texts_again_that_it_brought_back(store: Store, triage: Triage) -> None:
    example = (await say(store, triage, "jonas", "question")).example
    await store.examples.remove(GUILD, example.id, "lead", 6.0)
    await store.imports.keep(waiting_import(triage, "t"), "[]")
    await store.imports.apply(GUILD, "t", [vote(triage, TRAIN_TEXT, "t")], [], {}, 8.0)
    assert await store.examples.texts(GUILD, triage.id, [example.id]) == {example.id: TRAIN_TEXT}
    assert await store.imports.undo(GUILD, "t", 9.0) == TakenBack(labels=1, pool=0)
    assert await store.examples.current(GUILD, triage.id) == []


async def test_removing_and_coming_back_are_newer_than_every_event_before(store: Store, triage: Triage) -> None:
    first = await say(store, triage, "maria", "bug")
    newest = store.examples.newest_event
    await store.examples.remove(GUILD, first.example.id, "maria", 6.0)
    removed = await newest(GUILD, triage.id)
    assert removed > first.event.id
    (change,) = await store.examples.newest_changes(GUILD, triage.id, first.event.id, 9)
    assert (change.text, change.label, change.before) == (TRAIN_TEXT, None, first.event.id)
    assert await store.examples.changed_since(GUILD, triage.id, first.event.id) == 0
    assert await store.examples.lost_since(GUILD, triage.id, first.event.id) == 1
    assert await store.examples.lost_since(GUILD, triage.id, removed) == 0
    second = await say(store, triage, "maria", "bug", "another")
    assert second.event.id > removed, "no label event has the number of a removal"
    await store.examples.restore(GUILD, first.example.id, "maria", 7.0)
    (change,) = await store.examples.newest_changes(GUILD, triage.id, second.event.id, 9)
    assert (change.text, change.label, change.before) == (TRAIN_TEXT, "bug", 0)
    assert await store.examples.changed_since(GUILD, triage.id, second.event.id) == 1
    assert await store.examples.lost_since(GUILD, triage.id, first.event.id) == 0


async def test_a_removed_text_of_the_pool_can_be_removed_before_any_event(store: Store, triage: Triage) -> None:
    await store.examples.add_unlabelled(GUILD, triage.id, ["waits"], "maria", Source.FILE, 5.0, batch="b")
    example = await store.examples.find(GUILD, triage.id, "waits")
    assert example is not None
    assert await store.examples.remove(GUILD, example.id, "maria", 6.0)
    assert await store.examples.newest_changes(GUILD, triage.id, 0, 9) == []
    assert await take_out(store, GUILD, "b", "maria") == 1
    assert (await say(store, triage, "maria", "bug")).event.id > 1


async def test_a_search_takes_every_word_in_any_case_and_counts_what_it_does_not_show(
    store: Store, triage: Triage
) -> None:
    for number in range(5):
        await say(store, triage, "maria", "bug", f"Große Straße {number}")
    await say(store, triage, "maria", "question", "straße allein")
    found, total = await store.listing.search(GUILD, triage.id, ["strasse", "gro"], None, 3, 10)
    assert ([each.text for each in found], total) == (["Große Straße 1", "Große Straße 0"], 5)
    found, total = await store.listing.search(GUILD, triage.id, ["strasse"], triage.question, 0, 10)
    assert ([each.label for each in found], total) == (["question"], 1)


async def test_known_labels_are_those_under_which_texts_are_filed(store: Store, triage: Triage) -> None:
    old = await store.classifiers.add_label(GUILD, triage.id, "Defect")
    gone = await store.classifiers.add_label(GUILD, triage.id, "gone")
    for label, into in ((old, triage.bug.id), (gone, None)):
        values = (into, label.id)
        await store.db.write(
            lambda tables, values=values: tables.execute(
                "UPDATE labels SET archived = 1, merged_into = ? WHERE id = ?", values
            )
        )
    known = await store.listing.known(GUILD, triage.id)
    assert known.labels == {"bug": "bug", "question": "question", "defect": "bug"}
    assert known.archived == {"gone"}
