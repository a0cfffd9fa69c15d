"""What trainings that look after themselves added to the tables: steps 0012 to 0014."""

from __future__ import annotations

QUIET_HOURS = """
-- Within these hours of the schedule's time zone nothing starts by itself.
ALTER TABLE schedules ADD COLUMN quiet TEXT CHECK (quiet GLOB '[0-2][0-9]:[0-5][0-9]-[0-2][0-9]:[0-5][0-9]');
"""

TURNS_AND_FILES = """
-- Grows by one with every claim over all guilds: the guild whose training was claimed last comes last.
ALTER TABLE jobs ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;

CREATE INDEX jobs_by_turn ON jobs (guild, turn);

-- When it was decided that a version's files go. They are deleted after that; the row, its report and decision stay.
ALTER TABLE versions ADD COLUMN files_deleted_at REAL;
"""

FEEDBACK_OF_AN_EVENT = """
-- Whoever deletes a label event looks for judgements that it came from: without this, through all of the guild.
CREATE INDEX feedback_of_an_event ON feedback (guild, event_id);
"""
