"""What holds for a guild as a whole: roles, how far its setup is, whether it was greeted, which news it was told."""

from __future__ import annotations

import sqlite3

import sqlite_utils

from storage.database import Database
from storage.errors import NotFound
from storage.jobs import COLUMNS, job_from
from storage.records import GuildSettings, TrainingJob
from storage.rows import rows, value


class Guilds:
    """Every method takes the guild first and sees no other guild's rows; `all_settings` and `failed` see all."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def all_settings(self) -> dict[str, GuildSettings]:
        """By guild, of all that chose something: what is kept in memory."""
        found = await self._db.read(
            lambda connection: rows(connection, "SELECT guild, lead_role, member_role, setup_step FROM guild_settings")
        )
        return {guild: GuildSettings(lead, member, step) for guild, lead, member, step in found}

    async def save(self, guild: str, settings: GuildSettings) -> None:
        def unit(tables: sqlite_utils.Database) -> None:
            tables.execute(
                "INSERT INTO guild_settings (guild, lead_role, member_role, setup_step) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (guild) DO UPDATE SET lead_role = excluded.lead_role, "
                "member_role = excluded.member_role, setup_step = excluded.setup_step",
                (guild, settings.lead_role, settings.member_role, settings.setup_step),
            )

        await self._db.write(unit)

    async def greet(self, guild: str, now: float) -> bool:
        """True for exactly one caller per guild, ever."""

        def unit(tables: sqlite_utils.Database) -> bool:
            done = tables.execute(
                "INSERT INTO guild_settings (guild, greeted_at) VALUES (?, ?) "
                "ON CONFLICT (guild) DO UPDATE SET greeted_at = excluded.greeted_at WHERE greeted_at IS NULL",
                (guild, now),
            )
            return done.rowcount == 1

        return await self._db.write(unit)

    async def failed(self, since: float, by: str) -> list[TrainingJob]:
        """Trainings of all guilds asked for by `by` that ended without a version after `since` (Unix seconds).

        Those that were told are left out, and those after which a newer one of the same classifier succeeded.
        """

        def query(connection: sqlite3.Connection) -> list[TrainingJob]:
            found = rows(
                connection,
                f"SELECT {COLUMNS} FROM jobs WHERE state IN ('failed', 'abandoned') AND updated_at >= ? "  # noqa: S608 - a constant
                "AND requested_by = ? AND NOT EXISTS (SELECT 1 FROM morning_news AS told "
                "WHERE told.guild = jobs.guild AND told.job_id = jobs.id) AND NOT EXISTS (SELECT 1 FROM jobs AS newer "
                "WHERE newer.guild = jobs.guild AND newer.classifier_id = jobs.classifier_id "
                "AND newer.created_at > jobs.created_at AND newer.state = 'succeeded') ORDER BY updated_at, id",
                (since, by),
            )
            return [job_from(each) for each in found]

        return await self._db.read(query)

    async def told(self, guild: str, job_id: str, now: float) -> None:
        """The team was told of this training; again changes nothing. Raises NotFound."""

        def unit(tables: sqlite_utils.Database) -> None:
            if value(tables.conn, "SELECT 1 FROM jobs WHERE guild = ? AND id = ?", (guild, job_id)) is None:
                raise NotFound(f"There is no training with the id {job_id} here.")
            tables.execute(
                "INSERT INTO morning_news (guild, job_id, told_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (guild, job_id, now),
            )

        await self._db.write(unit)
