"""Texts that were typed with a label that does not exist: nothing typed is lost while somebody decides about the label.

Texts with the same label name wait for one decision. Knows nothing of who may decide.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import sqlite_utils

from storage.classifiers import by_id
from storage.database import Database
from storage.errors import NotFound
from storage.events import clean_text
from storage.records import Source, normalise, text_hash
from storage.rows import row, rows

REMINDED = 86_400.0
"""Seconds after which another text with a label that was proposed tells the team once more: the message may be gone."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One text that waits for a label."""

    id: int
    guild: str
    classifier_id: int
    name: str
    text: str
    source: Source
    by: str
    created_at: float
    state: str
    """"typed" (nobody was asked yet), "proposed", "created" or "declined"."""


class Proposals:
    """Every method takes the guild first and sees no other guild's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def type(
        self, guild: str, classifier_id: int, name: str, text: str, source: Source, by: str, now: float
    ) -> Proposal:
        """Keep what somebody typed; the same again is the same row, and a decision about it is forgotten.

        Raises:
            InvalidInput: the text cannot be kept. NotFound: no such classifier.
        """
        text = clean_text(text)

        def unit(tables: sqlite_utils.Database) -> Proposal:
            by_id(tables.conn, guild, classifier_id)
            at = (guild, classifier_id, normalise(name), by, text_hash(text))
            tables.conn.execute(
                "INSERT INTO proposals (guild, classifier_id, key, by, hash, name, text, source, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (guild, classifier_id, key, by, hash) DO UPDATE "
                "SET state = CASE state WHEN 'proposed' THEN 'proposed' ELSE 'typed' END",
                (*at, name, text, source, now),
            )
            found = row(
                tables.conn,
                "SELECT * FROM proposals WHERE guild = ? AND classifier_id = ? AND key = ? AND by = ? AND hash = ?",
                at,
            )
            return _proposal(found)

        return await self._db.write(unit)

    async def get(self, guild: str, proposal_id: int) -> Proposal:
        """Raises NotFound, also for another guild's."""
        return await self._db.read(lambda connection: _find(connection, guild, proposal_id))

    async def propose(self, guild: str, proposal_id: int) -> tuple[Proposal, bool]:
        """Ask for the label: (the proposal, whether somebody has to be told: not where it was proposed a moment ago).

        Raises:
            NotFound.
        """

        def unit(tables: sqlite_utils.Database) -> tuple[Proposal, bool]:
            proposal = _find(tables.conn, guild, proposal_id)
            if proposal.state != "typed":
                return proposal, False
            others = _alike(tables.conn, proposal, "proposed")
            first = not any(other.created_at > proposal.created_at - REMINDED for other in others)
            _set(tables.conn, proposal, "proposed", None)
            return _find(tables.conn, guild, proposal_id), first

        return await self._db.write(unit)

    async def waiting(self, guild: str, proposal_id: int) -> list[Proposal]:
        """All texts that wait for the same label, oldest first. Raises NotFound."""

        def query(connection: sqlite3.Connection) -> list[Proposal]:
            return _alike(connection, _find(connection, guild, proposal_id), "proposed")

        return await self._db.read(query)

    async def proposed(self, guild: str, classifier_id: int) -> list[Proposal]:
        """All texts of a classifier that wait for a label, oldest first."""
        sql = "SELECT * FROM proposals WHERE guild = ? AND classifier_id = ? AND state = 'proposed' ORDER BY id"
        found = await self._db.read(lambda connection: rows(connection, sql, (guild, classifier_id)))
        return [_proposal(each) for each in found]

    async def decide(self, guild: str, proposal_id: int, state: str, by: str) -> None:
        """Close one: "created" or "declined". Raises NotFound."""

        def unit(tables: sqlite_utils.Database) -> None:
            _set(tables.conn, _find(tables.conn, guild, proposal_id), state, by)

        await self._db.write(unit)


def _find(connection: sqlite3.Connection, guild: str, proposal_id: int) -> Proposal:
    found = row(connection, "SELECT * FROM proposals WHERE guild = ? AND id = ?", (guild, proposal_id))
    if found is None:
        raise NotFound("That proposal is not known here. Give the label again with /label.")
    return _proposal(found)


def _alike(connection: sqlite3.Connection, proposal: Proposal, state: str) -> list[Proposal]:
    found = rows(
        connection,
        "SELECT * FROM proposals WHERE guild = ? AND classifier_id = ? AND key = ? AND state = ? ORDER BY id",
        (proposal.guild, proposal.classifier_id, normalise(proposal.name), state),
    )
    return [_proposal(each) for each in found]


def _set(connection: sqlite3.Connection, proposal: Proposal, state: str, by: str | None) -> None:
    connection.execute(
        "UPDATE proposals SET state = ?, decided_by = ? WHERE guild = ? AND id = ?",
        (state, by, proposal.guild, proposal.id),
    )


def _proposal(found: sqlite3.Row | None) -> Proposal:
    if found is None:
        raise NotFound("That proposal is not known here.")
    return Proposal(
        id=found["id"],
        guild=found["guild"],
        classifier_id=found["classifier_id"],
        name=found["name"],
        text=found["text"],
        source=Source(found["source"]),
        by=found["by"],
        created_at=found["created_at"],
        state=found["state"],
    )
