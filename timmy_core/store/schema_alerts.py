"""The tables of alerts: what needs a person's eye, and who is still to be told."""

from __future__ import annotations

from typing import Final

ALERTS: Final = """
CREATE TABLE alerts (
    id          TEXT    PRIMARY KEY,          -- ids sort by time
    rule        TEXT    NOT NULL,
    subject     TEXT    NOT NULL,             -- what it is about: a provider, an agent's budget, a proposal
    severity    TEXT    NOT NULL CHECK (severity IN ('warning', 'error')),
    message     TEXT    NOT NULL,
    path        TEXT    NOT NULL,             -- the page that explains it
    raised_at   INTEGER NOT NULL,             -- all times are microseconds since 1970, UTC
    seen_at     INTEGER NOT NULL,             -- when it last held
    resolved_at INTEGER,
    trace_id    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX alerts_open ON alerts (rule, subject) WHERE resolved_at IS NULL;
CREATE INDEX alerts_time ON alerts (raised_at);

-- Written together with the alert, so that nobody is forgotten, whatever stops us between the two.
CREATE TABLE alert_notices (
    seq      INTEGER PRIMARY KEY,
    alert_id TEXT    NOT NULL REFERENCES alerts (id),
    what     TEXT    NOT NULL CHECK (what IN ('raised', 'resolved')),
    state    TEXT    NOT NULL CHECK (state IN ('due', 'sent', 'dropped')),
    tries    INTEGER NOT NULL,
    next_at  INTEGER NOT NULL,
    problem  TEXT    NOT NULL
) STRICT;
CREATE INDEX alert_notices_due ON alert_notices (next_at) WHERE state = 'due';
CREATE INDEX alert_notices_alert ON alert_notices (alert_id);
"""
