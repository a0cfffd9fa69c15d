"""The codebook: short rules, each of one label, that say why texts like the example have it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import sqlite_utils

from storage.database import Database
from storage.errors import InvalidInput, NotFound
from storage.lookups import find_label
from storage.records import normalise
from storage.rows import row, rows

MAX_RULE = 300
"""Characters."""


@dataclass(frozen=True, slots=True)
class Rule:
    id: int
    guild: str
    classifier_id: int
    label_id: int
    text: str
    example_id: int | None
    by: str
    created_at: float


class Rules:
    """Every method takes the guild first and sees no other guild's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(
        self, guild: str, classifier_id: int, label_id: int, text: str, example_id: int | None, by: str, now: float
    ) -> Rule:
        """Keep a rule; the same text for the same label again is the same rule.

        Raises:
            InvalidInput: empty, or longer than MAX_RULE characters. NotFound: no such label or example.
        """
        text = _checked(text)

        def unit(tables: sqlite_utils.Database) -> Rule:
            connection, at = tables.conn, (guild, classifier_id, label_id)
            find_label(connection, *at)
            if example_id is not None and not _has_example(connection, guild, classifier_id, example_id):
                raise NotFound(f"There is no example with the id {example_id} here.")
            for known in _rules(connection, guild, classifier_id):
                if known.label_id == label_id and normalise(known.text) == normalise(text):
                    return known
            connection.execute(
                "INSERT INTO rules (guild, classifier_id, label_id, text, example_id, by, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*at, text, example_id, by, now),
            )
            return _rules(connection, guild, classifier_id)[-1]

        return await self._db.write(unit)

    async def of(self, guild: str, classifier_id: int) -> list[Rule]:
        """Oldest first. The rules of a merged label are those of the label that it was merged into."""
        return await self._db.read(lambda connection: _rules(connection, guild, classifier_id))

    async def remove(self, guild: str, rule_id: int, now: float) -> Rule | None:
        """Take a rule out; None if that was done before. Raises NotFound."""
        return await self._set(guild, rule_id, now)

    async def bring_back(self, guild: str, rule_id: int) -> Rule | None:
        """Undo a removal; None if it is there. Raises NotFound."""
        return await self._set(guild, rule_id, None)

    async def _set(self, guild: str, rule_id: int, removed_at: float | None) -> Rule | None:
        def unit(tables: sqlite_utils.Database) -> Rule | None:
            found = row(tables.conn, f"{_SELECT} WHERE rules.guild = ? AND rules.id = ?", (guild, rule_id))
            if found is None:
                raise NotFound(f"There is no rule with the id {rule_id} here.")
            if (found["removed_at"] is None) == (removed_at is None):
                return None
            tables.conn.execute(
                "UPDATE rules SET removed_at = ? WHERE guild = ? AND id = ?", (removed_at, guild, rule_id)
            )
            return _rule(found)

        return await self._db.write(unit)


_SELECT = """
SELECT rules.*, coalesce(labels.merged_into, labels.id) AS now_label
FROM rules JOIN labels ON labels.guild = rules.guild AND labels.id = rules.label_id
"""


def _checked(text: str) -> str:
    """Raises InvalidInput."""
    text = " ".join(text.split())
    if not normalise(text) or "\0" in text:
        raise InvalidInput("The rule is empty. Write in a sentence why such texts have this label.")
    if len(text) > MAX_RULE:
        raise InvalidInput(f"The rule has {len(text)} characters; at most {MAX_RULE} fit. Shorten it.")
    return text


def _has_example(connection: sqlite3.Connection, guild: str, classifier_id: int, example_id: int) -> bool:
    at = (guild, classifier_id, example_id)
    return row(connection, "SELECT 1 FROM examples WHERE guild = ? AND classifier_id = ? AND id = ?", at) is not None


def _rules(connection: sqlite3.Connection, guild: str, classifier_id: int) -> list[Rule]:
    sql = f"{_SELECT} WHERE rules.guild = ? AND rules.classifier_id = ? AND removed_at IS NULL ORDER BY rules.id"
    return [_rule(found) for found in rows(connection, sql, (guild, classifier_id))]


def _rule(found: sqlite3.Row) -> Rule:
    return Rule(
        id=found["id"],
        guild=found["guild"],
        classifier_id=found["classifier_id"],
        label_id=found["now_label"],
        text=found["text"],
        example_id=found["example_id"],
        by=found["by"],
        created_at=found["created_at"],
    )
