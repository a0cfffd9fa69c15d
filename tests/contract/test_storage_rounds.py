"""The pool and the questions about it: one person at a time, nothing asked twice, nothing lost."""

from __future__ import annotations

import pytest

from storage.errors import NotFound
from storage.records import Outcome, Question, Round, Source, Split
from storage.rounds import HOLD, UNSURE_AT_MOST
from tests.contract.conftest import GUILD, Store, Triage
from tests.contract.test_storage_examples import take_out

TEXTS = ["one", "two", "three", "four"]


@pytest.fixture
async def pool(store: Store, triage: Triage) -> dict[str, int]:
    """Example ids by text."""
    await store.examples.add_unlabelled(GUILD, triage.id, TEXTS, "maria", Source.FILE, 1.0, batch="b")
    return {each.text: each.example_id for each in await store.rounds.pool(GUILD, triage.id, 10)}


async def begin(store: Store, triage: Triage, who: str, name: str | None = None) -> str:
    round = Round(name or f"of {who}", GUILD, triage.id, who, 3, 1.0)
    await store.rounds.create(round)
    return round.id


async def ask(store: Store, round_id: str, example_id: int, now: float = 10.0) -> Question | None:
    return await store.rounds.ask(GUILD, round_id, example_id, picked_by_model=True, now=now)


async def test_the_pool_is_always_in_the_same_order_and_ends_with_the_label(
    store: Store, triage: Triage, pool: dict[str, int]
) -> None:
    order = [each.text for each in await store.rounds.pool(GUILD, triage.id, 10)]
    assert sorted(order) == sorted(TEXTS)
    assert [each.text for each in await store.rounds.pool(GUILD, triage.id, 2)] == order[:2]
    await store.examples.add_label(GUILD, triage.id, "two", triage.bug.id, "ada", Source.COMMAND, 2.0)
    assert [each.text for each in await store.rounds.pool(GUILD, triage.id, 10)] == [
        text for text in order if text != "two"
    ]
    assert await store.rounds.waiting(GUILD, triage.id) == 3


async def test_a_text_is_asked_of_one_person_until_they_are_gone(
    store: Store, triage: Triage, pool: dict[str, int]
) -> None:
    ada, maria = await begin(store, triage, "ada"), await begin(store, triage, "maria")
    assert await ask(store, ada, pool["one"])
    assert await ask(store, maria, pool["one"]) is None
    assert await store.rounds.not_for(GUILD, triage.id, "maria", 11.0) == {pool["one"]}
    assert await store.rounds.not_for(GUILD, triage.id, "ada", 11.0) == set()
    assert await store.rounds.not_for(GUILD, triage.id, "maria", 10.0 + HOLD) == set()
    assert await ask(store, maria, pool["one"], 10.0 + HOLD)


async def test_there_is_one_open_question_and_the_next_gets_the_next_place(
    store: Store, triage: Triage, pool: dict[str, int]
) -> None:
    ada = await begin(store, triage, "ada")
    first = await ask(store, ada, pool["one"])
    assert first == await ask(store, ada, pool["two"])
    assert await store.rounds.settle(GUILD, ada, 1, Outcome.SKIPPED, None, 11.0)
    assert not await store.rounds.settle(GUILD, ada, 1, Outcome.UNSURE, None, 12.0)
    assert await ask(store, ada, pool["one"]) is None
    second = await ask(store, ada, pool["two"])
    assert second is not None
    assert (second.position, second.text, second.picked_by_model) == (2, "two", True)
    assert [each.outcome for each in await store.rounds.questions(GUILD, ada)] == [Outcome.SKIPPED, None]


async def test_what_somebody_passed_on_is_asked_of_others_until_two_could_not_tell(
    store: Store, triage: Triage, pool: dict[str, int]
) -> None:
    people = [f"person {number}" for number in range(UNSURE_AT_MOST)]
    for number, person in enumerate(people):
        assert pool["one"] not in await store.rounds.not_for(GUILD, triage.id, person, 20.0)
        round_id = await begin(store, triage, person)
        assert await ask(store, round_id, pool["one"], 20.0)
        await store.rounds.settle(GUILD, round_id, 1, Outcome.UNSURE, None, 21.0)
        assert pool["one"] in await store.rounds.not_for(GUILD, triage.id, person, 22.0 + number)
    assert pool["one"] in await store.rounds.not_for(GUILD, triage.id, "somebody else", 30.0)


