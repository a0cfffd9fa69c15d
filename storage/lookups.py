"""One example, label or event by its id, on a connection that somebody holds. NotFound, also for another guild's."""

from __future__ import annotations

import sqlite3

from storage.classifiers import label_from
from storage.errors import NotFound
from storage.records import EventKind, Example, Label, LabelEvent, Source, Split
from storage.rows import row


def current_label(connection: sqlite3.Connection, guild: str, classifier_id: int, example_id: int) -> Label | None:
    found = row(
        connection,
        "SELECT labels.* FROM current_labels AS now JOIN labels ON labels.id = now.label_id "
        "WHERE now.guild = ? AND now.classifier_id = ? AND now.example_id = ?",
        (guild, classifier_id, example_id),
    )
    return label_from(found) if found else None


def ruled_label(connection: sqlite3.Connection, guild: str, classifier_id: int, example_id: int) -> Label | None:
    """What the newest standing ruling says, also where that label is archived; None: no lead has settled the text."""
    found = row(
        connection,
        "SELECT labels.* FROM standing_events AS ruling JOIN labels AS given ON given.id = ruling.label_id "
        "JOIN labels ON labels.id = coalesce(given.merged_into, given.id) "
        "WHERE ruling.guild = ? AND ruling.classifier_id = ? AND ruling.example_id = ? AND ruling.kind = 'ruling' "
        "ORDER BY ruling.id DESC LIMIT 1",
        (guild, classifier_id, example_id),
    )
    return label_from(found) if found else None


def find_label(connection: sqlite3.Connection, guild: str, classifier_id: int, label_id: int) -> Label:
    """Raises NotFound, also for another guild's or classifier's."""
    found = row(
        connection,
        "SELECT * FROM labels WHERE guild = ? AND classifier_id = ? AND id = ?",
        (guild, classifier_id, label_id),
    )
    if found is None:
        raise NotFound(f"There is no label with the id {label_id} in the classifier {classifier_id}.")
    return label_from(found)


def find_example(connection: sqlite3.Connection, guild: str, example_id: int) -> Example:
    """Raises NotFound, also for another guild's."""
    found = row(connection, "SELECT * FROM examples WHERE guild = ? AND id = ?", (guild, example_id))
    if found is None:
        raise NotFound(f"There is no example with the id {example_id} here.")
    return example_from(found)


def find_event(connection: sqlite3.Connection, guild: str, event_id: int) -> LabelEvent:
    """Raises NotFound, also for another guild's."""
    found = row(connection, "SELECT * FROM label_events WHERE guild = ? AND id = ?", (guild, event_id))
    if found is None:
        raise NotFound(f"There is no label event with the id {event_id} here.")
    return event_from(found)


def example_from(found: sqlite3.Row) -> Example:
    return Example(
        id=found["id"],
        guild=found["guild"],
        classifier_id=found["classifier_id"],
        text=found["text"],
        source=Source(found["source"]),
        split=Split(found["split"]) if found["split"] else None,
        submitted_by=found["submitted_by"],
        created_at=found["created_at"],
    )


def event_from(found: sqlite3.Row) -> LabelEvent:
    return LabelEvent(
        id=found["id"],
        guild=found["guild"],
        classifier_id=found["classifier_id"],
        example_id=found["example_id"],
        annotator=found["annotator"],
        kind=EventKind(found["kind"]),
        label_id=found["label_id"],
        undoes=found["undoes"],
        source=Source(found["source"]),
        batch=found["batch"],
        created_at=found["created_at"],
    )
