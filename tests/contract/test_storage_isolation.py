"""One guild never sees, changes or counts another's rows, whatever method it calls with whatever ids."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from storage.errors import NotFound, StorageError, UserError
from storage.records import ClassifierSettings, JobState, Schedule, Source
from tests.contract.conftest import GUILD, Store, Triage, make_job, make_triage, make_version
from tests.contract.test_storage_pins import make_trial
from tests.contract.test_storage_predictions import make_prediction

STRANGER = "g2"
Call = Callable[[Store, Triage, int], Awaitable[Any]]

READS: dict[str, tuple[Call, Any]] = {
    "classifiers.list": (lambda s, t, e: s.classifiers.list(STRANGER), []),
    "classifiers.labels": (lambda s, t, e: s.classifiers.labels(STRANGER, t.id), []),
    "classifiers.label_counts": (lambda s, t, e: s.classifiers.label_counts(STRANGER, t.id), []),
    "classifiers.channel_default": (lambda s, t, e: s.classifiers.channel_default(STRANGER, "10"), None),
    "examples.last_event": (lambda s, t, e: s.examples.last_event(STRANGER, "maria"), None),
    "examples.current": (lambda s, t, e: s.examples.current(STRANGER, t.id), []),
    "examples.find": (lambda s, t, e: s.examples.find(STRANGER, t.id, "secret"), None),
    "examples.newest_event": (lambda s, t, e: s.examples.newest_event(STRANGER, t.id), 0),
    "examples.changed_since": (lambda s, t, e: s.examples.changed_since(STRANGER, t.id, 0), 0),
    "examples.newest_changes": (lambda s, t, e: s.examples.newest_changes(STRANGER, t.id, 0, 9), []),
    "examples.annotator_names": (lambda s, t, e: s.examples.annotator_names(STRANGER), {}),
    "examples.annotator_counts": (lambda s, t, e: s.examples.annotator_counts(STRANGER, t.id), []),
    "examples.history": (lambda s, t, e: s.examples.history(STRANGER, "maria", t.id), []),
    "examples.vectors": (lambda s, t, e: s.examples.vectors(STRANGER, "e", ["h"]), {}),
    "examples.remove_unlabelled": (lambda s, t, e: s.examples.remove_unlabelled(STRANGER, "pool", "maria"), 0),
    "predictions.feedback_counts": (lambda s, t, e: s.predictions.feedback_counts(STRANGER, t.id), (0, 0)),
    "examples.texts": (lambda s, t, e: s.examples.texts(STRANGER, t.id, [1, 2]), {}),
    "predictions.recent_questions": (lambda s, t, e: s.predictions.recent_questions(STRANGER, t.id, 0.0, 9), []),
    "predictions.texts": (lambda s, t, e: s.predictions.texts(STRANGER, ["p1"]), {}),
    "predictions.count": (lambda s, t, e: s.predictions.count(STRANGER, t.id), 0),
    "jobs.active": (lambda s, t, e: s.jobs.active(STRANGER, t.id), None),
    "jobs.latest": (lambda s, t, e: s.jobs.latest(STRANGER, t.id), None),
    "jobs.list": (lambda s, t, e: s.jobs.list(STRANGER, t.id), []),
    "registry.list": (lambda s, t, e: s.registry.list(STRANGER, t.id), []),
    "registry.champion": (lambda s, t, e: s.registry.champion(STRANGER, t.id), 0),
    "registry.promotions": (lambda s, t, e: s.registry.promotions(STRANGER, t.id), []),
    "pins.list": (lambda s, t, e: s.pins.list(STRANGER, t.id), []),
    "pins.some": (lambda s, t, e: s.pins.some(STRANGER, t.id, [1]), {}),
    "trials.get": (lambda s, t, e: s.trials.get(STRANGER, t.id, 1), None),
    "schedules.get": (lambda s, t, e: s.schedules.get(STRANGER, t.id), None),
    "schedules.take_slot": (lambda s, t, e: s.schedules.take_slot(STRANGER, t.id, "2030-01-01T00:00"), False),
}

REFUSED: dict[str, Call] = {
    "classifiers.get": lambda s, t, e: s.classifiers.get(STRANGER, "triage"),
    "classifiers.by_id": lambda s, t, e: s.classifiers.by_id(STRANGER, t.id),
    "classifiers.save_settings": lambda s, t, e: s.classifiers.save_settings(
        STRANGER, t.id, ClassifierSettings(precision=0.9)
    ),
    "classifiers.add_label": lambda s, t, e: s.classifiers.add_label(STRANGER, t.id, "mine"),
    "classifiers.set_channel_default": lambda s, t, e: s.classifiers.set_channel_default(STRANGER, "10", t.id),
    "examples.add_label": lambda s, t, e: s.examples.add_label(
        STRANGER, t.id, "mine", t.bug.id, "x", Source.COMMAND, 1.0
    ),
    "examples.add_many": lambda s, t, e: s.examples.add_many(
        STRANGER, t.id, [("mine", t.bug.id)], "x", Source.FILE, "b", 1.0
    ),
    "examples.add_unlabelled": lambda s, t, e: s.examples.add_unlabelled(
        STRANGER, t.id, ["mine"], "x", Source.FILE, 1.0
    ),
    "examples.retract": lambda s, t, e: s.examples.retract(STRANGER, e, "maria", 1.0),
    "examples.retract_batch": lambda s, t, e: s.examples.retract_batch(STRANGER, "batch", "maria", 1.0),
    "examples.event": lambda s, t, e: s.examples.event(STRANGER, e),
    "examples.current_label": lambda s, t, e: s.examples.current_label(STRANGER, 1),
    "predictions.get": lambda s, t, e: s.predictions.get(STRANGER, "p1"),
    "predictions.record_feedback": lambda s, t, e: s.predictions.record_feedback(STRANGER, "p1", "x", False, e, 1.0),
    "jobs.get": lambda s, t, e: s.jobs.get(STRANGER, "j1"),
    "jobs.set_message": lambda s, t, e: s.jobs.set_message(STRANGER, "j1", "1", "1"),
    "registry.get": lambda s, t, e: s.registry.get(STRANGER, t.id, 1),
    "registry.promote": lambda s, t, e: s.registry.promote(STRANGER, t.id, 0, 1, "x", "mine", 1.0),
    "registry.base_on": lambda s, t, e: s.registry.base_on(STRANGER, t.id, None),
    "registry.mark_damaged": lambda s, t, e: s.registry.mark_damaged(STRANGER, t.id, 1),
    "registry.note_decision": lambda s, t, e: s.registry.note_decision(STRANGER, t.id, 1, "mine"),
    "pins.add": lambda s, t, e: s.pins.add(STRANGER, t.id, "mine", t.bug.id, "x", 1.0),
    "pins.get": lambda s, t, e: s.pins.get(STRANGER, 1),
    "pins.remove": lambda s, t, e: s.pins.remove(STRANGER, 1, 1.0),
    "pins.restore": lambda s, t, e: s.pins.restore(STRANGER, 1),
}

GUILD_IN_THE_RECORD = {"predictions.add", "jobs.create", "jobs.change", "registry.add", "schedules.save", "trials.save"}
"""Tested below."""

OTHERWISE = {
    "classifiers.create",  # makes the guild's own
    "examples.remember_annotator",
    "examples.save_vectors",
    "classifiers.last_asked",  # over all guilds, on purpose, as the next
    "jobs.claim",
    "jobs.unfinished",
    "schedules.list",
}


@pytest.fixture
async def event(store: Store, triage: Triage) -> int:
    """Something of everything in GUILD; the id of a label event of it."""
    rows = [("in a batch", triage.bug.id)]
    await store.examples.add_many(GUILD, triage.id, rows, "maria", Source.FILE, "batch", 1.0)
    labelled = await store.examples.add_label(GUILD, triage.id, "secret", triage.bug.id, "maria", Source.COMMAND, 1.0)
    await store.examples.add_unlabelled(GUILD, triage.id, ["waits"], "maria", Source.FILE, 1.0, batch="pool")
    await store.examples.remember_annotator(GUILD, "maria", "Maria")
    await store.examples.save_vectors(GUILD, "e", [("h", b"1234")])
    await store.classifiers.set_channel_default(GUILD, "10", triage.id)
    await store.predictions.add(make_prediction(triage), 3, 7)
    await store.predictions.record_feedback(GUILD, "p1", "maria", True, labelled.event.id, 1.0)
    await store.jobs.create(make_job(triage.classifier, "j1"))
    await store.registry.add(make_version(triage.classifier))
    await store.registry.promote(GUILD, triage.id, 1, 0, "gate", "better", 1.0)
    await store.schedules.save(Schedule(GUILD, triage.id, "0 3 * * *", None, "UTC", True, None))
    await store.pins.add(GUILD, triage.id, "pinned", triage.bug.id, "maria", 1.0)
    await store.trials.save(make_trial(triage))
    await make_triage(store, STRANGER, "stranger")
    return labelled.event.id


async def contents(store: Store) -> list[list[tuple[Any, ...]]]:
    tables = "classifiers labels channel_defaults examples label_events predictions feedback jobs versions champions"
    return await store.db.read(
        lambda connection: [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for table in [
                *tables.split(),
                "origins",
                "promotions",
                "schedules",
                "annotators",
                "vectors",
                "pins",
                "trials",
            ]
        ]
    )


@pytest.mark.parametrize("name", READS)
async def test_reading_finds_nothing_of_another_guild(store: Store, triage: Triage, event: int, name: str) -> None:
    call, nothing = READS[name]
    found = await call(store, triage, event)
    if name == "classifiers.list":
        found = [classifier for classifier in found if classifier.guild != STRANGER]
    assert found == nothing


@pytest.mark.parametrize("name", REFUSED)
async def test_another_guilds_ids_are_not_found(store: Store, triage: Triage, event: int, name: str) -> None:
    before = await contents(store)
    with pytest.raises(NotFound):
        await REFUSED[name](store, triage, event)
    assert await contents(store) == before


async def test_a_record_with_another_guilds_ids_is_not_found(store: Store, triage: Triage, event: int) -> None:
    before = await contents(store)
    foreign = dataclasses.replace(triage.classifier, guild=STRANGER)
    strangers = await store.classifiers.get(STRANGER, "stranger")
    ours = await store.registry.get(GUILD, triage.id, 1)
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: store.predictions.add(dataclasses.replace(make_prediction(triage, "p2"), guild=STRANGER), 1, 0),
        lambda: store.jobs.create(make_job(foreign, "j9")),
        lambda: store.jobs.change(make_job(foreign, "j1"), JobState.CANCELLED, 1.0),
        lambda: store.registry.add(make_version(foreign)),
        lambda: store.registry.base_on(STRANGER, strangers.id, ours),
        lambda: store.trials.save(dataclasses.replace(make_trial(triage), guild=STRANGER)),
        lambda: store.schedules.save(Schedule(STRANGER, triage.id, None, 1, "UTC", True, None)),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            await call()
    assert await contents(store) == before


async def test_the_schema_itself_refuses_rows_that_cross_guilds(store: Store, triage: Triage, event: int) -> None:
    other = await store.classifiers.get(STRANGER, "stranger")
    with pytest.raises(StorageError):
        await store.db.write(
            lambda tables: (
                tables.execute(
                    "INSERT INTO label_events (guild, classifier_id, example_id, annotator, kind, label_id, source, "
                    "created_at) VALUES (?, ?, 1, 'x', 'vote', ?, 'command', 0)",
                    (STRANGER, other.id, triage.bug.id),
                ).rowcount
            )
        )
    with pytest.raises(StorageError):
        await store.db.write(
            lambda tables: (
                tables.execute(
                    "INSERT INTO origins (guild, classifier_id, source_id, number) VALUES (?, ?, ?, 1)",
                    (STRANGER, other.id, triage.id),
                ).rowcount
            )
        )


def test_every_method_is_listed_here() -> None:
    listed = READS.keys() | REFUSED.keys() | GUILD_IN_THE_RECORD | OTHERWISE
    for name, kind in inspect.get_annotations(Store, eval_str=True).items():
        if name == "db":
            continue
        methods = {f"{name}.{method}" for method in vars(kind) if not method.startswith("_")}
        assert methods <= listed, f"say how {methods - listed} keeps guilds apart"


def test_not_found_is_shown_to_people() -> None:
    assert issubclass(NotFound, UserError)
