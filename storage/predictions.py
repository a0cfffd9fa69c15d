"""Answers the bot gave, and whether people said they were right. Knows nothing of how an answer is found."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import sqlite_utils

from storage.classifiers import by_id
from storage.database import Database
from storage.errors import NotFound
from storage.records import LabelledText, LabelScore, Prediction, Source, Split
from storage.rows import row, rows, value

AT_ONCE = 1000
"""Old answers that one write deletes: labels wait for it."""
_OLD = """
SELECT predictions.rowid AS number FROM predictions
WHERE created_at < :before AND text IS NULL AND created_at < (
    SELECT max(newer.created_at) FROM predictions AS newer
    WHERE newer.guild = predictions.guild AND newer.classifier_id = predictions.classifier_id
)
AND NOT EXISTS (SELECT 1 FROM feedback WHERE guild = predictions.guild AND prediction_id = predictions.id)
"""
_LET_GO = """
DELETE FROM predictions WHERE rowid IN (SELECT value FROM json_each(:going)) AND created_at < :before
AND NOT EXISTS (SELECT 1 FROM feedback WHERE guild = predictions.guild AND prediction_id = predictions.id)
RETURNING guild, classifier_id
"""
"""Looks once more: somebody may have judged an answer meanwhile, or a newer one have taken a deleted one's place."""


class Predictions:
    """Every method takes the guild first (`add`: inside the record) and sees no other guild's rows, but `let_go`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, prediction: Prediction, number: int, revision: int) -> None:
        """Store an answer. `number` and `revision` say in figures what `prediction.version` says in words.

        Adding the same id again changes nothing. Raises NotFound: no such classifier.
        """
        scores = json.dumps([[score.label, score.confidence] for score in prediction.scores], ensure_ascii=False)
        taught = json.dumps(asdict(prediction.taught), ensure_ascii=False) if prediction.taught else None

        def unit(tables: sqlite_utils.Database) -> None:
            by_id(tables.conn, prediction.guild, prediction.classifier_id)
            tables.execute(
                "INSERT INTO predictions (id, guild, classifier_id, number, revision, version, scores, abstained, "
                "milliseconds, asked_by, created_at, text, taught, cut, outside) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (guild, id) DO NOTHING",
                (
                    *(prediction.id, prediction.guild, prediction.classifier_id, number, revision),
                    *(prediction.version, scores, prediction.abstained, prediction.milliseconds),
                    *(prediction.asked_by, prediction.created_at, prediction.text, taught, prediction.cut),
                    prediction.outside,
                ),
            )

        await self._db.write(unit)

    async def get(self, guild: str, prediction_id: str) -> Prediction:
        """Raises NotFound, also for another guild's."""
        return await self._db.read(lambda connection: _find(connection, guild, prediction_id))

    async def recent_questions(self, guild: str, classifier_id: int, since: float, limit: int) -> list[tuple[str, str]]:
        """(prediction id, text) of the newest questions whose text was kept, each text once, newest first."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                # With max(), SQLite takes the other columns from the row that has it.
                "SELECT id, text, max(created_at) AS newest FROM predictions "
                "WHERE guild = ? AND classifier_id = ? AND created_at > ? AND text IS NOT NULL "
                "GROUP BY text ORDER BY newest DESC LIMIT ?",
                (guild, classifier_id, since, limit),
            )
        )
        return [(each["id"], each["text"]) for each in found]

    async def texts(self, guild: str, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        """(who asked, text) by prediction id; where no text was kept, or not any more, there is none."""
        wanted = json.dumps(list(ids))
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT id, asked_by, text FROM predictions "
                "WHERE guild = ? AND text IS NOT NULL AND id IN (SELECT value FROM json_each(?))",
                (guild, wanted),
            )
        )
        return {each["id"]: (each["asked_by"], each["text"]) for each in found}

    async def record_feedback(
        self, guild: str, prediction_id: str, annotator: str, right: bool, event_id: int | None, now: float
    ) -> None:
        """Note what a person said about an answer; what they say later replaces it.

        Args:
            event_id: the label event it became; None for an answer whose text was not kept.

        Raises:
            NotFound: no such prediction.
        """

        def unit(tables: sqlite_utils.Database) -> None:
            _find(tables.conn, guild, prediction_id)
            tables.execute(
                "INSERT INTO feedback (guild, prediction_id, annotator, was_right, event_id, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (guild, prediction_id, annotator) DO UPDATE "
                "SET was_right = excluded.was_right, event_id = excluded.event_id, created_at = excluded.created_at",
                (guild, prediction_id, annotator, right, event_id, now),
            )

        await self._db.write(unit)

    async def feedback_counts(self, guild: str, classifier_id: int) -> tuple[int, int]:
        """(right, wrong): what people said about a classifier's answers."""
        found = await self._db.read(
            lambda connection: row(
                connection,
                "SELECT coalesce(sum(was_right), 0), count(*) FROM feedback "
                "JOIN predictions ON predictions.guild = feedback.guild AND predictions.id = feedback.prediction_id "
                "WHERE predictions.guild = ? AND predictions.classifier_id = ?",
                (guild, classifier_id),
            )
        )
        right, answered = found or (0, 0)
        return right, answered - right

    async def count(self, guild: str, classifier_id: int) -> int:
        """How many answers a classifier gave, with those that were let go."""
        answers: int = await self._db.read(
            lambda connection: value(
                connection,
                "SELECT (SELECT count(*) FROM predictions WHERE guild = :guild AND classifier_id = :classifier) "
                "+ coalesce((SELECT CAST(value AS INTEGER) FROM state WHERE key = :gone), 0)",
                {"guild": guild, "classifier": classifier_id, "gone": _gone(guild, classifier_id)},
            )
        )
        return answers

    async def let_go(self, before: float) -> int:
        """Delete the answers given before (Unix seconds) that nobody can ask about any more; how many went.

        Those are the ones whose text was not kept and of which nobody said whether they were right. Of all guilds:
        they share a disk. The newest of each classifier stays, since it tells which classifiers are in use.
        """
        old = await self._db.read(lambda connection: rows(connection, _OLD, {"before": before}))
        total = 0
        for start in range(0, len(old), AT_ONCE):
            going = json.dumps([each["number"] for each in old[start : start + AT_ONCE]])
            total += await self._db.write(partial(_let_go, going=going, before=before))
        return total


