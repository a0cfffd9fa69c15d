"""Labels changed and put back, one person's labels reverted, undo of undo, the codebook, proposals."""

from __future__ import annotations

from typing import Any

import pytest

from storage.errors import Conflict, InvalidInput, NotFound, StorageError
from storage.label_changes import ChangeKind, LabelChange, WantedChange
from storage.proposals import REMINDED
from storage.records import EventKind, Label, Source
from storage.rows import rows
from tests.contract.conftest import GUILD, Store, Triage

BUG, QUESTION = "bug", "question"


async def change(
    store: Store, triage: Triage, kind: ChangeKind, label: Label, words: str = "", into: Label | None = None
) -> LabelChange:
    wanted = WantedChange(kind, label.id, words, into.id if into else None)
    draft = await store.drafts.add(GUILD, triage.id, wanted.as_draft(), "lead", 1.0)
    made, new = await store.label_changes.confirm(GUILD, draft.id, "lead", 2.0)
    assert new
    assert await store.label_changes.confirm(GUILD, draft.id, "lead", 3.0) == (made, False)
    return made


async def say(
    store: Store, triage: Triage, who: str, label: Label, text: str = "a text", now: float = 5.0, **options: Any
) -> Any:
    return await store.examples.add_label(GUILD, triage.id, text, label.id, who, Source.COMMAND, now, **options)


async def states(store: Store, triage: Triage) -> list[Label]:
    return await store.classifiers.every_label(GUILD, triage.id)


async def totals(store: Store, triage: Triage) -> dict[str, int]:
    return {count.label.name: count.total for count in await store.classifiers.label_counts(GUILD, triage.id)}


async def test_every_kind_of_change_is_put_back_exactly(store: Store, triage: Triage) -> None:
    idea = await store.classifiers.add_label(GUILD, triage.id, "idea")
    before = await states(store, triage)
    for kind, words, into in [
        (ChangeKind.RENAME, "Defect", None),
        (ChangeKind.DESCRIBE, "what is broken", None),
        (ChangeKind.ARCHIVE, "", None),
        (ChangeKind.MERGE, "", idea),
    ]:
        made = await change(store, triage, kind, triage.bug, words, into)
        assert await states(store, triage) != before
        undone = await store.label_changes.undo(GUILD, made.id, "lead", 4.0)
        assert undone is not None
        assert (undone.kind, undone.undoes, undone.after) == (ChangeKind.UNDO, made.id, made.before)
        assert await states(store, triage) == before
        assert await store.label_changes.undo(GUILD, made.id, "lead", 5.0) is None
    history = await store.label_changes.history(GUILD, triage.id)
    assert len(history) == 8
    assert history[0].id == await store.classifiers.newest_change(GUILD, triage.id)
    with pytest.raises(InvalidInput):
        await store.label_changes.undo(GUILD, history[0].id, "lead", 6.0)


async def test_merging_keeps_the_pointers_one_step_long_and_undo_restores_them(store: Store, triage: Triage) -> None:
    idea = await store.classifiers.add_label(GUILD, triage.id, "idea")
    await say(store, triage, "ada", idea)
    first = await change(store, triage, ChangeKind.MERGE, idea, into=triage.question)
    second = await change(store, triage, ChangeKind.MERGE, triage.question, into=triage.bug)
    assert [label.merged_into for label in await states(store, triage)] == [None, triage.bug.id, triage.bug.id]
    assert await totals(store, triage) == {BUG: 1}
    with pytest.raises(Conflict, match="changed again since"):
        await store.label_changes.undo(GUILD, first.id, "lead", 4.0)
    await store.label_changes.undo(GUILD, second.id, "lead", 4.0)
    assert [label.merged_into for label in await states(store, triage)] == [None, None, triage.question.id]
    assert await totals(store, triage) == {BUG: 0, QUESTION: 1}


