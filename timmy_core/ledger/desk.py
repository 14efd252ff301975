"""The desk: what is done with the nodes, on Timmy's own loop; each step is in the ledger before the next is taken."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, TypeVar

from timmy_core.clock import Clock
from timmy_core.errors import EntryStateError, EntryUnknownError, NodeError
from timmy_core.ledger.bolt11 import Invoice11
from timmy_core.ledger.joining import match
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Entry, Intent, Invoice, Payment
from timmy_core.ledger.node import Node, NodeInvoice, NodePayment
from timmy_core.ledger.observe import Observer
from timmy_core.ledger.progress import OPENED, Progress

T = TypeVar("T")

PAY_S: Final = 30.0  # how long a node may try at least, however short the caller waits
LOOK_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 15.0)  # between two looks at the node for one who waits
READ_S: Final = 0.25  # between two looks at the ledger, where another process may have written
CLOSE_S: Final = 2.0  # what is under way may still be written down as Timmy closes
BEFORE: Final = timedelta(minutes=5)  # how far the node's clock may be behind

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Origin:
    """For whom something is done; it stands on every row and event."""

    source: str = "api"
    agent_id: str | None = None
    task_id: str | None = None
    trace_id: str | None = None


class Desk:
    """Makes invoices, pays them, and waits for what becomes of them.

    Args:
        ledger: the book.
        observer: takes the nodes' word.
        progress: knows which nodes' books were opened.
        clock: the time.
    """

    def __init__(self, ledger: Ledger, observer: Observer, progress: Progress, clock: Clock) -> None:
        self._ledger = ledger
        self._observer = observer
        self._progress = progress
        self._clock = clock
        self._opened: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._making: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._waiting: set[asyncio.Event] = set()

    # The book of a node --------------------------------------------------------------------------------------

    async def ensure_opened(self, node: Node) -> None:
        """Begin a node's book with what it holds, once.

        Raises:
            NodeError: its balance could not be had.
        """
        if node.name in self._opened:
            return
        if await asyncio.to_thread(self._progress.moment, node.name, OPENED) is None:
            held = await node.balance()
            await asyncio.to_thread(self._open, node.name, held.spendable_msat + held.pending_out_msat)
        self._opened.add(node.name)

    def _open(self, node: str, held_msat: int) -> None:
        begun = self._clock.now()
        transfer = self._ledger.opening(node, held_msat)
        self._progress.save(node, OPENED, begun if transfer is None else transfer.at)

    # Invoices ------------------------------------------------------------------------------------------------

    async def create_invoice(
        self, node: Node, *, amount_msat: int, memo: str, expiry_s: int, origin: Origin, idempotency_key: str | None
    ) -> Invoice:
        """Make an invoice; what is to be made is durable before the node is asked, so none is ever lost."""
        await self.ensure_opened(node)

        def intend() -> Intent:
            return self._ledger.intend_invoice(
                node=node.name, amount_msat=amount_msat, memo=memo, expiry_s=expiry_s, source=origin.source,
                task_id=origin.task_id, agent_id=origin.agent_id, trace_id=origin.trace_id,
                idempotency_key=idempotency_key,
            )  # fmt: skip

        # Once begun it is finished, so that a caller who gives up leaves no invoice that nobody knows of.
        return await asyncio.shield(self._background(self._make(node, await asyncio.to_thread(intend))))

    async def _make(self, node: Node, intent: Intent) -> Invoice:
        lock = self._making.setdefault(intent.id, asyncio.Lock())
        async with lock:
            # Somebody with the same key may have been first, a moment or a crash ago.
            keyed = intent.idempotency_key is not None
            intent = (
                replace(await asyncio.to_thread(self._ledger.intent, intent.id), replayed=intent.replayed)
                if keyed
                else intent
            )
            if intent.payment_hash is not None:
                return await asyncio.to_thread(self._invoice, node.name, intent.payment_hash)
            made = await self._made_before(node, intent) if intent.replayed else None
            return await self._record(node, made or await self._ask(node, intent), intent)

    async def _ask(self, node: Node, intent: Intent) -> NodeInvoice:
        try:
            return await node.create_invoice(amount_msat=intent.amount_msat, memo=intent.memo, expiry_s=intent.expiry_s)
        except NodeError as error:
            if error.sure:
                await asyncio.to_thread(self._ledger.abandon_intent, intent.id, error.message)
            raise

    async def _made_before(self, node: Node, intent: Intent) -> NodeInvoice | None:
        """Find the invoice that an earlier call with the same key had made, where nobody wrote it down."""
        since, cursor = intent.created_at - BEFORE, None
        while True:
            page = await node.list_invoices(since, cursor)
            for seen in page.items:
                known = await asyncio.to_thread(self._ledger.find_invoice, node.name, seen.payment_hash)
                if known is None and match([intent], seen) is not None:
                    return seen
            cursor = page.cursor
            if cursor is None:
                return None

    async def _record(self, node: Node, made: NodeInvoice, intent: Intent) -> Invoice:
        return await asyncio.to_thread(
            self._ledger.record_invoice,
            node=node.name, payment_hash=made.payment_hash, bolt11=made.bolt11, amount_msat=made.amount_msat,
            memo=intent.memo, expires_at=made.expires_at, created_at=made.created_at, intent_id=intent.id,
        )  # fmt: skip

    def _invoice(self, node: str, payment_hash: str) -> Invoice:
        found = self._ledger.find_invoice(node, payment_hash)
        if found is None:
            message = f"the ledger has no invoice with the payment hash {payment_hash} at the node {node!r}"
            raise EntryUnknownError(message)
        return found

    # Payments ------------------------------------------------------------------------------------------------

    async def pay(
        self,
        node: Node,
        invoice: Invoice11,
        *,
        amount_msat: int | None,
        fee_limit_msat: int,
        memo: str,
        origin: Origin,
        idempotency_key: str | None,
        wait_s: float,
    ) -> Payment:
        """Pay a checked invoice and wait for what becomes of it, at most `wait_s`; it goes on when the caller gives up.

        Raises:
            InsufficientFundsError, BudgetExceededError, AlreadyPaidError, IdempotencyConflictError: nothing was done.
        """
        await self.ensure_opened(node)

        def begin() -> Payment:
            return self._ledger.begin_payment(
                node.name, invoice, amount_msat, fee_limit_msat, agent_id=origin.agent_id, task_id=origin.task_id,
                trace_id=origin.trace_id, memo=memo, idempotency_key=idempotency_key,
            )  # fmt: skip

        ends = _loop_s() + wait_s
        begun = self._background(asyncio.to_thread(begin))
        try:
            payment = await asyncio.shield(begun)
        except asyncio.CancelledError:
            self._background(self._give_up(begun))
            raise
        if not payment.replayed:
            own = None if invoice.amount_msat is not None else payment.amount_msat
            sending = self._background(self._send(node, payment, own, max(wait_s, PAY_S)))
            await asyncio.wait([sending], timeout=max(0.0, wait_s))
            if sending.done():
                sending.result()
        waited = await self.wait(node, payment.id, max(0.0, ends - _loop_s()))
        return waited if isinstance(waited, Payment) else payment

    async def _give_up(self, begun: asyncio.Task[Payment]) -> None:
        """Give back what was set aside for a caller who left before the node was asked."""
        payment = await begun
        if not payment.replayed:
            await asyncio.to_thread(
                self._ledger.fail_payment, payment.node, payment.payment_hash,
                reason="whoever asked for it gave up before the node was asked", sure=True,
            )  # fmt: skip

    async def _send(self, node: Node, payment: Payment, amount_msat: int | None, timeout_s: float) -> None:
        try:
            # Durable before the call: what was not marked was surely never sent, and may be given up by anybody.
            await asyncio.to_thread(self._ledger.mark_in_flight, payment.id)
        except EntryStateError:
            return  # somebody gave it up, or ended it, meanwhile
        try:
            seen = await node.pay(
                payment.bolt11, amount_msat=amount_msat, fee_limit_msat=payment.fee_limit_msat, timeout_s=timeout_s
            )
        except NodeError as error:
            await self._not_sent(node, payment, error)
        else:
            await asyncio.to_thread(self._observer.told, node.name, seen, proof=f"{node.name}: pay")
        self.changed()

    async def _not_sent(self, node: Node, payment: Payment, error: NodeError) -> None:
        """Book a failure only where it is sure; anything else stays pending, and is looked up."""
        seen: NodePayment | None = None
        sure = error.sure
        if sure and error.kind == "rejected":
            # It may have been refused because the very same invoice is being paid already.
            try:
                seen = await node.find_payment(payment.payment_hash)
            except NodeError as unsure:
                _log.warning("whether %s was paid is not known: %s", payment.payment_hash, unsure)
                sure = False
        if seen is not None and seen.state != "failed":
            await asyncio.to_thread(
                self._observer.payment, node.name, payment.payment_hash, seen, proof=f"{node.name}: look"
            )
        elif sure:
            await asyncio.to_thread(self._fail, payment, error.message)
        else:
            await asyncio.to_thread(self._ledger.note_attempt, payment.id, error.message)

    def _fail(self, payment: Payment, reason: str) -> None:
        try:
            self._ledger.fail_payment(payment.node, payment.payment_hash, reason=reason, sure=True)
        except EntryStateError:
            _log.warning("the payment %s had ended before its call was refused: %s", payment.id, reason)

    # Looking -------------------------------------------------------------------------------------------------

    async def check(self, node: Node, entry: Entry) -> Entry:
        """Ask the node about one entry, take its word, and return the entry as it then stands.

        Raises:
            NodeError: the node could not be asked.
        """
        proof = f"{node.name}: look"
        if isinstance(entry, Invoice):
            seen = await node.find_invoice(entry.payment_hash)
            observed = await asyncio.to_thread(self._observer.invoice, node.name, entry.payment_hash, seen, proof=proof)
        else:
            paid = await node.find_payment(entry.payment_hash)
            observed = await asyncio.to_thread(self._observer.payment, node.name, entry.payment_hash, paid, proof=proof)
        if observed.done:
            self.changed()
        return observed.entry or entry

    async def wait(self, node: Node, entry_id: str, timeout_s: float) -> Entry:
        """Return an entry once it ended, or as it stands after `timeout_s`; the node is looked at less and less."""
        ends = _loop_s() + timeout_s
        looks, next_look = 0, _loop_s() + LOOK_S[0]
        bell = asyncio.Event()
        self._waiting.add(bell)
        try:
            while True:
                bell.clear()
                entry = await asyncio.to_thread(self._ledger.get, entry_id)
                now = _loop_s()
                if entry.shown != "pending" or now >= ends:
                    return entry
                if now >= next_look:
                    entry = await self._look(node, entry)
                    looks += 1
                    next_look = now + LOOK_S[min(looks, len(LOOK_S) - 1)]
                    continue
                await _heard(bell, min(READ_S, ends - now))
        finally:
            self._waiting.discard(bell)

    async def _look(self, node: Node, entry: Entry) -> Entry:
        try:
            return await self.check(node, entry)
        except NodeError as error:
            _log.info("%s could not be asked about %s: %s", node.name, entry.payment_hash, error)
            return entry

    def changed(self) -> None:
        """Wake those who wait: an entry changed."""
        for bell in self._waiting:
            bell.set()

    # Work that outlives its caller ---------------------------------------------------------------------------

    def _background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.info("work at the desk ended with: %s", error)

    async def close(self) -> None:
        """Let what is under way be written down, within a bound; the rest is found again by looking it up."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _loop_s() -> float:
    """Return the seconds of the loop, by which people wait; a clock that is made up for a test stands still."""
    return asyncio.get_running_loop().time()


async def _heard(bell: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await bell.wait()
    except TimeoutError:
        return
