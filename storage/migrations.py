"""The schema, as numbered steps that only ever grow at the end.

Every table is STRICT and carries its guild as the first column of every key; foreign keys include it, so a row of one
guild cannot point to another's. Times are Unix seconds. Ids of Discord objects are text. A step that was released is
never edited: write the next one.
"""

from __future__ import annotations

import sqlite_utils
from sqlite_utils import Migrations

from storage.errors import DamagedFile, NewerDatabase

MIGRATIONS = Migrations("pupil")


def applied(db: sqlite_utils.Database) -> list[str]:
    return [step.name for step in MIGRATIONS.applied(db)]


def pending(db: sqlite_utils.Database) -> list[str]:
    return [step.name for step in MIGRATIONS.pending(db)]


def check_known(db: sqlite_utils.Database) -> None:
    """Refuse a database that this Pupil would misread. Writes nothing.

    Raises:
        NewerDatabase: it went through a step that is not in this file.
        DamagedFile: it has tables, but none of ours.
    """
    done = applied(db)
    unknown = {*done} - {*_names()}
    if unknown:
        raise NewerDatabase(
            f"The database was written by a newer Pupil (step {sorted(unknown)[0]}). Install that version again, "
            "or restore the backup that it made beside the database before it went on."
        )
    if not done and db.table_names():
        raise DamagedFile("The database file belongs to another program. Choose another data directory.")


def migrate(db: sqlite_utils.Database) -> None:
    """Apply what is pending: each step and the record of it in one transaction. Hold the instance lock."""
    MIGRATIONS.apply(db)


def _names() -> list[str]:
    return [step.name for step in MIGRATIONS._migrations]


@MIGRATIONS(name="0001_the_learning_loop")
def _the_learning_loop(db: sqlite_utils.Database) -> None:
    db.executescript(_CLASSIFIERS)
    db.executescript(_EXAMPLES)
    db.executescript(_CURRENT_LABELS)
    db.executescript(_PREDICTIONS)
    db.executescript(_JOBS)
    db.executescript(_VERSIONS)
    db.executescript(_STATE)


@MIGRATIONS(name="0002_based_on")
def _based_on(db: sqlite_utils.Database) -> None:
    db.executescript(_ORIGINS)


@MIGRATIONS(name="0003_cut_texts")
def _cut_texts(db: sqlite_utils.Database) -> None:
    db.execute("ALTER TABLE predictions ADD COLUMN cut INTEGER NOT NULL DEFAULT 0 CHECK (cut IN (0, 1))")


@MIGRATIONS(name="0004_outside_texts")
def _outside_texts(db: sqlite_utils.Database) -> None:
    db.execute("ALTER TABLE predictions ADD COLUMN outside INTEGER NOT NULL DEFAULT 0 CHECK (outside IN (0, 1))")


@MIGRATIONS(name="0005_pool_removal_merging")
def _pool_removal_merging(db: sqlite_utils.Database) -> None:
    db.executescript(_POOL_REMOVAL_MERGING)


@MIGRATIONS(name="0011_rounds")
def _rounds(db: sqlite_utils.Database) -> None:
    db.executescript(_ROUNDS)


@MIGRATIONS(name="0010_setup_and_privacy")
def _setup_and_privacy(db: sqlite_utils.Database) -> None:
    db.executescript(_SETUP_AND_PRIVACY)


@MIGRATIONS(name="0006_examples")
def _imports_and_removals(db: sqlite_utils.Database) -> None:
    db.executescript(_IMPORTS_REMOVALS)


@MIGRATIONS(name="0007_curating")
def _curating(db: sqlite_utils.Database) -> None:
    db.executescript(_CURATING)


@MIGRATIONS(name="0008_insight")
def _insight(db: sqlite_utils.Database) -> None:
    db.executescript(_KEPT_LABELS)


@MIGRATIONS(name="0009_pins")
def _pins(db: sqlite_utils.Database) -> None:
    db.executescript(_PINS)


