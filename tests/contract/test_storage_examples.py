"""Examples, label events and the current labels that follow from them."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import Conflict, InvalidInput, NotFound, StorageError
from storage.events import GOLDEN_LIMIT, falls_golden
from storage.records import MAX_TEXT, EventKind, LabelEvent, LabelledText, Source, Split, text_hash
from storage.removals import take_from_pool
from storage.undoing import take_back_batch
from tests.contract.conftest import GUILD, Store, Triage

GOLDEN_TEXT = next(text for text in (f"golden {n}" for n in range(1000)) if falls_golden(text_hash(text)))
TRAIN_TEXT = next(text for text in (f"train {n}" for n in range(1000)) if not falls_golden(text_hash(text)))


async def say(store: Store, triage: Triage, who: str, label: str, text: str = TRAIN_TEXT, **options: Any) -> Any:
    label_id = {"bug": triage.bug.id, "question": triage.question.id}[label]
    return await store.examples.add_label(GUILD, triage.id, text, label_id, who, Source.COMMAND, 5.0, **options)


async def now(store: Store, triage: Triage, text: str = TRAIN_TEXT) -> str | None:
    example = await store.examples.find(GUILD, triage.id, text)
    assert example is not None
    label = await store.examples.current_label(GUILD, example.id)
    return label.name if label else None


async def last_standing(store: Store, who: str) -> LabelEvent | None:
    """A person's newest vote or ruling that was not taken back."""
    history = await store.writes.history(GUILD, who, limit=10_000)
    return next((write.event for write in history if write.stands), None)


async def take_out(store: Store, guild: str, batch: str, by: str) -> int:
    return await store.db.write(lambda tables: take_from_pool(tables.conn, guild, batch, by))


async def test_a_label_is_stored_with_its_event_and_its_example(store: Store, triage: Triage) -> None:
    result = await say(store, triage, "maria", "bug", "  It crashes.\n")
    assert result.example.text == "It crashes."
    assert (result.event.annotator, result.event.kind, result.event.label_id) == (
        "maria",
        EventKind.VOTE,
        triage.bug.id,
    )
    assert (result.label, result.previous) == (triage.bug, None)
    assert await store.examples.event(GUILD, result.event.id) == result.event
    assert await store.examples.find(GUILD, triage.id, "IT  CRASHES.") == result.example
    assert await store.examples.find(GUILD, triage.id, "something else") is None
    assert await store.examples.newest_event(GUILD, triage.id) == result.event.id
    assert await store.examples.current(GUILD, triage.id) == [
        LabelledText(result.example.id, "It crashes.", "bug", result.example.split, Source.COMMAND)
    ]


async def test_the_same_vote_again_is_the_same_event(store: Store, triage: Triage) -> None:
    first = await say(store, triage, "maria", "bug")
    again = await say(store, triage, "maria", "bug", TRAIN_TEXT.upper())
    assert again.event == first.event
    assert again.previous == "bug"
    assert await store.examples.newest_event(GUILD, triage.id) == first.event.id


@pytest.mark.parametrize("text", ["", " \n\t", "x" * (MAX_TEXT + 1), "a\0b", "half \ud83d"])
async def test_a_text_that_cannot_be_kept_is_refused(store: Store, triage: Triage, text: str) -> None:
    with pytest.raises(InvalidInput):
        await say(store, triage, "maria", "bug", text)
    assert await store.examples.newest_event(GUILD, triage.id) == 0


async def test_the_longest_text_is_kept_whole(store: Store, triage: Triage) -> None:
    text = "👍" * MAX_TEXT
    assert (await say(store, triage, "maria", "bug", text)).example.text == text


async def test_an_unknown_label_stores_nothing(store: Store, triage: Triage) -> None:
    with pytest.raises(NotFound):
        await store.examples.add_label(GUILD, triage.id, "x", 999, "maria", Source.COMMAND, 1.0)
    assert await store.examples.find(GUILD, triage.id, "x") is None


