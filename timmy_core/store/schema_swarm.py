"""The tables of the swarm: agents, tasks and bids."""

from __future__ import annotations

from typing import Final

SWARM: Final = """
CREATE TABLE swarm_agents (
    seq          INTEGER PRIMARY KEY,
    name         TEXT    NOT NULL UNIQUE,
    kind         TEXT    NOT NULL CHECK (kind IN ('local', 'persona', 'remote')),
    capabilities TEXT    NOT NULL,          -- JSON
    description  TEXT    NOT NULL,
    wallet       TEXT    NOT NULL CHECK (wallet IN ('home', 'own')),
    status       TEXT    NOT NULL CHECK (status IN ('idle', 'working', 'lost', 'left')),
    token_hash   BLOB    UNIQUE,            -- SHA-256 of a random token; the token itself is nowhere
    token_at     INTEGER,                   -- all times are microseconds since 1970, UTC
    joined_at    INTEGER NOT NULL,
    seen_at      INTEGER NOT NULL,
    changed_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE swarm_tasks (
    seq            INTEGER PRIMARY KEY,
    id             TEXT    NOT NULL UNIQUE,  -- ids sort by time
    title          TEXT    NOT NULL,
    description    TEXT    NOT NULL,
    needs          TEXT    NOT NULL,         -- JSON: capabilities
    budget_msat    INTEGER NOT NULL CHECK (budget_msat >= 0),
    posted_by      TEXT    NOT NULL,
    payer          TEXT    NOT NULL,         -- the agent whose budget of the ledger counts
    local_only     INTEGER NOT NULL CHECK (local_only IN (0, 1)),
    state          TEXT    NOT NULL CHECK (state IN (
        'bidding', 'assigned', 'working', 'completed', 'failed', 'canceled')),
    auction        INTEGER NOT NULL,         -- which auction it is, from 1
    bidding_s      REAL    NOT NULL,
    bidding_until  INTEGER NOT NULL,
    deadline_at    INTEGER,
    attempts       INTEGER NOT NULL,         -- how often it was given to somebody
    agent          TEXT,
    bid_msat       INTEGER,
    lease          TEXT,                     -- who works shows it; a new one makes the old one void
    lease_until    INTEGER,
    holder         TEXT,                     -- of a local agent: the run of Timmy that it works in
    created_at     INTEGER NOT NULL,
    assigned_at    INTEGER,
    started_at     INTEGER,
    ended_at       INTEGER,
    changed_at     INTEGER NOT NULL,
    result         TEXT,
    problem        TEXT,
    provider       TEXT,
    model          TEXT,
    trace_id       TEXT    NOT NULL,
    pay_state      TEXT    NOT NULL CHECK (pay_state IN ('none', 'invoice', 'due', 'paying', 'paid', 'failed')),
    pay_tries      INTEGER NOT NULL,
    pay_at         INTEGER,
    bolt11         TEXT,
    fee_limit_msat INTEGER,
    payment_id     TEXT,
    pay_problem    TEXT
) STRICT;
CREATE INDEX swarm_tasks_state ON swarm_tasks (state, seq);
CREATE INDEX swarm_tasks_unpaid ON swarm_tasks (pay_at) WHERE pay_state IN ('due', 'paying');
CREATE INDEX swarm_tasks_agent ON swarm_tasks (agent, state, seq) WHERE agent IS NOT NULL;
CREATE INDEX swarm_tasks_trace ON swarm_tasks (trace_id);

CREATE TABLE swarm_bids (
    seq         INTEGER PRIMARY KEY,
    task_id     TEXT    NOT NULL REFERENCES swarm_tasks (id),
    auction     INTEGER NOT NULL,
    agent       TEXT    NOT NULL REFERENCES swarm_agents (name),
    amount_msat INTEGER NOT NULL CHECK (amount_msat >= 0),
    at          INTEGER NOT NULL,
    won         INTEGER NOT NULL CHECK (won IN (0, 1)),
    UNIQUE (task_id, auction, agent)
) STRICT;
CREATE INDEX swarm_bids_order ON swarm_bids (task_id, auction, amount_msat, seq);
"""
