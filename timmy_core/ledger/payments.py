"""PaymentHandler: the face of Lightning; makes invoices, pays them, waits for settlement, and records every step."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from timmy_core.clock import Clock, new_id
from timmy_core.errors import Bolt11Error, EntryUnknownError, NodeError
from timmy_core.ledger import bolt11 as bolt11_room
from timmy_core.ledger.bolt11 import Invoice11
from timmy_core.ledger.desk import Desk, Origin
from timmy_core.ledger.findings import Finding
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Balance, Direction, Entry, Invoice, Page, Payment
from timmy_core.ledger.money import check_msat
from timmy_core.ledger.node import Node, NodeBalance, NodeHealth
from timmy_core.ledger.playing import Playing
from timmy_core.ledger.reconcile import Reconciler, Report
from timmy_core.ledger.registry import NodeInfo, Nodes
from timmy_core.ledger.watch import Watcher, WatchState
from timmy_core.loop import LoopThread
from timmy_core.settings_ledger import LedgerSettings

T = TypeVar("T")

WAIT_S: Final = 30.0
_HASH_DIGITS: Final = 64

NodeInfos: TypeAlias = list[NodeInfo]  # named, because inside the class `list` is the method


@dataclass(frozen=True, slots=True)
class Decoded:
    """A BOLT11 invoice, read and judged: whether it may be paid now, from which node, and with which fee limit.

    Attributes:
        problems: why it may not be paid; a sentence each.
        amount_msat: what would be paid; None where the invoice leaves it open and nobody said.
        fee_limit_msat: what the route may cost where nobody says otherwise.
    """

    invoice: Invoice11
    node: str
    play: bool
    amount_msat: int | None
    fee_limit_msat: int | None
    problems: tuple[str, ...]

    @property
    def payable(self) -> bool:
        """Whether nothing speaks against paying it."""
        return not self.problems


@dataclass(frozen=True, slots=True)
class NodeStanding:
    """What the ledger says a node holds, beside what the node says.

    Attributes:
        at_node: the node's word; None where it could not be had, and `problem` says why.
        difference_msat: what the node holds more than the ledger says; None where the node did not answer.
    """

    node: str
    play: bool
    ledger: Balance
    at_node: NodeBalance | None
    difference_msat: int | None
    problem: str


class PaymentHandler:
    """Every way to move sats; each records itself, and a crash anywhere is mended by `reconcile`.

    Each method has a sync form and an async one, whose name begins with `a`; both work from any thread or loop. A
    payment that the node was asked for goes on when its caller gives up, and the ledger tells what became of it.

    Args:
        ledger: the book.
        nodes: the nodes.
        desk: does the work.
        reconciler: compares the book with the nodes.
        watcher: follows the nodes in the serving process.
        loop: Timmy's own loop.
        clock: the time.
        settings: the section `[ledger]`.
    """

    def __init__(
        self, ledger: Ledger, nodes: Nodes, desk: Desk, reconciler: Reconciler, watcher: Watcher, loop: LoopThread,
        clock: Clock, settings: LedgerSettings,
    ) -> None:  # fmt: skip
        self._ledger = ledger
        self._nodes = nodes
        self._desk = desk
        self._reconciler = reconciler
        self._watcher = watcher
        self._loop = loop
        self._clock = clock
        self.settings = settings
        self.playing = Playing(nodes, loop)

    # Invoices ------------------------------------------------------------------------------------------------

    async def acreate_invoice(
        self, *, amount_msat: int, memo: str = "", expiry_s: int | None = None, source: str = "api",
        agent_id: str | None = None, task_id: str | None = None, trace_id: str | None = None,
        idempotency_key: str | None = None, node: str | None = None,
    ) -> Invoice:  # fmt: skip
        """Make an invoice; it is in the ledger when this returns.

        Args:
            amount_msat: how much is asked for.
            memo: what for; the payer sees it.
            expiry_s: how long it can be paid; `invoice_expiry_s` of the settings if None.
            source: who asks; it names the income's account.
            agent_id: for which agent.
            task_id: for which task.
            trace_id: the request that it belongs to.
            idempotency_key: the same key again returns the same invoice.
            node: which node makes it; the default one if None.

        Raises:
            NodeError: the node did not make it, or may have; then `reconcile` finds it.
            IdempotencyConflictError: the key was used for something else.
            LedgerError: an argument cannot be.
        """
        amount = check_msat("amount_msat", amount_msat, least=1)
        work = self._desk.create_invoice(
            self._nodes.get(node), amount_msat=amount, memo=memo,
            expiry_s=self.settings.invoice_expiry_s if expiry_s is None else expiry_s,
            origin=Origin(source, agent_id, task_id, trace_id or new_id()), idempotency_key=idempotency_key,
        )  # fmt: skip
        return await self._loop.call(work)

    def create_invoice(
        self, *, amount_msat: int, memo: str = "", expiry_s: int | None = None, source: str = "api",
        agent_id: str | None = None, task_id: str | None = None, trace_id: str | None = None,
        idempotency_key: str | None = None, node: str | None = None,
    ) -> Invoice:  # fmt: skip
        """Do as `acreate_invoice`, blocking the calling thread."""
        return self._loop.run(
            self.acreate_invoice(
                amount_msat=amount_msat, memo=memo, expiry_s=expiry_s, source=source, agent_id=agent_id,
                task_id=task_id, trace_id=trace_id, idempotency_key=idempotency_key, node=node,
            )
        )  # fmt: skip

    # Payments ------------------------------------------------------------------------------------------------

    def decode(self, bolt11: str, *, amount_msat: int | None = None, node: str | None = None) -> Decoded:
        """Read an invoice and say what speaks against paying it now; asks no node.

        Raises:
            Bolt11Error: it is no invoice at all.
            NodeError: no node has that name.
        """
        return self._judged(bolt11_room.decode(bolt11), amount_msat, self._nodes.get(node))

    def _judged(self, invoice: Invoice11, amount_msat: int | None, node: Node) -> Decoded:
        found = bolt11_room.problems(invoice, network=node.network, now=self._clock.now(), amount_msat=amount_msat)
        problems = [problem.words for problem in found]
        for before in self._ledger.get_by_hash(invoice.payment_hash.hex()):
            if isinstance(before, Payment) and before.status != "failed":
                how = "was paid already" if before.status == "settled" else "is being paid already"
                problems.append(
                    f"this invoice {how} from {before.node}; that began {before.created_at:%Y-%m-%d %H:%M} UTC"
                )
        amount = invoice.amount_msat if amount_msat is None else amount_msat
        limit = None if amount is None else self.settings.fee_limit_msat(amount)
        return Decoded(invoice, node.name, node.play, amount, limit, tuple(problems))

    async def apay(
        self, bolt11: str, *, fee_limit_msat: int | None = None, amount_msat: int | None = None,
        agent_id: str | None = None, task_id: str | None = None, trace_id: str | None = None, memo: str = "",
        idempotency_key: str | None = None, node: str | None = None, wait_s: float = WAIT_S,
    ) -> Payment:  # fmt: skip
        """Pay an invoice, and return the payment as it stands after at most `wait_s`: settled, failed or pending.

        Args:
            bolt11: the invoice; it is read and checked before anything is set aside.
            fee_limit_msat: what the route may cost; a share of the amount and a floor, as the settings say, if None.
            amount_msat: how much, for an invoice that leaves it open.
            agent_id: who pays; its budgets count.
            task_id: for which task.
            trace_id: the request that it belongs to.
            memo: what for; kept in the ledger alone.
            idempotency_key: the same key again returns the same payment, and nothing is paid twice.
            node: which node pays; the default one if None.
            wait_s: how long to wait for the end; the payment goes on after it.

        Raises:
            Bolt11Error: the invoice cannot be paid: another network, expired, or without an amount.
            AlreadyPaidError: it was paid, or is being paid.
            InsufficientFundsError: the node does not hold enough.
            BudgetExceededError: the agent's budget does not allow it.
            IdempotencyConflictError: the key was used for something else.
            NodeError: no node has that name, or it could not be asked what it holds.
        """
        where, invoice = self._nodes.get(node), bolt11_room.decode(bolt11)
        amount = None if amount_msat is None else check_msat("amount_msat", amount_msat, least=1)
        await asyncio.to_thread(self._check, where, invoice, amount, idempotency_key)
        asked = invoice.amount_msat if amount is None else amount
        limit = self.settings.fee_limit_msat(asked or 0) if fee_limit_msat is None else fee_limit_msat
        work = self._desk.pay(
            where, invoice, amount_msat=amount, fee_limit_msat=check_msat("fee_limit_msat", limit),
            memo=memo or invoice.description or "", origin=Origin("api", agent_id, task_id, trace_id or new_id()),
            idempotency_key=idempotency_key, wait_s=wait_s,
        )  # fmt: skip
        return await self._loop.call(work)

    def _check(self, node: Node, invoice: Invoice11, amount_msat: int | None, key: str | None) -> None:
        """Refuse what cannot be paid; a repetition of what was begun before is let through, to be answered as then."""
        before = self._ledger.find_payment(node.name, invoice.payment_hash.hex())
        if key is not None and before is not None and before.idempotency_key == key:
            return
        found = bolt11_room.problems(invoice, network=node.network, now=self._clock.now(), amount_msat=amount_msat)
        if found:
            raise Bolt11Error("; ".join(problem.words for problem in found))

    def pay(
        self, bolt11: str, *, fee_limit_msat: int | None = None, amount_msat: int | None = None,
        agent_id: str | None = None, task_id: str | None = None, trace_id: str | None = None, memo: str = "",
        idempotency_key: str | None = None, node: str | None = None, wait_s: float = WAIT_S,
    ) -> Payment:  # fmt: skip
        """Do as `apay`, blocking the calling thread."""
        return self._loop.run(
            self.apay(
                bolt11, fee_limit_msat=fee_limit_msat, amount_msat=amount_msat, agent_id=agent_id, task_id=task_id,
                trace_id=trace_id, memo=memo, idempotency_key=idempotency_key, node=node, wait_s=wait_s,
            )
        )  # fmt: skip

    # Looking -------------------------------------------------------------------------------------------------

    async def acheck(self, key: str | Entry, *, direction: Direction | None = None) -> Entry:
        """Ask the node about one entry now, take its word, and return the entry as it then stands.

        Args:
            key: the entry, its id, or its payment hash.
            direction: which one, where one paid oneself; the invoice if None.

        Raises:
            EntryUnknownError: there is no such entry.
            NodeError: the node could not be asked.
        """
        entry = await asyncio.to_thread(self._entry, key, direction)
        return await self._loop.call(self._desk.check(self._nodes.get(entry.node), entry))

    def check(self, key: str | Entry, *, direction: Direction | None = None) -> Entry:
        """Do as `acheck`, blocking the calling thread."""
        return self._loop.run(self.acheck(key, direction=direction))

    async def await_settled(
        self, key: str | Entry, *, timeout_s: float = WAIT_S, direction: Direction | None = None
    ) -> Entry:
        """Return an entry once it ended, one way or another, or as it stands after `timeout_s`.

        Raises:
            EntryUnknownError: there is no such entry.
        """
        entry = await asyncio.to_thread(self._entry, key, direction)
        return await self._loop.call(self._desk.wait(self._nodes.get(entry.node), entry.id, timeout_s))

    def wait_settled(self, key: str | Entry, *, timeout_s: float = WAIT_S, direction: Direction | None = None) -> Entry:
        """Do as `await_settled`, blocking the calling thread."""
        return self._loop.run(self.await_settled(key, timeout_s=timeout_s, direction=direction))

    def _entry(self, key: str | Entry, direction: Direction | None) -> Entry:
        if not isinstance(key, str):
            return key
        if len(key) != _HASH_DIGITS:
            return self._ledger.get(key)
        found = [entry for entry in self._ledger.get_by_hash(key) if direction in (None, entry.direction)]
        if not found:
            message = f"the ledger has nothing with the payment hash {key}; `timmy ledger reconcile` looks at the nodes"
            raise EntryUnknownError(message)
        return next((entry for entry in found if entry.direction == "in"), found[0])

    def list(self, **filters: Any) -> Page:
        """Return entries, newest first; see `Ledger.list`."""
        return self._ledger.list(**filters)

    async def abalance(self, node: str | None = None) -> NodeStanding:
        """Return what the ledger says a node holds, beside what the node says now."""
        where = self._nodes.get(node)
        held, problem = None, ""
        try:
            held = await self._loop.call(where.balance())
        except NodeError as error:
            problem = error.message
        balance = await asyncio.to_thread(self._ledger.balance, where.name)
        total = None if held is None else held.spendable_msat + held.pending_out_msat
        difference = None if total is None else total - balance.posted_msat
        return NodeStanding(where.name, where.play, balance, held, difference, problem)

    def balance(self, node: str | None = None) -> NodeStanding:
        """Do as `abalance`, blocking the calling thread."""
        return self._loop.run(self.abalance(node))

    async def ahealth(self, node: str | None = None) -> dict[str, NodeHealth]:
        """Ask every node, or the named one, how it is."""
        chosen = list_of(self._nodes) if node is None else [self._nodes.get(node)]
        healths = await self._loop.call(_all([one.health() for one in chosen]))
        return {one.name: health for one, health in zip(chosen, healths, strict=True)}

    def health(self, node: str | None = None) -> dict[str, NodeHealth]:
        """Do as `ahealth`, blocking the calling thread."""
        return self._loop.run(self.ahealth(node))

    def nodes(self) -> NodeInfos:
        """Return what each node is; nothing is asked of them."""
        return self._nodes.info()

    def watching(self) -> tuple[WatchState, ...]:
        """Return how this process follows each node; empty where it does not serve."""
        return self._watcher.states()

    # Reconciling ---------------------------------------------------------------------------------------------

    async def areconcile(self, node: str | None = None, *, dry_run: bool = True, by: str = "api") -> Report:
        """Compare the ledger with a node, and say what differs; with `dry_run=False` mend what can be.

        Raises:
            NodeError: the node could not be asked.
            LedgerError: somebody else reconciles this node now.
        """
        return await self._loop.call(self._reconciler.run(self._nodes.get(node), dry_run=dry_run, by=by))

    def reconcile(self, node: str | None = None, *, dry_run: bool = True, by: str = "api") -> Report:
        """Do as `areconcile`, blocking the calling thread."""
        return self._loop.run(self.areconcile(node, dry_run=dry_run, by=by))

    def findings(
        self,
        *,
        open: bool | None = True,  # noqa: A002 - the word for it
        node: str | None = None,
        limit: int = 100,
    ) -> Sequence[Finding]:
        """Return what ledger and nodes do not agree on, newest first; with `open=False` what is resolved."""
        return self._reconciler.findings.list(open=open, node=node, limit=limit)

    def open_findings(self) -> int:
        """Return how many findings wait for a person."""
        return self._reconciler.findings.count()

    def resolve(self, finding_id: str, *, by: str) -> Finding:
        """Take note that a person has dealt with a finding."""
        return self._reconciler.findings.resolve(finding_id, by=by)


def list_of(nodes: Nodes) -> Sequence[Node]:
    """Return the nodes in their order."""
    return [*nodes]


async def _all(works: Sequence[Coroutine[Any, Any, T]]) -> Sequence[T]:
    return await asyncio.gather(*works)
