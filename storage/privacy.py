"""What is stored about one person of one guild: counted, read out, deleted; and who has opted out.

Label events are append-only by triggers. Forgetting is the one exception: it takes the triggers of that table away and
puts the very same ones back, inside the transaction that deletes (SQLite's schema is transactional), so nobody else
ever sees the table without them. A person is their annotator id.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import sqlite_utils

from storage.database import Database
from storage.records import Erasure, Holdings
from storage.removals import drop_vectors
from storage.rows import row, rows, value

FORGOTTEN = "forgotten"
"""Stands where a person's id was, in rows that stay because they are somebody else's, too."""

_EVERYTHING = {
    "texts": (
        "SELECT classifiers.name AS classifier, examples.id, examples.text, examples.source, examples.split, "
        "examples.created_at, examples.removed_at FROM examples JOIN classifiers "
        "ON classifiers.id = examples.classifier_id WHERE examples.guild = :guild AND submitted_by = :person"
    ),
    "label_events": (
        "SELECT classifiers.name AS classifier, event.id, event.example_id, examples.text, event.kind, "
        "labels.name AS label, event.undoes, event.source, event.created_at FROM label_events AS event "
        "JOIN classifiers ON classifiers.id = event.classifier_id JOIN examples ON examples.id = event.example_id "
        "LEFT JOIN labels ON labels.id = event.label_id WHERE event.guild = :guild AND annotator = :person"
    ),
    "questions": (
        "SELECT classifiers.name AS classifier, predictions.id, text, json_extract(scores, '$[0][0]') AS answer, "
        "json_extract(scores, '$[0][1]') AS confidence, version, predictions.created_at FROM predictions "
        "JOIN classifiers ON classifiers.id = classifier_id WHERE predictions.guild = :guild AND asked_by = :person"
    ),
    "rounds": (
        "SELECT classifiers.name AS classifier, rounds.id, wanted, (SELECT json_group_array(json_object("
        "'text', examples.text, 'outcome', outcome, 'asked_at', asked_at)) FROM questions "
        "JOIN examples ON examples.id = example_id WHERE questions.guild = rounds.guild AND round = rounds.id) "
        "AS asked, rounds.created_at FROM rounds JOIN classifiers ON classifiers.id = rounds.classifier_id "
        "WHERE rounds.guild = :guild AND annotator = :person"
    ),
    "imports": (
        "SELECT classifiers.name AS classifier, imports.name, source, rows, imports.created_at, applied_at, undone_at "
        "FROM imports JOIN classifiers ON classifiers.id = classifier_id "
        "WHERE imports.guild = :guild AND by = :person"
    ),
    "feedback": (
        "SELECT prediction_id, was_right, event_id, created_at FROM feedback "
        "WHERE guild = :guild AND annotator = :person"
    ),
    "decisions": (
        "SELECT 'classifier created' AS decision, name AS subject, created_at FROM classifiers "
        "WHERE guild = :guild AND created_by = :person UNION ALL "
        "SELECT 'training asked for', id, created_at FROM jobs WHERE guild = :guild AND requested_by = :person "
        "UNION ALL SELECT 'version made live', 'v' || number, created_at FROM promotions "
        "WHERE guild = :guild AND by = :person UNION ALL "
        "SELECT 'label changed: ' || kind, labels.name, created_at FROM label_changes "
        "JOIN labels ON labels.id = label_id WHERE label_changes.guild = :guild AND by = :person UNION ALL "
        "SELECT 'labels of somebody taken back', id, created_at FROM reverts "
        "WHERE guild = :guild AND by = :person UNION ALL "
        "SELECT 'rule written', text, created_at FROM rules WHERE guild = :guild AND by = :person UNION ALL "
        "SELECT 'label proposed: ' || name, text, created_at FROM proposals WHERE guild = :guild AND by = :person "
        "UNION ALL SELECT 'text pinned', text, at FROM pins WHERE guild = :guild AND pinned_by = :person"
    ),
}
"""By kind, what names a person. What comes to hold a person's words or id belongs here and into `forget`."""


_DELETED = (
    ("annotators", "id"),
    ("imports", "by"),
    ("pins", "pinned_by"),
    ("proposals", "by"),
    ("questions", "annotator"),
    ("rounds", "annotator"),
)
"""(table, column): rows that go with the person, beside those that take more than this."""

_EMPTIED = (("examples", "submitted_by"), ("removals", "by"), ("rules", "by"), ("kept_labels", "kept_by"))
"""(table, column): rows that stay, and no longer say whose they are."""


