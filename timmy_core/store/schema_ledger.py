"""Migrations of the Lightning ledger: accounts and transfers, invoices and payments, budgets, and what is compared."""

from __future__ import annotations

from typing import Final

LEDGER: Final = """
-- The totals are kept by the trigger of the transfers alone. One row an account and node, so that a node's balance
-- is as quick as that of all; equity and budgets have a row each too.
CREATE TABLE ledger_accounts (
    id             INTEGER PRIMARY KEY,
    code           TEXT    NOT NULL,  -- such as Assets:LN:home
    node           TEXT    NOT NULL,  -- '' for budgets, which have none
    kind           TEXT    NOT NULL CHECK (kind IN ('asset', 'income', 'payment', 'fee', 'equity', 'budget')),
    debits         INTEGER NOT NULL DEFAULT 0 CHECK (debits >= 0),           -- posted, msat
    credits        INTEGER NOT NULL DEFAULT 0 CHECK (credits >= 0),
    pending_debits  INTEGER NOT NULL DEFAULT 0 CHECK (pending_debits >= 0),  -- set aside, msat
    pending_credits INTEGER NOT NULL DEFAULT 0 CHECK (pending_credits >= 0),
    UNIQUE (code, node),
    -- Nobody spends what is not there, or what is set aside for somebody else.
    CHECK (kind <> 'asset' OR credits + pending_credits <= debits)
) STRICT;
CREATE INDEX ledger_accounts_kind ON ledger_accounts (kind, node);

CREATE TABLE ledger_transfers (
    seq          INTEGER PRIMARY KEY,
    id           TEXT    NOT NULL UNIQUE,  -- says what it is for, so that nothing is booked twice
    kind         TEXT    NOT NULL CHECK (kind IN ('single', 'pending', 'post', 'void')),
    pending_seq  INTEGER REFERENCES ledger_transfers (seq),
    debit        INTEGER NOT NULL REFERENCES ledger_accounts (id),
    credit       INTEGER NOT NULL REFERENCES ledger_accounts (id) CHECK (debit <> credit),
    amount_msat  INTEGER NOT NULL CHECK (amount_msat >= 0),
    at           INTEGER NOT NULL,         -- when it was booked, microseconds since 1970, UTC; never before the last
    entry_id     TEXT,                     -- the invoice or payment
    payment_hash TEXT,
    event_seq    INTEGER NOT NULL,         -- the event of the same transaction
    memo         TEXT    NOT NULL,
    hash         BLOB    NOT NULL CHECK (length(hash) = 32),
    CHECK ((kind IN ('post', 'void')) = (pending_seq IS NOT NULL)),
    CHECK (kind <> 'void' OR amount_msat = 0),
    CHECK (kind NOT IN ('single', 'pending') OR amount_msat > 0)
) STRICT;
CREATE UNIQUE INDEX ledger_transfers_resolve ON ledger_transfers (pending_seq) WHERE pending_seq IS NOT NULL;
CREATE INDEX ledger_transfers_debit  ON ledger_transfers (debit, seq);
CREATE INDEX ledger_transfers_credit ON ledger_transfers (credit, seq);
CREATE INDEX ledger_transfers_entry  ON ledger_transfers (entry_id, seq) WHERE entry_id IS NOT NULL;
CREATE INDEX ledger_transfers_at     ON ledger_transfers (at, seq);

-- The totals after each ten-thousandth transfer, so that a balance of the past need not read the whole book.
CREATE TABLE ledger_checkpoints (
    seq             INTEGER NOT NULL,
    account         INTEGER NOT NULL REFERENCES ledger_accounts (id),
    debits          INTEGER NOT NULL,
    credits         INTEGER NOT NULL,
    pending_debits  INTEGER NOT NULL,
    pending_credits INTEGER NOT NULL,
    PRIMARY KEY (seq, account)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER ledger_transfers_in_order BEFORE INSERT ON ledger_transfers
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM ledger_transfers)
    OR EXISTS (SELECT 1 FROM ledger_transfers WHERE id = NEW.id)
    OR NEW.at < coalesce((SELECT at FROM ledger_transfers ORDER BY seq DESC LIMIT 1), 0)
BEGIN SELECT raise(ABORT, 'transfers are appended in order, each id once'); END;

CREATE TRIGGER ledger_transfers_resolved BEFORE INSERT ON ledger_transfers
WHEN NEW.pending_seq IS NOT NULL AND (
    NOT EXISTS (
        SELECT 1 FROM ledger_transfers WHERE seq = NEW.pending_seq AND kind = 'pending'
        AND debit = NEW.debit AND credit = NEW.credit AND NEW.amount_msat <= amount_msat
    ) OR EXISTS (SELECT 1 FROM ledger_transfers WHERE pending_seq = NEW.pending_seq)
)
BEGIN SELECT raise(ABORT, 'a pending transfer is resolved once, between its own accounts, within its amount'); END;

CREATE TRIGGER ledger_transfers_booked AFTER INSERT ON ledger_transfers
BEGIN
    UPDATE ledger_accounts SET
        debits = debits + iif(NEW.kind = 'pending', 0, NEW.amount_msat),
        pending_debits = pending_debits + iif(NEW.kind = 'pending', NEW.amount_msat, 0)
            - coalesce((SELECT amount_msat FROM ledger_transfers WHERE seq = NEW.pending_seq), 0)
    WHERE id = NEW.debit;
    UPDATE ledger_accounts SET
        credits = credits + iif(NEW.kind = 'pending', 0, NEW.amount_msat),
        pending_credits = pending_credits + iif(NEW.kind = 'pending', NEW.amount_msat, 0)
            - coalesce((SELECT amount_msat FROM ledger_transfers WHERE seq = NEW.pending_seq), 0)
    WHERE id = NEW.credit;
    INSERT INTO ledger_checkpoints (seq, account, debits, credits, pending_debits, pending_credits)
    SELECT NEW.seq, id, debits, credits, pending_debits, pending_credits FROM ledger_accounts
    WHERE NEW.seq % 10000 = 0;
END;

CREATE TRIGGER ledger_transfers_unchanged BEFORE UPDATE ON ledger_transfers
BEGIN SELECT raise(ABORT, 'transfers are append-only: a mistake is corrected by another transfer'); END;
CREATE TRIGGER ledger_transfers_kept BEFORE DELETE ON ledger_transfers
BEGIN SELECT raise(ABORT, 'transfers are append-only: a mistake is corrected by another transfer'); END;

-- Noted before a node is asked for an invoice, so that none lives that nobody knows of.
CREATE TABLE ledger_intents (
    id              TEXT PRIMARY KEY,
    node            TEXT    NOT NULL,
    amount_msat     INTEGER NOT NULL CHECK (amount_msat >= 0),
    memo            TEXT    NOT NULL,
    expiry_s        INTEGER NOT NULL CHECK (expiry_s > 0),
    status          TEXT    NOT NULL CHECK (status IN ('open', 'done', 'abandoned')),
    source          TEXT    NOT NULL,
    task_id         TEXT,
    agent_id        TEXT,
    trace_id        TEXT,
    idempotency_key TEXT,
    created_at      INTEGER NOT NULL,
    payment_hash    TEXT,
    reason          TEXT                   -- why it was abandoned
) STRICT;
CREATE INDEX ledger_intents_open ON ledger_intents (node, created_at) WHERE status = 'open';

CREATE TABLE ledger_invoices (
    seq             INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    node            TEXT    NOT NULL,
    payment_hash    TEXT    NOT NULL CHECK (length(payment_hash) = 64),
    bolt11          TEXT    NOT NULL,
    amount_msat     INTEGER NOT NULL CHECK (amount_msat >= 0),  -- 0: the payer chooses
    received_msat   INTEGER CHECK (received_msat > 0),
    memo            TEXT    NOT NULL,
    status          TEXT    NOT NULL CHECK (status IN ('open', 'accepted', 'settled', 'canceled', 'expired')),
    source          TEXT    NOT NULL,
    task_id         TEXT,
    agent_id        TEXT,
    trace_id        TEXT,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    settled_at      INTEGER,
    preimage        TEXT CHECK (preimage IS NULL OR (status = 'settled' AND length(preimage) = 64)),
    late            INTEGER NOT NULL DEFAULT 0,
    proof           TEXT,                  -- who said that it is settled
    idempotency_key TEXT,
    hold_seq        INTEGER REFERENCES ledger_transfers (seq),  -- the pending transfer
    UNIQUE (node, payment_hash),
    CHECK ((status = 'settled') = (settled_at IS NOT NULL)),
    CHECK ((status = 'settled') = (received_msat IS NOT NULL))
) STRICT;
CREATE INDEX ledger_invoices_hash    ON ledger_invoices (payment_hash);
CREATE INDEX ledger_invoices_created ON ledger_invoices (created_at, id);
CREATE INDEX ledger_invoices_status  ON ledger_invoices (status, created_at, id);
CREATE INDEX ledger_invoices_due     ON ledger_invoices (expires_at) WHERE status = 'open';
CREATE INDEX ledger_invoices_settled ON ledger_invoices (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX ledger_invoices_agent   ON ledger_invoices (agent_id, created_at, id) WHERE agent_id IS NOT NULL;
CREATE INDEX ledger_invoices_task    ON ledger_invoices (task_id, created_at, id) WHERE task_id IS NOT NULL;
CREATE INDEX ledger_invoices_trace   ON ledger_invoices (trace_id) WHERE trace_id IS NOT NULL;

CREATE TRIGGER ledger_invoices_final BEFORE UPDATE ON ledger_invoices
WHEN NEW.id IS NOT OLD.id OR NEW.node IS NOT OLD.node OR NEW.payment_hash IS NOT OLD.payment_hash
    OR (OLD.preimage IS NOT NULL AND NEW.preimage IS NOT OLD.preimage)
    OR (OLD.status = 'settled' AND (NEW.status <> 'settled' OR NEW.received_msat IS NOT OLD.received_msat))
    OR (OLD.status = 'canceled' AND NEW.status <> 'canceled')
    OR (OLD.status = 'expired' AND NEW.status NOT IN ('expired', 'settled'))
BEGIN SELECT raise(ABORT, 'what an invoice has become is not taken back'); END;
CREATE TRIGGER ledger_invoices_kept BEFORE DELETE ON ledger_invoices
BEGIN SELECT raise(ABORT, 'invoices are kept'); END;

CREATE TABLE ledger_payments (
    seq             INTEGER PRIMARY KEY,
    id              TEXT    NOT NULL UNIQUE,
    node            TEXT    NOT NULL,
    payment_hash    TEXT    NOT NULL CHECK (length(payment_hash) = 64),
    bolt11          TEXT    NOT NULL,
    amount_msat     INTEGER NOT NULL CHECK (amount_msat > 0),
    fee_limit_msat  INTEGER NOT NULL CHECK (fee_limit_msat >= 0),
    fee_msat        INTEGER CHECK (fee_msat >= 0),
    memo            TEXT    NOT NULL,
    payee           TEXT,
    status          TEXT    NOT NULL CHECK (status IN ('initiated', 'in_flight', 'settled', 'failed')),
    failure         TEXT,
    preimage        TEXT CHECK (preimage IS NULL OR (status = 'settled' AND length(preimage) = 64)),
    task_id         TEXT,
    agent_id        TEXT,
    trace_id        TEXT,
    created_at      INTEGER NOT NULL,
    begun_at        INTEGER NOT NULL,      -- when the latest attempt was; its budgets are those of this moment
    settled_at      INTEGER,
    expires_at      INTEGER,               -- of the invoice
    idempotency_key TEXT,
    attempts        INTEGER NOT NULL,
    compensated     INTEGER NOT NULL DEFAULT 0,
    proof           TEXT,
    hold_seq        INTEGER REFERENCES ledger_transfers (seq),  -- the pending transfer of the latest attempt
    UNIQUE (node, payment_hash),
    CHECK ((status = 'settled') = (settled_at IS NOT NULL)),
    CHECK ((status = 'settled') = (preimage IS NOT NULL)),
    CHECK ((status = 'settled') = (fee_msat IS NOT NULL))
) STRICT;
CREATE INDEX ledger_payments_hash    ON ledger_payments (payment_hash);
CREATE INDEX ledger_payments_created ON ledger_payments (created_at, id);
CREATE INDEX ledger_payments_status  ON ledger_payments (status, created_at, id);
CREATE INDEX ledger_payments_settled ON ledger_payments (settled_at) WHERE settled_at IS NOT NULL;
CREATE INDEX ledger_payments_agent   ON ledger_payments (agent_id, created_at, id) WHERE agent_id IS NOT NULL;
CREATE INDEX ledger_payments_begun   ON ledger_payments (agent_id, begun_at) WHERE agent_id IS NOT NULL;
CREATE INDEX ledger_payments_task    ON ledger_payments (task_id, created_at, id) WHERE task_id IS NOT NULL;
CREATE INDEX ledger_payments_trace   ON ledger_payments (trace_id) WHERE trace_id IS NOT NULL;

CREATE TRIGGER ledger_payments_final BEFORE UPDATE ON ledger_payments
WHEN NEW.id IS NOT OLD.id OR NEW.node IS NOT OLD.node OR NEW.payment_hash IS NOT OLD.payment_hash
    OR OLD.status = 'settled' OR (OLD.status = 'failed' AND NEW.status = 'in_flight')
BEGIN SELECT raise(ABORT, 'what a payment has become is not taken back'); END;
CREATE TRIGGER ledger_payments_kept BEFORE DELETE ON ledger_payments
BEGIN SELECT raise(ABORT, 'payments are kept'); END;

CREATE TABLE ledger_attempts (
    payment_id     TEXT    NOT NULL REFERENCES ledger_payments (id),
    number         INTEGER NOT NULL,       -- 1 for the first
    status         TEXT    NOT NULL CHECK (status IN ('initiated', 'in_flight', 'settled', 'failed')),
    amount_msat    INTEGER NOT NULL,
    fee_limit_msat INTEGER NOT NULL,
    started_at     INTEGER NOT NULL,
    sent_at        INTEGER,                -- when the node had it for certain
    ended_at       INTEGER,
    notes          TEXT    NOT NULL DEFAULT '[]',  -- JSON: what the node said on the way
    failure        TEXT,
    PRIMARY KEY (payment_id, number)
) STRICT, WITHOUT ROWID;

-- An idempotency key, and what it was used for.
CREATE TABLE ledger_keys (
    key         TEXT PRIMARY KEY,
    fingerprint BLOB    NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('intent', 'invoice', 'payment')),
    target_id   TEXT    NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Limits that a person set; they win over the configuration. NULL: none.
CREATE TABLE ledger_budgets (
    agent_id   TEXT    NOT NULL,
    period     TEXT    NOT NULL CHECK (period IN ('day', 'week', 'month')),
    limit_msat INTEGER CHECK (limit_msat >= 0),
    changed_by TEXT    NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (agent_id, period)
) STRICT, WITHOUT ROWID;

-- Which pending transfers of budgets belong to which attempt.
CREATE TABLE ledger_budget_holds (
    payment_id  TEXT    NOT NULL,
    attempt     INTEGER NOT NULL,
    pending_seq INTEGER NOT NULL REFERENCES ledger_transfers (seq),
    PRIMARY KEY (payment_id, attempt, pending_seq)
) STRICT, WITHOUT ROWID;
"""
