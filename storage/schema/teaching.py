"""What teaching in chat added to the schema: one block a step, 0005 to 0011."""

from __future__ import annotations

POOL_REMOVAL_MERGING = """
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

IMPORTS_REMOVALS = """
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

CURATING = """
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

KEPT_LABELS = """
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

PINS = """
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

SETUP_AND_PRIVACY = """
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

ROUNDS = """
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