def _let_go(tables: sqlite_utils.Database, going: str, before: float) -> int:
    gone = rows(tables.conn, _LET_GO, {"going": going, "before": before})
    counts = Counter(_gone(each["guild"], each["classifier_id"]) for each in gone)
    tables.conn.executemany(
        "INSERT INTO state (key, value) VALUES (?, ?) "
        "ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + excluded.value",
        [(key, str(count)) for key, count in counts.items()],
    )
    return len(gone)


def _gone(guild: str, classifier_id: int) -> str:
    """Of the state: how many answers were let go."""
    return f"answers_gone:{guild}:{classifier_id}"


def _find(connection: sqlite3.Connection, guild: str, prediction_id: str) -> Prediction:
    found = row(
        connection,
        "SELECT predictions.*, classifiers.name AS classifier FROM predictions "
        "JOIN classifiers ON classifiers.id = predictions.classifier_id "
        "WHERE predictions.guild = ? AND predictions.id = ?",
        (guild, prediction_id),
    )
    if found is None:
        raise NotFound("That answer is not known here any more. Ask again.")
    return Prediction(
        id=found["id"],
        guild=found["guild"],
        classifier_id=found["classifier_id"],
        classifier=found["classifier"],
        scores=tuple(LabelScore(label, confidence) for label, confidence in json.loads(found["scores"])),
        abstained=bool(found["abstained"]),
        version=found["version"],
        milliseconds=found["milliseconds"],
        asked_by=found["asked_by"],
        created_at=found["created_at"],
        text=found["text"],
        taught=_taught(**json.loads(found["taught"])) if found["taught"] else None,
        cut=bool(found["cut"]),
        outside=bool(found["outside"]),
    )


def _taught(example_id: int, text: str, label: str, split: str, source: str) -> LabelledText:
    return LabelledText(example_id, text, label, Split(split), Source(source))
