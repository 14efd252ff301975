"""A Lightning node that goes wrong when it is told to: slow, deaf, forgetful, restarted, or saying all twice."""

from __future__ import annotations

import asyncio
import collections
import copy
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, TypeVar

from timmy_core.clock import Clock
from timmy_core.ledger.bolt11 import Invoice11
from timmy_core.ledger.node import NodeBalance, NodeError, NodeEvent, NodeInvoice, NodePayment, Page
from timmy_core.ledger.nodes.play import PlayNode, play_fee_msat
from timmy_core.ledger.nodes.play_journal import PlayChange, PlayState, Record

T = TypeVar("T")

NodeCall = Literal[
    "create_invoice", "find_invoice", "pay", "find_payment", "list_invoices", "list_payments", "balance"
]  # fmt: skip
NodeFaultKind = Literal["unreachable", "refused", "lost_request", "lost_answer", "server_error", "slow"]

NODE_FAULTS: Final[dict[NodeFaultKind, str]] = {
    "unreachable": "no connection: nothing was done, and the caller can be sure of it",
    "refused": "the key lacks the right: nothing was done, and the caller can be sure of it",
    "lost_request": "a timeout, and nothing was done",
    "lost_answer": "a timeout, and it was done all the same",
    "server_error": "an error of the server, and it was done all the same",
    "slow": "it is done after `delay_s`",
}

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Fault:
    kind: NodeFaultKind
    delay_s: float


