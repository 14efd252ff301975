"""Migrations of the router and of conversations: attempts, circuits, money spent, turns."""

from __future__ import annotations

from typing import Final

ROUTER: Final = """
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

CONVERSATION: Final = """
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

MONEY: Final = """
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
