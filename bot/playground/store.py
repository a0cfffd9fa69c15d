"""The playground's memory over restarts: messages, commands and files in one SQLite file. Knows only JSON and bytes.

Writes happen in the caller's thread: with WAL and without fsync a write takes some 20 microseconds, and a killed
process loses nothing (only a power cut might cost the last moments, which a playground may).
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from bot.playground.wire import Json
from storage.errors import DamagedFile, InstanceLocked

_PRAGMAS = """
pragma locking_mode = exclusive;
pragma journal_mode = wal;
pragma synchronous = off;
"""
_SCHEMA = """
create table if not exists messages (id integer primary key, channel text not null, body text not null) strict;
create index if not exists messages_channel on messages (channel, id);
create table if not exists commands (guild text primary key, body text not null) strict;
create table if not exists files (
    id integer primary key, name text not null, content_type text not null, data blob not null
) strict;
create table if not exists facts (name text primary key, value text not null) strict;
"""
_FORGET_FILES = """
delete from files where id in (
    select id from (select id, sum(length(data)) over (order by id desc) as total from files) where total > ?
)
"""
_FILE_BYTES = 256 * 1024 * 1024
"""All kept files together; the oldest go first."""


@dataclass(frozen=True)
class StoredFile:
    id: str
    name: str
    content_type: str
    data: bytes


class Store:
    """One SQLite file, or memory when `path` is None. For one thread."""

    def __init__(self, path: Path | None, messages_per_channel: int = 500) -> None:
        """Raises DamagedFile when the file is no database, InstanceLocked when another process has it open."""
        self.messages_per_channel = messages_per_channel
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(str(path) if path else ":memory:", timeout=0.5, isolation_level=None)
            self._database.executescript(_PRAGMAS + _SCHEMA)
        except sqlite3.DatabaseError as error:
            if "locked" in str(error):
                raise InstanceLocked(f"Another process uses the playground's file {path}. Stop it first.") from None
            raise DamagedFile(
                f"The playground's file {path} cannot be read: {error}. Move it away to begin anew."
            ) from None

    def close(self) -> None:
        self._database.close()

    def messages(self) -> list[Json]:
        """All kept messages, oldest first."""
        return [json.loads(body) for (body,) in self._database.execute("select body from messages order by id")]

    def save_message(self, message: Json) -> None:
        row = (int(message["id"]), message["channel_id"], json.dumps(message))
        self._database.execute("insert or replace into messages values (?, ?, ?)", row)

    def delete_message(self, message_id: str) -> None:
        self._database.execute("delete from messages where id = ?", (int(message_id),))

    def commands(self) -> dict[str, list[Json]]:
        """The registered commands by guild; "" holds the global ones."""
        return {guild: json.loads(body) for guild, body in self._database.execute("select guild, body from commands")}

    def save_commands(self, guild: str, commands: list[Json]) -> None:
        self._database.execute("insert or replace into commands values (?, ?)", (guild, json.dumps(commands)))

    def save_file(self, file: StoredFile) -> None:
        row = (int(file.id), file.name, file.content_type, file.data)
        self._database.execute("insert or replace into files values (?, ?, ?, ?)", row)
        self._database.execute(_FORGET_FILES, (_FILE_BYTES,))

    def file(self, file_id: str) -> StoredFile | None:
        if not file_id.isdecimal() or int(file_id) >= 2**63:
            return None
        query = "select name, content_type, data from files where id = ?"
        row = self._database.execute(query, (int(file_id),)).fetchone()
        return StoredFile(file_id, *row) if row else None

    def fact(self, name: str) -> str | None:
        row = self._database.execute("select value from facts where name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def save_fact(self, name: str, value: str) -> None:
        self._database.execute("insert or replace into facts values (?, ?)", (name, value))