_CLASSIFIERS = """
CREATE TABLE classifiers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    guild TEXT NOT NULL CHECK (guild <> ''),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 32 AND name NOT GLOB '*[^a-z0-9_-]*'),
    base TEXT NOT NULL,
    settings TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(settings)),
    created_at REAL NOT NULL,
    created_by TEXT NOT NULL,
    archived INTEGER NOT NULL DEFAULT 0 CHECK (archived IN (0, 1)),
    UNIQUE (guild, name),
    UNIQUE (guild, id)
) STRICT;

CREATE TABLE labels (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    name TEXT NOT NULL CHECK (
        length(name) BETWEEN 1 AND 60 AND name NOT GLOB '*[@`' || char(1) || '-' || char(31) || ']*'
    ),
    key TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '',
    position INTEGER NOT NULL,
    archived INTEGER NOT NULL DEFAULT 0 CHECK (archived IN (0, 1)),
    UNIQUE (guild, classifier_id, key),
    UNIQUE (guild, classifier_id, id),
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id)
) STRICT;

CREATE TABLE channel_defaults (
    guild TEXT NOT NULL,
    channel_id TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    PRIMARY KEY (guild, channel_id),
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id)
) STRICT, WITHOUT ROWID;
"""

_EXAMPLES = """
CREATE TABLE examples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    text TEXT NOT NULL CHECK (length(text) BETWEEN 1 AND 4000),
    hash TEXT NOT NULL CHECK (length(hash) = 64),
    source TEXT NOT NULL CHECK (source IN ('command', 'modal', 'file', 'api', 'lesson', 'message')),
    split TEXT CHECK (split IN ('train', 'golden')),
    submitted_by TEXT NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (guild, classifier_id, hash),
    UNIQUE (guild, classifier_id, id),
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id)
) STRICT;

CREATE INDEX golden_examples ON examples (guild, classifier_id) WHERE split = 'golden';

CREATE TRIGGER examples_keep_their_text BEFORE UPDATE OF guild, classifier_id, text, hash ON examples
BEGIN SELECT RAISE(ABORT, 'the text of an example never changes'); END;

CREATE TRIGGER examples_keep_their_split BEFORE UPDATE OF split ON examples WHEN OLD.split IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'an example never moves between golden and train'); END;

CREATE TABLE annotators (
    guild TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (guild, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE label_events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    example_id INTEGER NOT NULL,
    annotator TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('vote', 'ruling', 'retraction')),
    label_id INTEGER CHECK ((label_id IS NULL) = (kind = 'retraction')),
    undoes INTEGER CHECK ((undoes IS NOT NULL) = (kind = 'retraction')),
    source TEXT NOT NULL CHECK (source IN ('command', 'modal', 'file', 'api', 'lesson', 'message')),
    batch TEXT,
    created_at REAL NOT NULL,
    UNIQUE (guild, id),
    UNIQUE (guild, undoes),
    FOREIGN KEY (guild, classifier_id, example_id) REFERENCES examples (guild, classifier_id, id),
    FOREIGN KEY (guild, classifier_id, label_id) REFERENCES labels (guild, classifier_id, id),
    FOREIGN KEY (guild, undoes) REFERENCES label_events (guild, id)
) STRICT;

-- These two cover all that the views below read, so that the table itself is not touched.
CREATE INDEX label_events_of_an_example
ON label_events (guild, classifier_id, example_id, annotator, id, kind, label_id);
CREATE INDEX label_events_that_rule
ON label_events (guild, classifier_id, example_id, id, label_id) WHERE kind = 'ruling';
CREATE INDEX label_events_by_age ON label_events (guild, classifier_id, id);
CREATE INDEX label_events_of_an_annotator ON label_events (guild, annotator, id);
CREATE INDEX label_events_of_a_batch ON label_events (guild, batch) WHERE batch IS NOT NULL;

CREATE TRIGGER label_events_are_not_changed BEFORE UPDATE ON label_events
BEGIN SELECT RAISE(ABORT, 'label events are append-only'); END;

CREATE TRIGGER label_events_are_not_deleted BEFORE DELETE ON label_events
BEGIN SELECT RAISE(ABORT, 'label events are append-only'); END;

CREATE TABLE vectors (
    guild TEXT NOT NULL,
    encoder TEXT NOT NULL,
    hash TEXT NOT NULL,
    vector BLOB NOT NULL,
    PRIMARY KEY (guild, encoder, hash)
) STRICT;
"""

