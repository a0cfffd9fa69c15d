"""One guild never sees, changes or counts another's rows, whatever method it calls with whatever ids."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from storage.errors import NotFound, StorageError, UserError
from storage.label_changes import ChangeKind, WantedChange
from storage.records import (
    Erasure,
    GuildSettings,
    Holdings,
    JobState,
    Outcome,
    Round,
    Schedule,
    Source,
)
from storage.reverts import RevertPreview
from storage.stores import Stores
from tests.contract.conftest import GUILD, Store, Triage, make_job, make_triage, make_version
from tests.contract.test_storage_imports import waiting_import
from tests.contract.test_storage_pins import make_trial
from tests.contract.test_storage_predictions import make_prediction

STRANGER = "g2"
Call = Callable[[Store, Triage, int], Awaitable[Any]]

STRANGERS = {"decision": "classifier created", "subject": "stranger", "created_at": 1.0}
"""Maria made that classifier, too."""

READS: dict[str, tuple[Call, Any]] = {
    "classifiers.list": (lambda s, t, e: s.classifiers.list(STRANGER), []),
    "classifiers.archived": (lambda s, t, e: s.classifiers.archived(STRANGER), []),
    "classifiers.labels": (lambda s, t, e: s.classifiers.labels(STRANGER, t.id), []),
    "classifiers.label_counts": (lambda s, t, e: s.classifiers.label_counts(STRANGER, t.id), []),
    "classifiers.every_label": (lambda s, t, e: s.classifiers.every_label(STRANGER, t.id), []),
    "classifiers.newest_change": (lambda s, t, e: s.classifiers.newest_change(STRANGER, t.id), 0),
    "classifiers.texts_of": (lambda s, t, e: s.classifiers.texts_of(STRANGER, t.id, t.bug.id), 0),
    "classifiers.channel_default": (lambda s, t, e: s.classifiers.channel_default(STRANGER, "10"), None),
    "examples.current": (lambda s, t, e: s.examples.current(STRANGER, t.id), []),
    "examples.find": (lambda s, t, e: s.examples.find(STRANGER, t.id, "secret"), None),
    "examples.newest_event": (lambda s, t, e: s.examples.newest_event(STRANGER, t.id), 0),
    "examples.newest_events": (lambda s, t, e: s.examples.newest_events(STRANGER, t.id), {}),
    "examples.changed_since": (lambda s, t, e: s.examples.changed_since(STRANGER, t.id, 0), 0),
    "examples.lost_since": (lambda s, t, e: s.examples.lost_since(STRANGER, t.id, e), 0),
    "examples.newest_changes": (lambda s, t, e: s.examples.newest_changes(STRANGER, t.id, 0, 9), []),
    "examples.annotator_names": (lambda s, t, e: s.examples.annotator_names(STRANGER), {}),
    "opinions.of": (lambda s, t, e: s.opinions.of(STRANGER, t.id, [1, 2]), []),
    "opinions.annotator_counts": (lambda s, t, e: s.opinions.annotator_counts(STRANGER, t.id), []),
    "writes.history": (lambda s, t, e: s.writes.history(STRANGER, "maria", t.id), []),
    "writes.stands": (lambda s, t, e: s.writes.stands(STRANGER, e), False),
    "writes.last_write": (lambda s, t, e: s.writes.last_write(STRANGER, "maria"), None),
    "writes.count": (lambda s, t, e: s.writes.count(STRANGER, "maria"), 0),
    "opinions.shared": (lambda s, t, e: s.opinions.shared(STRANGER, t.id), []),
    "examples.vectors": (lambda s, t, e: s.examples.vectors(STRANGER, "e", ["h"]), {}),
    "opinions.annotators_of": (lambda s, t, e: s.opinions.annotators_of(STRANGER, 1), set()),
    "listing.search": (lambda s, t, e: s.listing.search(STRANGER, t.id, [], None, 0, 9), ([], 0)),
    "listing.whole": (lambda s, t, e: s.listing.whole(STRANGER, t.id), []),
    "imports.drop": (lambda s, t, e: s.imports.drop(STRANGER, "waiting"), False),
    "predictions.feedback_counts": (lambda s, t, e: s.predictions.feedback_counts(STRANGER, t.id), (0, 0)),
    "examples.texts": (lambda s, t, e: s.examples.texts(STRANGER, t.id, [1, 2]), {}),
    "predictions.recent_questions": (lambda s, t, e: s.predictions.recent_questions(STRANGER, t.id, 0.0, 9), []),
    "predictions.texts": (lambda s, t, e: s.predictions.texts(STRANGER, ["p1"]), {}),
    "proposals.proposed": (lambda s, t, e: s.proposals.proposed(STRANGER, t.id), []),
    "predictions.count": (lambda s, t, e: s.predictions.count(STRANGER, t.id), 0),
    "jobs.active": (lambda s, t, e: s.jobs.active(STRANGER, t.id), None),
    "jobs.latest": (lambda s, t, e: s.jobs.latest(STRANGER, t.id), None),
    "jobs.list": (lambda s, t, e: s.jobs.list(STRANGER, t.id), []),
    "keeping.let_go": (lambda s, t, e: s.keeping.let_go(STRANGER, t.id, 0, 1e9, 1.0), []),
    "keeping.drop_vectors": (lambda s, t, e: s.keeping.drop_vectors(STRANGER, "e"), 0),
    "registry.list": (lambda s, t, e: s.registry.list(STRANGER, t.id), []),
    "registry.champion": (lambda s, t, e: s.registry.champion(STRANGER, t.id), 0),
    "registry.promotions": (lambda s, t, e: s.registry.promotions(STRANGER, t.id), []),
    "rounds.pool": (lambda s, t, e: s.rounds.pool(STRANGER, t.id, 9), []),
    "rounds.waiting": (lambda s, t, e: s.rounds.waiting(STRANGER, t.id), 0),
    "rounds.wants_golden": (lambda s, t, e: s.rounds.wants_golden(STRANGER, t.id), True),
    "rounds.not_for": (lambda s, t, e: s.rounds.not_for(STRANGER, t.id, "ada", 1.0), set()),
    "rounds.questions": (lambda s, t, e: s.rounds.questions(STRANGER, "r1"), []),
    "rounds.settle": (lambda s, t, e: s.rounds.settle(STRANGER, "r1", 1, Outcome.SKIPPED, None, 1.0), False),
    "rounds.reopen": (lambda s, t, e: s.rounds.reopen(STRANGER, "r1", 1, 1.0), False),
    "privacy.holdings": (lambda s, t, e: s.privacy.holdings(STRANGER, "maria"), Holdings(0, 0, 0, 0, 1, None, 1.0)),
    "privacy.everything": (
        lambda s, t, e: s.privacy.everything(STRANGER, "maria"),
        {kind: [] for kind in ("texts", "label_events", "questions", "rounds", "imports", "feedback")}
        | {"decisions": [STRANGERS]},
    ),
    "privacy.snapshots": (lambda s, t, e: s.privacy.snapshots(STRANGER), []),
    "privacy.versions": (lambda s, t, e: s.privacy.versions(STRANGER), []),
    "privacy.preview": (lambda s, t, e: s.privacy.preview(STRANGER, "maria"), Erasure(0, 0, 0, 0, 0)),
    "privacy.forget": (
        lambda s, t, e: s.privacy.forget(STRANGER, "maria", {"s" * 64: frozenset({1, 2})}),
        Erasure(0, 0, 0, 0, 0),
    ),
    "privacy.forgotten_of": (lambda s, t, e: s.privacy.forgotten_of(STRANGER, "s" * 64), 0),
    "privacy.drop_vectors": (lambda s, t, e: s.privacy.drop_vectors(STRANGER, frozenset({"h"})), None),
    "privacy.opt_in": (lambda s, t, e: s.privacy.opt_in(STRANGER, "maria"), None),
    "privacy.is_deleted": (lambda s, t, e: s.privacy.is_deleted(STRANGER, "s" * 64), None),
    "pins.list": (lambda s, t, e: s.pins.list(STRANGER, t.id), []),
    "pins.some": (lambda s, t, e: s.pins.some(STRANGER, t.id, [1]), {}),
    "trials.get": (lambda s, t, e: s.trials.get(STRANGER, t.id, 1), None),
    "schedules.get": (lambda s, t, e: s.schedules.get(STRANGER, t.id), None),
    "kept.of": (lambda s, t, e: s.kept.of(STRANGER, t.id), frozenset()),
    "kept.forget": (lambda s, t, e: s.kept.forget(STRANGER, 1), False),
    "schedules.tried_to": (lambda s, t, e: s.schedules.tried_to(STRANGER, t.id), 0),
    "schedules.take_slot": (lambda s, t, e: s.schedules.take_slot(STRANGER, t.id, "2030-01-01T00:00"), False),
    "schedules.give_back_slot": (
        lambda s, t, e: s.schedules.give_back_slot(STRANGER, t.id, "2026-11-24T03:00", "2026-11-20T03:00"),
        False,
    ),
    "label_changes.history": (lambda s, t, e: s.label_changes.history(STRANGER, t.id), []),
    "reverts.preview": (lambda s, t, e: s.reverts.preview(STRANGER, t.id, "maria", 0.0), RevertPreview(0, 0, 0)),
    "rules.of": (lambda s, t, e: s.rules.of(STRANGER, t.id), []),
}

REFUSED: dict[str, Call] = {
    "classifiers.get": lambda s, t, e: s.classifiers.get(STRANGER, "triage"),
    "classifiers.by_id": lambda s, t, e: s.classifiers.by_id(STRANGER, t.id),
    "classifiers.save_settings": lambda s, t, e: s.classifiers.save_settings(STRANGER, t.id, precision=0.9),
    "classifiers.archive": lambda s, t, e: s.classifiers.archive(STRANGER, t.id, archived=True),
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
    "examples.remove": lambda s, t, e: s.examples.remove(STRANGER, 1, "x", 1.0),
    "examples.restore": lambda s, t, e: s.examples.restore(STRANGER, 1, "x", 1.0),
    "listing.known": lambda s, t, e: s.listing.known(STRANGER, t.id),
    "imports.get": lambda s, t, e: s.imports.get(STRANGER, "waiting"),
    "imports.content": lambda s, t, e: s.imports.content(STRANGER, "waiting"),
    "imports.apply": lambda s, t, e: s.imports.apply(STRANGER, "waiting", [], [], {}, 1.0),
    "imports.undo": lambda s, t, e: s.imports.undo(STRANGER, "done", 1.0),
    "examples.get": lambda s, t, e: s.examples.get(STRANGER, 1),
    "kept.keep": lambda s, t, e: s.kept.keep(STRANGER, 1, t.bug.id, "x", 1.0),
    "examples.event": lambda s, t, e: s.examples.event(STRANGER, e),
    "examples.give_again": lambda s, t, e: s.examples.give_again(STRANGER, e + 1, "maria", 1.0),
    "examples.current_label": lambda s, t, e: s.examples.current_label(STRANGER, 1),
    "predictions.get": lambda s, t, e: s.predictions.get(STRANGER, "p1"),
    "predictions.record_feedback": lambda s, t, e: s.predictions.record_feedback(STRANGER, "p1", "x", False, e, 1.0),
    "jobs.get": lambda s, t, e: s.jobs.get(STRANGER, "j1"),
    "jobs.set_message": lambda s, t, e: s.jobs.set_message(STRANGER, "j1", "1", "1"),
    "registry.get": lambda s, t, e: s.registry.get(STRANGER, t.id, 1),
    "registry.promote": lambda s, t, e: s.registry.promote(STRANGER, t.id, 0, 1, "x", "mine", 1.0),
    "registry.base_on": lambda s, t, e: s.registry.base_on(STRANGER, t.id, None),
    "rounds.get": lambda s, t, e: s.rounds.get(STRANGER, "r1"),
    "rounds.ask": lambda s, t, e: s.rounds.ask(STRANGER, "r1", 1, picked_by_model=False, now=1.0),
    "guilds.told": lambda s, t, e: s.guilds.told(STRANGER, "j1", 1.0),
    "registry.mark_damaged": lambda s, t, e: s.registry.mark_damaged(STRANGER, t.id, 1),
    "registry.mark_whole": lambda s, t, e: s.registry.mark_whole(STRANGER, t.id, 1),
    "registry.note_decision": lambda s, t, e: s.registry.note_decision(STRANGER, t.id, 1, "mine"),
    "pins.add": lambda s, t, e: s.pins.add(STRANGER, t.id, "mine", t.bug.id, "x", 1.0),
    "pins.get": lambda s, t, e: s.pins.get(STRANGER, 1),
    "pins.remove": lambda s, t, e: s.pins.remove(STRANGER, 1, 1.0),
    "pins.restore": lambda s, t, e: s.pins.restore(STRANGER, 1),
    "drafts.add": lambda s, t, e: s.drafts.add(STRANGER, t.id, {}, "x", 1.0),
    "drafts.get": lambda s, t, e: s.drafts.get(STRANGER, 1),
    "label_changes.check": lambda s, t, e: s.label_changes.check(STRANGER, t.id, archived(t)),
    "label_changes.confirm": lambda s, t, e: s.label_changes.confirm(STRANGER, 2, "x", 1.0),
    "label_changes.get": lambda s, t, e: s.label_changes.get(STRANGER, 1),
    "label_changes.undo": lambda s, t, e: s.label_changes.undo(STRANGER, 1, "x", 1.0),
    "reverts.confirm": lambda s, t, e: s.reverts.confirm(STRANGER, 3, "x", 1.0),
    "reverts.get": lambda s, t, e: s.reverts.get(STRANGER, 1),
    "reverts.undo": lambda s, t, e: s.reverts.undo(STRANGER, 1, "x", 1.0),
    "rules.add": lambda s, t, e: s.rules.add(STRANGER, t.id, t.bug.id, "mine", None, "x", 1.0),
    "rules.remove": lambda s, t, e: s.rules.remove(STRANGER, 1, 1.0),
    "rules.bring_back": lambda s, t, e: s.rules.bring_back(STRANGER, 1),
    "proposals.type": lambda s, t, e: s.proposals.type(STRANGER, t.id, "mine", "x", Source.COMMAND, "x", 1.0),
    "proposals.get": lambda s, t, e: s.proposals.get(STRANGER, 1),
    "proposals.propose": lambda s, t, e: s.proposals.propose(STRANGER, 1),
    "proposals.waiting": lambda s, t, e: s.proposals.waiting(STRANGER, 1),
    "proposals.decide": lambda s, t, e: s.proposals.decide(STRANGER, 1, "created", "x"),
}


def archived(triage: Triage) -> WantedChange:
    return WantedChange(ChangeKind.ARCHIVE, triage.bug.id)


GUILD_IN_THE_RECORD = {
    "predictions.add",
    "jobs.create",
    "jobs.change",
    "registry.add",
    "registry.check_source",
    "schedules.save",
    "rounds.create",
    "imports.keep",
    "trials.save",
}
"""Tested below."""

OTHERWISE = {
    "classifiers.create",  # makes the guild's own
    "examples.is_learned_from",  # reads nothing
    "examples.remember_annotator",
    "examples.save_vectors",
    "classifiers.last_asked",  # over all guilds, on purpose, as the next
    "keeping.bases",
    "keeping.classifiers",
    "keeping.gone",
    "keeping.kept",
    "keeping.named_snapshots",
    "keeping.unneeded_snapshots",
    "keeping.unused",
    "keeping.vector_encoders",
    "jobs.claim",
    "jobs.due",
    "jobs.unfinished",
    "imports.sweep",
    "schedules.list",
    "guilds.all_settings",
    "guilds.failed",
    "privacy.opt_outs",
    "privacy.doomed",
    "predictions.let_go",
    "guilds.save",  # the guild's own, as the next two
    "guilds.greet",
    "schedules.note_tried",
    "privacy.opt_out",
}


@pytest.fixture
async def event(store: Store, triage: Triage) -> int:
    """Something of everything in GUILD; the id of a label event of it."""
    rows = [("in a batch", triage.bug.id)]
    await store.examples.add_many(GUILD, triage.id, rows, "maria", Source.FILE, "batch", 1.0)
    labelled = await store.examples.add_label(GUILD, triage.id, "secret", triage.bug.id, "maria", Source.COMMAND, 1.0)
    await store.examples.add_unlabelled(GUILD, triage.id, ["waits"], "maria", Source.FILE, 1.0, batch="pool")
    await store.imports.keep(waiting_import(triage, "waiting"), "[]")
    await store.imports.keep(waiting_import(triage, "done"), "[]")
    await store.imports.apply(GUILD, "done", [], [("pooled", "p" * 64)], {}, 1.0)
    await store.examples.remember_annotator(GUILD, "maria", "Maria")
    await store.examples.save_vectors(GUILD, "e", [("h", b"1234")])
    await store.classifiers.set_channel_default(GUILD, "10", triage.id)
    await store.kept.keep(GUILD, 1, triage.bug.id, "maria", 1.0)
    await store.predictions.add(make_prediction(triage), 3, 7)
    await store.predictions.record_feedback(GUILD, "p1", "maria", True, labelled.event.id, 1.0)
    await store.jobs.create(make_job(triage.classifier, "j1"))
    await store.registry.add(make_version(triage.classifier))
    await store.registry.promote(GUILD, triage.id, 1, 0, "gate", "better", 1.0)
    await store.schedules.save(Schedule(GUILD, triage.id, "0 3 * * *", None, "UTC", True, None))
    await store.rounds.create(Round("r1", GUILD, triage.id, "maria", 3, 1.0))
    waiting = await store.rounds.pool(GUILD, triage.id, 1)
    assert await store.rounds.ask(GUILD, "r1", waiting[0].example_id, picked_by_model=False, now=1.0)
    await store.guilds.save(GUILD, GuildSettings("7", "8", 3))
    await store.privacy.opt_out(GUILD, "maria", 1.0)
    await store.db.write(lambda tables: tables.execute("INSERT INTO doomed_snapshots VALUES (?, ?)", (GUILD, "s" * 64)))
    await store.pins.add(GUILD, triage.id, "pinned", triage.bug.id, "maria", 1.0)
    await store.trials.save(make_trial(triage))
    await make_triage(store, STRANGER, "stranger")
    await store.examples.retract(GUILD, labelled.event.id, "maria", 1.0)
    described = WantedChange(ChangeKind.DESCRIBE, triage.question.id, "who asks")
    for wanted in (described.as_draft(), archived(triage).as_draft(), {"annotator": "maria", "since": 0.0}):
        await store.drafts.add(GUILD, triage.id, wanted, "maria", 1.0)
    await store.label_changes.confirm(GUILD, 1, "maria", 1.0)
    reverted = await store.drafts.add(GUILD, triage.id, {"annotator": "nobody", "since": 0.0}, "maria", 1.0)
    await store.reverts.confirm(GUILD, reverted.id, "maria", 1.0)
    await store.rules.add(GUILD, triage.id, triage.bug.id, "a rule", None, "maria", 1.0)
    await store.proposals.type(GUILD, triage.id, "billing", "a text", Source.COMMAND, "maria", 1.0)
    return labelled.event.id


async def contents(store: Store) -> list[list[tuple[Any, ...]]]:
    """Every row of every table."""
    return await store.db.read(
        lambda connection: [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
            for (table,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
            ).fetchall()
        ]
    )


@pytest.mark.parametrize("name", READS)
async def test_reading_finds_nothing_of_another_guild(store: Store, triage: Triage, event: int, name: str) -> None:
    call, nothing = READS[name]
    before = await contents(store)
    found = await call(store, triage, event)
    assert await contents(store) == before
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
        lambda: store.registry.check_source(STRANGER, ours),
        lambda: store.rounds.create(Round("r9", STRANGER, triage.id, "x", 1, 1.0)),
        lambda: store.imports.keep(dataclasses.replace(waiting_import(triage, "mine"), guild=STRANGER), "[]"),
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
    for name, kind in inspect.get_annotations(Stores, eval_str=True).items():
        if name == "database":
            continue
        methods = {f"{name}.{method}" for method in vars(kind) if not method.startswith("_")}
        assert methods <= listed, f"say how {methods - listed} keeps guilds apart"


def test_not_found_is_shown_to_people() -> None:
    assert issubclass(NotFound, UserError)
