"""What becomes of a label: renamed, merged, archived, restored, described; previewed as a draft, and taken back.

Every change is a row of the append-only `label_changes`, with the columns that it touched before and after, so that it
can be put back exactly. Knows nothing of models.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import sqlite_utils

from storage.classifiers import MAX_DESCRIPTION, check_label_name, label_called, taken_words
from storage.database import Database
from storage.drafts import Draft, confirmed, find_draft
from storage.errors import Conflict, InvalidInput, NotFound
from storage.lookups import find_label
from storage.records import Label, normalise
from storage.rows import row, rows, value

State = dict[int, dict[str, Any]]
"""Label id → column → value, of what a change touches."""


class ChangeKind(StrEnum):
    RENAME = "rename"
    MERGE = "merge"
    ARCHIVE = "archive"
    RESTORE = "restore"
    DESCRIBE = "describe"
    UNDO = "undo"
    """Takes an earlier change back."""


@dataclass(frozen=True, slots=True)
class WantedChange:
    """What a lead asks for. Never an undo."""

    kind: ChangeKind
    label_id: int
    words: str = ""
    """The new name, or the description."""
    into: int | None = None
    """Of a merge: the label that stays."""

    @classmethod
    def of(cls, draft: Draft) -> WantedChange:
        """Raises NotFound for a draft of something else."""
        try:
            return cls(**(draft.wanted | {"kind": ChangeKind(draft.wanted["kind"])}))
        except (KeyError, TypeError, ValueError):
            raise NotFound("That was no change of a label. Use the command again.") from None

    def as_draft(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LabelChange:
    """One row of the history."""

    id: int
    guild: str
    classifier_id: int
    label_id: int
    kind: ChangeKind
    before: State
    after: State
    undoes: int | None
    by: str
    created_at: float


class LabelChanges:
    """Every method takes the guild first and sees no other guild's rows."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def check(self, guild: str, classifier_id: int, wanted: WantedChange) -> State:
        """What the change would write; nothing is. Raises as `confirm` does."""
        return await self._db.read(lambda connection: planned(connection, guild, classifier_id, wanted))

    async def confirm(self, guild: str, draft_id: int, by: str, now: float) -> tuple[LabelChange, bool]:
        """Do what a draft says: (the change, whether it was made now). A second time it is only told.

        Raises:
            NotFound: no such draft or label. Conflict: something stands in the way now. InvalidInput: a name that
            cannot be used.
        """

        def unit(tables: sqlite_utils.Database) -> tuple[LabelChange, bool]:
            draft = find_draft(tables.conn, guild, draft_id)
            if draft.outcome is not None:
                return find_change(tables.conn, guild, draft.outcome), False
            wanted = WantedChange.of(draft)
            after = planned(tables.conn, guild, draft.classifier_id, wanted)
            change = _write(tables.conn, guild, draft.classifier_id, wanted.label_id, wanted.kind, after, by, now)
            confirmed(tables.conn, guild, draft_id, change.id)
            return change, True

        return await self._db.write(unit)

    async def undo(self, guild: str, change_id: int, by: str, now: float) -> LabelChange | None:
        """Put back what a change touched; None if that was done before.

        Raises:
            NotFound: no such change. Conflict: something was changed since, or the old name is taken; says what.
            InvalidInput: it was itself an undo.
        """

        def unit(tables: sqlite_utils.Database) -> LabelChange | None:
            change = find_change(tables.conn, guild, change_id)
            if change.kind is ChangeKind.UNDO:
                raise InvalidInput("That was an undo. To have the change again, use its command again.")
            if value(tables.conn, "SELECT id FROM label_changes WHERE guild = ? AND undoes = ?", (guild, change_id)):
                return None
            _check_untouched(tables.conn, change)
            at = (guild, change.classifier_id, change.label_id)
            return _write(tables.conn, *at, ChangeKind.UNDO, change.before, by, now, undoes=change_id)

        return await self._db.write(unit)

    async def get(self, guild: str, change_id: int) -> LabelChange:
        """Raises NotFound, also for another guild's."""
        return await self._db.read(lambda connection: find_change(connection, guild, change_id))

    async def history(self, guild: str, classifier_id: int) -> list[LabelChange]:
        """Newest first."""
        return await self._db.read(lambda connection: changes_of(connection, guild, classifier_id))


