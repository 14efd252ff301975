"""The room's frames: invoices, payments, transfers and accounts, for pages and SQL; no preimage and no invoice text."""

from __future__ import annotations

from typing import Final

from timmy_core.store.frames import FrameSpec

_SHOWN_IN: Final = (
    "CASE status WHEN 'settled' THEN 'settled' WHEN 'expired' THEN 'expired' WHEN 'canceled' THEN 'failed' "
    "ELSE 'pending' END"
)
_SHOWN_OUT: Final = "CASE status WHEN 'settled' THEN 'settled' WHEN 'failed' THEN 'failed' ELSE 'pending' END"

INVOICES_FRAME: Final = FrameSpec(
    name="invoices",
    source="ledger_invoices",
    columns={
        "seq": ("seq", "int"),
        "ts": ("created_at", "time"),
        "id": ("id", "text"),
        "node": ("node", "text"),
        "payment_hash": ("payment_hash", "text"),
        "amount_msat": ("amount_msat", "int"),
        "received_msat": ("received_msat", "int"),
        "memo": ("memo", "text"),
        "status": ("status", "text"),
        "shown": (_SHOWN_IN, "text"),
        "source": ("source", "text"),
        "task_id": ("task_id", "text"),
        "agent_id": ("agent_id", "text"),
        "trace_id": ("trace_id", "text"),
        "expires_at": ("expires_at", "time"),
        "settled_at": ("settled_at", "time"),
        "late": ("late", "bool"),
    },
    time="created_at",
    key="seq",
)

PAYMENTS_FRAME: Final = FrameSpec(
    name="payments",
    source="ledger_payments",
    columns={
        "seq": ("seq", "int"),
        "ts": ("created_at", "time"),
        "id": ("id", "text"),
        "node": ("node", "text"),
        "payment_hash": ("payment_hash", "text"),
        "amount_msat": ("amount_msat", "int"),
        "fee_limit_msat": ("fee_limit_msat", "int"),
        "fee_msat": ("fee_msat", "int"),
        "memo": ("memo", "text"),
        "payee": ("payee", "text"),
        "status": ("status", "text"),
        "shown": (_SHOWN_OUT, "text"),
        "failure": ("failure", "text"),
        "task_id": ("task_id", "text"),
        "agent_id": ("agent_id", "text"),
        "trace_id": ("trace_id", "text"),
        "begun_at": ("begun_at", "time"),
        "settled_at": ("settled_at", "time"),
        "attempts": ("attempts", "int"),
        "compensated": ("compensated", "bool"),
    },
    time="created_at",
    key="seq",
)

TRANSFERS_FRAME: Final = FrameSpec(
    name="transfers",
    source=(
        "ledger_transfers AS transfer JOIN ledger_accounts AS debited ON debited.id = transfer.debit "
        "JOIN ledger_accounts AS credited ON credited.id = transfer.credit"
    ),
    columns={
        "seq": ("transfer.seq", "int"),
        "ts": ("transfer.at", "time"),
        "id": ("transfer.id", "text"),
        "kind": ("transfer.kind", "text"),
        "pending_seq": ("transfer.pending_seq", "int"),
        "debit": ("debited.code", "text"),
        "credit": ("credited.code", "text"),
        "amount_msat": ("transfer.amount_msat", "int"),
        "node": ("debited.node", "text"),
        "entry_id": ("transfer.entry_id", "text"),
        "payment_hash": ("transfer.payment_hash", "text"),
        "event_seq": ("transfer.event_seq", "int"),
        "memo": ("transfer.memo", "text"),
    },
    time="transfer.at",
    key="transfer.seq",
    grows=True,
)

# An account has no time of its own; it stands with that of the transfer that it was last in.
_MOVED: Final = """max(
    coalesce((SELECT at FROM ledger_transfers WHERE debit = account.id ORDER BY seq DESC LIMIT 1), 0),
    coalesce((SELECT at FROM ledger_transfers WHERE credit = account.id ORDER BY seq DESC LIMIT 1), 0))"""
ACCOUNTS_FRAME: Final = FrameSpec(
    name="accounts",
    source="ledger_accounts AS account",
    columns={
        "id": ("account.id", "int"),
        "ts": (_MOVED, "time"),
        "code": ("account.code", "text"),
        "node": ("account.node", "text"),
        "kind": ("account.kind", "text"),
        "debits_msat": ("account.debits", "int"),
        "credits_msat": ("account.credits", "int"),
        "pending_debits_msat": ("account.pending_debits", "int"),
        "pending_credits_msat": ("account.pending_credits", "int"),
    },
    time=_MOVED,
    key="account.id",
)

LEDGER_FRAMES: Final = (INVOICES_FRAME, PAYMENTS_FRAME, TRANSFERS_FRAME, ACCOUNTS_FRAME)