# Driven from `examples` with look-ups in the indices, and no GROUP BY at the outside, because SQLite pushes conditions
# such as "guild = ? AND classifier_id = ? AND example_id = ?" into a plain view but not through nested aggregates.
# Measured with 50,000 examples and 65,000 events: all current labels 240 ms (nested aggregates: 400), one of them
# 0.04 ms (230).
_CURRENT_LABELS = """
-- Votes and rulings that nobody took back.
CREATE VIEW standing_events AS
SELECT * FROM label_events AS event
WHERE kind <> 'retraction'
  AND NOT EXISTS (SELECT 1 FROM label_events AS undo WHERE undo.guild = event.guild AND undo.undoes = event.id);

-- What each annotator says now about an example: the newest of their standing events.
CREATE VIEW opinions AS
SELECT * FROM standing_events AS event
WHERE NOT EXISTS (
    SELECT 1 FROM standing_events AS newer
    WHERE newer.guild = event.guild AND newer.classifier_id = event.classifier_id
      AND newer.example_id = event.example_id AND newer.annotator = event.annotator AND newer.id > event.id
);

-- The newest standing ruling decides; without one, the label of more than half of the opinions; else there is no row
-- (a tie, or everything was taken back). CROSS JOIN keeps SQLite from starting at the labels.
CREATE VIEW current_labels AS
SELECT example.guild, example.classifier_id, example.id AS example_id, label.id AS label_id, label.name AS label,
       example.text, example.split, example.source
FROM examples AS example
CROSS JOIN labels AS label ON label.archived = 0 AND label.id = coalesce(
    (
        SELECT ruling.label_id FROM standing_events AS ruling
        WHERE ruling.guild = example.guild AND ruling.classifier_id = example.classifier_id
          AND ruling.example_id = example.id AND ruling.kind = 'ruling'
        ORDER BY ruling.id DESC LIMIT 1
    ),
    (
        -- Unanimous is the common case and needs no sorting; only a disagreement is counted out.
        SELECT CASE WHEN min(opinion.label_id) = max(opinion.label_id) THEN min(opinion.label_id) ELSE (
            SELECT most.label_id FROM opinions AS most
            WHERE most.guild = example.guild AND most.classifier_id = example.classifier_id
              AND most.example_id = example.id
            GROUP BY most.label_id
            HAVING 2 * count(*) > (
                SELECT count(*) FROM opinions AS other
                WHERE other.guild = example.guild AND other.classifier_id = example.classifier_id
                  AND other.example_id = example.id
            )
        ) END
        FROM opinions AS opinion
        WHERE opinion.guild = example.guild AND opinion.classifier_id = example.classifier_id
          AND opinion.example_id = example.id
    )
);
"""

_PREDICTIONS = """
CREATE TABLE predictions (
    id TEXT NOT NULL CHECK (id <> ''),
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    number INTEGER NOT NULL CHECK (number >= 0),
    revision INTEGER NOT NULL CHECK (revision >= 0),
    version TEXT NOT NULL,
    scores TEXT NOT NULL CHECK (json_valid(scores)),
    abstained INTEGER NOT NULL CHECK (abstained IN (0, 1)),
    milliseconds REAL NOT NULL,
    asked_by TEXT NOT NULL,
    created_at REAL NOT NULL,
    text TEXT CHECK (length(text) BETWEEN 1 AND 4000),
    taught TEXT CHECK (taught IS NULL OR json_valid(taught)), -- json_valid(NULL) is 0 before SQLite 3.45
    PRIMARY KEY (guild, id),
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id)
) STRICT;

CREATE INDEX predictions_of_a_classifier ON predictions (guild, classifier_id, created_at);

CREATE TABLE feedback (
    guild TEXT NOT NULL,
    prediction_id TEXT NOT NULL,
    annotator TEXT NOT NULL,
    was_right INTEGER NOT NULL CHECK (was_right IN (0, 1)),
    event_id INTEGER,
    created_at REAL NOT NULL,
    PRIMARY KEY (guild, prediction_id, annotator),
    FOREIGN KEY (guild, prediction_id) REFERENCES predictions (guild, id),
    FOREIGN KEY (guild, event_id) REFERENCES label_events (guild, id)
) STRICT, WITHOUT ROWID;
"""

