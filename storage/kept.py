"""Labels that looked wrong and that a lead has kept: the same text with the same label is not doubted again.

Knows nothing of models, nor of why a label looked wrong.
"""

from __future__ import annotations

import sqlite3

import sqlite_utils

from storage import lookups
from storage.database import Database
from storage.rows import rows


class KeptLabels:
    """Every method takes the guild first and sees no other guild's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def keep(self, guild: str, example_id: int, label_id: int, by: str, now: float) -> None:
        """This label of this text is right. What was kept of the text before is replaced; once more changes nothing.

        Raises:
            NotFound: no such example here, or no such label in its classifier.
        """

        def unit(tables: sqlite_utils.Database) -> None:
            example = lookups.find_example(tables.conn, guild, example_id)
            lookups.find_label(tables.conn, guild, example.classifier_id, label_id)
            tables.execute(
                "INSERT INTO kept_labels (guild, classifier_id, example_id, label_id, kept_by, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (guild, example_id) DO UPDATE "
                "SET label_id = excluded.label_id, kept_by = excluded.kept_by, created_at = excluded.created_at "
                "WHERE label_id <> excluded.label_id",
                (guild, example.classifier_id, example_id, label_id, by, now),
            )

        await self._db.write(unit)

    async def forget(self, guild: str, example_id: int) -> bool:
        """The label of this text may be doubted again; whether that was not so before."""

        def unit(tables: sqlite_utils.Database) -> bool:
            at = (guild, example_id)
            return tables.conn.execute("DELETE FROM kept_labels WHERE guild = ? AND example_id = ?", at).rowcount > 0

        return await self._db.write(unit)

    async def of(self, guild: str, classifier_id: int) -> frozenset[int]:
        """Ids of the examples whose current label was kept."""

        def query(connection: sqlite3.Connection) -> frozenset[int]:
            found = rows(
                connection,
                "SELECT kept.example_id FROM kept_labels AS kept "
                "JOIN labels AS label ON label.id = kept.label_id "
                "JOIN current_labels AS now ON now.guild = kept.guild AND now.classifier_id = kept.classifier_id "
                "AND now.example_id = kept.example_id AND now.label_id = coalesce(label.merged_into, label.id) "
                "WHERE kept.guild = ? AND kept.classifier_id = ?",
                (guild, classifier_id),
            )
            return frozenset(each["example_id"] for each in found)

        return await self._db.read(query)
