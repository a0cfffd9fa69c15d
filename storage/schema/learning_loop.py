"""Tables of the learning loop: labels, answers, trainings, versions. Steps 0001 to 0004: released, never edited."""

from __future__ import annotations

CLASSIFIERS = """
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

EXAMPLES = """
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
CURRENT_LABELS = """
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

PREDICTIONS = """
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

JOBS = """
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

VERSIONS = """
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

STATE = """
-- Of this installation, not of a guild: the hash of the synced commands, for instance.
CREATE TABLE state (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

ORIGINS = """
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
