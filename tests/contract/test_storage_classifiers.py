"""Classifiers and labels."""

from __future__ import annotations

import pytest

from storage.errors import Conflict, InvalidInput, NotFound
from storage.records import ClassifierSettings, Source
from tests.contract.conftest import GUILD, Store, Triage


async def test_a_classifier_is_found_by_name_in_any_case_and_by_id(store: Store, triage: Triage) -> None:
    assert await store.classifiers.get(GUILD, " TRIAGE ") == triage.classifier
    assert await store.classifiers.by_id(GUILD, triage.id) == triage.classifier
    assert await store.classifiers.list(GUILD) == [triage.classifier]
    assert await store.classifiers.list() == [triage.classifier]


async def test_a_name_is_taken_once(store: Store, triage: Triage) -> None:
    with pytest.raises(Conflict, match="triage"):
        await store.classifiers.create(GUILD, "Triage", "ada", "base", 2.0)


@pytest.mark.parametrize("name", ["", "-x", "a b", "ä", "x" * 33, "a/b", "a\n"])
async def test_a_bad_classifier_name_is_refused(store: Store, name: str) -> None:
    if name == "a\n":
        assert (await store.classifiers.create(GUILD, name, "maria", "base", 1.0)).name == "a"
        return
    with pytest.raises(InvalidInput):
        await store.classifiers.create(GUILD, name, "maria", "base", 1.0)


async def test_not_found_names_what_there_is(store: Store, triage: Triage) -> None:
    with pytest.raises(NotFound, match="triage"):
        await store.classifiers.get(GUILD, "other")
    with pytest.raises(NotFound, match="create one"):
        await store.classifiers.get("empty guild", "other")


async def test_settings_are_kept_and_unknown_ones_ignored(store: Store, triage: Triage) -> None:
    wanted = ClassifierSettings(precision=0.95, team_channel="7")
    await store.classifiers.save_settings(GUILD, triage.id, precision=0.95)
    saved = await store.classifiers.save_settings(GUILD, triage.id, team_channel="7")
    assert saved.settings == (await store.classifiers.by_id(GUILD, triage.id)).settings == wanted
    older = "UPDATE classifiers SET settings = '{\"abstain_below\": 1}'"
    await store.db.write(lambda tables: tables.execute(older).rowcount)
    assert (await store.classifiers.by_id(GUILD, triage.id)).settings == ClassifierSettings()


async def test_labels_come_in_the_order_of_their_creation(store: Store, triage: Triage) -> None:
    assert await store.classifiers.labels(GUILD, triage.id) == [triage.bug, triage.question]
    assert (triage.bug.position, triage.question.position) == (0, 1)
    assert triage.question.description == "people who ask"


@pytest.mark.parametrize("name", ["BUG", " bug ", "ｂｕｇ"])
async def test_a_label_is_one_up_to_case_width_and_space(store: Store, triage: Triage, name: str) -> None:
    with pytest.raises(Conflict, match="bug"):
        await store.classifiers.add_label(GUILD, triage.id, name)


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\nb", "a\x00b", "a`b", "@everyone", "a\u202eb", "a\ud800b"])
async def test_a_label_that_would_break_a_message_is_refused(store: Store, triage: Triage, name: str) -> None:
    with pytest.raises(InvalidInput):
        await store.classifiers.add_label(GUILD, triage.id, name)


async def test_counts_are_by_split_and_by_current_label(store: Store, triage: Triage) -> None:
    rows = [(f"text {number}", triage.bug.id) for number in range(200)]
    await store.examples.add_many(GUILD, triage.id, rows, "maria", Source.FILE, "b", 1.0)
    bug, question = await store.classifiers.label_counts(GUILD, triage.id)
    assert (bug.total, question.total) == (200, 0)
    assert 5 <= bug.golden <= 40  # a tenth, by a hash


async def test_a_channel_remembers_its_classifier(store: Store, triage: Triage) -> None:
    assert await store.classifiers.channel_default(GUILD, "10") is None
    await store.classifiers.set_channel_default(GUILD, "10", triage.id)
    other = await store.classifiers.create(GUILD, "other", "maria", "base", 1.0)
    await store.classifiers.set_channel_default(GUILD, "10", other.id)
    assert await store.classifiers.channel_default(GUILD, "10") == other.id
