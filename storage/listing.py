"""Reading many examples of a classifier at once: a search, what an import would meet, everything for an export."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from storage.classifiers import by_id
from storage.database import Database
from storage.label_changes import changes_of, former_names
from storage.lookups import current_label
from storage.records import EventKind, Label, Source, Split, normalise
from storage.rows import rows


@dataclass(frozen=True, slots=True)
class FoundExample:
    """An example as a search shows it."""

    id: int
    text: str
    label: str | None
    """Now; None: nobody labelled it, or a tie."""
    golden: bool


@dataclass(frozen=True, slots=True)
class Known:
    """What a classifier has already."""

    labels: dict[str, str]
    """Normalised name, also one that a label had before → the name under which texts are filed; of a merged label,
    that of the one it was merged into."""
    archived: frozenset[str]
    """Normalised names of labels that are archived: they take no text and their names are taken."""
    texts: dict[str, str | None]
    """Text hash → current label; None: it has none, or was removed."""


@dataclass(frozen=True, slots=True)
class StandingVote:
    """What somebody said about an example and did not take back. `label` as it was given, even if it is gone now."""

    annotator: str
    label: str
    kind: EventKind
    created_at: float


@dataclass(frozen=True, slots=True)
class WholeExample:
    """An example with everything that an export tells."""

    id: int
    text: str
    label: str | None
    split: Split | None
    source: Source
    created_at: float
    votes: tuple[StandingVote, ...]
    """Oldest first."""


class Listing:
    """Every method takes the guild first and sees no other guild's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def search(
        self, guild: str, classifier_id: int, words: Sequence[str], label: Label | None, skip: int, limit: int
    ) -> tuple[list[FoundExample], int]:
        """Examples whose text holds every word, newest first: (at most `limit` of them after `skip`, how many in all).

        Words are compared as `records.normalise` leaves them. `label`: only those that have it now; None: all, also
        without a label. Removed ones are left out. About 0.3 s with 50,000 examples.
        """
        return await self._db.read(
            lambda connection: _search(connection, (guild, classifier_id), words, label, skip, limit)
        )

    async def known(self, guild: str, classifier_id: int) -> Known:
        """Everything at one moment. 0.5 s with 50,000 examples. Raises NotFound: no such classifier."""
        return await self._db.read(lambda connection: _known(connection, (guild, classifier_id)))

    async def whole(self, guild: str, classifier_id: int) -> list[WholeExample]:
        """Every example that was not removed, by id. About a second with 50,000."""
        return await self._db.read(lambda connection: _whole(connection, (guild, classifier_id)))


def _search(
    connection: sqlite3.Connection,
    at: tuple[str, int],
    words: Sequence[str],
    label: Label | None,
    skip: int,
    limit: int,
) -> tuple[list[FoundExample], int]:
    if label is None:
        sql = "SELECT id, text, split FROM examples WHERE guild = ? AND classifier_id = ? AND removed_at IS NULL"
        found = rows(connection, f"{sql} ORDER BY id DESC", at)
    else:
        sql = "SELECT example_id AS id, text, split FROM current_labels WHERE guild = ? AND classifier_id = ?"
        found = rows(connection, f"{sql} AND label_id = ? ORDER BY example_id DESC", (*at, label.id))
    matching = [each for each in found if _holds(each["text"], words)]
    page = []
    for each in matching[skip : skip + limit]:
        now = current_label(connection, *at, each["id"])
        page.append(FoundExample(each["id"], each["text"], now.name if now else None, each["split"] == Split.GOLDEN))
    return page, len(matching)


def _holds(text: str, words: Sequence[str]) -> bool:
    # SQLite's LIKE knows the case of ASCII letters only.
    normalised = normalise(text) if words else ""
    return all(word in normalised for word in words)


def _known(connection: sqlite3.Connection, at: tuple[str, int]) -> Known:
    by_id(connection, *at)
    labels: dict[str, str] = {}
    archived: set[str] = set()
    named: dict[int, tuple[str, bool]] = {}
    for each in rows(
        connection,
        "SELECT label.id, label.key, coalesce(other.name, label.name) AS name, "
        "coalesce(other.archived, label.archived) AS gone "
        "FROM labels AS label LEFT JOIN labels AS other ON other.id = label.merged_into "
        "WHERE label.guild = ? AND label.classifier_id = ? ORDER BY label.position",
        at,
    ):
        named[each["id"]] = (each["name"], bool(each["gone"]))
        if each["gone"]:
            archived.add(each["key"])
        else:
            labels[each["key"]] = each["name"]
    for key, label_id in former_names(changes_of(connection, *at)).items():
        name, gone = named[label_id]
        if key not in labels and key not in archived and not gone:
            labels[key] = name
    current = _current(connection, at)
    every = rows(connection, "SELECT id, hash FROM examples WHERE guild = ? AND classifier_id = ?", at)
    return Known(labels, frozenset(archived), {hash: current.get(example_id) for example_id, hash in every})


def _whole(connection: sqlite3.Connection, at: tuple[str, int]) -> list[WholeExample]:
    current, votes = _current(connection, at), _votes(connection, at)
    every = rows(
        connection,
        "SELECT id, text, split, source, created_at FROM examples "
        "WHERE guild = ? AND classifier_id = ? AND removed_at IS NULL ORDER BY id",
        at,
    )
    return [
        WholeExample(
            id=each["id"],
            text=each["text"],
            label=current.get(each["id"]),
            split=Split(each["split"]) if each["split"] else None,
            source=Source(each["source"]),
            created_at=each["created_at"],
            votes=tuple(votes.get(each["id"], ())),
        )
        for each in every
    ]


def _current(connection: sqlite3.Connection, at: tuple[str, int]) -> dict[int, str]:
    """Example id → label."""
    sql = "SELECT example_id, label FROM current_labels WHERE guild = ? AND classifier_id = ?"
    return {each["example_id"]: each["label"] for each in rows(connection, sql, at)}


def _votes(connection: sqlite3.Connection, at: tuple[str, int]) -> dict[int, list[StandingVote]]:
    """Example id → what stands, oldest first."""
    votes: dict[int, list[StandingVote]] = {}
    for example_id, annotator, label, kind, created_at in rows(
        connection,
        "SELECT event.example_id, event.annotator, label.name, event.kind, event.created_at "
        "FROM standing_events AS event JOIN labels AS label ON label.id = event.label_id "
        "WHERE event.guild = ? AND event.classifier_id = ? ORDER BY event.id",
        at,
    ):
        votes.setdefault(example_id, []).append(StandingVote(annotator, label, EventKind(kind), created_at))
    return votes
