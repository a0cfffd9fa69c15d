"""Taking labels back, one or a whole import, and giving them again. Each is one more event; none is ever changed.

A removed text that came back because it was labelled goes again when no label given since then stands any more.

These functions run inside a unit of work, on the writer's connection.
"""

from __future__ import annotations

import sqlite3

from storage.errors import Conflict, InvalidInput, NotFound
from storage.events import LabelResult
from storage.lookups import current_label, event_from, find_event, find_example, find_label
from storage.records import EventKind, LabelEvent
from storage.removals import set_removed
from storage.rows import row, rows, value


def retract(
    connection: sqlite3.Connection, guild: str, event_id: int, annotator: str, now: float
) -> LabelResult | None:
    """Undo one's own vote or ruling; None if that was done before.

    Raises:
        NotFound: no such event of this annotator. InvalidInput: the event is itself an undo.
    """
    found = row(
        connection,
        "SELECT * FROM label_events WHERE guild = ? AND id = ? AND annotator = ?",
        (guild, event_id, annotator),
    )
    if found is None:
        raise NotFound(f"There is no label with the id {event_id} that you gave.")
    event = event_from(found)
    if event.label_id is None:
        raise InvalidInput("That was an undo; to undo it, give the label again.")
    previous = current_label(connection, guild, event.classifier_id, event.example_id)
    retraction = take_back(connection, event, now)
    if retraction is None:
        return None
    return LabelResult(
        example=find_example(connection, guild, event.example_id),
        event=find_event(connection, guild, retraction),
        label=find_label(connection, guild, event.classifier_id, event.label_id),
        previous=previous.name if previous else None,
    )


def give_again(
    connection: sqlite3.Connection, guild: str, retraction_id: int, annotator: str, now: float
) -> tuple[LabelResult, bool]:
    """Take one's own undo back, which is a new event with the same label: (what it did, whether it was written now).

    Raises:
        NotFound: no such undo of this annotator. Conflict: the label is archived, or they spoke about the text since,
        or it was a ruling and another lead has settled the text since.
    """
    retraction = find_retraction(connection, guild, retraction_id, annotator)
    given = find_event(connection, guild, retraction.undoes or 0)
    at = (guild, retraction.classifier_id, retraction.example_id)
    later = row(
        connection,
        "SELECT * FROM label_events WHERE guild = ? AND classifier_id = ? AND example_id = ? AND annotator = ? "
        "AND id > ? ORDER BY id DESC LIMIT 1",
        (*at, annotator, retraction_id),
    )
    label = find_label(connection, guild, retraction.classifier_id, given.label_id or 0)
    if later is not None and later["label_id"] != label.id:
        raise Conflict("You have said something else about this text since then, so that stays as it is.")
    if later is None and label.archived and label.merged_into is None:
        raise Conflict(
            f"`{label.name}` is archived, so it was not given again. A lead brings it back: /labels restore."
        )
    if later is None and settled_since(connection, given):
        raise Conflict("Another lead has settled this text since then, so that stays as it is.")
    previous = current_label(connection, *at)
    event_id = later["id"] if later is not None else repeat(connection, retraction, now)
    result = LabelResult(
        example=find_example(connection, guild, retraction.example_id),
        event=find_event(connection, guild, event_id),
        label=label,
        previous=previous.name if previous else None,
    )
    return result, later is None


def settled_since(connection: sqlite3.Connection, event: LabelEvent) -> bool:
    """Whether a ruling that was given once more would overrule a later one of another lead."""
    found = row(
        connection,
        "SELECT 1 FROM standing_events WHERE guild = ? AND classifier_id = ? AND example_id = ? AND annotator <> ? "
        "AND kind = 'ruling' AND id > ?",
        (event.guild, event.classifier_id, event.example_id, event.annotator, event.id),
    )
    return event.kind is EventKind.RULING and found is not None


