"""Classifiers, their labels, and which classifier a channel means. Knows nothing of examples but their counts."""

from __future__ import annotations

import builtins  # inside the class, `list` is the method
import dataclasses
import json
import re
import sqlite3
import unicodedata
from typing import Any

import sqlite_utils

from storage.database import Database
from storage.errors import Conflict, InvalidInput, NotFound
from storage.records import MAX_LABEL, Classifier, ClassifierSettings, Label, LabelCount, Origin, normalise
from storage.rows import row, rows, value

MAX_DESCRIPTION = 200
"""Characters in the description of a label: a sentence, not a page."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_SETTINGS = frozenset(field.name for field in dataclasses.fields(ClassifierSettings))
_BREAKS = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories that would break a line of text or its encoding."""
_BIDI_CONTROLS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})

_WITH_ORIGIN = """
SELECT classifiers.*, source.id AS source_id, source.name AS source_name, version.number AS source_number,
       version.artifact AS source_artifact
FROM classifiers
LEFT JOIN origins ON origins.guild = classifiers.guild AND origins.classifier_id = classifiers.id
LEFT JOIN classifiers AS source ON source.guild = origins.guild AND source.id = origins.source_id
LEFT JOIN versions AS version ON version.guild = origins.guild AND version.classifier_id = origins.source_id
                             AND version.number = origins.number
"""

_LAST_ASKED = f"""
{_WITH_ORIGIN} WHERE classifiers.archived = 0
ORDER BY (
    SELECT max(predictions.created_at) FROM predictions
    WHERE predictions.guild = classifiers.guild AND predictions.classifier_id = classifiers.id
) DESC NULLS LAST, classifiers.id DESC
LIMIT ?
"""  # noqa: S608 - of constants


