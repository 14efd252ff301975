"""The schema as an append-only list: a migration that was released is never edited, only followed."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from timmy_core.errors import StoreError

_EVENTS: Final = """
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

_ROUTER: Final = """
-- One row an attempt (ADR 020); written with its llm.* event in one transaction.
CREATE TABLE provider_metrics (
    id             INTEGER PRIMARY KEY,
    event_seq      INTEGER NOT NULL,
    ts             INTEGER NOT NULL,  -- microseconds since 1970, UTC
    trace_id       TEXT    NOT NULL,
    attempt        INTEGER NOT NULL,  -- 0 for the first provider of a request
    provider       TEXT    NOT NULL,
    model          TEXT    NOT NULL,
    outcome        TEXT    NOT NULL CHECK (outcome IN ('completed', 'failed', 'cancelled', 'skipped')),
    error_class    TEXT,
    latency_us     INTEGER NOT NULL,
    first_token_us INTEGER,
    input_tokens   INTEGER,
    output_tokens  INTEGER,
    cost_microusd  INTEGER,
    message        TEXT    NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX provider_metrics_provider ON provider_metrics (provider, id);
CREATE INDEX provider_metrics_outcome  ON provider_metrics (provider, outcome, id);
CREATE INDEX provider_metrics_ts       ON provider_metrics (ts);

-- Running totals, so that a status never counts the whole table.
CREATE TABLE provider_totals (
    provider TEXT PRIMARY KEY,
    requests INTEGER NOT NULL,
    errors   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What each breaker remembers across a restart.
CREATE TABLE provider_circuits (
    provider   TEXT    NOT NULL,
    model      TEXT    NOT NULL,
    state      TEXT    NOT NULL CHECK (state IN ('closed', 'open', 'half_open')),
    failures   INTEGER NOT NULL,
    open_until INTEGER,               -- microseconds since 1970, UTC: wall time, so that it holds after a restart
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (provider, model)
) STRICT, WITHOUT ROWID;
"""

_CONVERSATION: Final = """
CREATE TABLE turns (
    id       INTEGER PRIMARY KEY,
    session  TEXT    NOT NULL,
    role     TEXT    NOT NULL CHECK (role IN ('user', 'assistant')),
    content  TEXT    NOT NULL,
    provider TEXT,                    -- who answered; NULL for what the user said
    model    TEXT,
    offline  INTEGER NOT NULL DEFAULT 0,
    trace_id TEXT    NOT NULL,
    ts       INTEGER NOT NULL         -- microseconds since 1970, UTC
) STRICT;
CREATE INDEX turns_session ON turns (session, id);
"""

_ARCHIVE: Final = """
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

_VIEWS: Final = """
-- Filters of the events page under a name.
CREATE TABLE saved_views (
    name     TEXT    PRIMARY KEY,
    query    TEXT    NOT NULL,        -- JSON: what stands in the page's address
    saved_at INTEGER NOT NULL         -- microseconds since 1970, UTC
) STRICT, WITHOUT ROWID;
"""

_MONEY: Final = """
ALTER TABLE provider_metrics ADD COLUMN cached_tokens INTEGER;       -- of the input: read from the provider's cache
ALTER TABLE provider_metrics ADD COLUMN cache_write_tokens INTEGER;  -- of the input: written to the provider's cache
ALTER TABLE provider_metrics ADD COLUMN reasoning_tokens INTEGER;    -- of the output: spent on thinking
ALTER TABLE provider_metrics ADD COLUMN estimated INTEGER NOT NULL DEFAULT 0;  -- 1: we counted, by a rule of thumb
ALTER TABLE provider_metrics ADD COLUMN why TEXT NOT NULL DEFAULT 'cascade';   -- cascade, retry or hedge
ALTER TABLE provider_metrics ADD COLUMN streamed INTEGER;            -- NULL in rows of before
ALTER TABLE provider_metrics ADD COLUMN agent_id TEXT;               -- NULL in rows of before too

ALTER TABLE provider_totals ADD COLUMN completed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE provider_totals ADD COLUMN cost_microusd INTEGER NOT NULL DEFAULT 0;  -- of those whose cost is known
ALTER TABLE provider_totals ADD COLUMN unpriced INTEGER NOT NULL DEFAULT 0;       -- attempts whose cost is not
UPDATE provider_totals SET (completed, cost_microusd, unpriced) = (
    SELECT coalesce(sum(outcome = 'completed'), 0), coalesce(sum(cost_microusd), 0),
           coalesce(sum(cost_microusd IS NULL), 0)
    FROM provider_metrics WHERE provider_metrics.provider = provider_totals.provider
);

ALTER TABLE provider_circuits ADD COLUMN isolated INTEGER NOT NULL DEFAULT 0;  -- 1: taken out by hand
ALTER TABLE provider_circuits ADD COLUMN reset_ms INTEGER;       -- how long it stays open; failed probes double it
ALTER TABLE provider_circuits ADD COLUMN limited_until INTEGER;  -- until when the provider asked to be left alone

-- What a person set while it ran; it wins over the configuration. NULL leaves the configured value.
CREATE TABLE provider_controls (
    provider   TEXT PRIMARY KEY,
    enabled    INTEGER,
    priority   INTEGER,
    isolated   INTEGER NOT NULL DEFAULT 0,
    changed_by TEXT    NOT NULL,
    changed_at INTEGER NOT NULL       -- microseconds since 1970, UTC
) STRICT, WITHOUT ROWID;

-- What was paid to providers, a day of UTC and an agent ('' where a request named none).
CREATE TABLE spending (
    day      TEXT    NOT NULL,        -- such as 2026-11-22
    agent_id TEXT    NOT NULL,
    microusd INTEGER NOT NULL,
    PRIMARY KEY (day, agent_id)
) STRICT, WITHOUT ROWID;

-- What calls under way may cost. A process that dies leaves its holds; past expires_at only sent_microusd counts.
CREATE TABLE spending_holds (
    id            TEXT PRIMARY KEY,
    day           TEXT    NOT NULL,   -- the day that it is charged to, however late the call ends
    agent_id      TEXT    NOT NULL,
    provider      TEXT    NOT NULL,
    model         TEXT    NOT NULL,
    trace_id      TEXT    NOT NULL,
    microusd      INTEGER NOT NULL CHECK (microusd >= 0),       -- the most that the call may cost
    sent_microusd INTEGER NOT NULL CHECK (sent_microusd >= 0),  -- what its question alone costs
    expires_at    INTEGER NOT NULL    -- microseconds since 1970, UTC
) STRICT, WITHOUT ROWID;
CREATE INDEX spending_holds_day ON spending_holds (day);
"""

MIGRATIONS: Final[tuple[str, ...]] = (_EVENTS, _ROUTER, _CONVERSATION, _ARCHIVE, _VIEWS, _MONEY)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring a database to this version's schema, one migration a transaction.

    Raises:
        StoreError: a later version wrote it.
    """
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        message = (
            f"{path} was written by a later version (schema {version}, this one knows {len(MIGRATIONS)}); "
            "upgrade timmy-workbench to open it"
        )
        raise StoreError(message)
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        try:
            connection.executescript(f"BEGIN IMMEDIATE;{script};PRAGMA user_version={number};COMMIT;")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