@pytest.mark.parametrize("case", ["target merged", "a circle", "in use and merged", "another merged into it"])
async def test_an_old_change_is_not_undone_where_labels_would_count_for_nothing(
    store: Store, triage: Triage, case: str
) -> None:
    idea = await store.classifiers.add_label(GUILD, triage.id, "idea")
    for label in (triage.bug, triage.question, idea):
        await say(store, triage, "ada", label, f"about {label.name}")
    first = ChangeKind.ARCHIVE if case == "in use and merged" else ChangeKind.MERGE
    into = None if case == "in use and merged" else triage.question
    old = await change(store, triage, first, triage.bug, into=into)
    if case != "in use and merged":
        old = await change(store, triage, ChangeKind.RESTORE, triage.bug)
    else:
        await change(store, triage, ChangeKind.RESTORE, triage.bug)
    match case:
        case "target merged":
            await change(store, triage, ChangeKind.MERGE, triage.question, into=idea)
        case "a circle":
            await change(store, triage, ChangeKind.MERGE, triage.question, into=triage.bug)
        case "another merged into it":
            await change(store, triage, ChangeKind.MERGE, idea, into=triage.bug)
        case _:
            await change(store, triage, ChangeKind.MERGE, triage.bug, into=triage.question)
    before = await states(store, triage)
    with pytest.raises(Conflict, match="changed again since"):
        await store.label_changes.undo(GUILD, old.id, "lead", 4.0)
    assert await states(store, triage) == before
    assert sum((await totals(store, triage)).values()) == 3


@pytest.mark.parametrize("kind", [ChangeKind.RENAME, ChangeKind.ARCHIVE, ChangeKind.MERGE, ChangeKind.RESTORE])
async def test_a_change_that_makes_no_sense_is_refused_and_nothing_is_kept(
    store: Store, triage: Triage, kind: ChangeKind
) -> None:
    if kind is not ChangeKind.RESTORE:
        await change(store, triage, ChangeKind.ARCHIVE, triage.bug)
    before = await store.label_changes.history(GUILD, triage.id)
    with pytest.raises(Conflict):
        await store.label_changes.check(GUILD, triage.id, WantedChange(kind, triage.bug.id, "x", triage.question.id))
    assert await store.label_changes.history(GUILD, triage.id) == before


async def test_a_name_in_use_is_refused_also_an_archived_one(store: Store, triage: Triage) -> None:
    await change(store, triage, ChangeKind.ARCHIVE, triage.question)
    with pytest.raises(Conflict, match="/labels restore"):
        await store.label_changes.check(GUILD, triage.id, WantedChange(ChangeKind.RENAME, triage.bug.id, "QUESTION"))
    with pytest.raises(Conflict, match="archived"):
        await store.classifiers.add_label(GUILD, triage.id, "question")
    recased = await change(store, triage, ChangeKind.RENAME, triage.bug, "BUG")
    assert recased.after[triage.bug.id]["name"] == "BUG"


async def test_the_history_of_labels_is_append_only(store: Store, triage: Triage) -> None:
    await change(store, triage, ChangeKind.ARCHIVE, triage.bug)
    for sql in ("UPDATE label_changes SET by = 'x'", "DELETE FROM label_changes"):
        with pytest.raises(StorageError):
            await store.db.write(lambda tables, sql=sql: tables.execute(sql).rowcount)


async def test_a_rulings_undo_is_taken_back_as_a_ruling(store: Store, triage: Triage) -> None:
    given = await say(store, triage, "lead", triage.bug, kind=EventKind.RULING)
    taken = await store.examples.retract(GUILD, given.event.id, "lead", 6.0)
    assert taken is not None
    again, new = await store.examples.give_again(GUILD, taken.event.id, "lead", 7.0)
    assert (again.event.kind, again.label, new) == (EventKind.RULING, triage.bug, True)
    same, new = await store.examples.give_again(GUILD, taken.event.id, "lead", 8.0)
    assert (same.event, new) == (again.event, False)
    with pytest.raises(NotFound):
        await store.examples.give_again(GUILD, taken.event.id, "ada", 8.0)
    with pytest.raises(NotFound):
        await store.examples.give_again(GUILD, given.event.id, "lead", 8.0)


async def test_what_was_said_since_outranks_an_undo_that_is_taken_back(store: Store, triage: Triage) -> None:
    given = await say(store, triage, "ada", triage.bug)
    taken = await store.examples.retract(GUILD, given.event.id, "ada", 6.0)
    assert taken is not None
    await say(store, triage, "ada", triage.question)
    with pytest.raises(Conflict, match="something else"):
        await store.examples.give_again(GUILD, taken.event.id, "ada", 7.0)