class Classifiers:
    """Every method takes the guild first and sees no other guild's rows. `captured`: see `Examples`."""

    def __init__(self, db: Database, *, captured: bool = False) -> None:
        self._db = db
        self._captured = captured

    async def create(self, guild: str, name: str, by: str, base: str, now: float) -> Classifier:
        """Create a classifier; `name` is case-folded.

        Raises:
            InvalidInput: not 1-32 of a-z, 0-9, "-" and "_", beginning with a letter or digit.
            Conflict: the guild has one of that name.
        """
        name = check_name(name)

        def unit(tables: sqlite_utils.Database) -> Classifier:
            if (other := _named(tables.conn, guild, name)) is not None and other["archived"]:
                raise Conflict(f"{name} is archived, and keeps its name. Bring it back, or choose another name.")
            if other is not None:
                raise Conflict(f"There is a classifier {name} already. Choose another name.")
            tables.execute(
                "INSERT INTO classifiers (guild, name, base, created_at, created_by) VALUES (?, ?, ?, ?, ?)",
                (guild, name, base, now, by),
            )
            return _classifier(_named(tables.conn, guild, name))

        return await self._db.write(unit)

    async def get(self, guild: str, name: str) -> Classifier:
        """Raises NotFound, which names those that exist."""
        wanted = name.strip().casefold()
        found = await self._db.read(lambda connection: _named(connection, guild, wanted))
        if found is None:
            names = ", ".join(classifier.name for classifier in await self.list(guild))
            rest = f"There are: {names}." if names else "There is none yet: create one first."
            raise NotFound(f"There is no classifier {name.strip()[:MAX_LABEL]}. {rest}")
        return _classifier(found)

    async def by_id(self, guild: str, classifier_id: int) -> Classifier:
        """Raises NotFound, also for another guild's."""
        return _classifier(await self._db.read(lambda connection: by_id(connection, guild, classifier_id)))

    async def last_asked(self, limit: int) -> builtins.list[Classifier]:
        """At most `limit` classifiers of all guilds, those first that were asked last; for the start of the program."""
        found = await self._db.read(lambda connection: rows(connection, _LAST_ASKED, (limit,)))
        return [_classifier(each) for each in found]

    async def list(self, guild: str | None = None) -> list[Classifier]:
        """Those that are not archived, by name. None: of all guilds, for the start of the program and its CLI."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                f"{_WITH_ORIGIN} WHERE classifiers.archived = 0 AND (? IS NULL OR classifiers.guild = ?) "
                "ORDER BY classifiers.guild, classifiers.name",
                (guild, guild),
            )
        )
        return [_classifier(each) for each in found]

    async def archived(self, guild: str) -> builtins.list[Classifier]:
        """Those that are archived, by name."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                f"{_WITH_ORIGIN} WHERE classifiers.archived = 1 AND classifiers.guild = ? ORDER BY classifiers.name",
                (guild,),
            )
        )
        return [_classifier(each) for each in found]

    async def archive(self, guild: str, classifier_id: int, *, archived: bool) -> None:
        """Put a classifier away with all it has, or bring it back; its schedule goes off and on with it.

        Raises:
            NotFound: no such classifier.
        """

        def unit(tables: sqlite_utils.Database) -> None:
            by_id(tables.conn, guild, classifier_id)
            at = (archived, guild, classifier_id)
            tables.execute("UPDATE classifiers SET archived = ? WHERE guild = ? AND id = ?", at)
            tables.execute(
                "UPDATE schedules SET enabled = NOT ? AND (cron IS NOT NULL OR after_labels IS NOT NULL) "
                "WHERE guild = ? AND classifier_id = ?",
                at,
            )

        await self._db.write(unit)

    async def save_settings(self, guild: str, classifier_id: int, **changes: Any) -> Classifier:
        """Change these fields of `ClassifierSettings` and leave the others as they are; the classifier as it is then.

        Read and written as one, so of two leads who choose at once neither loses.

        Raises:
            NotFound: no such classifier.
        """

        def unit(tables: sqlite_utils.Database) -> Classifier:
            before = _classifier(by_id(tables.conn, guild, classifier_id))
            after = dataclasses.replace(before, settings=dataclasses.replace(before.settings, **changes))
            tables.execute(
                "UPDATE classifiers SET settings = ? WHERE guild = ? AND id = ?",
                (json.dumps(dataclasses.asdict(after.settings)), guild, classifier_id),
            )
            return after

        return await self._db.write(unit)

    async def add_label(self, guild: str, classifier_id: int, name: str, description: str = "") -> Label:
        """Add a label at the end.

        Raises:
            InvalidInput: see `check_label_name`, or the description is longer than 200 characters.
            Conflict: one of that name, up to case, width and spaces, exists. NotFound: no such classifier.
        """
        name, description = check_label_name(name), " ".join(description.split())
        if len(description) > MAX_DESCRIPTION:
            raise InvalidInput(f"The description of {name} is longer than {MAX_DESCRIPTION} characters. Shorten it.")
        key = normalise(name)

        def unit(tables: sqlite_utils.Database) -> Label:
            by_id(tables.conn, guild, classifier_id)
            at = (guild, classifier_id)
            if (existing := label_called(tables.conn, *at, key)) is not None:
                raise Conflict(taken_words(existing))
            tables.execute(
                "INSERT INTO labels (guild, classifier_id, name, key, description, position) "
                "SELECT ?, ?, ?, ?, ?, count(*) FROM labels WHERE guild = ? AND classifier_id = ?",
                (*at, name, key, description, *at),
            )
            return next(label for label in _labels(tables.conn, guild, classifier_id) if label.name == name)

        return await self._db.write(unit)

    async def labels(self, guild: str, classifier_id: int) -> builtins.list[Label]:
        """Those that are not archived, by position."""
        return await self._db.read(lambda connection: _labels(connection, guild, classifier_id))

    async def every_label(self, guild: str, classifier_id: int) -> builtins.list[Label]:
        """Also the archived and the merged ones, by position."""
        found = await self._db.read(
            lambda connection: rows(
                connection,
                "SELECT * FROM labels WHERE guild = ? AND classifier_id = ? ORDER BY position",
                (guild, classifier_id),
            )
        )
        return [label_from(each) for each in found]

    async def newest_change(self, guild: str, classifier_id: int) -> int:
        """Id of the newest change of a label (renamed, merged, archived, …); 0 if there was none. Not of a new one."""
        newest: int = await self._db.read(
            lambda connection: value(
                connection,
                "SELECT coalesce(max(id), 0) FROM label_changes WHERE guild = ? AND classifier_id = ?",
                (guild, classifier_id),
            )
        )
        return newest

    async def label_counts(self, guild: str, classifier_id: int) -> builtins.list[LabelCount]:
        """How many examples that are learned from have each label now, by position. 0.25 s with 50,000 examples."""

        def query(connection: sqlite3.Connection) -> list[LabelCount]:
            counted = rows(
                connection,
                "SELECT label_id, split, count(*) AS examples FROM current_labels "
                "WHERE guild = ? AND classifier_id = ? AND (? OR source <> 'message') GROUP BY label_id, split",
                (guild, classifier_id, self._captured),
            )
            counts = {(found["label_id"], found["split"]): found["examples"] for found in counted}
            return [
                LabelCount(label, counts.get((label.id, "train"), 0), counts.get((label.id, "golden"), 0))
                for label in _labels(connection, guild, classifier_id)
            ]

        return await self._db.read(query)

    async def texts_of(self, guild: str, classifier_id: int, label_id: int) -> int:
        """How many texts have a label now; of an archived or merged one, how many somebody gave it to."""

        def query(connection: sqlite3.Connection) -> int:
            at = (guild, classifier_id, label_id)
            current: int = value(
                connection,
                "SELECT count(*) FROM current_labels WHERE guild = ? AND classifier_id = ? AND label_id = ?",
                at,
            )
            given: int = value(
                connection,
                "SELECT count(DISTINCT event.example_id) FROM standing_events AS event "
                "JOIN labels ON labels.id = event.label_id AND labels.archived = 1 "
                "WHERE event.guild = ? AND event.classifier_id = ? AND event.label_id = ?",
                at,
            )
            return current or given

        return await self._db.read(query)

    async def channel_default(self, guild: str, channel_id: str) -> int | None:
        """Id of the classifier that a channel means when a command names none."""
        found: int | None = await self._db.read(
            lambda connection: value(
                connection,
                "SELECT classifier_id FROM channel_defaults WHERE guild = ? AND channel_id = ?",
                (guild, channel_id),
            )
        )
        return found

    async def set_channel_default(self, guild: str, channel_id: str, classifier_id: int) -> None:
        def unit(tables: sqlite_utils.Database) -> None:
            by_id(tables.conn, guild, classifier_id)
            tables.execute(
                "INSERT INTO channel_defaults (guild, channel_id, classifier_id) VALUES (?, ?, ?) "
                "ON CONFLICT (guild, channel_id) DO UPDATE SET classifier_id = excluded.classifier_id",
                (guild, channel_id, classifier_id),
            )

        await self._db.write(unit)