def planned(connection: sqlite3.Connection, guild: str, classifier_id: int, wanted: WantedChange) -> State:
    """The columns as a change will leave them.

    Raises:
        NotFound: no such label. Conflict: it is not in a state for that. InvalidInput: a name that cannot be used.
    """
    label = find_label(connection, guild, classifier_id, wanted.label_id)
    if label.archived != (wanted.kind is ChangeKind.RESTORE):
        state = "archived already" if label.archived else "in use: there is nothing to restore"
        raise Conflict(f"`{label.name}` is {state}.")
    match wanted.kind:
        case ChangeKind.RENAME:
            return {label.id: _named(connection, label, wanted.words)}
        case ChangeKind.DESCRIBE:
            return {label.id: {"description": _described(label, wanted.words)}}
        case ChangeKind.ARCHIVE:
            return {label.id: {"archived": 1}}
        case ChangeKind.RESTORE:
            return {label.id: {"archived": 0, "merged_into": None}}
        case ChangeKind.MERGE:
            return _merged(connection, label, wanted.into)
    raise InvalidInput("An undo is asked for by the change that it takes back.")


def changes_of(connection: sqlite3.Connection, guild: str, classifier_id: int) -> list[LabelChange]:
    """Newest first."""
    sql = "SELECT * FROM label_changes WHERE guild = ? AND classifier_id = ? ORDER BY id DESC"
    return [_change(each) for each in rows(connection, sql, (guild, classifier_id))]


def former_names(changes: Iterable[LabelChange]) -> dict[str, int]:
    """Normalised names that labels had before, with the label that was called so most recently. `changes`: as above."""
    former: dict[str, int] = {}
    for change in changes:
        if "key" in (before := change.before.get(change.label_id, {})):
            former.setdefault(before["key"], change.label_id)
    return former


def find_change(connection: sqlite3.Connection, guild: str, change_id: int) -> LabelChange:
    """Raises NotFound, also for another guild's."""
    found = row(connection, "SELECT * FROM label_changes WHERE guild = ? AND id = ?", (guild, change_id))
    if found is None:
        raise NotFound(f"There is no change of a label with the id {change_id} here.")
    return _change(found)


def _named(connection: sqlite3.Connection, label: Label, name: str) -> dict[str, Any]:
    name = check_label_name(name)
    key = normalise(name)
    if name == label.name:
        raise Conflict(f"`{name}` is called that already.")
    other = label_called(connection, label.guild, label.classifier_id, key)
    if other is not None and other.id != label.id:
        raise Conflict(f"{taken_words(other)} To make one label of both, use /labels merge.")
    return {"name": name, "key": key}


def _described(label: Label, description: str) -> str:
    description = " ".join(description.split())
    if len(description) > MAX_DESCRIPTION:
        raise InvalidInput(
            f"The description of `{label.name}` is longer than {MAX_DESCRIPTION} characters. Shorten it."
        )
    if description == label.description:
        raise Conflict(f"`{label.name}` has that description already.")
    return description


def _merged(connection: sqlite3.Connection, label: Label, into: int | None) -> State:
    """Pointers stay one step long: what was merged into this label before goes along."""
    target = find_label(connection, label.guild, label.classifier_id, into or 0)
    if target.id == label.id:
        raise Conflict(f"`{label.name}` cannot be merged into itself. Name another label.")
    if target.archived:
        raise Conflict(f"`{target.name}` is archived. Merge into a label that is in use.")
    pointing = rows(
        connection,
        "SELECT id FROM labels WHERE guild = ? AND classifier_id = ? AND merged_into = ?",
        (label.guild, label.classifier_id, label.id),
    )
    moved = {each["id"]: {"merged_into": target.id} for each in pointing}
    return {label.id: {"archived": 1, "merged_into": target.id}, **moved}