_JOBS = """
CREATE TABLE jobs (
    id TEXT NOT NULL CHECK (id <> ''),
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    key TEXT NOT NULL,
    snapshot TEXT NOT NULL,
    champion INTEGER NOT NULL CHECK (champion >= 0),
    state TEXT NOT NULL CHECK (
        state IN ('queued', 'leased', 'running', 'uploading', 'succeeded', 'failed', 'cancelled', 'abandoned')
    ),
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    requested_by TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    not_before REAL NOT NULL DEFAULT 0,
    channel_id TEXT,
    message_id TEXT,
    last_event INTEGER NOT NULL DEFAULT 0,
    progress TEXT,
    error TEXT,
    artifact TEXT,
    version INTEGER,
    PRIMARY KEY (guild, id),
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id)
) STRICT;

-- A trainer knows a job by its id alone, so that one is unique over all guilds.
CREATE UNIQUE INDEX jobs_by_id ON jobs (id);
CREATE UNIQUE INDEX one_job_per_key ON jobs (guild, key) WHERE state NOT IN ('failed', 'cancelled', 'abandoned');
CREATE UNIQUE INDEX one_active_job ON jobs (guild, classifier_id)
WHERE state IN ('queued', 'leased', 'running', 'uploading');
CREATE INDEX jobs_waiting ON jobs (created_at, id) WHERE state = 'queued';
CREATE INDEX jobs_of_a_classifier ON jobs (guild, classifier_id, created_at);
"""

_VERSIONS = """
CREATE TABLE versions (
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    number INTEGER NOT NULL CHECK (number >= 1),
    artifact TEXT NOT NULL,
    job_id TEXT,
    snapshot TEXT NOT NULL,
    last_event_id INTEGER NOT NULL,
    labels TEXT NOT NULL CHECK (json_valid(labels)),
    decision TEXT NOT NULL,
    report TEXT NOT NULL,
    created_at REAL NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('candidate', 'champion', 'retired', 'damaged')),
    PRIMARY KEY (guild, classifier_id, number),
    UNIQUE (guild, job_id),
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id),
    FOREIGN KEY (guild, job_id) REFERENCES jobs (guild, id)
) STRICT;

-- The pointer. No row: version 0, the base encoder.
CREATE TABLE champions (
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (guild, classifier_id),
    FOREIGN KEY (guild, classifier_id, number) REFERENCES versions (guild, classifier_id, number)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX one_champion ON versions (guild, classifier_id) WHERE state = 'champion';

CREATE TABLE promotions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    number INTEGER NOT NULL CHECK (number >= 0),
    previous INTEGER NOT NULL CHECK (previous >= 0),
    by TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at REAL NOT NULL,
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id)
) STRICT;

CREATE INDEX promotions_of_a_classifier ON promotions (guild, classifier_id, id);

CREATE TRIGGER promotions_are_not_changed BEFORE UPDATE ON promotions
BEGIN SELECT RAISE(ABORT, 'the promotion history is append-only'); END;

CREATE TRIGGER promotions_are_not_deleted BEFORE DELETE ON promotions
BEGIN SELECT RAISE(ABORT, 'the promotion history is append-only'); END;

CREATE TABLE schedules (
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    cron TEXT,
    after_labels INTEGER CHECK (after_labels >= 1),
    timezone TEXT NOT NULL,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    -- Compared as text, so it must have a form in which text order is time order.
    last_slot TEXT CHECK (last_slot GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T[0-9][0-9]:[0-9][0-9]'),
    PRIMARY KEY (guild, classifier_id),
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id)
) STRICT, WITHOUT ROWID;
"""

_STATE = """
-- Of this installation, not of a guild: the hash of the synced commands, for instance.
CREATE TABLE state (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

_ORIGINS = """
-- Whose trainings start from which version of which other classifier. No row: from the pretrained encoder.
CREATE TABLE origins (
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    source_id INTEGER NOT NULL CHECK (source_id <> classifier_id),
    number INTEGER NOT NULL,
    PRIMARY KEY (guild, classifier_id),
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id),
    FOREIGN KEY (guild, source_id, number) REFERENCES versions (guild, classifier_id, number)
) STRICT, WITHOUT ROWID;
"""

_POOL_REMOVAL_MERGING = """
-- Of a text that waits in the unlabelled pool: the import it came with, so that this can be undone as a whole.
ALTER TABLE examples ADD COLUMN batch TEXT;
-- A removed example keeps its events, counts nowhere, and can be brought back.
ALTER TABLE examples ADD COLUMN removed_at REAL;
-- What a label was merged into: its events speak for that one. Never a label that is itself merged.
ALTER TABLE labels ADD COLUMN merged_into INTEGER REFERENCES labels (id);