def check_name(name: str) -> str:
    """The case-folded name of a classifier, or InvalidInput."""
    folded = name.strip().casefold()
    if _NAME.fullmatch(folded) is None:
        raise InvalidInput(
            "A classifier's name has 1 to 32 characters from a-z, 0-9, - and _, and begins with a letter or digit."
        )
    return folded


def check_label_name(name: str) -> str:
    """The name of a label without surrounding space, or InvalidInput.

    Refused is what could break a line, a code block or ping someone: control and direction characters, "`" and "@".
    """
    name = name.strip()
    if not name or not normalise(name):
        raise InvalidInput("A label needs a name.")
    if len(name) > MAX_LABEL:
        raise InvalidInput(f"The label's name has {len(name)} characters; at most {MAX_LABEL} fit. Shorten it.")
    if any(_is_unprintable(character) for character in name):
        raise InvalidInput("The label's name holds a line break or another control character. Leave it out.")
    if "`" in name or "@" in name:
        found = "`" if "`" in name else "@"
        raise InvalidInput(f"The label's name holds {found}, which has a meaning in chats. Leave it out.")
    return name


def label_called(connection: sqlite3.Connection, guild: str, classifier_id: int, key: str) -> Label | None:
    """The label of a normalised name, also an archived one."""
    found = row(
        connection,
        "SELECT * FROM labels WHERE guild = ? AND classifier_id = ? AND key = ?",
        (guild, classifier_id, key),
    )
    return label_from(found) if found else None


def taken_words(label: Label) -> str:
    """Why its name cannot be given to another one."""
    if label.archived:
        return (
            f"There is a label {label.name} already, archived. Bring it back with /labels restore, or choose another."
        )
    return f"There is a label {label.name} already."


def by_id(connection: sqlite3.Connection, guild: str, classifier_id: int) -> sqlite3.Row:
    """The row of a classifier of this guild. Raises NotFound."""
    found = row(
        connection, f"{_WITH_ORIGIN} WHERE classifiers.guild = ? AND classifiers.id = ?", (guild, classifier_id)
    )
    if found is None:
        raise NotFound(f"There is no classifier with the id {classifier_id} here.")
    return found


def label_from(found: sqlite3.Row) -> Label:
    return Label(
        id=found["id"],
        guild=found["guild"],
        classifier_id=found["classifier_id"],
        name=found["name"],
        description=found["description"],
        position=found["position"],
        archived=bool(found["archived"]),
        merged_into=found["merged_into"],
    )


def _named(connection: sqlite3.Connection, guild: str, name: str) -> sqlite3.Row | None:
    return row(connection, f"{_WITH_ORIGIN} WHERE classifiers.guild = ? AND classifiers.name = ?", (guild, name))


def _labels(connection: sqlite3.Connection, guild: str, classifier_id: int) -> list[Label]:
    found = rows(
        connection,
        "SELECT * FROM labels WHERE guild = ? AND classifier_id = ? AND archived = 0 ORDER BY position",
        (guild, classifier_id),
    )
    return [label_from(each) for each in found]


def _classifier(found: Any) -> Classifier:
    settings = json.loads(found["settings"])
    return Classifier(
        id=found["id"],
        guild=found["guild"],
        name=found["name"],
        created_at=found["created_at"],
        created_by=found["created_by"],
        base=found["base"],
        settings=ClassifierSettings(**{key: settings[key] for key in settings.keys() & _SETTINGS}),
        archived=bool(found["archived"]),
        based_on=_origin(found),
    )


def _origin(found: Any) -> Origin | None:
    if found["source_id"] is None:
        return None
    return Origin(found["source_id"], found["source_name"], found["source_number"], found["source_artifact"])


def _is_unprintable(character: str) -> bool:
    return unicodedata.category(character) in _BREAKS or unicodedata.bidirectional(character) in _BIDI_CONTROLS
