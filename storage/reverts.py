"""All labels that one person gave since some moment, taken back by a lead as a whole, and brought back as a whole.

This is the only way in which somebody's labels are taken back by another person. The retractions stand in the name of
whoever gave the labels; `reverts` says who did it.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

import sqlite_utils

from storage.database import Database
from storage.drafts import confirmed, find_draft
from storage.errors import NotFound
from storage.lookups import event_from, find_event
from storage.records import EventKind, LabelEvent
from storage.rows import row, rows
from storage.undoing import repeat, settled_since, take_back


@dataclass(frozen=True, slots=True)
class RevertPreview:
    labels: int
    """Votes and rulings that would be taken back."""
    texts: int
    changed: int
    """Texts that would have another label, or none."""


@dataclass(frozen=True, slots=True)
class Revert:
    id: int
    guild: str
    classifier_id: int
    annotator: str
    since: float
    by: str
    created_at: float
    labels: int
    """That it took back."""
    undone: bool


@dataclass(frozen=True, slots=True)
class Restored:
    """What the undo of a revert did."""

    labels: int
    left: int
    """Labels not given again: the person has labelled the text anew since, or taken the import back that brought it, or
    another lead has settled it."""


class Reverts:
    """Every method takes the guild first and sees no other guild's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def preview(self, guild: str, classifier_id: int, annotator: str, since: float) -> RevertPreview:
        """What taking back a person's labels since then (Unix seconds) would do."""

        def query(connection: sqlite3.Connection) -> RevertPreview:
            given = _standing(connection, guild, classifier_id, annotator, since)
            texts = {event.example_id for event in given}
            gone = {event.id for event in given}
            changed = sum(
                _decides(said) != _decides(said, gone) for said in _said(connection, guild, classifier_id, texts)
            )
            return RevertPreview(len(given), len(texts), changed)

        return await self._db.read(query)

    async def confirm(self, guild: str, draft_id: int, by: str, now: float) -> tuple[Revert, bool]:
        """Do what a draft says, all or nothing: (the revert, whether it was done now).

        Raises:
            NotFound: no such draft.
        """

        def unit(tables: sqlite_utils.Database) -> tuple[Revert, bool]:
            connection = tables.conn
            draft = find_draft(connection, guild, draft_id)
            if draft.outcome is not None:
                return _find(connection, guild, draft.outcome), False
            annotator, since = draft.wanted.get("annotator"), draft.wanted.get("since")
            if annotator is None or since is None:
                raise NotFound("That was no preview of a revert. Use the command again.")
            added = connection.execute(
                "INSERT INTO reverts (guild, classifier_id, annotator, since, by, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (guild, draft.classifier_id, annotator, since, by, now),
            )
            revert_id = int(added.lastrowid or 0)
            for event in _standing(connection, guild, draft.classifier_id, annotator, since):
                connection.execute(
                    "INSERT INTO revert_events (guild, revert_id, event_id) VALUES (?, ?, ?)",
                    (guild, revert_id, take_back(connection, event, now)),
                )
            confirmed(connection, guild, draft_id, revert_id)
            return _find(connection, guild, revert_id), True

        return await self._db.write(unit)

    async def undo(self, guild: str, revert_id: int, by: str, now: float) -> Restored | None:
        """Give the labels again, in their order; None if that was done before. Raises NotFound."""

        def unit(tables: sqlite_utils.Database) -> Restored | None:
            connection = tables.conn
            if _find(connection, guild, revert_id).undone:
                return None
            taken = _taken_back(connection, guild, revert_id)
            newest = max((retraction.id for retraction in taken), default=0)
            again = [one for one in taken if not _is_outdated(connection, one, newest)]
            for retraction in again:
                repeat(connection, retraction, now)
            connection.execute(
                "UPDATE reverts SET undone_by = ?, undone_at = ? WHERE guild = ? AND id = ?",
                (by, now, guild, revert_id),
            )
            return Restored(len(again), len(taken) - len(again))

        return await self._db.write(unit)

    async def get(self, guild: str, revert_id: int) -> Revert:
        """Raises NotFound, also for another guild's."""
        return await self._db.read(lambda connection: _find(connection, guild, revert_id))


