"""What one label does to the tables: place the example, give it its split, append the event, tell what changed.

These functions run inside a unit of work, on the writer's connection. `storage.examples` is their public face.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from storage.classifiers import label_from
from storage.errors import Conflict, InvalidInput, NotFound
from storage.records import MAX_TEXT, EventKind, Example, Label, LabelEvent, Source, Split, normalise
from storage.rows import row, rows, value

GOLDEN_SHARE = 10
"""One text in this many goes to the golden set, by its salted hash."""

GOLDEN_LIMIT = 100
"""Golden examples of a classifier at most: enough to tell 5 points of accuracy, few enough not to starve training."""


@dataclass(frozen=True, slots=True)
class Vote:
    """One label for one text, checked, before it is stored. `text` went through `clean_text`."""

    guild: str
    classifier_id: int
    text: str
    hash: str
    label_id: int
    annotator: str
    source: Source
    now: float
    kind: EventKind = EventKind.VOTE
    picked_by_model: bool = False
    batch: str | None = None


@dataclass(frozen=True, slots=True)
class LabelResult:
    """What one label event did."""

    example: Example
    event: LabelEvent
    label: Label
    """The label given; for a retraction, the one taken back."""
    previous: str | None
    """Name of the example's current label before this event; None if it had none, or a tie."""
    came_back: bool = False
    """Whether the example had been removed, and counts again with this label."""


def clean_text(text: str) -> str:
    """The text as it is stored: without surrounding space.

    Raises:
        InvalidInput: empty, longer than MAX_TEXT characters, or holds NUL or half of a surrogate pair.
    """
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise InvalidInput(f"The text has {len(text):,} characters; at most {MAX_TEXT:,} fit. Shorten it.")
    if "\0" in text or not _is_whole(text):
        raise InvalidInput("The text holds characters that are no text (NUL or half of an emoji). Leave them out.")
    if not normalise(text):
        raise InvalidInput("The text is empty.")
    return text


def _is_whole(text: str) -> bool:
    """Whether it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def falls_golden(hash: str) -> bool:
    """Whether a text (by `text_hash`) belongs to the golden tenth. The salt keeps it apart from other uses."""
    return int(hashlib.sha256(f"golden:{hash}".encode()).hexdigest(), 16) % GOLDEN_SHARE == 0


def cast(connection: sqlite3.Connection, vote: Vote) -> LabelResult:
    """Store one vote. The same vote again writes nothing and returns the event that stands.

    Raises:
        NotFound: the label is not one of this guild's classifier.
    """
    label = find_label(connection, vote.guild, vote.classifier_id, vote.label_id)
    removed = "SELECT 1 FROM examples WHERE guild = ? AND classifier_id = ? AND hash = ? AND removed_at IS NOT NULL"
    came_back = row(connection, removed, (vote.guild, vote.classifier_id, vote.hash)) is not None
    example_id, made = place(connection, vote)
    previous = None if made else current_label(connection, vote.guild, vote.classifier_id, example_id)
    event_id, _ = say(connection, vote, example_id, made)
    return LabelResult(
        example=find_example(connection, vote.guild, example_id),
        event=find_event(connection, vote.guild, event_id),
        label=label,
        previous=previous.name if previous else None,
        came_back=came_back,
    )


def cast_many(connection: sqlite3.Connection, votes: Sequence[Vote]) -> tuple[int, int]:
    """`cast` for many votes of one classifier, without asking for each what the label was before.

    Returns (texts that were new, events written).
    """
    for label_id in {vote.label_id for vote in votes}:
        find_label(connection, votes[0].guild, votes[0].classifier_id, label_id)
    new = written = 0
    for vote in votes:
        example_id, made = place(connection, vote)
        _, said = say(connection, vote, example_id, made)
        new += made
        written += said
    return new, written


def place(connection: sqlite3.Connection, vote: Vote) -> tuple[int, bool]:
    """The example of a vote's text, with its split given: (its id, whether it was made). A removed one comes back."""
    at = (vote.guild, vote.classifier_id, vote.hash)
    found = row(
        connection,
        "SELECT id, split, removed_at FROM examples WHERE guild = ? AND classifier_id = ? AND hash = ?",
        at,
    )
    if found is None:
        added = connection.execute(
            "INSERT INTO examples (guild, classifier_id, hash, text, source, split, submitted_by, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (*at, vote.text, vote.source, choose_split(connection, vote), vote.annotator, vote.now),
        )
        return int(added.lastrowid or 0), True
    if found["split"] is None:  # it waited in the unlabelled pool
        connection.execute(
            "UPDATE examples SET split = ? WHERE guild = ? AND id = ?",
            (choose_split(connection, vote), vote.guild, found["id"]),
        )
    if found["removed_at"] is not None:
        set_removed(connection, vote.guild, found["id"], vote.annotator, vote.now, removed=False)
    return found["id"], False