CREATE INDEX examples_of_the_pool ON examples (guild, classifier_id, id) WHERE split IS NULL;

DROP VIEW current_labels;
DROP VIEW opinions;

CREATE VIEW opinions AS
SELECT event.id, event.guild, event.classifier_id, event.example_id, event.annotator, event.kind,
       coalesce((SELECT merged_into FROM labels WHERE labels.id = event.label_id), event.label_id) AS label_id,
       event.source, event.batch, event.created_at
FROM standing_events AS event
WHERE NOT EXISTS (
    SELECT 1 FROM standing_events AS newer
    WHERE newer.guild = event.guild AND newer.classifier_id = event.classifier_id
      AND newer.example_id = event.example_id AND newer.annotator = event.annotator AND newer.id > event.id
);

CREATE VIEW current_labels AS
SELECT example.guild, example.classifier_id, example.id AS example_id, label.id AS label_id, label.name AS label,
       example.text, example.split, example.source
FROM examples AS example
CROSS JOIN labels AS label ON example.removed_at IS NULL AND label.archived = 0 AND label.id = coalesce(
    (
        SELECT coalesce((SELECT merged_into FROM labels WHERE labels.id = ruling.label_id), ruling.label_id)
        FROM standing_events AS ruling
        WHERE ruling.guild = example.guild AND ruling.classifier_id = example.classifier_id
          AND ruling.example_id = example.id AND ruling.kind = 'ruling'
        ORDER BY ruling.id DESC LIMIT 1
    ),
    (
        SELECT CASE WHEN min(opinion.label_id) = max(opinion.label_id) THEN min(opinion.label_id) ELSE (
            SELECT most.label_id FROM opinions AS most
            WHERE most.guild = example.guild AND most.classifier_id = example.classifier_id
              AND most.example_id = example.id
            GROUP BY most.label_id
            HAVING 2 * count(*) > (
                SELECT count(*) FROM opinions AS other
                WHERE other.guild = example.guild AND other.classifier_id = example.classifier_id
                  AND other.example_id = example.id
            )
        ) END
        FROM opinions AS opinion
        WHERE opinion.guild = example.guild AND opinion.classifier_id = example.classifier_id
          AND opinion.example_id = example.id
    )
);
"""

_ROUNDS = """
CREATE TABLE rounds (
    guild TEXT NOT NULL,
    id TEXT NOT NULL CHECK (id <> ''),
    classifier_id INTEGER NOT NULL,
    annotator TEXT NOT NULL,
    wanted INTEGER NOT NULL CHECK (wanted >= 1),
    created_at REAL NOT NULL,
    PRIMARY KEY (guild, id),
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id)
) STRICT, WITHOUT ROWID;