def _check_untouched(connection: sqlite3.Connection, change: LabelChange) -> None:
    """Raises Conflict if what a change wrote is not what stands there, or its old name belongs to another label."""
    for label_id, columns in change.after.items():
        found = _columns(connection, change.guild, change.classifier_id, label_id)
        if any(found[column] != written for column, written in columns.items()):
            raise _changed_since(found["name"])
    _check_pointers(connection, change)
    for label_id, columns in change.before.items():
        if "key" not in columns:
            continue
        other = label_called(connection, change.guild, change.classifier_id, columns["key"])
        if other is not None and other.id != label_id:
            raise Conflict(f"The name `{other.name}` belongs to another label by now. Rename that one first.")


def _check_pointers(connection: sqlite3.Connection, change: LabelChange) -> None:
    """Raises Conflict if a label would be in use and merged, or stand in the middle of a chain of merged ones."""

    def put_back(label_id: int) -> dict[str, Any]:
        found = _columns(connection, change.guild, change.classifier_id, label_id)
        return {**dict(found), **change.before.get(label_id, {})}

    for label in map(put_back, change.before):
        if label["merged_into"] is None:
            continue
        further = put_back(label["merged_into"])["merged_into"] is not None
        pointing = rows(
            connection,
            "SELECT id FROM labels WHERE guild = ? AND classifier_id = ? AND merged_into = ?",
            (change.guild, change.classifier_id, label["id"]),
        )
        if not label["archived"] or further or any(each["id"] not in change.before for each in pointing):
            raise _changed_since(label["name"])


def _changed_since(name: str) -> Conflict:
    return Conflict(
        f"`{name}` was changed again since then, so this cannot be taken back by itself. Take back the later change "
        "first; /labels history shows it."
    )


def _write(
    connection: sqlite3.Connection,
    guild: str,
    classifier_id: int,
    label_id: int,
    kind: ChangeKind,
    after: State,
    by: str,
    now: float,
    undoes: int | None = None,
) -> LabelChange:
    before: State = {}
    for touched, columns in after.items():
        found = _columns(connection, guild, classifier_id, touched)
        before[touched] = {column: found[column] for column in columns}
        assigned = ", ".join(f"{column} = ?" for column in columns)
        connection.execute(
            f"UPDATE labels SET {assigned} WHERE guild = ? AND classifier_id = ? AND id = ?",  # noqa: S608 - our names
            (*columns.values(), guild, classifier_id, touched),
        )
    added = connection.execute(
        "INSERT INTO label_changes (guild, classifier_id, label_id, kind, before, after, undoes, by, created_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (guild, classifier_id, label_id, kind, _json(before), _json(after), undoes, by, now),
    )
    return find_change(connection, guild, int(added.lastrowid or 0))


def _columns(connection: sqlite3.Connection, guild: str, classifier_id: int, label_id: int) -> sqlite3.Row:
    at = (guild, classifier_id, label_id)
    found = row(connection, "SELECT * FROM labels WHERE guild = ? AND classifier_id = ? AND id = ?", at)
    if found is None:
        raise NotFound(f"There is no label with the id {label_id} here.")
    return found


def _json(state: Mapping[int, Mapping[str, Any]]) -> str:
    return json.dumps({str(label_id): columns for label_id, columns in state.items()}, ensure_ascii=False)


def _state(text: str) -> State:
    return {int(label_id): columns for label_id, columns in json.loads(text).items()}


def _change(found: sqlite3.Row) -> LabelChange:
    return LabelChange(
        id=found["id"],
        guild=found["guild"],
        classifier_id=found["classifier_id"],
        label_id=found["label_id"],
        kind=ChangeKind(found["kind"]),
        before=_state(found["before"]),
        after=_state(found["after"]),
        undoes=found["undoes"],
        by=found["by"],
        created_at=found["created_at"],
    )