class Privacy:
    """Every method takes the guild first and sees no other guild's rows, but for `opt_outs` and `doomed`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # Opting out

    async def opt_outs(self) -> set[tuple[str, str]]:
        """(guild, person) of all guilds: what is kept in memory."""
        found = await self._db.read(lambda connection: rows(connection, "SELECT guild, person FROM opt_outs"))
        return {(each["guild"], each["person"]) for each in found}

    async def opt_out(self, guild: str, person: str, now: float) -> None:
        """From now on; again changes nothing."""
        await self._write(
            "INSERT INTO opt_outs (guild, person, created_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (guild, person, now),
        )

    async def opt_in(self, guild: str, person: str) -> None:
        await self._write("DELETE FROM opt_outs WHERE guild = ? AND person = ?", (guild, person))

    # Reading

    async def holdings(self, guild: str, person: str) -> Holdings:
        return await self._db.read(lambda connection: _holdings(connection, guild, person))

    async def everything(self, guild: str, person: str) -> dict[str, list[dict[str, Any]]]:
        """Every row that is this person's, by kind, oldest first."""
        at = {"guild": guild, "person": person}

        def query(connection: sqlite3.Connection) -> dict[str, list[dict[str, Any]]]:
            return {
                kind: sorted(map(dict, rows(connection, sql, at)), key=lambda each: each["created_at"])
                for kind, sql in _EVERYTHING.items()
            }

        return await self._db.read(query)

    async def snapshots(self, guild: str) -> list[str]:
        """Of every training of this guild."""
        found = await self._db.read(
            lambda connection: rows(connection, "SELECT DISTINCT snapshot FROM jobs WHERE guild = ?", (guild,))
        )
        return [each["snapshot"] for each in found]

    async def versions(self, guild: str) -> list[tuple[str, int, str, str]]:
        """(classifier, number, snapshot, artifact) of every version that has its files, by number."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT classifiers.name, number, snapshot, artifact FROM versions JOIN classifiers "
                "ON classifiers.id = versions.classifier_id WHERE versions.guild = ? AND files_deleted_at IS NULL "
                "ORDER BY 1, 2",
                (guild,),
            )
        )
        return [(name, number, snapshot, artifact) for name, number, snapshot, artifact in found]

    # Forgetting

    async def preview(self, guild: str, person: str) -> Erasure:
        """What `forget` would delete now."""
        return await self._db.read(lambda connection: _count(connection, guild, person))

    async def forget(self, guild: str, person: str, held: Mapping[str, frozenset[int]]) -> Erasure:
        """Delete what this person asked, labelled, judged and submitted; all of it or nothing. Again finds nothing.

        A text that others labelled too stays, and no longer says who submitted it. Decisions (who created, trained,
        promoted) stay: they say what a team agreed to.

        Args:
            held: by snapshot file, the ids of the examples in it; those that hold a deleted text are noted as doomed,
                and of each how many of its texts or their labels are deleted (`forgotten_of`).
        """
        return await self._db.write(lambda tables: _forget(tables.conn, guild, person, held))

    async def forgotten_of(self, guild: str, snapshot: str) -> int:
        """How many texts that a training file held, or their labels, were forgotten since it was written."""
        found: str | None = await self._db.read(
            lambda connection: value(
                connection, "SELECT value FROM state WHERE key = ?", (_forgotten_key(guild, snapshot),)
            )
        )
        return int(found or 0)

    async def drop_vectors(self, guild: str, hashes: frozenset[str]) -> None:
        """Delete the cached vectors of texts that are in no classifier of this guild."""

        def unit(tables: sqlite_utils.Database) -> None:
            drop_vectors(tables.conn, guild, hashes)

        await self._db.write(unit)

    async def doomed(self) -> list[tuple[str, str]]:
        """(guild, snapshot) of files to delete now: no training under way needs them."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT guild, snapshot FROM doomed_snapshots AS doomed WHERE NOT EXISTS (SELECT 1 FROM jobs "
                "WHERE jobs.snapshot = doomed.snapshot "
                "AND jobs.state IN ('queued', 'leased', 'running', 'uploading'))",
            )
        )
        return [(guild, snapshot) for guild, snapshot in found]

    async def is_deleted(self, guild: str, snapshot: str) -> None:
        """The file is gone."""
        await self._write("DELETE FROM doomed_snapshots WHERE guild = ? AND snapshot = ?", (guild, snapshot))

    async def _write(self, sql: str, parameters: tuple[Any, ...]) -> None:
        def unit(tables: sqlite_utils.Database) -> None:
            tables.execute(sql, parameters)

        await self._db.write(unit)