@pytest.mark.parametrize(
    ("votes", "current"),
    [
        (["a:bug"], "bug"),
        (["a:bug", "a:question"], "question"),
        (["a:bug", "b:question"], None),
        (["a:bug", "b:question", "c:bug"], "bug"),
        (["a:bug", "b:bug", "b:question"], None),
        (["a:bug", "b:bug", "c:question!"], "question"),
        (["c:question!", "a:bug", "b:bug"], "question"),
        (["a:bug!", "b:question!"], "question"),
        (["a:bug!", "b:question!", "a:bug!"], "bug"),
        (["a:bug!", "a:question"], "bug"),
        (["a:bug", "a:-"], None),
        (["a:bug", "a:question", "a:-"], "bug"),
        (["a:bug", "b:question!", "b:-"], "bug"),
        (["a:bug", "b:question", "b:-"], "bug"),
        (["a:bug", "a:-", "a:question"], "question"),
    ],
)
async def test_the_current_label_follows_from_the_events(
    store: Store, triage: Triage, votes: list[str], current: str | None
) -> None:
    """ "a:bug" a vote, "a:bug!" a ruling, "a:-" undo of a's newest."""
    for vote in votes:
        who, _, label = vote.partition(":")
        if label == "-":
            event = await last_standing(store, who)
            assert event is not None
            await store.examples.retract(GUILD, event.id, who, 6.0)
        else:
            kind = EventKind.RULING if label.endswith("!") else EventKind.VOTE
            await say(store, triage, who, label.rstrip("!"), kind=kind)
    assert await now(store, triage) == current
    assert [row.label for row in await store.examples.current(GUILD, triage.id)] == ([current] if current else [])


async def test_without_more_than_half_there_is_no_label(store: Store, triage: Triage) -> None:
    third = await store.classifiers.add_label(GUILD, triage.id, "praise")
    for who, label_id in zip("abcd", [triage.bug.id, triage.bug.id, triage.question.id, third.id], strict=True):
        await store.examples.add_label(GUILD, triage.id, TRAIN_TEXT, label_id, who, Source.COMMAND, 1.0)
    assert await now(store, triage) is None


async def test_a_ruling_on_what_one_voted_is_written(store: Store, triage: Triage) -> None:
    await say(store, triage, "maria", "bug")
    ruling = await say(store, triage, "maria", "bug", kind=EventKind.RULING)
    assert ruling.event.kind is EventKind.RULING
    assert (await say(store, triage, "maria", "bug")).event == ruling.event


async def test_a_leads_vote_is_a_ruling_where_one_stands(store: Store, triage: Triage) -> None:
    vote = await say(store, triage, "maria", "bug", by_lead=True)
    assert (vote.event.kind, vote.ruled) == (EventKind.VOTE, None)
    ruling = await say(store, triage, "jonas", "question", kind=EventKind.RULING)
    lost = await say(store, triage, "ada", "bug")
    assert (lost.event.kind, lost.ruled) == (EventKind.VOTE, triage.question)
    settled = await say(store, triage, "maria", "bug", by_lead=True)
    assert (settled.event.kind, settled.previous, settled.ruled) == (EventKind.RULING, "question", triage.bug)
    assert await now(store, triage) == "bug"
    for who, event in (("maria", settled.event), ("jonas", ruling.event)):
        await store.examples.retract(GUILD, event.id, who, 6.0)
    assert (await say(store, triage, "jonas", "question", by_lead=True)).event.kind is EventKind.VOTE


async def test_the_newest_changes_are_told_with_what_was_before_them(store: Store, triage: Triage) -> None:
    old = await say(store, triage, "maria", "bug", "train old")
    since = (await say(store, triage, "maria", "bug", "train kept")).event.id
    await say(store, triage, "jonas", "question", "train new")
    await say(store, triage, "maria", "question", "train old")
    gone = await say(store, triage, "maria", "bug", "train gone")
    await store.examples.retract(GUILD, gone.event.id, "maria", 6.0)
    changes = await store.examples.newest_changes(GUILD, triage.id, since, 9)
    assert [(change.text, change.label, change.before) for change in changes] == [
        ("train gone", None, 0),
        ("train old", "question", old.event.id),
        ("train new", "question", 0),
    ]
    assert [change.split for change in changes] == [
        Split.GOLDEN if falls_golden(text_hash(change.text)) else Split.TRAIN for change in changes
    ]
    assert await store.examples.newest_changes(GUILD, triage.id, since, 2) == changes[:2]
    assert await store.examples.newest_changes("another", triage.id, since, 9) == []
    newest = await store.examples.newest_event(GUILD, triage.id)
    assert await store.examples.newest_changes(GUILD, triage.id, newest, 9) == []
    assert await store.examples.changed_since(GUILD, triage.id, since) == 2
    assert await store.examples.changed_since(GUILD, triage.id, since, since + 1) == 1