-- A text that is taken out of the pool takes the questions about it along.
CREATE TABLE questions (
    guild TEXT NOT NULL,
    round TEXT NOT NULL,
    position INTEGER NOT NULL CHECK (position >= 1),
    classifier_id INTEGER NOT NULL,
    example_id INTEGER NOT NULL,
    annotator TEXT NOT NULL,
    picked_by_model INTEGER NOT NULL CHECK (picked_by_model IN (0, 1)),
    outcome TEXT CHECK (outcome IN ('labelled', 'unsure', 'skipped')),
    event_id INTEGER,
    asked_at REAL NOT NULL,
    answered_at REAL,
    PRIMARY KEY (guild, round, position),
    FOREIGN KEY (guild, round) REFERENCES rounds (guild, id),
    FOREIGN KEY (guild, classifier_id, example_id) REFERENCES examples (guild, classifier_id, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX questions_about_an_example ON questions (guild, classifier_id, example_id);
"""

_SETUP_AND_PRIVACY = """
-- What a server's leads chose in /setup. No row: nothing was chosen yet.
CREATE TABLE guild_settings (
    guild TEXT PRIMARY KEY CHECK (guild <> ''),
    lead_role TEXT,
    member_role TEXT,
    setup_step INTEGER NOT NULL DEFAULT 1,
    greeted_at REAL
) STRICT, WITHOUT ROWID;

-- People of whom nothing is stored from now on.
CREATE TABLE opt_outs (
    guild TEXT NOT NULL,
    person TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (guild, person)
) STRICT, WITHOUT ROWID;

-- Snapshot files that hold forgotten texts: deleted as soon as no training under way needs them.
CREATE TABLE doomed_snapshots (
    guild TEXT NOT NULL,
    snapshot TEXT NOT NULL,
    PRIMARY KEY (guild, snapshot)
) STRICT, WITHOUT ROWID;

-- Trainings that failed in the night and of which the team was told in the morning.
CREATE TABLE morning_news (
    guild TEXT NOT NULL,
    job_id TEXT NOT NULL,
    told_at REAL NOT NULL,
    PRIMARY KEY (guild, job_id),
    FOREIGN KEY (guild, job_id) REFERENCES jobs (guild, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX predictions_of_a_person ON predictions (guild, asked_by);
CREATE INDEX examples_of_a_person ON examples (guild, submitted_by);
CREATE INDEX feedback_of_a_person ON feedback (guild, annotator);
"""

_IMPORTS_REMOVALS = """
-- What somebody is about to import, or has imported. The token is also the batch of what it brought.
CREATE TABLE imports (
    guild TEXT NOT NULL,
    token TEXT NOT NULL CHECK (token <> ''),
    classifier_id INTEGER NOT NULL,
    by TEXT NOT NULL,
    source TEXT NOT NULL CHECK (source IN ('file', 'modal')),
    name TEXT NOT NULL,
    left_out INTEGER NOT NULL CHECK (left_out >= 0),
    rows TEXT, -- JSON [[text, label or null]]; gone once it is applied
    created_at REAL NOT NULL,
    applied_at REAL CHECK ((applied_at IS NULL) = (rows IS NOT NULL)),
    undone_at REAL,
    result TEXT CHECK ((result IS NULL) = (applied_at IS NULL)),
    PRIMARY KEY (guild, token),
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id)
) STRICT;

CREATE INDEX imports_waiting ON imports (created_at) WHERE applied_at IS NULL;

-- Who removed an example or brought it back. Numbered along with the label events: whatever asks what is newer than an
-- event hears of it.
CREATE TABLE removals (
    id INTEGER PRIMARY KEY,
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    example_id INTEGER NOT NULL,
    by TEXT NOT NULL,
    removed INTEGER NOT NULL CHECK (removed IN (0, 1)),
    created_at REAL NOT NULL,
    UNIQUE (guild, id),
    FOREIGN KEY (guild, classifier_id, example_id) REFERENCES examples (guild, classifier_id, id) ON DELETE CASCADE
) STRICT;

CREATE INDEX removals_by_age ON removals (guild, classifier_id, id);
CREATE INDEX removals_of_an_example ON removals (guild, classifier_id, example_id, id);
"""

_CURATING = """
-- What a lead was shown and has yet to confirm; `outcome` is the id of what became of it.
CREATE TABLE drafts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    wanted TEXT NOT NULL CHECK (json_valid(wanted)),
    by TEXT NOT NULL,
    created_at REAL NOT NULL,
    outcome INTEGER,
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id)
) STRICT;

-- `before` and `after`: {label id: {column: value}} of the labels and columns that changed.
CREATE TABLE label_changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    label_id INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('rename', 'merge', 'archive', 'restore', 'describe', 'undo')),
    before TEXT NOT NULL CHECK (json_valid(before)),
    after TEXT NOT NULL CHECK (json_valid(after)),
    undoes INTEGER CHECK ((undoes IS NOT NULL) = (kind = 'undo')),
    by TEXT NOT NULL,
    created_at REAL NOT NULL,
    UNIQUE (guild, id),
    UNIQUE (guild, undoes),
    FOREIGN KEY (guild, classifier_id, label_id) REFERENCES labels (guild, classifier_id, id),
    FOREIGN KEY (guild, undoes) REFERENCES label_changes (guild, id)
) STRICT;

CREATE INDEX label_changes_of_a_classifier ON label_changes (guild, classifier_id, id);

CREATE TRIGGER label_changes_are_not_changed BEFORE UPDATE ON label_changes
BEGIN SELECT RAISE(ABORT, 'the history of labels is append-only'); END;

CREATE TRIGGER label_changes_are_not_deleted BEFORE DELETE ON label_changes
BEGIN SELECT RAISE(ABORT, 'the history of labels is append-only'); END;