def find_retraction(connection: sqlite3.Connection, guild: str, retraction_id: int, annotator: str) -> LabelEvent:
    """An annotator's own undo. Raises NotFound, also where a lead reverted their labels."""
    found = row(
        connection,
        "SELECT * FROM own_events WHERE guild = ? AND id = ? AND annotator = ? AND kind = 'retraction'",
        (guild, retraction_id, annotator),
    )
    if found is None:
        raise NotFound(f"There is no undo with the id {retraction_id} that you made.")
    return event_from(found)


def take_back_batch(connection: sqlite3.Connection, guild: str, batch: str, annotator: str, now: float) -> int:
    """Undo an import of this annotator; how many labels that took back (0: done before, or it brought none)."""
    found = rows(
        connection,
        "SELECT * FROM label_events WHERE guild = ? AND batch = ? AND annotator = ? ORDER BY id",
        (guild, batch, annotator),
    )
    return sum(take_back(connection, event_from(each), now) is not None for each in found)


def take_back(connection: sqlite3.Connection, event: LabelEvent, now: float) -> int | None:
    """Append the retraction of an event; its id, or None if the event was taken back before."""
    if value(connection, "SELECT id FROM label_events WHERE guild = ? AND undoes = ?", (event.guild, event.id)):
        return None
    added = connection.execute(
        "INSERT INTO label_events "
        "(guild, classifier_id, example_id, annotator, kind, undoes, source, created_at) "
        "VALUES (?, ?, ?, ?, 'retraction', ?, ?, ?)",
        (event.guild, event.classifier_id, event.example_id, event.annotator, event.id, event.source, now),
    )
    if _came_back_for_nothing(connection, event):
        set_removed(connection, event.guild, event.example_id, event.annotator, now, removed=True)
    return int(added.lastrowid or 0)


def repeat(connection: sqlite3.Connection, retraction: LabelEvent, now: float) -> int:
    """Append the vote or ruling that was taken back once more; its id. A text that went with it comes back.

    It is still of its import: taking that back takes it along.
    """
    event = find_event(connection, retraction.guild, retraction.undoes or 0)
    if _went_with(connection, retraction):
        set_removed(connection, event.guild, event.example_id, event.annotator, now, removed=False)
    added = connection.execute(
        "INSERT INTO label_events "
        "(guild, classifier_id, example_id, annotator, kind, label_id, source, batch, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(event.guild, event.classifier_id, event.example_id, event.annotator),
            *(event.kind, event.label_id, event.source, event.batch, now),
        ),
    )
    return int(added.lastrowid or 0)


def _came_back_for_nothing(connection: sqlite3.Connection, event: LabelEvent) -> bool:
    """Whether the text of an event was removed, came back for a label, and no label since then stands."""
    back = _last_removal(connection, event)
    if back is None or back["removed"]:
        return False
    found = row(
        connection,
        # What was brought back as such, and not by a label, has no event of that person and moment.
        "SELECT 1 FROM label_events AS given WHERE given.guild = ? AND given.classifier_id = ? "
        "AND given.example_id = ? AND given.id > ? AND given.annotator = ? AND given.created_at = ? "
        "AND NOT EXISTS (SELECT 1 FROM standing_events AS stands WHERE stands.guild = given.guild "
        "AND stands.classifier_id = given.classifier_id AND stands.example_id = given.example_id AND stands.id > ?)",
        (
            *(event.guild, event.classifier_id, event.example_id),
            *(back["id"], back["by"], back["created_at"], back["id"]),
        ),
    )
    return found is not None


def _went_with(connection: sqlite3.Connection, retraction: LabelEvent) -> bool:
    """Whether an undo removed its text again, and nobody has brought it back since."""
    gone = _last_removal(connection, retraction)
    return gone is not None and bool(gone["removed"]) and gone["created_at"] == retraction.created_at


def _last_removal(connection: sqlite3.Connection, event: LabelEvent) -> sqlite3.Row | None:
    """When the text of an event was last removed or brought back."""
    return row(
        connection,
        "SELECT * FROM removals WHERE guild = ? AND classifier_id = ? AND example_id = ? ORDER BY id DESC LIMIT 1",
        (event.guild, event.classifier_id, event.example_id),
    )