async def test_an_archived_label_is_nobodys_current_label(store: Store, triage: Triage) -> None:
    await say(store, triage, "maria", "bug")
    await store.db.write(lambda tables: tables.execute("UPDATE labels SET archived = 1 WHERE name = 'bug'").rowcount)
    assert await store.examples.current(GUILD, triage.id) == []


OPERATIONS = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["bug", "question", "bug!", "question!", "-"])), max_size=12
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS)
async def test_the_view_agrees_with_the_rule_written_in_python(
    store: Store, triage: Triage, operations: list[tuple[str, str]]
) -> None:
    text = f"{TRAIN_TEXT} {await store.examples.newest_event(GUILD, triage.id)} {len(operations)}"
    standing: list[tuple[str, str, bool]] = []
    for who, what in [("z", "bug"), *operations]:
        label, ruling = what.rstrip("!"), what.endswith("!")
        mine = [place for place, event in enumerate(standing) if event[0] == who]
        if what == "-":
            if mine:
                event = await last_standing(store, who)
                assert event is not None
                await store.examples.retract(GUILD, event.id, who, 6.0)
                del standing[mine[-1]]
            continue
        await say(store, triage, who, label, text, kind=EventKind.RULING if ruling else EventKind.VOTE)
        newest = max((place for place, event in enumerate(standing) if event[2]), default=-1)
        if not mine or standing[mine[-1]][1] != label or (ruling and mine[-1] != newest):
            standing.append((who, label, ruling))
    assert await now(store, triage, text) == expected(standing)
    for who in "abc":  # the next round begins with nothing to undo
        while event := await last_standing(store, who):
            await store.examples.retract(GUILD, event.id, who, 7.0)


def expected(standing: list[tuple[str, str, bool]]) -> str | None:
    rulings = [label for _, label, ruling in standing if ruling]
    if rulings:
        return rulings[-1]
    opinions = list({who: label for who, label, _ in standing}.values())
    return next((label for label in set(opinions) if 2 * opinions.count(label) > len(opinions)), None)


async def test_undo_tells_what_it_took_back_and_happens_once(store: Store, triage: Triage) -> None:
    await say(store, triage, "maria", "bug")
    second = await say(store, triage, "maria", "question")
    undone = await store.examples.retract(GUILD, second.event.id, "maria", 6.0)
    assert undone is not None
    assert (undone.label, undone.previous, undone.event.undoes) == (triage.question, "question", second.event.id)
    assert await now(store, triage) == "bug"
    assert await store.examples.retract(GUILD, second.event.id, "maria", 7.0) is None
    with pytest.raises(InvalidInput):
        await store.examples.retract(GUILD, undone.event.id, "maria", 8.0)


async def test_nobody_takes_back_what_another_said(store: Store, triage: Triage) -> None:
    result = await say(store, triage, "maria", "bug")
    with pytest.raises(NotFound):
        await store.examples.retract(GUILD, result.event.id, "jonas", 6.0)
    assert await now(store, triage) == "bug"


async def test_the_split_is_given_once_and_kept(store: Store, triage: Triage) -> None:
    golden = await say(store, triage, "maria", "bug", GOLDEN_TEXT)
    assert golden.example.split is Split.GOLDEN
    assert (await say(store, triage, "maria", "bug")).example.split is Split.TRAIN
    await store.examples.retract(GUILD, golden.event.id, "maria", 6.0)
    again = await say(store, triage, "ada", "question", GOLDEN_TEXT, picked_by_model=True)
    assert again.example.split is Split.GOLDEN


async def test_what_the_model_picked_is_never_golden(store: Store, triage: Triage) -> None:
    result = await say(store, triage, "maria", "bug", GOLDEN_TEXT, picked_by_model=True)
    assert result.example.split is Split.TRAIN


async def test_the_golden_set_stops_growing(store: Store, triage: Triage) -> None:
    texts = [text for text in (f"t {n}" for n in range(3000)) if falls_golden(text_hash(text))]
    rows = [(text, triage.bug.id) for text in texts[: GOLDEN_LIMIT + 20]]
    await store.examples.add_many(GUILD, triage.id, rows, "maria", Source.FILE, "b", 1.0)
    assert (await store.classifiers.label_counts(GUILD, triage.id))[0].golden == GOLDEN_LIMIT
    assert not await store.rounds.wants_golden(GUILD, triage.id)