async def test_a_ruling_that_is_given_again_does_not_outrank_a_later_one(store: Store, triage: Triage) -> None:
    first = await say(store, triage, "lead", triage.bug, kind=EventKind.RULING)
    draft = await store.drafts.add(GUILD, triage.id, {"annotator": "lead", "since": 0.0}, "eve", 7.0)
    await say(store, triage, "maria", triage.question, kind=EventKind.RULING)
    revert, _ = await store.reverts.confirm(GUILD, draft.id, "eve", 8.0)
    restored = await store.reverts.undo(GUILD, revert.id, "eve", 9.0)
    assert restored is not None
    assert (restored.labels, restored.left) == (0, 1)
    current = await store.examples.current_label(GUILD, first.example.id)
    assert current == triage.question
    own = await say(store, triage, "lead", triage.bug, "another", kind=EventKind.RULING)
    taken = await store.examples.retract(GUILD, own.event.id, "lead", 10.0)
    assert taken is not None
    await say(store, triage, "maria", triage.question, "another", kind=EventKind.RULING)
    with pytest.raises(Conflict, match="Another lead"):
        await store.examples.give_again(GUILD, taken.event.id, "lead", 11.0)


async def test_after_a_revert_the_database_is_sound(store: Store, triage: Triage) -> None:
    for text in ("one", "two"):
        await say(store, triage, "ada", triage.bug, text)
    draft = await store.drafts.add(GUILD, triage.id, {"annotator": "ada", "since": 0.0}, "lead", 7.0)
    revert, _ = await store.reverts.confirm(GUILD, draft.id, "lead", 8.0)
    assert revert.labels == 2
    for pragma in ("quick_check", "integrity_check"):
        found = await store.database.read(lambda connection, pragma=pragma: rows(connection, f"PRAGMA {pragma}"))
        assert [each[0] for each in found] == ["ok"]


async def test_the_preview_of_a_revert_leaves_out_what_counts_for_nothing(store: Store, triage: Triage) -> None:
    gone = await say(store, triage, "ada", triage.bug, "removed")
    await store.examples.remove(GUILD, gone.example.id, "lead", 6.0)
    await say(store, triage, "ada", triage.question, "of an archived label")
    await change(store, triage, ChangeKind.ARCHIVE, triage.question)
    preview = await store.reverts.preview(GUILD, triage.id, "ada", 0.0)
    assert (preview.labels, preview.changed) == (2, 0)
    newest = await store.examples.newest_event(GUILD, triage.id)
    await store.examples.retract(GUILD, gone.event.id, "ada", 7.0)
    assert await store.examples.lost_since(GUILD, triage.id, newest) == 0, "it had not been learned"


async def test_the_preview_of_a_revert_says_what_it_does(store: Store, triage: Triage) -> None:
    """Every text with what it was before and is afterwards, against the number that was told."""
    await say(store, triage, "ada", triage.bug, "too old", 4.0)
    for text in ("alone", "with another", "outvoted", "twice"):
        await say(store, triage, "ada", triage.bug, text)
    await say(store, triage, "ada", triage.question, "twice", 6.0)
    await say(store, triage, "jonas", triage.bug, "with another")
    for who in ("jonas", "maria"):
        await say(store, triage, who, triage.question, "outvoted")
    await say(store, triage, "ada", triage.bug, "ruled", kind=EventKind.RULING)
    await say(store, triage, "jonas", triage.bug, "ruled")
    before = {row.text: row.label for row in await store.examples.current(GUILD, triage.id)}
    preview = await store.reverts.preview(GUILD, triage.id, "ada", 5.0)
    draft = await store.drafts.add(GUILD, triage.id, {"annotator": "ada", "since": 5.0}, "lead", 7.0)
    revert, new = await store.reverts.confirm(GUILD, draft.id, "lead", 8.0)
    after = {row.text: row.label for row in await store.examples.current(GUILD, triage.id)}
    changed = {text for text in before if before[text] != after.get(text)}
    assert changed == {"alone", "twice"}
    assert (preview.labels, preview.texts, preview.changed) == (6, 5, len(changed))
    assert (revert.labels, revert.by, revert.undone, new) == (6, "lead", False, True)
    assert after["too old"] == BUG
    restored = await store.reverts.undo(GUILD, revert.id, "lead", 9.0)
    assert restored is not None
    assert (restored.labels, restored.left) == (6, 0)
    assert {row.text: row.label for row in await store.examples.current(GUILD, triage.id)} == before
    assert await store.reverts.undo(GUILD, revert.id, "lead", 9.0) is None
    assert (await store.reverts.get(GUILD, revert.id)).undone


