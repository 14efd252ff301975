"""The play node: a Lightning node in a file, with sats that are worth nothing and one neighbour to trade with.

It keeps the rules of a real one: invoices that are signed and expire, a fee for the way, limits, a balance that cannot
fall below zero, one payment a hash. Only the neighbour is made up: it pays when told to, and makes invoices to pay.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import itertools
import secrets
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from timmy_core.clock import Clock, to_us
from timmy_core.errors import Bolt11Error
from timmy_core.ledger.bolt11 import Invoice11, decode, encode
from timmy_core.ledger.node import (
    MAX_PAGE,
    Network,
    NodeBalance,
    NodeError,
    NodeEvent,
    NodeHealth,
    NodeInvoice,
    NodeKind,
    NodePayment,
    Page,
)
from timmy_core.ledger.nodes.play_journal import PlayChange, PlayJournal, Record

T = TypeVar("T")

FEE_BASE_MSAT: Final = 1000
FEE_MILLIONTHS: Final = 1000
_LOOK_S: Final = 0.2  # how often the file is looked at for events


def play_fee_msat(amount_msat: int) -> int:
    """Return what the way to the neighbour costs."""
    return FEE_BASE_MSAT + amount_msat * FEE_MILLIONTHS // 1_000_000


class PlayNode:
    """A `Node` whose sats are worth nothing.

    Args:
        name: what the settings call it.
        path: its file; a new one begins with `opening_msat`.
        clock: the time.
        opening_msat: what it holds at first.
        look_s: how often `events` looks for news.
    """

    kind: NodeKind = "play"
    network: Network = "regtest"
    play = True

    def __init__(
        self, name: str, path: Path, clock: Clock, *, opening_msat: int = 100_000_000, look_s: float = _LOOK_S
    ) -> None:
        self.name = name
        self._journal = PlayJournal(path)
        self._clock = clock
        self._opening_msat = opening_msat
        self._look_s = look_s
        self._closed = False

    async def create_invoice(self, *, amount_msat: int, memo: str, expiry_s: int) -> NodeInvoice:
        """Make an invoice, signed with this node's key."""
        if amount_msat <= 0:
            message = f"an invoice of {amount_msat} msat cannot be made; ask for at least 1"
            raise _rejected(message)
        return await self._change(self._invoice, amount_msat, memo, expiry_s)

    async def find_invoice(self, payment_hash: str) -> NodeInvoice | None:
        """Return an invoice of its own, or None."""
        return await self._change(lambda change: _as_of(change.state.invoices.get(payment_hash), self._clock.now()))

    async def pay(
        self,
        bolt11: str,
        *,
        amount_msat: int | None,
        fee_limit_msat: int,
        timeout_s: float,
    ) -> NodePayment:
        """Pay the neighbour, or itself."""
        del timeout_s  # it never waits
        return await self._change(self._pay, self._checked(bolt11, amount_msat), amount_msat, fee_limit_msat)

    async def find_payment(self, payment_hash: str) -> NodePayment | None:
        """Return a payment of its own, or None."""
        return await self._change(lambda change: change.state.payments.get(payment_hash))

    async def list_invoices(self, since: datetime | None = None, cursor: str | None = None) -> Page[NodeInvoice]:
        """Return invoices, oldest first."""
        now = self._clock.now()
        rows = await self._change(lambda change: list(change.state.invoices.values()))
        found = _page((row for row in rows if since is None or row.created_at >= since), cursor)
        return Page(tuple(_expired(row, now) for row in found.items), found.cursor)

    async def list_payments(self, since: datetime | None = None, cursor: str | None = None) -> Page[NodePayment]:
        """Return payments, oldest first."""
        rows = await self._change(lambda change: list(change.state.payments.values()))
        return _page((row for row in rows if since is None or row.created_at >= since), cursor)

    async def balance(self) -> NodeBalance:
        """Return what could be paid out now."""

        def read(change: PlayChange) -> NodeBalance:
            state = change.state
            return NodeBalance(state.spendable_msat, self._clock.now(), sum(state.held_msat.values()))

        return await self._change(read)

    async def health(self) -> NodeHealth:
        """Say that it only plays, or why its file cannot be used."""
        try:
            await self.balance()
        except NodeError as error:
            return NodeHealth(
                ok=False, message=error.message, network=self.network, alias=None, checked_at=self._clock.now()
            )
        words = "it only plays: its sats are worth nothing"
        alias = f"play node {self.name}"
        return NodeHealth(ok=True, message=words, network=self.network, alias=alias, checked_at=self._clock.now())

    async def events(self, cursor: str | None = None) -> AsyncGenerator[NodeEvent, None]:
        """Yield what changes from now on, or since `cursor`, also by other processes; never ends by itself."""
        after = await asyncio.to_thread(self._journal.size) if cursor is None else int(cursor)
        while not self._closed:
            if await asyncio.to_thread(self._journal.size) > after:
                told, after = await asyncio.to_thread(self._journal.told, after)
                for event in told:
                    yield event
            await asyncio.sleep(self._look_s)

    async def close(self) -> None:
        """End the events."""
        self._closed = True

    # The neighbour.

    async def neighbour_pays(self, payment_hash: str, *, amount_msat: int | None = None, late: bool = False) -> None:
        """Have the neighbour pay an invoice of this node, with `late` also one that has expired."""
        await self._change(self._receive, payment_hash, amount_msat, late)

    async def neighbour_invoice(self, *, amount_msat: int | None, memo: str = "", expiry_s: int = 3600) -> str:
        """Have the neighbour make an invoice that this node can pay; without an amount the payer chooses."""
        return await self._change(self._ask, amount_msat, memo, expiry_s)

    # What happens while the file is held.

    async def _change(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.to_thread(functools.partial(self._held, work, *arguments))

    def _held(self, work: Callable[..., T], *arguments: Any) -> T:
        with self._journal.open() as change:
            if not change.state.key:
                key = secrets.token_bytes(32).hex()
                change.write({"op": "opened", "key": key, "balance_msat": self._opening_msat, "at": self._now_us()})
            return work(change, *arguments)

    def _invoice(self, change: PlayChange, amount_msat: int, memo: str, expiry_s: int) -> NodeInvoice:
        preimage = secrets.token_bytes(32)
        bolt11 = self._signed(change.state.key, preimage, amount_msat, memo, expiry_s)
        name, now = hashlib.sha256(preimage).hexdigest(), self._clock.now()
        change.write({
            "op": "invoiced", "hash": name, "bolt11": bolt11, "amount_msat": amount_msat, "memo": memo,
            "preimage": preimage.hex(), "at": to_us(now), "expires_at": to_us(now + timedelta(seconds=expiry_s)),
        })  # fmt: skip
        return change.state.invoices[name]

    def _ask(self, change: PlayChange, amount_msat: int | None, memo: str, expiry_s: int) -> str:
        preimage = secrets.token_bytes(32)
        # The neighbour's key is made of this node's, so that it needs no file of its own.
        key = hashlib.sha256(b"neighbour" + change.state.key).digest()
        bolt11 = self._signed(key, preimage, amount_msat, memo, expiry_s)
        name = hashlib.sha256(preimage).hexdigest()
        change.write({"op": "asked", "hash": name, "preimage": preimage.hex(), "at": self._now_us()})
        return bolt11

    def _receive(self, change: PlayChange, payment_hash: str, amount_msat: int | None, late: bool) -> None:  # noqa: FBT001
        invoice = _as_of(change.state.invoices.get(payment_hash), self._clock.now())
        if invoice is None:
            message = f"this node knows no invoice {payment_hash}; look at its list"
            raise _rejected(message)
        if invoice.state != "open" and not (late and invoice.state == "expired"):
            message = f"the invoice is {invoice.state}, so the neighbour cannot pay it; make a new one"
            raise _rejected(message)
        amount = invoice.amount_msat if amount_msat is None else amount_msat
        if not invoice.amount_msat <= amount <= 2 * invoice.amount_msat:
            message = f"{amount} msat do not pay {invoice.amount_msat}: a payer gives so many, at most twice that"
            raise _rejected(message)
        change.write({"op": "received", "hash": payment_hash, "amount_msat": amount, "at": self._now_us()})

    def _pay(self, change: PlayChange, invoice: Invoice11, amount_msat: int | None, fee_limit_msat: int) -> NodePayment:
        name = invoice.payment_hash.hex()
        known = change.state.payments.get(name)
        if known is None or known.state == "failed":
            change.write(*self.steps(change, invoice, amount_msat or invoice.amount_msat or 0, fee_limit_msat))
        return change.state.payments[name]

    def steps(
        self, change: PlayChange, invoice: Invoice11, amount_msat: int, fee_limit_msat: int
    ) -> tuple[Record, ...]:
        """Return what becomes of a payment: how it begins and how it ends."""
        name, at, state = invoice.payment_hash.hex(), self._now_us(), change.state
        own = _as_of(state.invoices.get(name), self._clock.now())
        fee_msat = 0 if own is not None else play_fee_msat(amount_msat)
        preimage = state.others.get(name) if own is None else state.preimages[name]
        reason = ""
        if preimage is None:
            reason = "no way leads to that payee: a play node knows only itself and its neighbour"
        elif own is not None and own.state != "open":
            reason = f"the payee refuses it: its invoice is {own.state}"
        elif fee_msat > fee_limit_msat:
            reason = f"no way is as cheap as the fee limit, {fee_limit_msat} msat; it costs {fee_msat}"
        elif amount_msat + fee_msat > state.spendable_msat:
            reason = "the node has too few sats to pay it"
        begun = {"op": "begun", "hash": name, "amount_msat": amount_msat, "fee_msat": 0 if reason else fee_msat}
        begun["at"] = at
        if reason:
            return begun, {"op": "failed", "hash": name, "reason": reason, "at": at}
        paid = {"op": "paid", "hash": name, "fee_msat": fee_msat, "preimage": preimage, "at": at}
        if own is None:
            return begun, paid
        return begun, paid, {"op": "received", "hash": name, "amount_msat": amount_msat, "at": at}

    def _checked(self, bolt11: str, amount_msat: int | None) -> Invoice11:
        """Return an invoice that this node may try to pay."""
        try:
            invoice = decode(bolt11, now=self._clock.now())
        except Bolt11Error as error:
            raise _rejected(str(error)) from error
        if invoice.network != self.network:
            words = f"the invoice is of the network {invoice.network}, and a play node pays on {self.network} alone"
            message = f"{words}; let the neighbour make one"
            raise _rejected(message)
        if (invoice.amount_msat is None) == (amount_msat is None):
            message = "an amount is given for an invoice that has none of its own, and for no other"
            raise _rejected(message)
        return invoice

    def _signed(self, key: bytes, preimage: bytes, amount_msat: int | None, memo: str, expiry_s: int) -> str:
        try:
            return encode(
                private_key=key,
                payment_hash=hashlib.sha256(preimage).digest(),
                payment_secret=secrets.token_bytes(32),
                timestamp=self._clock.now(),
                network=self.network,
                amount_msat=amount_msat,
                description=memo,
                expiry_s=expiry_s,
            )
        except Bolt11Error as error:
            raise _rejected(str(error)) from error

    def _now_us(self) -> int:
        return to_us(self._clock.now())


def _as_of(invoice: NodeInvoice | None, now: datetime) -> NodeInvoice | None:
    return None if invoice is None else _expired(invoice, now)


def _expired(invoice: NodeInvoice, now: datetime) -> NodeInvoice:
    """Return the invoice as it is now: an open one runs out by itself."""
    return replace(invoice, state="expired") if invoice.state == "open" and invoice.expires_at <= now else invoice


def _page(rows: Iterable[T], cursor: str | None) -> Page[T]:
    first = int(cursor or 0)
    found = tuple(itertools.islice(rows, first, first + MAX_PAGE + 1))
    more = len(found) > MAX_PAGE
    return Page(found[:MAX_PAGE], str(first + MAX_PAGE) if more else None)


def _rejected(message: str) -> NodeError:
    return NodeError("rejected", message, sure=True)