async def test_a_file_sorted_by_label_has_golden_texts_of_all_labels(store: Store, triage: Triage) -> None:
    texts = [text for text in (f"t {n}" for n in range(5000)) if falls_golden(text_hash(text))][: 3 * GOLDEN_LIMIT]
    half = len(texts) // 2
    rows = [(text, (triage.bug if n < half else triage.question).id) for n, text in enumerate(texts)]
    await store.examples.add_many(GUILD, triage.id, rows, "maria", Source.FILE, "b", 1.0)
    bug, question = (await store.classifiers.label_counts(GUILD, triage.id))[:2]
    assert bug.golden + question.golden == GOLDEN_LIMIT
    assert min(bug.golden, question.golden) > GOLDEN_LIMIT / 4


async def test_golden_texts_that_count_no_more_make_room(store: Store, triage: Triage) -> None:
    """Else a wrong import that is undone, or a vandal, would leave a classifier without golden texts for ever."""
    texts = [text for text in (f"t {n}" for n in range(3000)) if falls_golden(text_hash(text))]
    wrong, right = texts[:GOLDEN_LIMIT], texts[GOLDEN_LIMIT : GOLDEN_LIMIT + 5]
    events = [(await say(store, triage, "vandal", "bug", text)).event.id for text in wrong]
    assert (await say(store, triage, "maria", "bug", right[0])).example.split is Split.TRAIN
    await store.examples.retract(GUILD, events[0], "vandal", 6.0)
    removed = (await say(store, triage, "maria", "bug", wrong[1])).example.id
    await store.examples.remove(GUILD, removed, "maria", 7.0)
    assert await store.rounds.wants_golden(GUILD, triage.id)
    rows = [(text, triage.bug.id) for text in right]
    await store.examples.add_many(GUILD, triage.id, rows, "maria", Source.FILE, "b", 8.0)
    splits = [(await say(store, triage, "ada", "bug", text)).example.split for text in right]
    assert splits[0] is Split.TRAIN, "given once and for all"
    assert splits[1:].count(Split.GOLDEN) == 2
    assert not await store.rounds.wants_golden(GUILD, triage.id)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE label_events SET annotator = 'x'",
        "DELETE FROM label_events",
        "UPDATE examples SET split = 'golden'",
        "UPDATE examples SET text = 'other'",
        "DELETE FROM examples",
        "INSERT OR REPLACE INTO label_events (id, guild, classifier_id, example_id, annotator, kind, label_id, source, "
        "created_at) SELECT id, guild, classifier_id, example_id, 'x', kind, label_id, source, 0 FROM label_events",
    ],
)
async def test_the_tables_refuse_to_forget(store: Store, triage: Triage, statement: str) -> None:
    event = (await say(store, triage, "maria", "bug")).event
    with pytest.raises(StorageError) as refusal:
        await store.db.write(lambda tables: tables.execute(statement).rowcount)
    assert isinstance(refusal.value.__cause__, sqlite3.IntegrityError)
    assert await store.examples.event(GUILD, event.id) == event


async def test_an_import_counts_what_it_did_and_can_be_undone(store: Store, triage: Triage) -> None:
    await say(store, triage, "maria", "bug", "known and said")
    await say(store, triage, "ada", "bug", "known from ada")
    rows = [
        ("known and said", triage.bug.id),
        ("known from ada", triage.question.id),
        ("new", triage.bug.id),
        ("NEW ", triage.question.id),
    ]
    result = await store.examples.add_many(GUILD, triage.id, rows, "maria", Source.FILE, "b1", 9.0)
    assert (result.new, result.votes, result.unchanged) == (1, 3, 1)
    assert await now(store, triage, "new") == "question"
    for who, taken_back in (("ada", 0), ("maria", 3), ("maria", 0)):
        undo = partial(take_back_batch, guild=GUILD, batch="b1", annotator=who, now=10.0)
        assert await store.db.write(lambda tables, undo=undo: undo(tables.conn)) == taken_back
    assert await now(store, triage, "new") is None
    assert await now(store, triage, "known and said") == "bug"


