"""What one label does to the tables: place the example, give it its split, append the event, tell what changed.

These functions run inside a unit of work, on the writer's connection, as do those of `storage.undoing` and
`storage.removals`. `storage.examples` and `storage.imports` are their public faces.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from storage.errors import Conflict, InvalidInput
from storage.lookups import current_label, find_event, find_example, find_label, ruled_label
from storage.records import MAX_TEXT, EventKind, Example, Label, LabelEvent, Source, Split, normalise
from storage.removals import set_removed
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
    by_lead: bool = False
    """A vote of a lead on a text that a ruling stands for is a ruling too: votes would not be heard."""


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
    ruled: Label | None = None
    """What the newest standing ruling says after it, also where that label is archived; None: there is none."""


def clean_text(text: str) -> str:
    """The text as it is stored: without surrounding space.

    Raises:
        InvalidInput: empty, longer than MAX_TEXT characters, or holds NUL or half of a surrogate pair.
    """
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise InvalidInput(f"The text has {len(text):,} characters; at most {MAX_TEXT:,} fit. Shorten it.")
    if "\0" in text or not is_whole(text):
        raise InvalidInput("The text holds characters that are no text (NUL or half of an emoji). Leave them out.")
    if not normalise(text):
        raise InvalidInput("The text is empty.")
    return text


def is_whole(text: str) -> bool:
    """Whether it holds no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def falls_golden(hash: str) -> bool:
    """Whether a text (by `text_hash`) belongs to the golden tenth."""
    return _lot(hash) % GOLDEN_SHARE == 0


def _lot(hash: str) -> int:
    """The same for a text for ever, and as good as drawn. The salt keeps it apart from other uses."""
    return int(hashlib.sha256(f"golden:{hash}".encode()).hexdigest(), 16)


def cast(connection: sqlite3.Connection, vote: Vote) -> LabelResult:
    """Store one vote. The same vote again writes nothing and returns the event that stands.

    Raises:
        NotFound: the label is not one of this guild's classifier.
    """
    label = find_label(connection, vote.guild, vote.classifier_id, vote.label_id)
    example_id, made, came_back = place(connection, vote, GoldenRoom(connection, [vote]))
    at = (vote.guild, vote.classifier_id, example_id)
    previous = None if made else current_label(connection, *at)
    if vote.by_lead and ruled_label(connection, *at) is not None:
        vote = replace(vote, kind=EventKind.RULING)
    event_id, _ = say(connection, vote, example_id, anew=made or came_back)
    return LabelResult(
        example=find_example(connection, vote.guild, example_id),
        event=find_event(connection, vote.guild, event_id),
        label=label,
        previous=previous.name if previous else None,
        came_back=came_back,
        ruled=ruled_label(connection, *at),
    )


def check_label(connection: sqlite3.Connection, vote: Vote, allowed: Collection[int | None]) -> None:
    """Raises Conflict unless the text of a vote has one of these labels now; None: no label, or a tie."""
    at = (vote.guild, vote.classifier_id, vote.hash)
    found = row(connection, "SELECT id FROM examples WHERE guild = ? AND classifier_id = ? AND hash = ?", at)
    label = None if found is None else current_label(connection, vote.guild, vote.classifier_id, found["id"])
    if (None if label is None else label.id) not in allowed:
        what = f"it is `{label.name}`" if label else "it has no label"
        raise Conflict(f"#{found['id'] if found else 0} is settled already: {what} now. Nothing was changed.")


def _settled(connection: sqlite3.Connection, guild: str, classifier_id: int) -> set[int]:
    """Examples for which a ruling stands."""
    sql = "SELECT DISTINCT example_id FROM standing_events WHERE guild = ? AND classifier_id = ? AND kind = 'ruling'"
    return {each["example_id"] for each in rows(connection, sql, (guild, classifier_id))}


def cast_many(connection: sqlite3.Connection, votes: Sequence[Vote]) -> tuple[int, int]:
    """`cast` for many votes of one classifier, without asking for each what the label was before.

    Returns (texts that were new, events written).
    """
    if not votes:
        return 0, 0
    for label_id in {vote.label_id for vote in votes}:
        find_label(connection, votes[0].guild, votes[0].classifier_id, label_id)
    new = written = 0
    room = GoldenRoom(connection, votes)
    settled = _settled(connection, votes[0].guild, votes[0].classifier_id)
    for vote in votes:
        example_id, made, came_back = place(connection, vote, room)
        if vote.by_lead and example_id in settled:
            vote = replace(vote, kind=EventKind.RULING)
        _, said = say(connection, vote, example_id, anew=made or came_back)
        new += made
        written += said
    return new, written