async def test_a_question_opened_again_is_asked_again(store: Store, triage: Triage, pool: dict[str, int]) -> None:
    ada = await begin(store, triage, "ada")
    await ask(store, ada, pool["one"])
    assert not await store.rounds.reopen(GUILD, ada, 1, 11.0)
    await store.rounds.settle(GUILD, ada, 1, Outcome.LABELLED, 7, 11.0)
    assert await store.rounds.reopen(GUILD, ada, 1, 12.0)
    again = await ask(store, ada, pool["two"])
    assert again is not None
    assert (again.position, again.text, again.event_id) == (1, "one", None)


@pytest.mark.parametrize("by_model", [True, False])
async def test_a_text_whose_answer_was_taken_back_waits_again(store: Store, triage: Triage, by_model: bool) -> None:
    texts = [f"text {number}" for number in range(40)]
    await store.examples.add_unlabelled(GUILD, triage.id, texts, "maria", Source.FILE, 1.0, batch="b")
    kept = set()
    for each in await store.rounds.pool(GUILD, triage.id, 100):
        ada = await begin(store, triage, "ada", f"about {each.text}")
        question = await store.rounds.ask(GUILD, ada, each.example_id, picked_by_model=by_model, now=10.0)
        assert question is not None
        given = await store.examples.add_label(
            *(GUILD, triage.id, each.text, triage.bug.id, "ada", Source.COMMAND, 11.0), picked_by_model=by_model
        )
        if given.example.split is Split.GOLDEN:
            kept.add(each.example_id)
        await store.rounds.settle(GUILD, ada, question.position, Outcome.LABELLED, given.event.id, 12.0)
        assert await store.rounds.waiting(GUILD, triage.id) < len(texts)
        await store.examples.retract(GUILD, given.event.id, "ada", 13.0)
        other = await begin(store, triage, "eve", f"again about {each.text}")
        assert bool(await ask(store, other, each.example_id)) is (each.example_id not in kept)
    assert bool(kept) is not by_model
    again = {each.example_id for each in await store.rounds.pool(GUILD, triage.id, 100)}
    assert len(again) == await store.rounds.waiting(GUILD, triage.id) == len(texts) - len(kept)
    assert not again & kept, "the model may be what chooses it now"


async def test_a_label_without_a_question_is_taken_back_without_one(store: Store, triage: Triage) -> None:
    mine = await store.examples.add_label(GUILD, triage.id, "mine", triage.bug.id, "ada", Source.COMMAND, 1.0)
    await store.examples.retract(GUILD, mine.event.id, "ada", 2.0)
    assert await store.rounds.waiting(GUILD, triage.id) == 0


async def test_an_import_that_is_taken_back_takes_its_questions_along(
    store: Store, triage: Triage, pool: dict[str, int]
) -> None:
    ada = await begin(store, triage, "ada")
    await ask(store, ada, pool["one"])
    assert await take_out(store, GUILD, "b", "maria") == 4
    assert await store.rounds.questions(GUILD, ada) == []
    with pytest.raises(NotFound):
        await store.rounds.get(GUILD, "unknown")


@pytest.mark.parametrize("undone", [False, True])
async def test_a_place_whose_text_is_gone_is_not_given_again(
    store: Store, triage: Triage, pool: dict[str, int], undone: bool
) -> None:
    """A button on its card would label another text, which nobody was shown."""
    ada = await begin(store, triage, "ada")
    await ask(store, ada, pool["one"])
    if undone:
        await store.examples.add_unlabelled(GUILD, triage.id, ["five"], "maria", Source.FILE, 2.0)
        await take_out(store, GUILD, "b", "maria")
    else:
        await store.examples.remove(GUILD, pool["one"], "maria", 12.0)
    left = await store.rounds.pool(GUILD, triage.id, 1)
    question = await ask(store, ada, left[0].example_id)
    assert question is not None
    assert question.position == 2
    assert not await store.rounds.settle(GUILD, ada, 1, Outcome.SKIPPED, None, 13.0)


async def test_a_question_about_a_removed_text_is_not_opened_again(
    store: Store, triage: Triage, pool: dict[str, int]
) -> None:
    ada = await begin(store, triage, "ada")
    await ask(store, ada, pool["one"])
    await store.rounds.settle(GUILD, ada, 1, Outcome.SKIPPED, None, 11.0)
    await store.examples.remove(GUILD, pool["one"], "maria", 12.0)
    assert not await store.rounds.reopen(GUILD, ada, 1, 13.0)
    await store.examples.restore(GUILD, pool["one"], "maria", 14.0)
    assert await store.rounds.reopen(GUILD, ada, 1, 15.0)