-- Labels of one person that a lead took back, as a whole.
CREATE TABLE reverts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    annotator TEXT NOT NULL,
    since REAL NOT NULL,
    by TEXT NOT NULL,
    created_at REAL NOT NULL,
    undone_by TEXT,
    undone_at REAL,
    UNIQUE (guild, id),
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id)
) STRICT;

-- The retractions that it wrote, in the name of whoever had given the labels.
CREATE TABLE revert_events (
    guild TEXT NOT NULL,
    revert_id INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    PRIMARY KEY (guild, event_id),
    FOREIGN KEY (guild, revert_id) REFERENCES reverts (guild, id),
    FOREIGN KEY (guild, event_id) REFERENCES label_events (guild, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX revert_events_of_a_revert ON revert_events (guild, revert_id);

-- What people did themselves: without what a lead took back in their name.
CREATE VIEW own_events AS
SELECT * FROM label_events AS event
WHERE NOT EXISTS (SELECT 1 FROM revert_events AS lead WHERE lead.guild = event.guild AND lead.event_id = event.id);

-- The codebook: why texts like the example have the label.
CREATE TABLE rules (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    label_id INTEGER NOT NULL,
    text TEXT NOT NULL CHECK (length(text) BETWEEN 1 AND 300),
    example_id INTEGER,
    by TEXT NOT NULL,
    created_at REAL NOT NULL,
    removed_at REAL,
    FOREIGN KEY (guild, classifier_id, label_id) REFERENCES labels (guild, classifier_id, id),
    FOREIGN KEY (guild, classifier_id, example_id) REFERENCES examples (guild, classifier_id, id)
) STRICT;

CREATE INDEX rules_of_a_classifier ON rules (guild, classifier_id, label_id);

-- Texts typed with a label that does not exist. Those with the same `key` are one proposal.
CREATE TABLE proposals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    text TEXT NOT NULL CHECK (length(text) BETWEEN 1 AND 4000),
    hash TEXT NOT NULL,
    source TEXT NOT NULL,
    by TEXT NOT NULL,
    created_at REAL NOT NULL,
    state TEXT NOT NULL DEFAULT 'typed' CHECK (state IN ('typed', 'proposed', 'created', 'declined')),
    decided_by TEXT,
    UNIQUE (guild, classifier_id, key, by, hash),
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id)
) STRICT;
"""

_KEPT_LABELS = """
-- Labels that looked wrong and that a lead has kept.
CREATE TABLE kept_labels (
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    example_id INTEGER NOT NULL,
    label_id INTEGER NOT NULL,
    kept_by TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (guild, example_id),
    FOREIGN KEY (guild, classifier_id, example_id) REFERENCES examples (guild, classifier_id, id) ON DELETE CASCADE,
    FOREIGN KEY (guild, classifier_id, label_id) REFERENCES labels (guild, classifier_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX kept_labels_of_a_classifier ON kept_labels (guild, classifier_id);
"""

_PINS = """
CREATE TABLE pins (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    text TEXT NOT NULL CHECK (length(text) BETWEEN 1 AND 4000),
    hash TEXT NOT NULL CHECK (length(hash) = 64),
    label_id INTEGER NOT NULL,
    pinned_by TEXT NOT NULL,
    at REAL NOT NULL,
    removed_at REAL,
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id),
    FOREIGN KEY (guild, classifier_id, label_id) REFERENCES labels (guild, classifier_id, id)
) STRICT;

CREATE UNIQUE INDEX one_pin_per_text ON pins (guild, classifier_id, hash) WHERE removed_at IS NULL;

-- What a version said before it might go live. `pins` and `changed` hold ids, no texts: those can be forgotten.
CREATE TABLE trials (
    guild TEXT NOT NULL,
    classifier_id INTEGER NOT NULL,
    number INTEGER NOT NULL CHECK (number >= 0),
    against TEXT NOT NULL,
    pins TEXT NOT NULL CHECK (json_valid(pins)),
    questions INTEGER NOT NULL CHECK (questions >= 0),
    changed TEXT NOT NULL CHECK (json_valid(changed)),
    at REAL NOT NULL,
    PRIMARY KEY (guild, classifier_id, number),
    FOREIGN KEY (guild, classifier_id) REFERENCES classifiers (guild, id)
) STRICT, WITHOUT ROWID;
"""
