"""Examples and their labels: given, taken back, as they are now, changed since; and the cache of vectors.

Label events are append-only. The current label of an example is computed from them by the view `current_labels`: the
newest ruling, else the label of more than half of the annotators, else none. Knows nothing of models.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlite_utils

from storage import events, lookups, removals, undoing
from storage.classifiers import by_id
from storage.database import Database
from storage.errors import InvalidInput
from storage.events import LabelResult, Vote
from storage.records import EventKind, Example, Label, LabelEvent, LabelledText, Source, Split, text_hash
from storage.rows import row, rows, value

__all__ = ["ChangedText", "Examples", "ImportResult", "LabelResult"]

LAST_EVENT = 2**63 - 1
"""No event has a higher id: SQLite's are 64-bit integers."""


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import of many labels did."""

    batch: str
    new: int
    """Texts that were not known before."""
    votes: int
    """Label events written."""
    unchanged: int
    """Rows whose annotator had given that label already."""


@dataclass(frozen=True, slots=True)
class ChangedText:
    """An example that was labelled, or whose label was taken back, after some event."""

    text: str
    label: str | None
    """Now; None: taken back, a tie, or a label that was removed."""
    split: Split
    before: int
    """Id of its newest event up to that one; 0: it had none, or was removed then."""


class Examples:
    """Every method takes the guild first and sees no other guild's rows.

    `captured`: whether chat messages that were made examples are learned from. If not, `current`, `changed_since`,
    `lost_since` and `newest_changes`, from which everything learns, leave them out; they can still be seen, labelled
    and deleted.
    """

    def __init__(self, db: Database, *, captured: bool = False) -> None:
        self._db = db
        self._captured = captured

    def is_learned_from(self, example: Example) -> bool:
        """False for a chat message where such are not learned from."""
        return self._captured or example.source is not Source.MESSAGE

    async def add_label(
        self,
        guild: str,
        classifier_id: int,
        text: str,
        label_id: int,
        annotator: str,
        source: Source,
        now: float,
        *,
        kind: EventKind = EventKind.VOTE,
        picked_by_model: bool = False,
        batch: str | None = None,
        only_from: Collection[int | None] | None = None,
        by_lead: bool = False,
    ) -> LabelResult:
        """Give a text a label; the example is made if the text is new. On disk when this returns.

        With its first label an example becomes golden or train, for good (see `storage.events.choose_split`). The same
        vote again is the same event: it is safe to repeat a call whose answer was lost. `only_from` are the labels that
        the text may have until now (None: no label); looked at and written as one, so of two people one comes first.
        `by_lead`: see `storage.events.Vote`.

        Raises:
            InvalidInput: see `storage.events.clean_text`; or `kind` is a retraction.
            NotFound: no such label in this classifier. Conflict: the text has a label that is not among `only_from`.
        """
        if kind is EventKind.RETRACTION:
            raise InvalidInput("A label is taken back with retract, not with add_label.")
        text, hash = _checked(text)
        vote = Vote(
            *(guild, classifier_id, text, hash, label_id, annotator, source, now),
            kind=kind,
            picked_by_model=picked_by_model,
            batch=batch,
            by_lead=by_lead,
        )

        def unit(tables: sqlite_utils.Database) -> LabelResult:
            if only_from is not None:
                events.check_label(tables.conn, vote, only_from)
            return events.cast(tables.conn, vote)

        return await self._db.write(unit)

    async def add_many(
        self,
        guild: str,
        classifier_id: int,
        rows: Sequence[tuple[str, int]],
        annotator: str,
        source: Source,
        batch: str,
        now: float,
        *,
        by_lead: bool = False,
    ) -> ImportResult:
        """Give many texts (text, label id) their labels, in order, all or nothing. `batch` names them as a whole.

        `by_lead`: see `storage.events.Vote`.

        Raises:
            InvalidInput: a text cannot be stored; names its row, counted from 1. NotFound: no such label.
        """
        # Hashing 50,000 texts takes a second: not on the event loop.
        votes = await asyncio.to_thread(_votes, guild, classifier_id, rows, annotator, source, batch, now, by_lead)
        return await self._db.write(lambda tables: _import(tables.conn, batch, votes))

    async def add_unlabelled(
        self,
        guild: str,
        classifier_id: int,
        texts: Sequence[str],
        by: str,
        source: Source,
        now: float,
        *,
        batch: str | None = None,
    ) -> int:
        """Put texts without a label into the pool; how many were new. `batch`: the import they came with.

        Raises:
            InvalidInput: a text cannot be stored; nothing was. NotFound: no such classifier.
        """
        wanted = await asyncio.to_thread(lambda: [_checked(text) for text in texts])

        def unit(tables: sqlite_utils.Database) -> int:
            by_id(tables.conn, guild, classifier_id)
            return removals.put_in_pool(tables.conn, guild, classifier_id, wanted, by, source, now, batch)

        return await self._db.write(unit)

    async def remove(self, guild: str, example_id: int, by: str, now: float) -> bool:
        """Let an example count nowhere until it is restored or labelled again; False: it was removed before.

        Its events and its split stay. When all labels given to it since are taken back, it is removed again. Raises
        NotFound for an unknown example.
        """
        return await self._db.write(
            lambda tables: removals.set_removed(tables.conn, guild, example_id, by, now, removed=True)
        )

    async def restore(self, guild: str, example_id: int, by: str, now: float) -> bool:
        """Bring a removed example back as it was; False: it was there. Raises NotFound for an unknown example."""
        return await self._db.write(
            lambda tables: removals.set_removed(tables.conn, guild, example_id, by, now, removed=False)
        )

    async def retract(self, guild: str, event_id: int, annotator: str, now: float) -> LabelResult | None:
        """Take one's own vote or ruling back; None if that was done before.

        The result's `label` is the one taken back, its `event` the retraction, `previous` the label until now.

        Raises:
            NotFound: no such event of this annotator. InvalidInput: the event is itself an undo.
        """
        return await self._db.write(lambda tables: undoing.retract(tables.conn, guild, event_id, annotator, now))

    async def give_again(self, guild: str, retraction_id: int, annotator: str, now: float) -> tuple[LabelResult, bool]:
        """Take one's own undo back: (the label given again, whether it was written now).

        Raises:
            NotFound: no such undo of this annotator. Conflict: the label is archived, or something newer stands.
        """
        return await self._db.write(
            lambda tables: undoing.give_again(tables.conn, guild, retraction_id, annotator, now)
        )

    async def event(self, guild: str, event_id: int) -> LabelEvent:
        """Raises NotFound, also for another guild's."""
        return await self._db.read(lambda connection: lookups.find_event(connection, guild, event_id))

    async def find(self, guild: str, classifier_id: int, text: str) -> Example | None:
        """The example with this text, up to case, width and spaces. Raises InvalidInput as `add_label` does."""
        _, hash = _checked(text)
        found = await self._db.read(
            lambda connection: row(
                connection,
                "SELECT * FROM examples WHERE guild = ? AND classifier_id = ? AND hash = ?",
                (guild, classifier_id, hash),
            )
        )
        return lookups.example_from(found) if found else None

    async def get(self, guild: str, example_id: int) -> Example:
        """Also one that was removed. Raises NotFound, also for another guild's."""
        return await self._db.read(lambda connection: lookups.find_example(connection, guild, example_id))

    async def current_label(self, guild: str, example_id: int) -> Label | None:
        """None: nobody labelled it, or a tie. Raises NotFound for an unknown example."""

        def query(connection: sqlite3.Connection) -> Label | None:
            example = lookups.find_example(connection, guild, example_id)
            return lookups.current_label(connection, guild, example.classifier_id, example_id)

        return await self._db.read(query)

    async def current(self, guild: str, classifier_id: int) -> list[LabelledText]:
        """Every example that is learned from and has a current label, by example id. 0.3 s with 50,000 examples."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT example_id, text, label, split, source FROM current_labels "
                "WHERE guild = ? AND classifier_id = ? AND (? OR source <> 'message') ORDER BY example_id",
                (guild, classifier_id, self._captured),
            )
        )
        splits, sources = {each.value: each for each in Split}, {each.value: each for each in Source}
        return [
            LabelledText(example_id, text, label, splits[split], sources[source])
            for example_id, text, label, split, source in found
        ]

    async def newest_event(self, guild: str, classifier_id: int) -> int:
        """Id of the newest label event, also of a retraction or of a removed or restored example; 0: there is none."""
        newest: int = await self._db.read(
            lambda connection: value(
                connection,
                "SELECT max(coalesce((SELECT max(id) FROM label_events WHERE guild = ? AND classifier_id = ?), 0), "
                "coalesce((SELECT max(id) FROM removals WHERE guild = ? AND classifier_id = ?), 0))",
                (guild, classifier_id, guild, classifier_id),
            )
        )
        return newest

    async def newest_events(self, guild: str, classifier_id: int) -> dict[int, int]:
        """By example id, the id of its newest event: a label, a retraction, a removal or a return."""
        at = (guild, classifier_id)
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT example_id, max(id) FROM ("
                "SELECT example_id, id FROM label_events INDEXED BY label_events_of_an_example "
                "WHERE guild = ? AND classifier_id = ? "
                "UNION ALL SELECT example_id, id FROM removals WHERE guild = ? AND classifier_id = ?"
                ") GROUP BY example_id",
                (*at, *at),
            )
        )
        return {int(example): int(event) for example, event in found}

    async def changed_since(self, guild: str, classifier_id: int, event_id: int, until: int = LAST_EVENT) -> int:
        """How many examples have a current label and an event newer than `event_id`, not newer than `until`.

        Coming back after a removal is such an event.
        """
        at = (guild, classifier_id)
        changed: int = await self._db.read(
            lambda connection: value(
                connection,
                "SELECT count(*) FROM current_labels WHERE guild = ? AND classifier_id = ? "
                "AND (? OR source <> 'message') AND example_id IN "
                "(SELECT example_id FROM label_events WHERE guild = ? AND classifier_id = ? AND id > ? AND id <= ? "
                "UNION ALL "
                "SELECT example_id FROM removals WHERE guild = ? AND classifier_id = ? AND id > ? AND id <= ?)",
                (*at, self._captured, *at, event_id, until, *at, event_id, until),
            )
        )
        return changed

    async def lost_since(self, guild: str, classifier_id: int, event_id: int, until: int = LAST_EVENT) -> int:
        """How many examples were labelled as of `event_id`, have an event up to `until` since, and no label any more.

        Their labels were taken back, or became a tie or an archived label, or they were removed. None of them is among
        those that `changed_since` counts.
        """
        at = (guild, classifier_id)
        lost: int = await self._db.read(
            lambda connection: value(
                connection,
                # INDEXED BY: SQLite would look through all old events by age. The current label last: it takes longest.
                "SELECT count(*) FROM ("
                "SELECT example_id FROM label_events WHERE guild = ? AND classifier_id = ? AND id > ? AND id <= ? "
                "UNION SELECT example_id FROM removals WHERE guild = ? AND classifier_id = ? AND id > ? AND id <= ?"
                ") AS event CROSS JOIN examples AS example ON example.id = event.example_id "
                "WHERE (? OR example.source <> 'message') "
                "AND EXISTS (SELECT 1 FROM label_events AS old INDEXED BY label_events_of_an_example "
                "WHERE old.guild = ? AND old.classifier_id = ? AND old.example_id = example.id AND old.id <= ? "
                "AND old.kind <> 'retraction' "
                "AND NOT EXISTS (SELECT 1 FROM label_events AS undo WHERE undo.guild = old.guild "
                "AND undo.undoes = old.id AND undo.id <= ?)) "
                "AND NOT coalesce((SELECT removed FROM removals AS gone WHERE gone.guild = ? "
                "AND gone.classifier_id = ? AND gone.example_id = example.id AND gone.id <= ? "
                "ORDER BY gone.id DESC LIMIT 1), 0) "
                "AND NOT EXISTS (SELECT 1 FROM current_labels AS now WHERE now.guild = ? AND now.classifier_id = ? "
                "AND now.example_id = example.id)",
                (
                    *at,
                    event_id,
                    until,
                    *at,
                    event_id,
                    until,
                    self._captured,
                    *at,
                    event_id,
                    event_id,
                    *at,
                    event_id,
                    *at,
                ),
            )
        )
        return lost

    async def newest_changes(self, guild: str, classifier_id: int, since: int, limit: int) -> list[ChangedText]:
        """Examples with an event newer than `since`, the newest event first, at most `limit`.

        Being removed and coming back are events, too.
        """
        at = (guild, classifier_id)
        found = await self._db.read(
            lambda connection: rows(
                connection,
                # INDEXED BY: for a max, SQLite would walk back through all events by age.
                "SELECT example.text, example.split, "
                "(SELECT label FROM current_labels AS now WHERE now.guild = ? AND now.classifier_id = ? "
                "AND now.example_id = example.id) AS label, "
                "CASE WHEN (SELECT removed FROM removals AS gone WHERE gone.guild = ? AND gone.classifier_id = ? "
                "AND gone.example_id = example.id AND gone.id <= ? ORDER BY gone.id DESC LIMIT 1) THEN 0 ELSE "
                "(SELECT coalesce(max(id), 0) FROM label_events AS old INDEXED BY label_events_of_an_example "
                "WHERE old.guild = ? AND old.classifier_id = ? AND old.example_id = example.id AND old.id <= ?) END "
                "AS before "
                "FROM (SELECT example_id, max(id) AS newest FROM "
                "(SELECT example_id, id FROM label_events WHERE guild = ? AND classifier_id = ? AND id > ? "
                "UNION ALL SELECT example_id, id FROM removals WHERE guild = ? AND classifier_id = ? AND id > ?) "
                "AS event WHERE ? OR (SELECT source FROM examples WHERE id = event.example_id) <> 'message' "
                "GROUP BY example_id ORDER BY newest DESC LIMIT ?) AS changed "
                "CROSS JOIN examples AS example ON example.id = changed.example_id "
                "WHERE example.split IS NOT NULL ORDER BY changed.newest DESC",
                (*at, *at, since, *at, since, *at, since, *at, since, self._captured, limit),
            )
        )
        return [ChangedText(each["text"], each["label"], Split(each["split"]), each["before"]) for each in found]

    async def remember_annotator(self, guild: str, annotator: str, name: str) -> None:
        """Keep an annotator's display name, for histories. Writes only when it changed."""
        if (await self.annotator_names(guild)).get(annotator) == name:
            return

        def unit(tables: sqlite_utils.Database) -> None:
            tables.execute(
                "INSERT INTO annotators (guild, id, name) VALUES (?, ?, ?) "
                "ON CONFLICT (guild, id) DO UPDATE SET name = excluded.name",
                (guild, annotator, name),
            )

        await self._db.write(unit)

    async def annotator_names(self, guild: str) -> dict[str, str]:
        """Display names by annotator id."""
        found = await self._db.read(
            lambda connection: rows(connection, "SELECT id, name FROM annotators WHERE guild = ?", (guild,))
        )
        return {each["id"]: each["name"] for each in found}

    async def texts(self, guild: str, classifier_id: int, ids: Sequence[int]) -> dict[int, str]:
        """By example id; without those that were removed or are not there."""
        wanted = json.dumps(list(ids))
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT id, text FROM examples WHERE guild = ? AND classifier_id = ? AND removed_at IS NULL "
                "AND id IN (SELECT value FROM json_each(?))",
                (guild, classifier_id, wanted),
            )
        )
        return {each["id"]: each["text"] for each in found}

    async def vectors(self, guild: str, encoder: str, hashes: Sequence[str]) -> dict[str, bytes]:
        """Cached vectors by text hash (`records.text_hash`); what is not cached is left out.

        Args:
            encoder: digest of the encoder that made them.
        """
        # One JSON parameter, because SQLite takes 32,766 parameters at most.
        wanted = json.dumps(list(hashes))
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT hash, vector FROM vectors "
                "WHERE guild = ? AND encoder = ? AND hash IN (SELECT value FROM json_each(?))",
                (guild, encoder, wanted),
            )
        )
        return {each["hash"]: each["vector"] for each in found}

    async def save_vectors(self, guild: str, encoder: str, rows: Sequence[tuple[str, bytes]]) -> None:
        """Cache (text hash, vector as little-endian float32 bytes)."""
        values = [(guild, encoder, hash, vector) for hash, vector in rows]

        def unit(tables: sqlite_utils.Database) -> None:
            tables.conn.executemany(
                "INSERT INTO vectors (guild, encoder, hash, vector) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (guild, encoder, hash) DO UPDATE SET vector = excluded.vector",
                values,
            )

        await self._db.write(unit)


def _checked(text: str) -> tuple[str, str]:
    """(the text as it is stored, its hash)."""
    text = events.clean_text(text)
    return text, text_hash(text)


def _votes(
    guild: str,
    classifier_id: int,
    rows: Sequence[tuple[str, int]],
    annotator: str,
    source: Source,
    batch: str,
    now: float,
    by_lead: bool,
) -> list[Vote]:
    votes = []
    for number, (text, label_id) in enumerate(rows, start=1):
        try:
            text, hash = _checked(text)
        except InvalidInput as error:
            raise InvalidInput(f"Row {number} cannot be imported, so nothing was. {error}") from None
        at = (guild, classifier_id, text, hash)
        votes.append(Vote(*at, label_id, annotator, source, now, batch=batch, by_lead=by_lead))
    return votes


def _import(connection: sqlite3.Connection, batch: str, votes: Sequence[Vote]) -> ImportResult:
    new, written = events.cast_many(connection, votes)
    return ImportResult(batch, new, written, len(votes) - written)
