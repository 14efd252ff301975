"""What the house knows of a Lightning node: one protocol, and the words in which every node answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, Literal, Protocol, TypeVar

from timmy_core.errors import NodeError, NodeErrorKind
from timmy_core.settings_ledger import Network, NodeKind

__all__ = [
    "MAX_PAGE",
    "Network",
    "Node",
    "NodeBalance",
    "NodeError",
    "NodeErrorKind",
    "NodeEvent",
    "NodeHealth",
    "NodeInvoice",
    "NodeInvoiceState",
    "NodeKind",
    "NodePayment",
    "NodePaymentState",
    "Page",
]

NodeInvoiceState = Literal["open", "accepted", "settled", "canceled", "expired"]
NodePaymentState = Literal["in_flight", "settled", "failed"]

MAX_PAGE: Final = 200  # rows of one list, at most

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class NodeInvoice:
    """An invoice as the node has it.

    Attributes:
        payment_hash: 64 hex digits, lower case.
        received_msat: what really arrived; a payer may give more than was asked. None until something did.
        preimage: 64 hex digits, and only once the invoice is settled.
    """

    payment_hash: str
    bolt11: str
    amount_msat: int
    state: NodeInvoiceState
    memo: str
    created_at: datetime
    expires_at: datetime
    settled_at: datetime | None = None
    received_msat: int | None = None
    preimage: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class NodePayment:
    """A payment as the node has it.

    Attributes:
        amount_msat: what the payee got or is to get, without the fee.
        fee_msat: what the route cost; None until it is known.
        preimage: the proof of a settled payment; None where the node does not tell it.
        failure: in short words why it failed, and only where it did.
    """

    payment_hash: str
    state: NodePaymentState
    amount_msat: int
    fee_msat: int | None
    preimage: str | None = field(repr=False)
    failure: str | None
    created_at: datetime
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NodeBalance:
    """What the node could pay out at a moment.

    Attributes:
        spendable_msat: without what is under way.
        pending_out_msat: what is under way out, with what the node sets aside for its fees.
    """

    spendable_msat: int
    at: datetime
    pending_out_msat: int = 0


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """Whether the node answers and is what the settings say, in words for people; `network` is its own word."""

    ok: bool
    message: str
    network: str | None
    alias: str | None
    checked_at: datetime


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """Something changed at the node: look it up. It may be told twice, late, or for no reason.

    Attributes:
        hash: the payment hash, 64 hex digits.
        cursor: where `events` can go on after this one; None where the node cannot.
    """

    kind: Literal["invoice", "payment"]
    hash: str
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T_co]):
    """Part of a list, oldest first; `cursor` leads to the next part, and is None where this is the last."""

    items: tuple[T_co, ...]
    cursor: str | None = None


class Node(Protocol):
    """A Lightning node. Every call runs on Timmy's own loop, has a bound in time and raises only `NodeError`."""

    @property
    def name(self) -> str:
        """What the settings call it."""
        ...

    @property
    def kind(self) -> NodeKind:
        """What it is."""
        ...

    @property
    def network(self) -> Network:
        """Which network its invoices must be of."""
        ...

    @property
    def play(self) -> bool:
        """Whether its sats are worth nothing."""
        ...

    async def create_invoice(self, *, amount_msat: int, memo: str, expiry_s: int) -> NodeInvoice:
        """Make an invoice."""
        ...

    async def find_invoice(self, payment_hash: str) -> NodeInvoice | None:
        """Return an invoice of its own; None says that the node surely knows none of this hash."""
        ...

    async def pay(self, bolt11: str, *, amount_msat: int | None, fee_limit_msat: int, timeout_s: float) -> NodePayment:
        """Pay an invoice and wait for what becomes of it, at most `timeout_s`.

        Args:
            bolt11: the invoice, which the caller has checked.
            amount_msat: for an invoice without an amount; None for all others.
            fee_limit_msat: what the route may cost at most.
            timeout_s: how long to wait; the payment may go on after it.

        Returns:
            The payment, which may still be in flight.

        Raises:
            NodeError: `sure` where the node certainly did not and will not pay because of this call. In all other
                cases money may be under way, and the caller looks the hash up later.
        """
        ...

    async def find_payment(self, payment_hash: str) -> NodePayment | None:
        """Return a payment of its own; None says that the node surely knows none of this hash."""
        ...

    async def list_invoices(self, since: datetime | None = None, cursor: str | None = None) -> Page[NodeInvoice]:
        """Return invoices made at or after a moment, oldest first, at most `MAX_PAGE` a page."""
        ...

    async def list_payments(self, since: datetime | None = None, cursor: str | None = None) -> Page[NodePayment]:
        """Return payments begun at or after a moment, oldest first, at most `MAX_PAGE` a page."""
        ...

    async def balance(self) -> NodeBalance:
        """Return what could be paid out now."""
        ...

    async def health(self) -> NodeHealth:
        """Ask the node how it is; raises nothing, a node that does not answer is not well."""
        ...

    def events(self, cursor: str | None = None) -> AsyncGenerator[NodeEvent, None]:
        """Yield what changes from now on, or since `cursor` where the node can; ends or raises with the connection."""
        ...

    async def close(self) -> None:
        """Give the connections back; harmless when repeated."""
        ...