async def test_a_reverted_person_cannot_take_the_leads_undo_back(store: Store, triage: Triage) -> None:
    await say(store, triage, "ada", triage.bug)
    draft = await store.drafts.add(GUILD, triage.id, {"annotator": "ada", "since": 0.0}, "lead", 7.0)
    await store.reverts.confirm(GUILD, draft.id, "lead", 8.0)
    newest = await store.writes.last_write(GUILD, "ada")
    assert newest is not None
    assert newest.kind is EventKind.VOTE
    with pytest.raises(NotFound):
        await store.examples.give_again(GUILD, newest.id + 1, "ada", 9.0)
    assert [(one.stands, one.by_lead, one.newest) for one in await store.writes.history(GUILD, "ada")] == [
        (False, True, True),
        (False, False, False),
    ]


async def test_opinions_are_shared_where_two_people_spoke_and_follow_merges_and_rulings(
    store: Store, triage: Triage
) -> None:
    await say(store, triage, "ada", triage.bug, "alone")
    await say(store, triage, "ada", triage.bug)
    await say(store, triage, "jonas", triage.question)
    shared = await store.opinions.shared(GUILD, triage.id)
    assert [(one.annotator, one.label_id, one.ruled) for one in shared] == [
        ("ada", triage.bug.id, False),
        ("jonas", triage.question.id, False),
    ]
    await change(store, triage, ChangeKind.MERGE, triage.question, into=triage.bug)
    await say(store, triage, "lead", triage.bug, kind=EventKind.RULING)
    shared = await store.opinions.shared(GUILD, triage.id)
    assert {(one.label_id, one.ruled) for one in shared} == {(triage.bug.id, True)}


async def test_rules_are_kept_once_removed_and_brought_back(store: Store, triage: Triage) -> None:
    example = (await say(store, triage, "ada", triage.question)).example.id
    at = (GUILD, triage.id, triage.question.id)
    rule = await store.rules.add(*at, " Who asks,\n asks. ", example, "lead", 1.0)
    assert rule.text == "Who asks, asks."
    assert await store.rules.add(*at, "WHO ASKS, asks.", None, "lead", 2.0) == rule
    for text in ("", " \n", "x" * 301):
        with pytest.raises(InvalidInput):
            await store.rules.add(*at, text, None, "lead", 2.0)
    assert await store.rules.remove(GUILD, rule.id, 3.0) == rule
    assert await store.rules.remove(GUILD, rule.id, 3.0) is None
    assert await store.rules.of(GUILD, triage.id) == []
    assert await store.rules.bring_back(GUILD, rule.id) == rule
    await change(store, triage, ChangeKind.MERGE, triage.question, into=triage.bug)
    assert [each.label_id for each in await store.rules.of(GUILD, triage.id)] == [triage.bug.id]


async def test_the_team_is_told_of_a_proposal_once_a_day(store: Store, triage: Triage) -> None:
    """Its message may have been deleted."""
    told = []
    for number, now in enumerate((0.0, 1000.0, REMINDED + 1001.0, REMINDED + 2000.0)):
        text = f"invoice {number}"
        typed = await store.proposals.type(GUILD, triage.id, "billing", text, Source.COMMAND, "ada", now)
        told.append((await store.proposals.propose(GUILD, typed.id))[1])
    assert told == [True, False, True, False]
    assert len(await store.proposals.proposed(GUILD, triage.id)) == 4


async def test_texts_for_the_same_new_label_are_one_proposal(store: Store, triage: Triage) -> None:
    async def typed(name: str, text: str, who: str) -> Any:
        return await store.proposals.type(GUILD, triage.id, name, text, Source.COMMAND, who, 1.0)

    first = await typed("Billing", "my invoice", "ada")
    assert (await typed("billing", "My  invoice", "ada")).id == first.id
    second = await typed("BILLING", "an invoice", "jonas")
    assert await store.proposals.propose(GUILD, first.id) == (await store.proposals.get(GUILD, first.id), True)
    assert (await store.proposals.propose(GUILD, first.id))[1] is False
    assert (await store.proposals.propose(GUILD, second.id))[1] is False
    assert [each.id for each in await store.proposals.waiting(GUILD, second.id)] == [first.id, second.id]
    await store.proposals.decide(GUILD, first.id, "declined", "lead")
    assert (await typed("billing", "my invoice", "ada")).state == "typed"
    assert (await typed("billing", "an invoice", "jonas")).state == "proposed"
