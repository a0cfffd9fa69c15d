"""What people say about examples now: the newest vote or ruling of each that they did not take back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from storage.database import Database
from storage.records import EventKind
from storage.rows import rows


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one annotator says now about one example."""

    example_id: int
    annotator: str
    name: str
    """The annotator's display name, or their id where none was kept."""
    label: str
    kind: EventKind
    """A vote or a ruling."""
    created_at: float


@dataclass(frozen=True, slots=True)
class SharedOpinion:
    """What one person says now about a text. A label that was merged counts as the other one."""

    example_id: int
    text: str
    annotator: str
    label_id: int
    kind: EventKind
    created_at: float
    ruled: bool
    """Whether a lead has settled the text."""


class Opinions:
    """Every method takes the guild first and sees no other guild's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def of(self, guild: str, classifier_id: int, example_ids: Sequence[int]) -> list[Opinion]:
        """What each annotator says now about these examples, the oldest first. Texts themselves are not read."""
        wanted = json.dumps(list(example_ids))
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT said.example_id, said.annotator, said.kind, said.created_at, label.name AS label, "
                "coalesce(person.name, said.annotator) AS name FROM json_each(?) AS wanted "
                "CROSS JOIN opinions AS said ON said.guild = ? AND said.classifier_id = ? "
                "AND said.example_id = wanted.value "
                "JOIN labels AS label ON label.id = said.label_id "
                "LEFT JOIN annotators AS person ON person.guild = said.guild AND person.id = said.annotator "
                "ORDER BY said.id",
                (wanted, guild, classifier_id),
            )
        )
        return [
            Opinion(
                each["example_id"],
                each["annotator"],
                each["name"],
                each["label"],
                EventKind(each["kind"]),
                each["created_at"],
            )
            for each in found
        ]

    async def shared(self, guild: str, classifier_id: int) -> list[SharedOpinion]:
        """What everybody says about the texts that two or more people have labelled, by example, oldest first."""
        at = (guild, classifier_id)

        def query(connection: sqlite3.Connection) -> list[SharedOpinion]:
            found = rows(
                connection,
                # Who labels alone is left out first, by an index alone: as a rule that is nearly everything.
                "SELECT opinion.*, example.text AS text, EXISTS (SELECT 1 FROM standing_events AS ruling "
                "WHERE ruling.guild = opinion.guild AND ruling.classifier_id = opinion.classifier_id "
                "AND ruling.example_id = opinion.example_id AND ruling.kind = 'ruling') AS ruled "
                "FROM (SELECT example_id FROM label_events WHERE guild = ? AND classifier_id = ? "
                "GROUP BY example_id HAVING count(DISTINCT annotator) > 1) AS shared "
                "CROSS JOIN examples AS example ON example.id = shared.example_id AND example.removed_at IS NULL "
                "CROSS JOIN opinions AS opinion ON opinion.guild = ? AND opinion.classifier_id = ? "
                "AND opinion.example_id = example.id ORDER BY opinion.example_id, opinion.id",
                (*at, *at),
            )
            return [
                SharedOpinion(
                    each["example_id"],
                    each["text"],
                    each["annotator"],
                    each["label_id"],
                    EventKind(each["kind"]),
                    each["created_at"],
                    bool(each["ruled"]),
                )
                for each in found
            ]

        return await self._db.read(query)

    async def annotators_of(self, guild: str, example_id: int) -> set[str]:
        """Who says something about an example now."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT annotator FROM opinions WHERE guild = ? AND example_id = ? AND classifier_id = "
                "(SELECT classifier_id FROM examples WHERE guild = ? AND id = ?)",
                (guild, example_id, guild, example_id),
            )
        )
        return {each["annotator"] for each in found}

    async def annotator_counts(self, guild: str, classifier_id: int) -> list[tuple[str, int]]:
        """(annotator id, labels that stand), most first."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT annotator, count(*) AS labels FROM opinions WHERE guild = ? AND classifier_id = ? "
                "GROUP BY annotator ORDER BY labels DESC, annotator",
                (guild, classifier_id),
            )
        )
        return [(each["annotator"], each["labels"]) for each in found]