def _holdings(connection: sqlite3.Connection, guild: str, person: str) -> Holdings:
    at = {"guild": guild, "person": person}
    counts: dict[str, int] = {}
    oldest: list[float] = []
    for kind, sql in _EVERYTHING.items():
        found = row(connection, f"SELECT count(*), min(created_at) FROM ({sql})", at)  # noqa: S608 - a constant
        counts[kind], since = found or (0, None)
        oldest += [since] if since is not None else []
    name = value(connection, "SELECT name FROM annotators WHERE guild = :guild AND id = :person", at)
    return Holdings(**counts, name=name, since=min(oldest, default=None))


_OTHERS = """
source <> 'message' AND EXISTS (
    SELECT 1 FROM label_events AS event
    LEFT JOIN label_events AS undone ON undone.guild = event.guild AND undone.id = event.undoes
    WHERE event.guild = examples.guild AND event.classifier_id = examples.classifier_id
      AND event.example_id = examples.id AND event.annotator <> :person AND coalesce(undone.annotator, '') <> :person
)
"""
"""Whether somebody else labelled an example: then it is theirs, too, unless it is the person's own chat message. What
takes back a label of the person counts as theirs, whoever did it."""

_SUBMITTED = "SELECT id, classifier_id, hash FROM examples WHERE guild = :guild AND submitted_by = :person"
_ONLY_THEIRS = f"{_SUBMITTED} AND NOT ({_OTHERS})"
_SHARED = f"{_SUBMITTED} AND {_OTHERS}"

_EVENTS = (
    "guild = :guild AND (annotator = :person OR undoes IN "
    "(SELECT id FROM label_events WHERE guild = :guild AND annotator = :person) OR example_id IN "
    "(SELECT id FROM examples WHERE guild = :guild AND submitted_by = :person AND source = 'message'))"
)
"""The label events of a person, whatever takes one of them back, and all about their own chat messages."""

_COUNT_EVENTS = f"SELECT count(*) FROM label_events WHERE {_EVENTS}"  # noqa: S608 - of constants, as the next four
_LABELLED = f"SELECT DISTINCT example_id, classifier_id FROM label_events WHERE {_EVENTS}"  # noqa: S608
_DELETE_EVENTS = f"DELETE FROM label_events WHERE {_EVENTS}"  # noqa: S608
_DELETE_REVERT_EVENTS = f"""
DELETE FROM revert_events
WHERE guild = :guild AND event_id IN (SELECT id FROM label_events WHERE {_EVENTS})
"""  # noqa: S608
_UNLINK_FEEDBACK = f"""
UPDATE feedback SET event_id = NULL
WHERE guild = :guild AND event_id IN (SELECT id FROM label_events WHERE {_EVENTS})
"""  # noqa: S608


def _count(connection: sqlite3.Connection, guild: str, person: str) -> Erasure:
    at = {"guild": guild, "person": person}
    return Erasure(
        texts=len(rows(connection, _ONLY_THEIRS, at)),
        kept_texts=len(rows(connection, _SHARED, at)),
        label_events=value(connection, _COUNT_EVENTS, at),
        questions=value(connection, "SELECT count(*) FROM predictions WHERE guild = :guild AND asked_by = :person", at),
        feedback=value(connection, "SELECT count(*) FROM feedback WHERE guild = :guild AND annotator = :person", at),
        name=value(connection, "SELECT 1 FROM annotators WHERE guild = :guild AND id = :person", at) is not None,
        pins=value(connection, "SELECT count(*) FROM pins WHERE guild = :guild AND pinned_by = :person", at),
        proposals=value(connection, "SELECT count(*) FROM proposals WHERE guild = :guild AND by = :person", at),
        imports=value(connection, "SELECT count(*) FROM imports WHERE guild = :guild AND by = :person", at),
        rounds=value(connection, "SELECT count(*) FROM rounds WHERE guild = :guild AND annotator = :person", at),
    )