async def test_an_import_is_all_or_nothing(store: Store, triage: Triage) -> None:
    rows = [("good", triage.bug.id), ("", triage.bug.id)]
    with pytest.raises(InvalidInput, match="Row 2"):
        await store.examples.add_many(GUILD, triage.id, rows, "maria", Source.FILE, "b", 1.0)
    rows = [("good", triage.bug.id), ("also good", 999)]
    with pytest.raises(NotFound):
        await store.examples.add_many(GUILD, triage.id, rows, "maria", Source.FILE, "b", 1.0)
    assert await store.examples.newest_event(GUILD, triage.id) == 0
    assert (await store.examples.add_many(GUILD, triage.id, [], "maria", Source.FILE, "b", 1.0)).votes == 0


async def test_changed_since_counts_examples_not_events(store: Store, triage: Triage) -> None:
    first = await say(store, triage, "maria", "bug", "one")
    await say(store, triage, "maria", "bug", "two")
    await say(store, triage, "jonas", "bug", "two")
    tie = await say(store, triage, "maria", "bug", "three")
    await say(store, triage, "jonas", "question", "three")
    assert await store.examples.changed_since(GUILD, triage.id, 0) == 2
    assert await store.examples.changed_since(GUILD, triage.id, first.event.id) == 1
    assert await store.examples.changed_since(GUILD, triage.id, tie.event.id + 1) == 0


async def test_the_newest_event_of_an_example_may_be_its_removal_or_return(store: Store, triage: Triage) -> None:
    first = await say(store, triage, "maria", "bug", "one")
    second = await say(store, triage, "maria", "bug", "two")
    await say(store, triage, "jonas", "question", "one")
    at, ids = (GUILD, triage.id), (first.example.id, second.example.id)
    newest = await store.examples.newest_event(*at)
    assert await store.examples.newest_events(*at) == {ids[0]: newest, ids[1]: second.event.id}
    await store.examples.remove(GUILD, second.example.id, "maria", 6.0)
    newest_of_all = await store.examples.newest_event(*at)
    assert await store.examples.newest_events(*at) == {ids[0]: newest, ids[1]: newest_of_all}


async def test_lost_since_counts_texts_that_had_a_label_and_have_none(store: Store, triage: Triage) -> None:
    at = (GUILD, triage.id)
    taken_back = await say(store, triage, "maria", "bug", "taken back")
    await say(store, triage, "maria", "bug", "disputed")
    removed = await say(store, triage, "maria", "bug", "removed")
    put_right = await say(store, triage, "maria", "bug", "put right")
    long_gone = await say(store, triage, "maria", "bug", "long gone")
    await store.examples.retract(GUILD, long_gone.event.id, "maria", 6.0)
    await say(store, triage, "maria", "bug", "untouched")
    since = await store.examples.newest_event(*at)
    assert await store.examples.lost_since(*at, since) == 0
    await store.examples.retract(GUILD, taken_back.event.id, "maria", 7.0)
    await say(store, triage, "jonas", "question", "disputed")
    until = await store.examples.newest_event(*at)
    await store.examples.remove(GUILD, removed.example.id, "maria", 7.0)
    await say(store, triage, "maria", "question", "put right")
    for text in ("long gone", "new"):
        again = await say(store, triage, "maria", "bug", text)
        await store.examples.retract(GUILD, again.event.id, "maria", 8.0)
    assert await store.examples.lost_since(*at, since) == 3
    assert await store.examples.lost_since(*at, since, until) == 2
    assert await store.examples.lost_since(*at, 0) == 0
    assert await store.examples.changed_since(*at, since) == 1, put_right.example.text


async def test_history_and_annotators(store: Store, triage: Triage) -> None:
    first = await say(store, triage, "maria", "bug", "one")
    await store.examples.retract(GUILD, first.event.id, "maria", 6.0)
    await say(store, triage, "jonas", "bug", "two")
    history = await store.writes.history(GUILD, "maria", triage.id)
    assert [(one.event.kind, one.text, one.label) for one in history] == [
        (EventKind.RETRACTION, "one", "bug"),
        (EventKind.VOTE, "one", "bug"),
    ]
    await store.examples.remember_annotator(GUILD, "maria", "Maria")
    await store.examples.remember_annotator(GUILD, "maria", "Maria M.")
    assert await store.examples.annotator_names(GUILD) == {"maria": "Maria M."}
    assert await store.opinions.annotator_counts(GUILD, triage.id) == [("jonas", 1)]


