"""Pinned tests and trials: one pin per text, undone and redone, and labels that change beneath them."""

from __future__ import annotations

import dataclasses

import pytest

import storage.pins
from storage.errors import Conflict, InvalidInput, NotFound
from storage.records import ChangedAnswer, PinOutcome, Source, Trial
from tests.contract.conftest import GUILD, Store, Triage, make_triage
from tests.contract.test_storage_predictions import make_prediction


def make_trial(triage: Triage) -> Trial:
    outcomes = (PinOutcome(1, "question", 0.62, holds=False, held=True), PinOutcome(2, None, 0.0, False, False))
    return Trial(GUILD, triage.id, 1, "v0+3", outcomes, 9, (ChangedAnswer("p1", "bug", "question"),), 5.0)


async def pin(store: Store, triage: Triage, text: str = "it crashes", by: str = "maria") -> int:
    added, _ = await store.pins.add(GUILD, triage.id, text, triage.bug.id, by, 1.0)
    return added.id


async def test_a_pin_says_its_text_its_label_and_who_pinned_it(store: Store, triage: Triage) -> None:
    await store.examples.remember_annotator(GUILD, "maria", "Maria")
    await pin(store, triage, "  it crashes ")
    (found,) = await store.pins.list(GUILD, triage.id)
    assert (found.text, found.label, found.label_gone, found.name) == ("it crashes", "bug", False, "Maria")


async def test_a_pin_is_no_example(store: Store, triage: Triage) -> None:
    await pin(store, triage)
    assert await store.examples.find(GUILD, triage.id, "it crashes") is None
    assert await store.examples.current(GUILD, triage.id) == []


async def test_the_same_pin_again_is_the_one_that_is_there(store: Store, triage: Triage) -> None:
    first = await pin(store, triage)
    again, is_new = await store.pins.add(GUILD, triage.id, "It  CRASHES", triage.bug.id, "ada", 2.0)
    assert (again.id, again.pinned_by, is_new) == (first, "maria", False)


async def test_a_text_is_pinned_to_one_label_only(store: Store, triage: Triage) -> None:
    await pin(store, triage)
    with pytest.raises(Conflict, match="pinned to `bug` already, by maria"):
        await store.pins.add(GUILD, triage.id, "it crashes", triage.question.id, "ada", 2.0)


async def test_removing_and_putting_back_happen_once_each(store: Store, triage: Triage) -> None:
    number = await pin(store, triage)
    assert await store.pins.restore(GUILD, number) is None
    assert await store.pins.remove(GUILD, number, 2.0) is not None
    assert await store.pins.remove(GUILD, number, 3.0) is None
    assert await store.pins.list(GUILD, triage.id) == []
    assert (await store.pins.get(GUILD, number)).removed
    assert (await store.pins.some(GUILD, triage.id, [number, 99])).keys() == {number}
    assert await store.pins.restore(GUILD, number) is not None
    assert [found.id for found in await store.pins.list(GUILD, triage.id)] == [number]


async def test_a_text_that_was_pinned_anew_meanwhile_is_not_put_back(store: Store, triage: Triage) -> None:
    number = await pin(store, triage)
    await store.pins.remove(GUILD, number, 2.0)
    await store.pins.add(GUILD, triage.id, "it crashes", triage.question.id, "ada", 3.0)
    with pytest.raises(Conflict, match="pinned anew meanwhile, to `question`, by ada"):
        await store.pins.restore(GUILD, number)


async def test_there_are_only_so_many(store: Store, triage: Triage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.pins, "MOST_PINS", 1)
    number = await pin(store, triage)
    with pytest.raises(Conflict, match="as many as fit"):
        await pin(store, triage, "another")
    await store.pins.remove(GUILD, number, 2.0)
    await pin(store, triage, "another")
    with pytest.raises(Conflict, match="as many as fit"):
        await store.pins.restore(GUILD, number)


async def test_a_pin_follows_its_label_when_that_is_renamed_merged_or_archived(store: Store, triage: Triage) -> None:
    await pin(store, triage)
    await store.db.write(lambda tables: tables.execute("UPDATE labels SET name = 'fault' WHERE name = 'bug'").rowcount)
    assert [found.label for found in await store.pins.list(GUILD, triage.id)] == ["fault"]
    merge = f"UPDATE labels SET merged_into = {triage.question.id}, archived = 1 WHERE name = 'fault'"
    await store.db.write(lambda tables: tables.execute(merge).rowcount)
    assert [(found.label, found.label_gone) for found in await store.pins.list(GUILD, triage.id)] == [
        ("question", False)
    ]
    await store.db.write(lambda tables: tables.execute("UPDATE labels SET archived = 1").rowcount)
    assert [found.label_gone for found in await store.pins.list(GUILD, triage.id)] == [True]


async def test_what_cannot_be_stored_is_refused(store: Store, triage: Triage) -> None:
    for text in ("  ", "x" * 4001, "\0"):
        with pytest.raises(InvalidInput):
            await pin(store, triage, text)
    other = await make_triage(store, GUILD, "other")
    with pytest.raises(NotFound):
        await store.pins.add(GUILD, triage.id, "x", other.bug.id, "maria", 1.0)


async def test_a_trial_is_read_as_it_was_saved_and_a_later_one_replaces_it(store: Store, triage: Triage) -> None:
    trial = make_trial(triage)
    await store.trials.save(trial)
    assert await store.trials.get(GUILD, triage.id, 1) == trial
    assert trial.broken == 1
    later = dataclasses.replace(trial, pins=(), against="v3")
    await store.trials.save(later)
    assert await store.trials.get(GUILD, triage.id, 1) == later
    assert await store.trials.get(GUILD, triage.id, 2) is None


async def test_recent_questions_are_the_newest_with_a_text_each_text_once(store: Store, triage: Triage) -> None:
    asked = [("p1", "a", 10.0), ("p2", "b", 20.0), ("p3", "a", 30.0), ("p4", None, 40.0), ("p5", "old", 1.0)]
    for number, text, at in asked:
        prediction = dataclasses.replace(make_prediction(triage, number), text=text, created_at=at)
        await store.predictions.add(prediction, 0, 0)
    assert await store.predictions.recent_questions(GUILD, triage.id, 5.0, 9) == [("p3", "a"), ("p2", "b")]
    assert await store.predictions.recent_questions(GUILD, triage.id, 5.0, 1) == [("p3", "a")]
    assert await store.predictions.texts(GUILD, ["p2", "p4", "p9"]) == {"p2": ("jonas", "b")}


async def test_texts_of_removed_examples_are_not_read(store: Store, triage: Triage) -> None:
    for text in ("stays", "goes"):
        await store.examples.add_label(GUILD, triage.id, text, triage.bug.id, "maria", Source.COMMAND, 1.0)
    await store.db.write(lambda tables: tables.execute("UPDATE examples SET removed_at = 1 WHERE id = 2").rowcount)
    assert await store.examples.texts(GUILD, triage.id, [1, 2, 3]) == {1: "stays"}
