"""What versions said before they might go live: to pinned tests, and to recent questions. Holds ids, no texts."""

from __future__ import annotations

import dataclasses
import json

import sqlite_utils

from storage.classifiers import by_id
from storage.database import Database
from storage.records import ChangedAnswer, PinOutcome, Trial
from storage.rows import row


class Trials:
    """Every method takes the guild first (`save`: inside the record) and sees no other guild's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def save(self, trial: Trial) -> None:
        """A later trial of the same version replaces it. Raises NotFound: no such classifier."""
        pins = json.dumps([dataclasses.astuple(outcome) for outcome in trial.pins], ensure_ascii=False)
        changed = json.dumps([dataclasses.astuple(answer) for answer in trial.changed], ensure_ascii=False)

        def unit(tables: sqlite_utils.Database) -> None:
            by_id(tables.conn, trial.guild, trial.classifier_id)
            tables.execute(
                "INSERT OR REPLACE INTO trials (guild, classifier_id, number, against, pins, questions, changed, at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(trial.guild, trial.classifier_id, trial.number, trial.against),
                    *(pins, trial.questions, changed, trial.at),
                ),
            )

        await self._db.write(unit)

    async def get(self, guild: str, classifier_id: int, number: int) -> Trial | None:
        """None: that version was never loaded aside."""
        found = await self._db.read(
            lambda connection: row(
                connection,
                "SELECT * FROM trials WHERE guild = ? AND classifier_id = ? AND number = ?",
                (guild, classifier_id, number),
            )
        )
        if found is None:
            return None
        return Trial(
            guild=found["guild"],
            classifier_id=found["classifier_id"],
            number=found["number"],
            against=found["against"],
            pins=tuple(PinOutcome(*fields) for fields in json.loads(found["pins"])),
            questions=found["questions"],
            changed=tuple(ChangedAnswer(*fields) for fields in json.loads(found["changed"])),
            at=found["at"],
        )