def _standing(
    connection: sqlite3.Connection, guild: str, classifier_id: int, annotator: str, since: float
) -> list[LabelEvent]:
    found = rows(
        connection,
        "SELECT * FROM standing_events WHERE guild = ? AND annotator = ? AND classifier_id = ? AND created_at >= ? "
        "ORDER BY id",
        (guild, annotator, classifier_id, since),
    )
    return [event_from(each) for each in found]


def _said(
    connection: sqlite3.Connection, guild: str, classifier_id: int, texts: Collection[int]
) -> list[list[sqlite3.Row]]:
    """The standing events of each of these examples, oldest first, with the label that each counts for.

    Without those that were removed: they count for nothing, whatever is said. Null: a label that is archived.
    """
    found = rows(
        connection,
        # CROSS JOIN keeps SQLite from starting anywhere but at the texts.
        "SELECT event.example_id, event.id, event.annotator, event.kind, "
        "CASE WHEN target.archived THEN NULL ELSE target.id END AS label FROM json_each(?) AS text "
        "CROSS JOIN examples AS example ON example.id = text.value AND example.removed_at IS NULL "
        "CROSS JOIN standing_events AS event ON event.guild = ? AND event.classifier_id = ? "
        "AND event.example_id = text.value CROSS JOIN labels AS label ON label.id = event.label_id "
        "CROSS JOIN labels AS target ON target.id = coalesce(label.merged_into, label.id) "
        "ORDER BY event.example_id, event.id",
        (json.dumps(sorted(texts)), guild, classifier_id),
    )
    return [list(group) for _, group in groupby(found, key=lambda event: event["example_id"])]


def _decides(said: Sequence[sqlite3.Row], without: Collection[int] = ()) -> int | None:
    """The label that follows from standing events, as the view `current_labels` finds it."""
    standing = [event for event in said if event["id"] not in without]
    if rulings := [event for event in standing if event["kind"] == EventKind.RULING]:
        return _id(rulings[-1]["label"])
    opinions = {event["annotator"]: event["label"] for event in standing}
    for label, count in Counter(opinions.values()).most_common(1):
        return _id(label) if 2 * count > len(opinions) else None
    return None


def _id(label: int | None) -> int | None:
    return None if label is None else int(label)


def _taken_back(connection: sqlite3.Connection, guild: str, revert_id: int) -> list[LabelEvent]:
    found = rows(
        connection,
        "SELECT label_events.* FROM revert_events JOIN label_events ON label_events.guild = revert_events.guild "
        "AND label_events.id = revert_events.event_id WHERE revert_events.guild = ? AND revert_events.revert_id = ? "
        "ORDER BY label_events.id",
        (guild, revert_id),
    )
    return [event_from(each) for each in found]


def _is_outdated(connection: sqlite3.Connection, retraction: LabelEvent, newest: int) -> bool:
    """Whether its label would contradict what was said or done since."""
    given = find_event(connection, retraction.guild, retraction.undoes or 0)
    undone = "SELECT 1 FROM imports WHERE guild = ? AND token = ? AND undone_at IS NOT NULL"
    return (
        _spoke_since(connection, retraction, newest)
        or settled_since(connection, given)
        or row(connection, undone, (given.guild, given.batch)) is not None
    )


def _spoke_since(connection: sqlite3.Connection, retraction: LabelEvent, newest: int) -> bool:
    found = row(
        connection,
        "SELECT 1 FROM label_events WHERE guild = ? AND classifier_id = ? AND example_id = ? AND annotator = ? "
        "AND id > ?",
        (retraction.guild, retraction.classifier_id, retraction.example_id, retraction.annotator, newest),
    )
    return found is not None


def _find(connection: sqlite3.Connection, guild: str, revert_id: int) -> Revert:
    found = row(
        connection,
        "SELECT reverts.*, (SELECT count(*) FROM revert_events WHERE revert_events.guild = reverts.guild "
        "AND revert_events.revert_id = reverts.id) AS labels FROM reverts WHERE guild = ? AND id = ?",
        (guild, revert_id),
    )
    if found is None:
        raise NotFound(f"There is no revert with the id {revert_id} here.")
    return Revert(
        id=found["id"],
        guild=found["guild"],
        classifier_id=found["classifier_id"],
        annotator=found["annotator"],
        since=found["since"],
        by=found["by"],
        created_at=found["created_at"],
        labels=found["labels"],
        undone=found["undone_at"] is not None,
    )
