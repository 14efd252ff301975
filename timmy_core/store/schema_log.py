"""Migrations of the log: its table, its archive and the filters that are kept under a name."""

from __future__ import annotations

from typing import Final

EVENTS: Final = """
CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The epoch tells a reader with a cursor that this is not the log it read before (a restore, a new home).
INSERT INTO meta (key, value) VALUES ('epoch', lower(hex(randomblob(16))));

CREATE TABLE events (
    seq        INTEGER PRIMARY KEY,
    id         TEXT    NOT NULL UNIQUE,
    event_type TEXT    NOT NULL,
    source     TEXT    NOT NULL,
    task_id    TEXT,
    agent_id   TEXT,
    trace_id   TEXT,
    data       TEXT,                 -- JSON; NULL once redacted
    ts         INTEGER NOT NULL,     -- microseconds since 1970, UTC
    v          INTEGER NOT NULL,
    salt       BLOB    NOT NULL,
    data_hash  BLOB    NOT NULL,
    hash       BLOB    NOT NULL
) STRICT;
CREATE INDEX events_task  ON events (task_id, seq)  WHERE task_id  IS NOT NULL;
CREATE INDEX events_agent ON events (agent_id, seq) WHERE agent_id IS NOT NULL;
CREATE INDEX events_trace ON events (trace_id, seq) WHERE trace_id IS NOT NULL;
CREATE INDEX events_type  ON events (event_type, seq);

-- The check on the id stands here too, because INSERT OR REPLACE would delete without asking the trigger below.
CREATE TRIGGER events_in_order BEFORE INSERT ON events
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events) OR EXISTS (SELECT 1 FROM events WHERE id = NEW.id)
BEGIN SELECT raise(ABORT, 'events are appended in order, each id once'); END;

CREATE TRIGGER events_kept BEFORE DELETE ON events
BEGIN SELECT raise(ABORT, 'events are append-only: a row is never deleted'); END;

-- The one change allowed is redaction: data and salt are nulled, and all that the chain covers stays.
CREATE TRIGGER events_unchanged BEFORE UPDATE ON events
WHEN NOT (
    NEW.data IS NULL AND NEW.salt = zeroblob(16)
    AND NEW.seq = OLD.seq AND NEW.id = OLD.id AND NEW.event_type = OLD.event_type AND NEW.source = OLD.source
    AND NEW.task_id IS OLD.task_id AND NEW.agent_id IS OLD.agent_id AND NEW.trace_id IS OLD.trace_id
    AND NEW.ts = OLD.ts AND NEW.v = OLD.v AND NEW.data_hash = OLD.data_hash AND NEW.hash = OLD.hash
)
BEGIN SELECT raise(ABORT, 'events are append-only: only redaction may change a row'); END;
"""

ARCHIVE: Final = """
-- The last event below the table, and its hash; deletion is allowed up to prune_to.
CREATE TABLE log_base (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    seq      INTEGER NOT NULL,
    hash     BLOB    NOT NULL,
    prune_to INTEGER NOT NULL DEFAULT 0
) STRICT;
INSERT INTO log_base (only, seq, hash) VALUES (1, 0, zeroblob(32));

-- One row a sealed Parquet file. While a file is being replaced, next_digest says what it may already be.
CREATE TABLE segments (
    first_seq   INTEGER PRIMARY KEY,
    last_seq    INTEGER NOT NULL,
    file        TEXT    NOT NULL,
    digest      TEXT    NOT NULL,     -- BLAKE2b-256 of the file, hex
    before_hash BLOB    NOT NULL,     -- the hash of the event before the first
    last_hash   BLOB    NOT NULL,
    first_ts    INTEGER NOT NULL,     -- the earliest and the latest time in it, microseconds since 1970, UTC
    last_ts     INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    sealed_at   INTEGER NOT NULL,
    next_digest TEXT
) STRICT;

-- What was asked to be forgotten; pending rows are finished by the next start.
CREATE TABLE redactions (
    seq      INTEGER PRIMARY KEY,
    state    TEXT    NOT NULL CHECK (state IN ('pending', 'done')),
    reason   TEXT    NOT NULL,
    asked_by TEXT    NOT NULL,
    at       INTEGER NOT NULL
) STRICT;
CREATE INDEX redactions_pending ON redactions (seq) WHERE state = 'pending';

CREATE TABLE blobs (
    digest     TEXT PRIMARY KEY,      -- BLAKE2b-256 of the content, hex
    bytes      INTEGER NOT NULL,
    media_type TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER                -- NULL: kept
) STRICT;

DROP TRIGGER events_in_order;
CREATE TRIGGER events_in_order BEFORE INSERT ON events
WHEN NEW.seq IS NOT coalesce((SELECT max(seq) FROM events), (SELECT seq FROM log_base), 0) + 1
    OR EXISTS (SELECT 1 FROM events WHERE id = NEW.id)
BEGIN SELECT raise(ABORT, 'events are appended in order, each id once'); END;

-- Pruning deletes what a verified archive holds, and never the last event.
DROP TRIGGER events_kept;
CREATE TRIGGER events_kept BEFORE DELETE ON events
WHEN OLD.seq > coalesce((SELECT prune_to FROM log_base), 0) OR OLD.seq IS (SELECT max(seq) FROM events)
BEGIN SELECT raise(ABORT, 'events are append-only: only what is archived is ever deleted'); END;

CREATE TRIGGER log_base_below_archive BEFORE UPDATE ON log_base
WHEN NEW.prune_to > coalesce((SELECT max(last_seq) FROM segments), 0)
    OR NEW.prune_to < OLD.prune_to OR NEW.seq < OLD.seq OR NEW.seq > NEW.prune_to
BEGIN SELECT raise(ABORT, 'only archived events are pruned, and the base never goes back'); END;
CREATE TRIGGER log_base_kept BEFORE DELETE ON log_base
BEGIN SELECT raise(ABORT, 'the base of the log is kept'); END;
"""

VIEWS: Final = """
-- Filters of the events page under a name.
CREATE TABLE saved_views (
    name     TEXT    PRIMARY KEY,
    query    TEXT    NOT NULL,        -- JSON: what stands in the page's address
    saved_at INTEGER NOT NULL         -- microseconds since 1970, UTC
) STRICT, WITHOUT ROWID;
"""
