"""The tables of the upgrade queue."""

from __future__ import annotations

from typing import Final

UPGRADES: Final = """
CREATE TABLE upgrade_proposals (
    seq             INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,   -- ids sort by time
    description     TEXT    NOT NULL,
    proposed_by     TEXT    NOT NULL,
    kind            TEXT    NOT NULL CHECK (kind IN ('diff', 'files', 'branch')),
    repo            TEXT    NOT NULL,
    branch          TEXT    NOT NULL,
    base            TEXT    NOT NULL,          -- the commit that it was made on
    head            TEXT    NOT NULL,          -- its own commit, kept by refs/upgrades/<id>/head
    patch_id        TEXT    NOT NULL,
    files           TEXT    NOT NULL,          -- JSON
    added           INTEGER NOT NULL,
    removed         INTEGER NOT NULL,
    state           TEXT    NOT NULL CHECK (state IN (
        'proposed', 'testing', 'awaiting_approval', 'test_failed', 'approved', 'queued', 'applying', 'applied',
        'confirmed', 'rejected', 'expired', 'conflict', 'stale', 'blocked_dirty', 'failed', 'rolled_back')),
    risk            TEXT    NOT NULL CHECK (risk IN ('low', 'normal', 'high')),
    risk_reasons    TEXT    NOT NULL,          -- JSON
    candidate_sha   TEXT,                      -- the merge that would land, as it was tested and shown
    candidate_tree  TEXT,
    candidate_base  TEXT,
    candidate_at    INTEGER,                   -- all times are microseconds since 1970, UTC
    tests           TEXT,                      -- JSON
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    decided_at      INTEGER,
    queued_at       INTEGER,
    applied_at      INTEGER,
    changed_at      INTEGER NOT NULL,
    applied_sha     TEXT,
    rolled_back_sha TEXT,
    trace_id        TEXT    NOT NULL,
    task_id         TEXT,
    agent_id        TEXT,
    problem         TEXT
) STRICT;
CREATE INDEX upgrade_proposals_state ON upgrade_proposals (state, id);
CREATE INDEX upgrade_proposals_queue ON upgrade_proposals (queued_at, id) WHERE state = 'queued';

-- What a person decided, with the signature over exactly what was seen.
CREATE TABLE upgrade_approvals (
    id            TEXT    PRIMARY KEY,
    proposal_id   TEXT    NOT NULL REFERENCES upgrade_proposals (id),
    decision      TEXT    NOT NULL CHECK (decision IN ('approve', 'reject')),
    by            TEXT    NOT NULL,
    head          TEXT    NOT NULL,
    base          TEXT    NOT NULL,
    tree          TEXT    NOT NULL,
    tests_digest  TEXT    NOT NULL,
    policy_digest TEXT    NOT NULL,
    nonce         TEXT    NOT NULL UNIQUE,
    expires_at    INTEGER NOT NULL,
    signature     TEXT    NOT NULL,
    at            INTEGER NOT NULL,
    reason        TEXT    NOT NULL,
    urgent        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX upgrade_approvals_proposal ON upgrade_approvals (proposal_id, at);

-- What the tests said, by what was tested, against which base's tests, and how.
CREATE TABLE upgrade_tests (
    tree      TEXT    NOT NULL,
    base_tree TEXT    NOT NULL,
    recipe    TEXT    NOT NULL,
    passed    INTEGER NOT NULL,
    result    TEXT    NOT NULL,                -- JSON
    at        INTEGER NOT NULL,
    PRIMARY KEY (tree, base_tree, recipe)
) STRICT, WITHOUT ROWID;

-- The intent to move the branch, written before it moves; without an end, a crash came between.
CREATE TABLE upgrade_landings (
    id         TEXT    PRIMARY KEY,
    kind       TEXT    NOT NULL CHECK (kind IN ('apply', 'rollback')),
    old        TEXT    NOT NULL,
    new        TEXT    NOT NULL,
    proposals  TEXT    NOT NULL,               -- JSON: [[proposal id, its own commit], …]
    started_at INTEGER NOT NULL,
    ended_at   INTEGER,
    outcome    TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX upgrade_landings_open ON upgrade_landings (id) WHERE ended_at IS NULL;

-- Patches that were applied and taken back: proposed again, a person always has to look.
CREATE TABLE upgrade_quarantine (
    patch_id    TEXT    PRIMARY KEY,
    proposal_id TEXT    NOT NULL,
    at          INTEGER NOT NULL,
    by          TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
"""
