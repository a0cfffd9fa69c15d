"""Labels that a lead kept, and what each annotator says about an example, on a real database."""

from __future__ import annotations

import pytest

from storage.errors import NotFound
from storage.records import EventKind, Source
from tests.contract.conftest import GUILD, Store, Triage


async def labelled(store: Store, triage: Triage, text: str = "it crashes") -> int:
    given = await store.examples.add_label(GUILD, triage.id, text, triage.bug.id, "maria", Source.COMMAND, 5.0)
    return given.example.id


async def test_a_kept_label_is_kept_until_it_changes_or_is_forgotten(store: Store, triage: Triage) -> None:
    example = await labelled(store, triage)
    await store.kept.keep(GUILD, example, triage.bug.id, "maria", 6.0)
    await store.kept.keep(GUILD, example, triage.bug.id, "maria", 7.0)
    assert await store.kept.of(GUILD, triage.id) == {example}
    ruling = EventKind.RULING
    await store.examples.add_label(
        GUILD, triage.id, "it crashes", triage.question.id, "ada", Source.COMMAND, 8.0, kind=ruling
    )
    assert await store.kept.of(GUILD, triage.id) == frozenset()
    await store.kept.keep(GUILD, example, triage.question.id, "ada", 9.0)
    assert await store.kept.of(GUILD, triage.id) == {example}
    assert await store.kept.forget(GUILD, example)
    assert not await store.kept.forget(GUILD, example)
    assert await store.kept.of(GUILD, triage.id) == frozenset()


async def test_a_kept_label_that_was_merged_is_kept_as_what_it_became(store: Store, triage: Triage) -> None:
    example = await labelled(store, triage)
    await store.kept.keep(GUILD, example, triage.bug.id, "maria", 6.0)
    merge = ("UPDATE labels SET merged_into = ?, archived = 1 WHERE id = ?", (triage.question.id, triage.bug.id))
    await store.db.write(lambda tables: tables.execute(*merge).rowcount)
    assert await store.kept.of(GUILD, triage.id) == {example}


async def test_only_what_is_there_can_be_kept(store: Store, triage: Triage) -> None:
    example = await labelled(store, triage)
    with pytest.raises(NotFound):
        await store.kept.keep(GUILD, example + 1, triage.bug.id, "maria", 6.0)
    with pytest.raises(NotFound):
        await store.kept.keep(GUILD, example, triage.question.id + 1, "maria", 6.0)


async def test_opinions_say_who_says_what_since_when(store: Store, triage: Triage) -> None:
    first, second = await labelled(store, triage), await labelled(store, triage, "how do I")
    await store.examples.remember_annotator(GUILD, "maria", "Maria")
    await store.examples.add_label(GUILD, triage.id, "how do I", triage.question.id, "ada", Source.COMMAND, 6.0)
    found = await store.opinions.of(GUILD, triage.id, [second, first])
    assert [(said.example_id, said.name, said.label, said.created_at) for said in found] == [
        (first, "Maria", "bug", 5.0),
        (second, "Maria", "bug", 5.0),
        (second, "ada", "question", 6.0),
    ]
    assert await store.opinions.of(GUILD, triage.id, []) == []
    assert (await store.examples.get(GUILD, second)).text == "how do I"
