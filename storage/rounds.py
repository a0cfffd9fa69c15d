"""The pool of unlabelled texts, and who is being asked about which of them. Knows nothing of how a text is chosen.

A text is asked of one person at a time: a question that is open keeps it from others for `HOLD` seconds.
"""

from __future__ import annotations

import sqlite3

import sqlite_utils

from storage.classifiers import by_id
from storage.database import Database
from storage.errors import NotFound
from storage.events import GOLDEN_LIMIT, golden_texts
from storage.records import Outcome, PoolText, Question, Round
from storage.rows import row, rows, value

HOLD = 15 * 60.0
"""Seconds that an open question keeps its text for the person asked: who has not answered by then has gone."""

UNSURE_AT_MOST = 2
"""So many people who cannot tell, and nobody else is asked: the text is not clear."""

_WAITING = (
    "(SELECT id, text, hash, source FROM examples WHERE guild = :guild AND classifier_id = :classifier "
    "AND split IS NULL AND removed_at IS NULL "
    # Asked about, and the answer was taken back, but not the import. Not a golden one: the model may choose it now.
    "UNION ALL SELECT id, text, hash, source FROM examples WHERE guild = :guild AND classifier_id = :classifier "
    "AND split = 'train' AND removed_at IS NULL "
    "AND id IN (SELECT example_id FROM questions WHERE guild = :guild AND classifier_id = :classifier) "
    "AND NOT EXISTS (SELECT 1 FROM standing_events AS said WHERE said.guild = :guild "
    "AND said.classifier_id = :classifier AND said.example_id = examples.id) "
    "AND NOT EXISTS (SELECT 1 FROM imports WHERE imports.guild = :guild AND token = examples.batch "
    "AND undone_at IS NOT NULL))"
)
"""The texts of a classifier that wait for a label. Forgetting takes questions along: one that only a forgotten person
answered waits no more."""

_QUESTION = (
    "SELECT questions.*, examples.text AS text FROM questions JOIN examples ON examples.id = questions.example_id "
)


