"""What one person did, newest first: what Undo means, and what /history shows."""

from __future__ import annotations

from dataclasses import dataclass

from storage import lookups
from storage.database import Database
from storage.records import LabelEvent
from storage.rows import row, rows, value


@dataclass(frozen=True, slots=True)
class Write:
    """One thing that somebody did to a text, for their history."""

    event: LabelEvent
    classifier: str
    text: str
    label: str
    """Given, or taken back."""
    stands: bool
    """Whether it is a label that nobody took back."""
    by_lead: bool
    """Whether it is an undo that a lead made in this person's name."""
    newest: bool
    """Whether this person has done nothing to the text since."""


class Writes:
    """Every method takes the guild first and sees no other guild's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def stands(self, guild: str, event_id: int) -> bool:
        """Whether an event is a vote or ruling that was not taken back."""
        found = await self._db.read(
            lambda connection: row(
                connection, "SELECT 1 FROM standing_events WHERE guild = ? AND id = ?", (guild, event_id)
            )
        )
        return found is not None

    async def last_write(self, guild: str, annotator: str, classifier_id: int | None = None) -> LabelEvent | None:
        """What a plain undo means: their newest event of any kind, but for undos that a lead made in their name."""
        found = await self._db.read(
            lambda connection: row(
                connection,
                "SELECT * FROM own_events WHERE guild = ? AND annotator = ? AND (? IS NULL OR classifier_id = ?) "
                "ORDER BY id DESC LIMIT 1",
                (guild, annotator, classifier_id, classifier_id),
            )
        )
        return lookups.event_from(found) if found else None

    async def history(
        self, guild: str, annotator: str, classifier_id: int | None = None, limit: int = 20, skipped: int = 0
    ) -> list[Write]:
        """What an annotator did, newest first, without the newest `skipped`; None: in every classifier."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT event.*, example.text AS text, label.name AS label, classifiers.name AS classifier, "
                "event.kind <> 'retraction' AND NOT EXISTS (SELECT 1 FROM label_events AS undo "
                "WHERE undo.guild = event.guild AND undo.undoes = event.id) AS stands, "
                "EXISTS (SELECT 1 FROM revert_events AS reverted "
                "WHERE reverted.guild = event.guild AND reverted.event_id = event.id) AS by_lead, "
                "NOT EXISTS (SELECT 1 FROM label_events AS newer WHERE newer.guild = event.guild "
                "AND newer.classifier_id = event.classifier_id AND newer.example_id = event.example_id "
                "AND newer.annotator = event.annotator AND newer.id > event.id) AS newest "
                "FROM label_events AS event "
                "JOIN examples AS example ON example.id = event.example_id "
                "JOIN classifiers ON classifiers.id = event.classifier_id "
                "LEFT JOIN label_events AS undone ON undone.id = event.undoes "
                "JOIN labels AS label ON label.id = coalesce(event.label_id, undone.label_id) "
                "WHERE event.guild = ? AND event.annotator = ? AND (? IS NULL OR event.classifier_id = ?) "
                "ORDER BY event.id DESC LIMIT ? OFFSET ?",
                (guild, annotator, classifier_id, classifier_id, limit, skipped),
            )
        )
        return [
            Write(
                lookups.event_from(each),
                each["classifier"],
                each["text"],
                each["label"],
                bool(each["stands"]),
                bool(each["by_lead"]),
                bool(each["newest"]),
            )
            for each in found
        ]

    async def count(self, guild: str, annotator: str, classifier_id: int | None = None) -> int:
        """How long `history` is in all."""
        count: int = await self._db.read(
            lambda connection: value(
                connection,
                "SELECT count(*) FROM label_events WHERE guild = ? AND annotator = ? "
                "AND (? IS NULL OR classifier_id = ?)",
                (guild, annotator, classifier_id, classifier_id),
            )
        )
        return count