class FakeNode(PlayNode):
    """A play node for tests. All that it knows is in its file: another one on the same path goes on with it.

    Args:
        path: its file, which survives a kill.
        clock: the time.
        name: what the ledger calls it.
        opening_msat: what it holds at first.
        on_step: called with `pay:asked`, `pay:done` and so on, around what each call does; a test may end its process.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        name: str = "fake",
        opening_msat: int = 100_000_000,
        on_step: Step | None = None,
    ) -> None:
        super().__init__(name, path, clock, opening_msat=opening_msat, look_s=0.01)
        self.hold_payments = False  # payments stay in flight until `release`
        self.repeat_events = 1  # how often each event is told
        self.lose_events = False
        self.calls: list[str] = []
        self._faults: dict[str, collections.deque[_Fault]] = collections.defaultdict(collections.deque)
        self._on_step = on_step
        self._up = True
        self._life = 0

    def misbehave(self, call: NodeCall, kind: NodeFaultKind, *, times: int = 1, delay_s: float = 0.0) -> None:
        """Have the next calls of that name go wrong; see `NODE_FAULTS` for how."""
        self._faults[call].extend([_Fault(kind, delay_s)] * times)

    def stop(self) -> None:
        """Be unreachable, and break every stream of events, until `start`."""
        self._up = False
        self._life += 1

    def start(self) -> None:
        """Be reachable again, with what the file holds."""
        self._up = True

    # What it does besides being asked.

    async def release(self, payment_hash: str, *, failure: str | None = None) -> None:
        """End a payment that was held: it settles, or fails for that reason."""
        await self._change(self._release, payment_hash, failure)

    async def accept(self, payment_hash: str) -> None:
        """Have an invoice's payment arrive without being settled yet."""

        def write(change: PlayChange) -> None:
            amount_msat = change.state.invoices[payment_hash].amount_msat
            change.write({"op": "accepted", "hash": payment_hash, "amount_msat": amount_msat})

        await self._change(write)

    async def cancel(self, payment_hash: str) -> None:
        """Take an invoice back."""
        await self._change(lambda change: change.write({"op": "canceled", "hash": payment_hash}))

    async def forget(self, payment_hash: str) -> None:
        """Know an invoice or a payment no longer; its sats stay where they are."""
        await self._change(lambda change: change.write({"op": "forgotten", "hash": payment_hash}))

    async def adjust(self, amount_msat: int) -> None:
        """Have sats come, or go where it is negative, that no invoice or payment tells of, such as a channel's fee."""
        await self._change(lambda change: change.write({"op": "adjusted", "amount_msat": amount_msat}))

    async def state(self) -> PlayState:
        """Return all that it knows, the preimages of unpaid invoices among it."""
        return await self._change(lambda change: copy.deepcopy(change.state))

    async def settled_order(self) -> list[str]:
        """Return the hashes of the invoices that were paid, in the order in which that happened."""
        told = await asyncio.to_thread(self._journal.events, 0)
        last = {event.hash: number for number, event in enumerate(told) if event.kind == "invoice"}
        invoices = (await self.state()).invoices
        paid = (name for name in sorted(last, key=last.__getitem__) if name in invoices)
        return [name for name in paid if invoices[name].state == "settled"]

    # What it is asked.

    async def create_invoice(self, *, amount_msat: int, memo: str, expiry_s: int) -> NodeInvoice:
        """Make an invoice."""
        work = super().create_invoice
        return await self._call("create_invoice", lambda: work(amount_msat=amount_msat, memo=memo, expiry_s=expiry_s))

    async def find_invoice(self, payment_hash: str) -> NodeInvoice | None:
        """Return an invoice of its own, or None."""
        work = super().find_invoice
        return await self._call("find_invoice", lambda: work(payment_hash))

    async def pay(self, bolt11: str, *, amount_msat: int | None, fee_limit_msat: int, timeout_s: float) -> NodePayment:
        """Pay the neighbour, or itself."""
        work = super().pay
        return await self._call(
            "pay",
            lambda: work(bolt11, amount_msat=amount_msat, fee_limit_msat=fee_limit_msat, timeout_s=timeout_s),
        )

    async def find_payment(self, payment_hash: str) -> NodePayment | None:
        """Return a payment of its own, or None."""
        work = super().find_payment
        return await self._call("find_payment", lambda: work(payment_hash))

    async def list_invoices(self, since: datetime | None = None, cursor: str | None = None) -> Page[NodeInvoice]:
        """Return invoices, oldest first."""
        work = super().list_invoices
        return await self._call("list_invoices", lambda: work(since, cursor))

    async def list_payments(self, since: datetime | None = None, cursor: str | None = None) -> Page[NodePayment]:
        """Return payments, oldest first."""
        work = super().list_payments
        return await self._call("list_payments", lambda: work(since, cursor))

    async def balance(self) -> NodeBalance:
        """Return what could be paid out now."""
        return await self._call("balance", super().balance)

    async def events(self, cursor: str | None = None) -> AsyncGenerator[NodeEvent, None]:
        """Yield what changes, each as often as told, until the node stops."""
        life = self._life
        self._reachable()
        told = super().events(cursor)
        upcoming = asyncio.ensure_future(anext(told))
        try:
            while True:
                # A stream that waits for news has to break as well when the node stops.
                done, _ = await asyncio.wait([upcoming], timeout=self._look_s)
                if self._life != life:
                    raise _unreachable()
                if not done:
                    continue
                event = upcoming.result()
                upcoming = asyncio.ensure_future(anext(told))
                for _ in range(0 if self.lose_events else self.repeat_events):
                    yield event
        except StopAsyncIteration:
            return
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)
            await told.aclose()

    def steps(
        self, change: PlayChange, invoice: Invoice11, amount_msat: int, fee_limit_msat: int
    ) -> tuple[Record, ...]:
        """Return how a payment begins, and how it ends unless it is held."""
        steps = super().steps(change, invoice, amount_msat, fee_limit_msat)
        return steps[:1] if self.hold_payments and steps[1]["op"] == "paid" else steps

    def _release(self, change: PlayChange, payment_hash: str, failure: str | None) -> None:
        state, at = change.state, self._now_us()
        payment, own = state.payments[payment_hash], state.invoices.get(payment_hash)
        if payment.state != "in_flight":
            return
        if failure is not None:
            change.write({"op": "failed", "hash": payment_hash, "reason": failure, "at": at})
            return
        fee_msat = 0 if own is not None else play_fee_msat(payment.amount_msat)
        preimage = state.others[payment_hash] if own is None else state.preimages[payment_hash]
        steps = [{"op": "paid", "hash": payment_hash, "fee_msat": fee_msat, "preimage": preimage, "at": at}]
        if own is not None:
            steps.append({"op": "received", "hash": payment_hash, "amount_msat": payment.amount_msat, "at": at})
        change.write(*steps)

    async def _call(self, call: NodeCall, work: Callable[[], Awaitable[T]]) -> T:
        self.calls.append(call)
        self._reachable()
        fault = self._faults[call].popleft() if self._faults[call] else None
        self._step(f"{call}:asked")
        if fault is not None:
            _before(fault.kind)
            await asyncio.sleep(fault.delay_s)
        result = await work()
        self._step(f"{call}:done")
        if fault is not None:
            _after(fault.kind)
        return result

    def _reachable(self) -> None:
        if not self._up:
            raise _unreachable()

    def _step(self, name: str) -> None:
        if self._on_step is not None:
            self._on_step(name)


def _before(kind: NodeFaultKind) -> None:
    if kind == "unreachable":
        raise _unreachable()
    if kind == "refused":
        raise NodeError(kind="refused", message="the fake node was told to refuse this call", sure=True)
    if kind == "lost_request":
        raise NodeError(kind="timeout", message="the fake node was told to lose this call", sure=False)


def _after(kind: NodeFaultKind) -> None:
    if kind == "lost_answer":
        raise NodeError(kind="timeout", message="the fake node was told to lose this answer", sure=False)
    if kind == "server_error":
        raise NodeError(kind="protocol", message="the fake node was told to fail after its work", sure=False)


def _unreachable() -> NodeError:
    return NodeError(kind="unreachable", message="the fake node is stopped; start it", sure=True)