def place(connection: sqlite3.Connection, vote: Vote, room: GoldenRoom) -> tuple[int, bool, bool]:
    """The example of a vote's text, with its split given: (its id, whether it was made, whether it came back).

    A removed one comes back in the same moment as the vote, by which `storage.undoing` knows that it was for the vote.
    """
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
            (*at, vote.text, vote.source, choose_split(vote, room), vote.annotator, vote.now),
        )
        return int(added.lastrowid or 0), True, False
    if found["split"] is None:  # it waited in the unlabelled pool
        connection.execute(
            "UPDATE examples SET split = ? WHERE guild = ? AND id = ?",
            (choose_split(vote, room), vote.guild, found["id"]),
        )
    came_back = found["removed_at"] is not None
    if came_back:
        set_removed(connection, vote.guild, found["id"], vote.annotator, vote.now, removed=False)
    return found["id"], False, came_back


def choose_split(vote: Vote, room: GoldenRoom) -> Split:
    """Whether an example that gets its first label is trained on or kept for measuring. Decided once and for all."""
    return Split.GOLDEN if falls_golden(vote.hash) and room.takes(vote) else Split.TRAIN


class GoldenRoom:
    """Which texts of these votes, all of one classifier, become golden; looked up once, when somebody asks.

    Where more fall golden than there is room for, it is a lot that decides and not their order: files are often sorted
    by label.
    """

    def __init__(self, connection: sqlite3.Connection, votes: Sequence[Vote]) -> None:
        self._connection = connection
        self._votes = votes
        self._chosen: frozenset[str] | None = None

    def takes(self, vote: Vote) -> bool:
        if self._chosen is None:
            self._chosen = self._choose()
        return vote.hash in self._chosen

    def _choose(self) -> frozenset[str]:
        at = (self._votes[0].guild, self._votes[0].classifier_id)
        falling = {vote.hash for vote in self._votes if not vote.picked_by_model and falls_golden(vote.hash)}
        placed = rows(
            self._connection,
            "SELECT hash FROM examples WHERE guild = ? AND classifier_id = ? AND split IS NOT NULL "
            "AND hash IN (SELECT value FROM json_each(?))",
            (*at, json.dumps(sorted(falling))),
        )
        left = max(0, GOLDEN_LIMIT - golden_texts(self._connection, *at))
        return frozenset(sorted(falling.difference(each["hash"] for each in placed), key=_lot)[:left])


def say(connection: sqlite3.Connection, vote: Vote, example_id: int, *, anew: bool) -> tuple[int, bool]:
    """(id of the event by which the annotator says so, whether it was written now).

    `anew`: the example is new, or came back: then it is written in any case, so that it can be taken back.
    """
    standing = None if anew else standing_same(connection, vote, example_id)
    return (standing, False) if standing else (append(connection, vote, example_id), True)


def standing_same(connection: sqlite3.Connection, vote: Vote, example_id: int) -> int | None:
    """The id of the event by which this annotator says the same already.

    A ruling says what a vote says; once another lead has ruled, it says nothing any more.
    """
    said = row(
        connection,
        "SELECT id, kind, label_id FROM opinions AS said "
        "WHERE guild = ? AND classifier_id = ? AND example_id = ? AND annotator = ? "
        "AND (? = 'vote' OR NOT EXISTS (SELECT 1 FROM standing_events AS newer WHERE newer.guild = said.guild "
        "AND newer.classifier_id = said.classifier_id AND newer.example_id = said.example_id "
        "AND newer.kind = 'ruling' AND newer.id > said.id))",
        (vote.guild, vote.classifier_id, example_id, vote.annotator, vote.kind),
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


def golden_texts(connection: sqlite3.Connection, guild: str, classifier_id: int) -> int:
    """How many golden texts a model can be asked: those whose labels were all taken back, or that were removed, never
    count any more."""
    count: int = value(
        connection,
        "SELECT count(*) FROM examples AS example WHERE guild = ? AND classifier_id = ? AND split = 'golden' "
        "AND removed_at IS NULL AND EXISTS (SELECT 1 FROM standing_events AS said WHERE said.guild = example.guild "
        "AND said.classifier_id = example.classifier_id AND said.example_id = example.id)",
        (guild, classifier_id),
    )
    return count
