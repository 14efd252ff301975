"""What the ledger speaks of: invoices, payments, transfers, accounts, balances and budgets. Amounts are whole msat."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

Direction = Literal["in", "out"]
InvoiceStatus = Literal["open", "accepted", "settled", "canceled", "expired"]
PaymentStatus = Literal["initiated", "in_flight", "settled", "failed"]
Shown = Literal["pending", "settled", "failed", "expired"]
TransferKind = Literal["single", "pending", "post", "void"]
Period = Literal["day", "week", "month"]

PERIODS: Final[tuple[Period, ...]] = ("day", "week", "month")

# What a person sees of each state.
INVOICE_SHOWN: Final[dict[InvoiceStatus, Shown]] = {
    "open": "pending",
    "accepted": "pending",
    "settled": "settled",
    "canceled": "failed",
    "expired": "expired",
}
PAYMENT_SHOWN: Final[dict[PaymentStatus, Shown]] = {
    "initiated": "pending",
    "in_flight": "pending",
    "settled": "settled",
    "failed": "failed",
}
# Which state may follow which. A late payer settles an expired invoice; a failed payment begins anew as another
# attempt, and is settled directly by reconciliation alone.
INVOICE_MOVES: Final[dict[InvoiceStatus, tuple[InvoiceStatus, ...]]] = {
    "open": ("accepted", "settled", "canceled", "expired"),
    "accepted": ("settled", "canceled", "expired"),
    "settled": (),
    "canceled": (),
    "expired": ("settled",),
}
PAYMENT_MOVES: Final[dict[PaymentStatus, tuple[PaymentStatus, ...]]] = {
    "initiated": ("in_flight", "settled", "failed"),
    "in_flight": ("settled", "failed"),
    "settled": (),
    "failed": ("initiated",),
}


@dataclass(frozen=True, slots=True)
class Intent:
    """An invoice that somebody is about to ask a node for; durable before the node is asked."""

    id: str
    node: str
    amount_msat: int
    memo: str
    expiry_s: int
    status: Literal["open", "done", "abandoned"]
    source: str
    task_id: str | None
    agent_id: str | None
    trace_id: str | None
    idempotency_key: str | None
    created_at: datetime
    payment_hash: str | None  # once the node made the invoice and it was recorded
    replayed: bool = False  # the same key was used before: the node may know of it already, so look before asking


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice of ours: somebody pays us. `preimage` is there once it is settled, and the node told it."""

    id: str
    node: str
    payment_hash: str
    bolt11: str
    amount_msat: int  # asked for; 0 where the payer chooses
    received_msat: int | None
    memo: str
    status: InvoiceStatus
    source: str
    task_id: str | None
    agent_id: str | None
    trace_id: str | None
    created_at: datetime
    expires_at: datetime
    settled_at: datetime | None
    preimage: str | None
    late: bool  # it was paid after it had expired
    proof: str | None = None  # who said that it is settled
    idempotency_key: str | None = None
    replayed: bool = False  # this call changed nothing: the same was recorded before

    @property
    def direction(self) -> Direction:
        """Always `in`."""
        return "in"

    @property
    def shown(self) -> Shown:
        """The state in the four words that people see."""
        return INVOICE_SHOWN[self.status]


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment of ours to somebody's invoice. Several attempts may stand behind it; one at most settles."""

    id: str
    node: str
    payment_hash: str
    bolt11: str
    amount_msat: int
    fee_limit_msat: int
    fee_msat: int | None
    memo: str
    payee: str | None
    status: PaymentStatus
    failure: str | None
    preimage: str | None
    task_id: str | None
    agent_id: str | None
    trace_id: str | None
    created_at: datetime
    settled_at: datetime | None
    idempotency_key: str | None
    attempts: int
    compensated: bool  # it had been booked as failed, and reconciliation found that the node had paid
    proof: str | None = None
    expires_at: datetime | None = None  # of the invoice
    replayed: bool = False  # the same key was used before: do not call the node's `pay` for this

    @property
    def direction(self) -> Direction:
        """Always `out`."""
        return "out"

    @property
    def shown(self) -> Shown:
        """The state in the four words that people see."""
        return PAYMENT_SHOWN[self.status]

    @property
    def hold_msat(self) -> int:
        """What is set aside for it while it is under way."""
        return self.amount_msat + self.fee_limit_msat


