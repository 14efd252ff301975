"""Migrations of what keeps the ledger and its nodes together: how far each was read, who reconciles, what was found."""

from __future__ import annotations

from typing import Final

RECONCILE: Final = """
-- How far a node was read, a stream of it a row: `events` holds the node's own word, the others a moment.
CREATE TABLE node_cursors (
    node   TEXT    NOT NULL,
    stream TEXT    NOT NULL,
    value  TEXT    NOT NULL,
    at     INTEGER NOT NULL,          -- microseconds since 1970, UTC
    PRIMARY KEY (node, stream)
) STRICT, WITHOUT ROWID;

-- Who reconciles a node now; the next may begin when it gave the lease back, or ran out of it by dying.
CREATE TABLE node_leases (
    node  TEXT PRIMARY KEY,
    owner TEXT    NOT NULL,
    until INTEGER NOT NULL            -- microseconds since 1970, UTC
) STRICT, WITHOUT ROWID;

-- What ledger and node do not agree on. A row stays when it is resolved.
CREATE TABLE ledger_findings (
    id           TEXT PRIMARY KEY,
    node         TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    direction    TEXT    NOT NULL,    -- in, out, or '' where it is about neither
    payment_hash TEXT    NOT NULL,    -- '' where it is about none
    words        TEXT    NOT NULL,
    ledger_says  TEXT    NOT NULL,
    node_says    TEXT    NOT NULL,
    action       TEXT    NOT NULL,    -- what was done, or is to be done
    found_at     INTEGER NOT NULL,    -- microseconds since 1970, UTC
    seen_at      INTEGER NOT NULL,    -- when it was last found
    resolved_at  INTEGER,
    resolved_by  TEXT
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX ledger_findings_open ON ledger_findings (node, kind, direction, payment_hash)
    WHERE resolved_at IS NULL;
CREATE INDEX ledger_findings_time ON ledger_findings (found_at);
"""
