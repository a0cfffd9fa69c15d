"""What put older tables right: steps 0015 to 0017."""

from __future__ import annotations

NIGHTLY_FOR_ALL = """
-- Classifiers that an import has made had no schedule, as if somebody had switched it off; the others are nightly.
INSERT INTO schedules (guild, classifier_id, cron, timezone, enabled)
SELECT guild, id, '0 3 * * *', 'UTC', 1 - archived FROM classifiers
WHERE NOT EXISTS (SELECT 1 FROM schedules WHERE guild = classifiers.guild AND classifier_id = classifiers.id);
"""

KEYS_FIRST = """
-- Where the key's columns are not the first of a table WITHOUT ROWID, SQLite's check finds damage that is not there
-- (3.40.1: "NULL value in revert_events.revert_id").
CREATE TABLE older AS SELECT * FROM revert_events;

DROP TABLE revert_events;

-- The retractions that a revert wrote, in the name of whoever had given the labels.
CREATE TABLE revert_events (
    guild TEXT NOT NULL,
    event_id INTEGER NOT NULL,
    revert_id INTEGER NOT NULL,
    PRIMARY KEY (guild, event_id),
    FOREIGN KEY (guild, revert_id) REFERENCES reverts (guild, id),
    FOREIGN KEY (guild, event_id) REFERENCES label_events (guild, id)
) STRICT, WITHOUT ROWID;

INSERT INTO revert_events (guild, event_id, revert_id) SELECT guild, event_id, revert_id FROM older;

DROP TABLE older;

CREATE INDEX revert_events_of_a_revert ON revert_events (guild, revert_id);

CREATE TABLE older AS SELECT * FROM kept_labels;

DROP TABLE kept_labels;

-- Labels that looked wrong and that a lead has kept.
CREATE TABLE kept_labels (
    guild TEXT NOT NULL,
    example_id INTEGER NOT NULL,
    classifier_id INTEGER NOT NULL,
    label_id INTEGER NOT NULL,
    kept_by TEXT NOT NULL,
    created_at REAL NOT NULL,
    PRIMARY KEY (guild, example_id),
    FOREIGN KEY (guild, classifier_id, example_id) REFERENCES examples (guild, classifier_id, id) ON DELETE CASCADE,
    FOREIGN KEY (guild, classifier_id, label_id) REFERENCES labels (guild, classifier_id, id)
) STRICT, WITHOUT ROWID;

INSERT INTO kept_labels (guild, example_id, classifier_id, label_id, kept_by, created_at)
SELECT guild, example_id, classifier_id, label_id, kept_by, created_at FROM older;

DROP TABLE older;

CREATE INDEX kept_labels_of_a_classifier ON kept_labels (guild, classifier_id);
"""

PLACES_OF_A_ROUND = """
-- How many questions were asked so far. Positions are counted from here: where a question is taken out with its text, a
-- button on its card must not mean the next one.
ALTER TABLE rounds ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;

UPDATE rounds SET asked = coalesce(
    (SELECT max(position) FROM questions WHERE questions.guild = rounds.guild AND questions.round = rounds.id), 0
);
"""