def set_removed(
    connection: sqlite3.Connection, guild: str, example_id: int, by: str, now: float, *, removed: bool
) -> bool:
    """Remove an example or bring it back; False: it was so before. Nobody is asked about a removed one any more.

    Raises:
        NotFound: no such example in this guild.
    """
    example = find_example(connection, guild, example_id)
    done = connection.execute(
        "UPDATE examples SET removed_at = ? WHERE guild = ? AND id = ? AND (removed_at IS NULL) = ?",
        (now if removed else None, guild, example_id, removed),
    )
    if not done.rowcount:
        return False
    if removed:
        connection.execute(
            "DELETE FROM questions WHERE guild = ? AND classifier_id = ? AND example_id = ? AND outcome IS NULL",
            (guild, example.classifier_id, example_id),
        )
    connection.execute(
        "INSERT INTO removals (id, guild, classifier_id, example_id, by, removed, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)",
        (_take_event_id(connection), guild, example.classifier_id, example_id, by, removed, now),
    )
    return True


def _take_event_id(connection: sqlite3.Connection) -> int:
    """The next number of the label events, which none of them will have (https://sqlite.org/autoinc.html)."""
    name = "label_events"
    if not connection.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = ?", (name,)).rowcount:
        connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, 1)", (name,))
    return int(value(connection, "SELECT seq FROM sqlite_sequence WHERE name = ?", (name,)))


def put_in_pool(
    connection: sqlite3.Connection,
    guild: str,
    classifier_id: int,
    texts: Sequence[tuple[str, str]],
    by: str,
    source: Source,
    now: float,
    batch: str | None,
) -> int:
    """Add texts (text, hash) without a label; how many were new."""
    before = connection.total_changes
    connection.executemany(
        "INSERT INTO examples (guild, classifier_id, text, hash, source, submitted_by, created_at, batch) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (guild, classifier_id, hash) DO NOTHING",
        [(guild, classifier_id, text, hash, source, by, now, batch) for text, hash in texts],
    )
    return connection.total_changes - before


def take_from_pool(connection: sqlite3.Connection, guild: str, batch: str, by: str) -> int:
    """Delete what one import of this person put into the pool and nobody has labelled; how many texts."""
    done = connection.execute(
        "DELETE FROM examples WHERE guild = ? AND batch = ? AND submitted_by = ? AND split IS NULL",
        (guild, batch, by),
    )
    return done.rowcount


def choose_split(connection: sqlite3.Connection, vote: Vote) -> Split:
    """Whether an example that gets its first label is trained on or kept for measuring. Decided once and for all."""
    golden = not vote.picked_by_model and falls_golden(vote.hash) and _golden(connection, vote) < GOLDEN_LIMIT
    return Split.GOLDEN if golden else Split.TRAIN


def say(connection: sqlite3.Connection, vote: Vote, example_id: int, made: bool) -> tuple[int, bool]:
    """(id of the event by which the annotator says so, whether it was written now). A new example has none yet."""
    standing = None if made else standing_same(connection, vote, example_id)
    return (standing, False) if standing else (append(connection, vote, example_id), True)