Entry: TypeAlias = Invoice | Payment


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a payment: when its money was set aside, when the node was called, and how it ended."""

    payment_id: str
    number: int  # 1 for the first
    status: PaymentStatus
    amount_msat: int
    fee_limit_msat: int
    started_at: datetime
    sent_at: datetime | None
    ended_at: datetime | None
    notes: tuple[str, ...]  # what the node said on the way, oldest first
    failure: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list, newest first; `cursor` continues it and is None at the end."""

    entries: tuple[Entry, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Transfer:
    """One line of the book: `amount_msat` from the credited to the debited account; never changed afterwards.

    A `pending` transfer only sets the amount aside. A `post` makes at most that amount of it real and gives the rest
    back, a `void` gives all of it back; `pending_seq` says which one they resolve.
    """

    seq: int
    id: str
    kind: TransferKind
    pending_seq: int | None
    debit: str
    credit: str
    amount_msat: int
    at: datetime
    node: str
    entry_id: str | None  # the invoice or payment that it belongs to
    payment_hash: str | None
    event_seq: int
    memo: str
    hash: str


@dataclass(frozen=True, slots=True)
class Account:
    """An account with its totals, over all nodes."""

    code: str
    posted_debits_msat: int
    posted_credits_msat: int
    pending_debits_msat: int
    pending_credits_msat: int

    @property
    def debit_normal(self) -> bool:
        """Whether debits make it grow: what one has or spends, not where it comes from."""
        return self.code.partition(":")[0] in {"Assets", "Expenses", "Budget"}

    @property
    def balance_msat(self) -> int:
        """What is posted, seen from the side on which the account grows."""
        difference = self.posted_debits_msat - self.posted_credits_msat
        return difference if self.debit_normal else -difference

    @property
    def available_msat(self) -> int:
        """The balance without what is set aside to leave."""
        if self.debit_normal:
            return self.balance_msat - self.pending_credits_msat
        return self.balance_msat - self.pending_debits_msat


@dataclass(frozen=True, slots=True)
class Balance:
    """What came in, went out and is left, of one node or of all together."""

    incoming_total_msat: int
    outgoing_total_msat: int
    fees_paid_msat: int
    net_msat: int  # incoming - outgoing - fees
    pending_incoming_msat: int
    pending_outgoing_msat: int
    available_msat: int  # what the nodes hold by the book, without what is set aside
    at: datetime
    posted_msat: int = 0  # what the nodes hold by the book; opening balances and corrections are in it
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """How an agent's budget stands in its present day, week or month (UTC; a week begins on Monday)."""

    agent_id: str
    period: Period
    limit_msat: int | None  # None: no limit
    spent_msat: int
    held_msat: int
    since: datetime
    until: datetime

    @property
    def left_msat(self) -> int | None:
        """What may still be spent; None without a limit."""
        return None if self.limit_msat is None else max(0, self.limit_msat - self.spent_msat - self.held_msat)


@dataclass(frozen=True, slots=True)
class Line:
    """One transfer as an account sees it: what it added to the balance and to what is set aside, and the balance."""

    transfer: Transfer
    change_msat: int
    pending_change_msat: int
    balance_msat: int


@dataclass(frozen=True, slots=True)
class Statement:
    """The lines of an account, oldest first, from its opening to its closing balance."""

    account: str
    since: datetime | None
    until: datetime | None
    opening_msat: int
    lines: tuple[Line, ...]
    closing_msat: int
    cursor: str | None  # continues it; None at the end


@dataclass(frozen=True, slots=True)
class Sum:
    """What settled under one key: a day such as 2026-11-22, an agent, a task or a source; '' where none was named."""

    key: str
    incoming_msat: int
    outgoing_msat: int
    fees_msat: int
    invoices: int
    payments: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What settled in a number of days; pending, failed and expired entries count nowhere."""

    since: datetime
    until: datetime
    total: Sum
    by_day: tuple[Sum, ...]  # every day, oldest first, also those without anything
    by_agent: tuple[Sum, ...]  # the largest first
    by_task: tuple[Sum, ...]
    by_source: tuple[Sum, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing in the book that does not hold: its kind, the transfer it begins at (0 for none), and a sentence."""

    kind: str
    seq: int
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of the whole book found: how many transfers hold, and the hash of the last of them."""

    checked: int
    head_hash: str
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.problems

    @property
    def problem(self) -> str:
        """The first thing that does not hold; empty where all does."""
        return self.problems[0].message if self.problems else ""
