"""The tables' step 0013: whose turn a training was, and which versions have no files any more."""

TURNS_AND_FILES = """
-- Grows by one with every claim over all guilds: the guild whose training was claimed last comes last.
ALTER TABLE jobs ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;

CREATE INDEX jobs_by_turn ON jobs (guild, turn);

-- When it was decided that a version's files go. They are deleted after that; the row, its report and decision stay.
ALTER TABLE versions ADD COLUMN files_deleted_at REAL;
"""