def standing_same(connection: sqlite3.Connection, vote: Vote, example_id: int) -> int | None:
    """The id of the event by which this annotator says the same already (a ruling says what a vote says)."""
    said = row(
        connection,
        "SELECT id, kind, label_id FROM opinions "
        "WHERE guild = ? AND classifier_id = ? AND example_id = ? AND annotator = ?",
        (vote.guild, vote.classifier_id, example_id, vote.annotator),
    )
    if said is None or said["label_id"] != vote.label_id or said["kind"] not in {vote.kind, EventKind.RULING}:
        return None
    return int(said["id"])


def append(connection: sqlite3.Connection, vote: Vote, example_id: int) -> int:
    added = connection.execute(
        "INSERT INTO label_events "
        "(guild, classifier_id, example_id, annotator, kind, label_id, source, batch, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(vote.guild, vote.classifier_id, example_id, vote.annotator),
            *(vote.kind, vote.label_id, vote.source, vote.batch, vote.now),
        ),
    )
    return int(added.lastrowid or 0)


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
    return int(added.lastrowid or 0)


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
        NotFound: no such undo of this annotator. Conflict: the label is archived, or they spoke about the text since.
    """
    retraction, given = find_retraction(connection, guild, retraction_id, annotator)
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
    previous = current_label(connection, *at)
    event_id = later["id"] if later is not None else repeat(connection, given, now)
    result = LabelResult(
        example=find_example(connection, guild, retraction.example_id),
        event=find_event(connection, guild, event_id),
        label=label,
        previous=previous.name if previous else None,
    )
    return result, later is None


def find_retraction(
    connection: sqlite3.Connection, guild: str, retraction_id: int, annotator: str
) -> tuple[LabelEvent, LabelEvent]:
    """An annotator's own undo, and what it took back. Raises NotFound, also where a lead reverted their labels."""
    found = row(
        connection,
        "SELECT * FROM own_events WHERE guild = ? AND id = ? AND annotator = ? AND kind = 'retraction'",
        (guild, retraction_id, annotator),
    )
    if found is None:
        raise NotFound(f"There is no undo with the id {retraction_id} that you made.")
    return event_from(found), find_event(connection, guild, found["undoes"])


def repeat(connection: sqlite3.Connection, event: LabelEvent, now: float) -> int:
    """Append the same vote or ruling of the same person once more; its id."""
    added = connection.execute(
        "INSERT INTO label_events (guild, classifier_id, example_id, annotator, kind, label_id, source, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(event.guild, event.classifier_id, event.example_id, event.annotator),
            *(event.kind, event.label_id, event.source, now),
        ),
    )
    return int(added.lastrowid or 0)


def retract_batch(connection: sqlite3.Connection, guild: str, batch: str, annotator: str, now: float) -> int:
    """Undo one's own import; how many labels that took back.

    Raises:
        NotFound: no such import of this annotator.
    """
    own = "SELECT id FROM label_events WHERE guild = ? AND batch = ? AND annotator = ? LIMIT 1"
    if row(connection, own, (guild, batch, annotator)) is None:
        raise NotFound(f"There is no import {batch} that you made.")
    return take_back_batch(connection, guild, batch, annotator, now)


def take_back_batch(connection: sqlite3.Connection, guild: str, batch: str, annotator: str, now: float) -> int:
    """The same, also for a batch without any label."""
    found = rows(
        connection,
        "SELECT * FROM label_events WHERE guild = ? AND batch = ? AND annotator = ? ORDER BY id",
        (guild, batch, annotator),
    )
    return sum(take_back(connection, event_from(each), now) is not None for each in found)


def current_label(connection: sqlite3.Connection, guild: str, classifier_id: int, example_id: int) -> Label | None:
    found = row(
        connection,
        "SELECT labels.* FROM current_labels AS now JOIN labels ON labels.id = now.label_id "
        "WHERE now.guild = ? AND now.classifier_id = ? AND now.example_id = ?",
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


def _golden(connection: sqlite3.Connection, vote: Vote) -> int:
    count: int = value(
        connection,
        "SELECT count(*) FROM examples WHERE guild = ? AND classifier_id = ? AND split = 'golden'",
        (vote.guild, vote.classifier_id),
    )
    return count