def _forget(connection: sqlite3.Connection, guild: str, person: str, held: Mapping[str, frozenset[int]]) -> Erasure:
    found = _count(connection, guild, person)
    at = {"guild": guild, "person": person}
    deleted = rows(connection, _ONLY_THEIRS, at)
    voted = rows(connection, _LABELLED, at)
    texts = frozenset(each["id"] for each in deleted)
    _forget_questions(connection, at)
    connection.execute(_UNLINK_FEEDBACK, at)
    _forget_reverts(connection, at)
    _without_triggers(connection, "label_events", lambda: connection.execute(_DELETE_EVENTS, at))
    _delete_texts(connection, guild, texts)
    for table, column in _DELETED:
        connection.execute(f"DELETE FROM {table} WHERE guild = :guild AND {column} = :person", at)  # noqa: S608
    for table, column in _EMPTIED:
        connection.execute(
            f"UPDATE {table} SET {column} = :nobody WHERE guild = :guild AND {column} = :person",  # noqa: S608
            at | {"nobody": FORGOTTEN},
        )
    hashes = frozenset(each["hash"] for each in deleted)
    drop_vectors(connection, guild, hashes)
    learned = texts | {each["example_id"] for each in voted}
    doomed = frozenset(snapshot for snapshot, ids in held.items() if ids & texts)
    connection.executemany(
        "INSERT INTO doomed_snapshots (guild, snapshot) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(guild, snapshot) for snapshot in doomed],
    )
    taught = {snapshot: len(ids & learned) for snapshot, ids in held.items() if ids & learned}
    connection.executemany(
        "INSERT INTO state (key, value) VALUES (?, ?) "
        "ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + excluded.value",
        [(_forgotten_key(guild, snapshot), str(count)) for snapshot, count in taught.items()],
    )
    return replace(
        found,
        classifiers=frozenset(each["classifier_id"] for each in (*deleted, *voted)),
        hashes=hashes,
        snapshots=frozenset(taught),
        doomed=doomed,
    )


def _forgotten_key(guild: str, snapshot: str) -> str:
    """Of the state: how many texts of a training file were forgotten. Deleted label events leave no other trace."""
    return f"forgotten:{guild}:{snapshot}"


def _forget_questions(connection: sqlite3.Connection, at: Mapping[str, str]) -> None:
    """Their judgements and questions; of a question that somebody else judged too, that judgement stays."""
    connection.execute("DELETE FROM feedback WHERE guild = :guild AND annotator = :person", at)
    connection.execute(
        "DELETE FROM predictions WHERE guild = :guild AND asked_by = :person AND NOT EXISTS (SELECT 1 FROM feedback "
        "WHERE feedback.guild = predictions.guild AND feedback.prediction_id = predictions.id)",
        at,
    )
    connection.execute(
        "UPDATE predictions SET asked_by = :nobody, text = NULL, taught = NULL "
        "WHERE guild = :guild AND asked_by = :person",
        {**at, "nobody": FORGOTTEN},
    )


def _forget_reverts(connection: sqlite3.Connection, at: Mapping[str, str]) -> None:
    """That a lead took their labels back, and whoever has yet to confirm it."""
    connection.execute(
        "DELETE FROM revert_events WHERE guild = :guild AND revert_id IN "
        "(SELECT id FROM reverts WHERE guild = :guild AND annotator = :person)",
        at,
    )
    connection.execute(_DELETE_REVERT_EVENTS, at)
    connection.execute("DELETE FROM reverts WHERE guild = :guild AND annotator = :person", at)
    connection.execute(
        "DELETE FROM drafts WHERE guild = :guild AND (by = :person OR json_extract(wanted, '$.annotator') = :person)",
        at,
    )


def _delete_texts(connection: sqlite3.Connection, guild: str, texts: frozenset[int]) -> None:
    going = (guild, json.dumps(sorted(texts)))  # one parameter: SQLite takes 32,766 at most
    connection.execute(
        # Somebody else's answer quotes an example as "taught", with its text.
        "UPDATE predictions SET taught = NULL WHERE guild = ? AND taught IS NOT NULL "
        "AND json_extract(taught, '$.example_id') IN (SELECT value FROM json_each(?))",
        going,
    )
    connection.execute(
        "UPDATE rules SET example_id = NULL WHERE guild = ? AND example_id IN (SELECT value FROM json_each(?))", going
    )
    connection.execute("DELETE FROM examples WHERE guild = ? AND id IN (SELECT value FROM json_each(?))", going)


def _without_triggers(connection: sqlite3.Connection, table: str, change: Callable[[], Any]) -> None:
    """Make a change that the triggers of a table forbid; they are put back word for word."""
    triggers = rows(connection, "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (table,))
    for trigger in triggers:
        connection.execute(f'DROP TRIGGER "{trigger["name"]}"')
    change()
    for trigger in triggers:
        connection.execute(trigger["sql"])
