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

_MEMORY: Final = """
-- What Timmy remembers. A seq is never used again, so an index may name entries by it for ever.
CREATE TABLE memory_entries (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    kind         TEXT    NOT NULL CHECK (kind IN ('conversation', 'fact', 'document')),
    state        TEXT    NOT NULL DEFAULT 'stored' CHECK (state IN ('stored', 'proposed', 'rejected')),
    scope        TEXT    NOT NULL,    -- shared, agent:<id> or session:<name>
    agent_id     TEXT,
    session      TEXT,
    task_id      TEXT,
    trace_id     TEXT,
    source       TEXT    NOT NULL,    -- who stored it
    speaker      TEXT,                -- who said it
    subject      TEXT,                -- of a fact: what it says the one value of
    text         TEXT    NOT NULL,
    metadata     TEXT    NOT NULL DEFAULT '{}',  -- JSON
    about        TEXT    NOT NULL DEFAULT '',    -- date, speaker, subject and title, as words to be found by
    importance   REAL    NOT NULL DEFAULT 0.5 CHECK (importance BETWEEN 0 AND 1),
    created_at   INTEGER NOT NULL,    -- microseconds since 1970, UTC
    changed_at   INTEGER NOT NULL,
    valid_from   INTEGER NOT NULL,
    valid_to     INTEGER,             -- NULL: holds still
    closed_by    TEXT,                -- the id of the entry that took its place
    seen         INTEGER NOT NULL DEFAULT 1,     -- how often it was remembered
    seen_at      INTEGER NOT NULL,
    content_hash BLOB    NOT NULL,    -- BLAKE2b of kind, speaker and text
    parent_seq   INTEGER REFERENCES memory_entries (seq),  -- of a passage: its document
    place        INTEGER,             -- of a passage: 0 for the first
    start        INTEGER,             -- of a passage: the character of the document that it begins at
    parts        INTEGER NOT NULL DEFAULT 0      -- of a document: its passages, which are searched in its place
) STRICT;
CREATE UNIQUE INDEX memory_entries_same ON memory_entries (scope, content_hash) WHERE valid_to IS NULL;
CREATE INDEX memory_entries_hash    ON memory_entries (content_hash);
CREATE INDEX memory_entries_turns   ON memory_entries (scope, session, seq)
    WHERE kind = 'conversation' AND state = 'stored' AND session IS NOT NULL;
CREATE INDEX memory_entries_scope   ON memory_entries (scope, kind, seq);
CREATE INDEX memory_entries_subject ON memory_entries (scope, subject) WHERE subject IS NOT NULL;
CREATE INDEX memory_entries_parent  ON memory_entries (parent_seq, place) WHERE parent_seq IS NOT NULL;
CREATE INDEX memory_entries_trace   ON memory_entries (trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX memory_entries_session ON memory_entries (session, seq) WHERE session IS NOT NULL;
CREATE INDEX memory_entries_task    ON memory_entries (task_id, seq) WHERE task_id IS NOT NULL;
CREATE INDEX memory_entries_agent   ON memory_entries (agent_id, seq) WHERE agent_id IS NOT NULL;
CREATE INDEX memory_entries_created ON memory_entries (created_at, seq);
CREATE INDEX memory_entries_state   ON memory_entries (state, seq) WHERE state <> 'stored';

CREATE TABLE memory_vectors (
    entry_seq INTEGER NOT NULL REFERENCES memory_entries (seq),
    model     TEXT    NOT NULL,       -- name and version of the embedder
    part      INTEGER NOT NULL,       -- 0 the whole entry, 1 and on its sentences, -1 it and the turn before
    vector    BLOB    NOT NULL,       -- f16, normalised
    PRIMARY KEY (entry_seq, model, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX memory_vectors_model ON memory_vectors (model, entry_seq, part);

-- Whose vectors changed, in order: who follows reads number > cursor, and the vectors that are there now.
CREATE TABLE memory_changes (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    entry_seq INTEGER NOT NULL,
    model     TEXT    NOT NULL,
    UNIQUE (entry_seq, model)
) STRICT;
CREATE TRIGGER memory_vectors_added AFTER INSERT ON memory_vectors BEGIN
    DELETE FROM memory_changes WHERE entry_seq = NEW.entry_seq AND model = NEW.model;
    INSERT INTO memory_changes (entry_seq, model) VALUES (NEW.entry_seq, NEW.model);
END;
CREATE TRIGGER memory_vectors_changed AFTER UPDATE ON memory_vectors BEGIN
    DELETE FROM memory_changes WHERE entry_seq = NEW.entry_seq AND model = NEW.model;
    INSERT INTO memory_changes (entry_seq, model) VALUES (NEW.entry_seq, NEW.model);
END;
CREATE TRIGGER memory_vectors_gone AFTER DELETE ON memory_vectors BEGIN
    DELETE FROM memory_changes WHERE entry_seq = OLD.entry_seq AND model = OLD.model;
    INSERT INTO memory_changes (entry_seq, model) VALUES (OLD.entry_seq, OLD.model);
END;

-- What the words are taken from; a turn also brings those of the turns beside it. The scope is one word that no
-- stemmer shortens.
CREATE VIEW memory_indexed (seq, own, previous, next, about, scope) AS
SELECT entry.seq, entry.text,
    coalesce((SELECT substr(turn.text, 1, 2000) FROM memory_entries AS turn
        WHERE entry.kind = 'conversation' AND turn.kind = 'conversation' AND turn.state = 'stored'
        AND turn.session IS NOT NULL AND turn.scope = entry.scope AND turn.session = entry.session
        AND turn.seq < entry.seq ORDER BY turn.seq DESC LIMIT 1), ''),
    coalesce((SELECT substr(turn.text, 1, 2000) FROM memory_entries AS turn
        WHERE entry.kind = 'conversation' AND turn.kind = 'conversation' AND turn.state = 'stored'
        AND turn.session IS NOT NULL AND turn.scope = entry.scope AND turn.session = entry.session
        AND turn.seq > entry.seq ORDER BY turn.seq LIMIT 1), ''),
    entry.about, 'scope' || hex(entry.scope) || '0'
FROM memory_entries AS entry WHERE entry.state = 'stored' AND entry.parts = 0;

CREATE VIRTUAL TABLE memory_words USING fts5 (
    own, previous, next, about, scope,
    content = 'memory_indexed', content_rowid = 'seq', tokenize = 'porter unicode61 remove_diacritics 2'
);

-- What was asked to be forgotten, until no byte of it is left; the next start finishes it.
CREATE TABLE memory_erasures (
    entry_seq INTEGER PRIMARY KEY,
    stage     TEXT    NOT NULL CHECK (stage IN ('noted', 'removed')),
    reason    TEXT    NOT NULL,
    asked_by  TEXT    NOT NULL,
    at        INTEGER NOT NULL        -- microseconds since 1970, UTC
) STRICT;

CREATE TABLE memory_state (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
"""

_RECALL: Final = """
-- On which memories an answer stood; the text is looked up, so what was forgotten is gone here too.
CREATE TABLE recalls (
    id       INTEGER PRIMARY KEY,
    session  TEXT    NOT NULL,
    trace_id TEXT    NOT NULL,
    place    INTEGER NOT NULL,        -- 0 for the first
    entry_id TEXT    NOT NULL,
    score    REAL,                    -- NULL for what only stands beside a match
    ts       INTEGER NOT NULL         -- microseconds since 1970, UTC
) STRICT;
CREATE INDEX recalls_trace ON recalls (trace_id, place);
CREATE INDEX recalls_entry ON recalls (entry_id, id);

-- Sessions in which somebody switched memory on or off.
CREATE TABLE session_memory (
    session    TEXT PRIMARY KEY,
    enabled    INTEGER NOT NULL,
    changed_by TEXT    NOT NULL,
    changed_at INTEGER NOT NULL       -- microseconds since 1970, UTC
) STRICT, WITHOUT ROWID;
"""

MIGRATIONS: Final[tuple[str, ...]] = (_EVENTS, _ROUTER, _CONVERSATION, _ARCHIVE, _VIEWS, _MONEY, _MEMORY, _RECALL)


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