async def test_vectors_are_cached_by_encoder_and_hash(store: Store) -> None:
    hashes = [text_hash(f"text {number}") for number in range(40_000)]
    await store.examples.save_vectors(GUILD, "e1", [(hashes[0], b"1234"), (hashes[1], b"5678")])
    await store.examples.save_vectors(GUILD, "e1", [(hashes[0], b"abcd")])
    assert await store.examples.vectors(GUILD, "e1", hashes) == {hashes[0]: b"abcd", hashes[1]: b"5678"}
    assert await store.examples.vectors(GUILD, "e2", hashes) == {}


async def test_unlabelled_texts_wait_in_the_pool_until_labelled_or_taken_out(store: Store, triage: Triage) -> None:
    at = (GUILD, triage.id)
    await say(store, triage, "maria", "bug", "known")
    added = await store.examples.add_unlabelled(
        *at, ["Known", "one", "One ", "two"], "ada", Source.FILE, 5.0, batch="b"
    )
    assert added == 2
    waiting = await store.examples.find(*at, "one")
    assert waiting is not None
    assert waiting.split is None
    await say(store, triage, "maria", "bug", "one")
    assert await take_out(store, GUILD, "b", "maria") == 0
    assert await take_out(store, "other", "b", "ada") == 0
    assert await take_out(store, GUILD, "b", "ada") == 1
    assert await store.examples.find(*at, "two") is None
    assert {row.text for row in await store.examples.current(*at)} == {"known", "one"}
    with pytest.raises(InvalidInput):
        await store.examples.add_unlabelled(*at, ["three", " "], "ada", Source.FILE, 6.0)
    assert await store.examples.find(*at, "three") is None


@pytest.mark.parametrize("captured", [False, True])
async def test_chat_messages_are_learned_from_only_while_they_are_captured(
    store: Store, triage: Triage, captured: bool
) -> None:
    store = Store.over(store.db, captured=captured)
    at = (GUILD, triage.id)
    for text, source in (("typed", Source.COMMAND), ("said", Source.MESSAGE)):
        await store.examples.add_label(*at, text, triage.bug.id, "maria", source, 1.0)
        await store.examples.add_unlabelled(*at, [f"{text} too"], "maria", source, 1.0)
    count = 2 if captured else 1
    assert len(await store.examples.current(*at)) == count
    assert len(await store.examples.newest_changes(*at, 0, 9)) == count
    assert [change.text for change in await store.examples.newest_changes(*at, 0, 1)] == [
        "said" if captured else "typed"
    ]
    assert await store.examples.changed_since(*at, 0) == count
    since = await store.examples.newest_event(*at)
    for write in await store.writes.history(GUILD, "maria", triage.id):
        await store.examples.retract(GUILD, write.event.id, "maria", 2.0)
    assert await store.examples.lost_since(*at, since) == count
    for write in await store.writes.history(GUILD, "maria", triage.id):
        if write.event.undoes is not None:
            await store.examples.give_again(GUILD, write.event.id, "maria", 3.0)
    assert sum(label.total for label in await store.classifiers.label_counts(*at)) == count
    assert len(await store.rounds.pool(*at, 9)) == await store.rounds.waiting(*at) == count
    assert await now(store, triage, "said") == "bug", "people see it all the same"
    assert (await store.listing.search(*at, ["said"], None, 0, 9))[1] == 2


async def test_of_two_rulings_at_once_that_expect_no_label_one_is_refused(store: Store, triage: Triage) -> None:
    await say(store, triage, "ada", "bug")
    await say(store, triage, "jonas", "question")
    rulings = [
        say(store, triage, who, label, kind=EventKind.RULING, only_from={None, label_id})
        for who, label, label_id in (("maria", "bug", triage.bug.id), ("lea", "question", triage.question.id))
    ]
    first, second = await asyncio.gather(*rulings, return_exceptions=True)
    assert first.label == triage.bug
    assert isinstance(second, Conflict)
    assert await now(store, triage) == "bug"
    again = await say(store, triage, "maria", "bug", kind=EventKind.RULING, only_from={None, triage.bug.id})
    assert again.event == first.event