class Rounds:
    """Every method takes the guild first (`create`: inside the record) and sees no other guild's rows.

    `captured`: see `Examples`.
    """

    def __init__(self, db: Database, *, captured: bool = False) -> None:
        self._db = db
        self._captured = captured

    async def pool(self, guild: str, classifier_id: int, limit: int) -> list[PoolText]:
        """Texts that wait for a label, at most `limit`: always the same ones of many, as by lot.

        In the order of their hashes, which is independent of what they say and of when they came.
        """
        found = await self._db.read(
            lambda connection: rows(
                connection,
                f"SELECT id, text, hash FROM {_WAITING} WHERE (:captured OR source <> 'message') "  # noqa: S608
                "ORDER BY hash LIMIT :limit",
                {"guild": guild, "classifier": classifier_id, "captured": self._captured, "limit": limit},
            )
        )
        return [PoolText(each["id"], each["text"], each["hash"]) for each in found]

    async def waiting(self, guild: str, classifier_id: int) -> int:
        """How many texts wait for a label."""
        count: int = await self._db.read(
            lambda connection: value(
                connection,
                f"SELECT count(*) FROM {_WAITING} WHERE (:captured OR source <> 'message')",  # noqa: S608
                {"guild": guild, "classifier": classifier_id, "captured": self._captured},
            )
        )
        return count

    async def wants_golden(self, guild: str, classifier_id: int) -> bool:
        """Whether texts can still become golden: the classifier has fewer than GOLDEN_LIMIT."""
        golden = await self._db.read(lambda connection: golden_texts(connection, guild, classifier_id))
        return golden < GOLDEN_LIMIT

    async def not_for(self, guild: str, classifier_id: int, annotator: str, now: float) -> set[int]:
        """Examples that this person is not to be asked about: others are being asked, they have passed on it already,
        or too many could not tell."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT DISTINCT example_id FROM questions AS question WHERE guild = ? AND classifier_id = ? AND ("
                "(annotator <> ? AND outcome IS NULL AND asked_at > ?) "
                "OR (annotator = ? AND outcome IN ('unsure', 'skipped')) "
                "OR (SELECT count(DISTINCT other.annotator) FROM questions AS other WHERE other.guild = question.guild "
                "AND other.classifier_id = question.classifier_id AND other.example_id = question.example_id "
                "AND other.outcome = 'unsure') >= ?)",
                (guild, classifier_id, annotator, now - HOLD, annotator, UNSURE_AT_MOST),
            )
        )
        return {each["example_id"] for each in found}

    async def create(self, round: Round) -> None:
        """Raises NotFound: no such classifier."""

        def unit(tables: sqlite_utils.Database) -> None:
            by_id(tables.conn, round.guild, round.classifier_id)
            tables.execute(
                "INSERT INTO rounds (guild, id, classifier_id, annotator, wanted, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (round.guild, round.id, round.classifier_id, round.annotator, round.wanted, round.created_at),
            )

        await self._db.write(unit)

    async def get(self, guild: str, round_id: str) -> Round:
        """Raises NotFound, also for another guild's."""
        return await self._db.read(lambda connection: _find(connection, guild, round_id))

    async def questions(self, guild: str, round_id: str) -> list[Question]:
        """Those asked so far, by position."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                _QUESTION + "WHERE questions.guild = ? AND questions.round = ? ORDER BY questions.position",
                (guild, round_id),
            )
        )
        return [_question(each) for each in found]

    async def ask(
        self, guild: str, round_id: str, example_id: int, *, picked_by_model: bool, now: float
    ) -> Question | None:
        """The next question of a round; None: the text is not free any more. The open one again, if there is one.

        Raises:
            NotFound: no such round.
        """

        def unit(tables: sqlite_utils.Database) -> Question | None:
            round = _find(tables.conn, guild, round_id)
            if (open := _open(tables.conn, guild, round_id)) is not None:
                return open
            if not _is_free(tables.conn, round, example_id, now):
                return None
            tables.execute("UPDATE rounds SET asked = asked + 1 WHERE guild = ? AND id = ?", (guild, round_id))
            tables.execute(
                "INSERT INTO questions (guild, round, position, classifier_id, example_id, annotator, "
                "picked_by_model, asked_at) SELECT guild, id, asked, ?, ?, ?, ?, ? FROM rounds "
                "WHERE guild = ? AND id = ?",
                (round.classifier_id, example_id, round.annotator, picked_by_model, now, guild, round_id),
            )
            return _open(tables.conn, guild, round_id)

        return await self._db.write(unit)

    async def settle(
        self, guild: str, round_id: str, position: int, outcome: Outcome, event_id: int | None, now: float
    ) -> bool:
        """Note what became of an open question; False: it was not open any more."""

        def unit(tables: sqlite_utils.Database) -> bool:
            done = tables.conn.execute(
                "UPDATE questions SET outcome = ?, event_id = ?, answered_at = ? "
                "WHERE guild = ? AND round = ? AND position = ? AND outcome IS NULL",
                (outcome, event_id, now, guild, round_id, position),
            )
            return done.rowcount > 0

        return await self._db.write(unit)

    async def reopen(self, guild: str, round_id: str, position: int, now: float) -> bool:
        """The question is asked once more; False: it is open already, its text was removed, or there is none."""

        def unit(tables: sqlite_utils.Database) -> bool:
            done = tables.conn.execute(
                "UPDATE questions SET outcome = NULL, event_id = NULL, answered_at = NULL, asked_at = ? "
                "WHERE guild = ? AND round = ? AND position = ? AND outcome IS NOT NULL AND EXISTS (SELECT 1 "
                "FROM examples WHERE examples.id = questions.example_id AND examples.removed_at IS NULL)",
                (now, guild, round_id, position),
            )
            return done.rowcount > 0

        return await self._db.write(unit)


def _find(connection: sqlite3.Connection, guild: str, round_id: str) -> Round:
    found = row(connection, "SELECT * FROM rounds WHERE guild = ? AND id = ?", (guild, round_id))
    if found is None:
        raise NotFound("These questions are not known here any more. Start new ones with /teach.")
    return Round(
        id=found["id"],
        guild=found["guild"],
        classifier_id=found["classifier_id"],
        annotator=found["annotator"],
        wanted=found["wanted"],
        created_at=found["created_at"],
    )


def _open(connection: sqlite3.Connection, guild: str, round_id: str) -> Question | None:
    """The first question without an answer."""
    found = row(
        connection,
        _QUESTION + "WHERE questions.guild = ? AND questions.round = ? AND questions.outcome IS NULL "
        "ORDER BY questions.position LIMIT 1",
        (guild, round_id),
    )
    return _question(found) if found else None


def _is_free(connection: sqlite3.Connection, round: Round, example_id: int, now: float) -> bool:
    """Whether a text still waits, is nobody else's at the moment, and was not asked in this round."""
    free = value(
        connection,
        f"SELECT count(*) FROM {_WAITING} AS waiting WHERE id = :example AND NOT EXISTS (SELECT 1 "  # noqa: S608
        "FROM questions WHERE questions.guild = :guild AND questions.classifier_id = :classifier "
        "AND questions.example_id = :example AND (questions.round = :round "
        "OR (questions.annotator <> :annotator AND outcome IS NULL AND asked_at > :held)))",
        {
            **{"guild": round.guild, "classifier": round.classifier_id, "example": example_id},
            **{"round": round.id, "annotator": round.annotator, "held": now - HOLD},
        },
    )
    return bool(free)


def _question(found: sqlite3.Row) -> Question:
    return Question(
        round=found["round"],
        position=found["position"],
        example_id=found["example_id"],
        text=found["text"],
        picked_by_model=bool(found["picked_by_model"]),
        outcome=Outcome(found["outcome"]) if found["outcome"] else None,
        event_id=found["event_id"],
    )
