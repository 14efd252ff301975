"""Migrations of the memory, and of what was remembered for an answer."""

from __future__ import annotations

from typing import Final

MEMORY: Final = """
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

RECALL: Final = """
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
