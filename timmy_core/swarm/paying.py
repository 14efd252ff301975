"""Paying for what was done: the worker's invoice is paid out of the task's budget, once, however often it is tried.

Every call to the ledger carries a key made of the task's id, so a crash at any point leads to the same payment again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Protocol

from timmy_core.errors import AlreadyPaidError, Bolt11Error, LedgerError, SwarmError, TaskStateError
from timmy_core.store.engine import Connection
from timmy_core.swarm.auction import DUE
from timmy_core.swarm.model import Task
from timmy_core.swarm.rows import Rows

TRIES: Final = 5  # of a payment that fails; after that a person looks
WAIT_S: Final = 20.0
AGAIN_S: Final = (2, 10, 60, 300, 1800)  # between two tries
MAX_BOLT11: Final = 8_000
_US: Final = 1_000_000

_log = logging.getLogger(__name__)


class Made(Protocol):
    """An invoice of the home's node."""

    @property
    def bolt11(self) -> str:
        """The invoice itself."""


class Read(Protocol):
    """An invoice, read and judged."""

    @property
    def amount_msat(self) -> int | None:
        """What it asks for."""

    @property
    def fee_limit_msat(self) -> int | None:
        """What its route may cost, by the settings."""

    @property
    def problems(self) -> Sequence[str]:
        """Why it may not be paid."""


class Paid(Protocol):
    """A payment as the ledger has it."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def shown(self) -> str:
        """`settled`, `failed` or `pending`."""

    @property
    def failure(self) -> str | None:
        """Why it failed."""


class Listed(Protocol):
    """Some entries of the ledger."""

    @property
    def entries(self) -> Sequence[Any]:
        """Invoices and payments."""


class Pays(Protocol):
    """What moves sats; the payment handler fits."""

    def list(self, **filters: Any) -> Listed:
        """Return entries of the ledger."""

    def create_invoice(
        self, *, amount_msat: int, memo: str, source: str, agent_id: str | None, task_id: str | None,
        trace_id: str | None, idempotency_key: str | None,
    ) -> Made:  # fmt: skip
        """Make an invoice of the home's own node."""

    def decode(self, bolt11: str) -> Read:
        """Read an invoice."""

    def pay(
        self, bolt11: str, *, fee_limit_msat: int | None, agent_id: str | None, task_id: str | None,
        trace_id: str | None, memo: str, idempotency_key: str | None, wait_s: float,
    ) -> Paid:  # fmt: skip
        """Pay an invoice."""


class Paying:
    """Pays for completed tasks; safe to use from any thread and process.

    Args:
        rows: the tables.
        pays: moves the sats.
    """

    def __init__(self, rows: Rows, pays: Pays) -> None:
        self._rows = rows
        self._pays = pays

    def check_invoice(self, task: Task, bolt11: str) -> None:
        """Refuse an agent's invoice that cannot be paid for this task.

        Raises:
            SwarmError: it is of another amount, or cannot be paid.
            Bolt11Error: it is no invoice.
        """
        if len(bolt11) > MAX_BOLT11:
            message = f"an invoice has at most {MAX_BOLT11:,} characters; send the invoice alone"
            raise SwarmError(message)
        read = self._pays.decode(bolt11)
        if read.amount_msat != task.bid_msat:
            message = f"the invoice asks for {read.amount_msat} msat; the bid that won was {task.bid_msat} msat"
            raise SwarmError(message)
        # Sent again after a lost acknowledgement it may have been paid meanwhile, and that is no problem.
        if read.problems and task.bolt11 != bolt11:
            raise SwarmError("; ".join(read.problems))

    def take_invoice(self, task_id: str, agent: str, bolt11: str) -> Task:
        """Take the invoice of an agent whose task is completed and not yet paid; the same again changes nothing.

        Raises:
            TaskStateError: nothing is owed to that agent for it.
        """
        with self._rows.store.read() as connection:
            task = self._rows.task(connection, task_id)
        self.check_invoice(task, bolt11)

        def run(connection: Connection) -> Task:
            task = self._rows.task(connection, task_id)
            if task.agent == agent and task.bolt11 == bolt11:
                return task
            if task.agent != agent or task.pay_state not in ("invoice", "failed"):
                message = f"no invoice of {agent} is wanted for the task {task_id}; its payment is {task.pay_state!r}"
                raise TaskStateError(message)
            return self._rows.set(
                connection, task, pay_state="due", bolt11=bolt11, fee_limit_msat=None, pay_at=self._rows.now_us(),
                pay_problem=None,
            )  # fmt: skip

        return self._rows.store.write(run)

    def pay_due(self) -> list[Task]:
        """Pay what is due, and look after what is under way; return the tasks that were."""
        query = "WHERE pay_state IN ('due', 'paying') AND pay_at <= ? ORDER BY pay_at LIMIT ?"
        with self._rows.store.read() as connection:
            due = self._rows.tasks(connection, query, (self._rows.now_us(), DUE))
        return [self._pay(task) for task in due]

    def _pay(self, task: Task) -> Task:
        try:
            ready = task if task.fee_limit_msat is not None else self._ready(task)
            paid = self._pays.pay(
                ready.bolt11 or "", fee_limit_msat=ready.fee_limit_msat, agent_id=task.payer, task_id=task.id,
                trace_id=task.trace_id, memo=f"swarm task {task.id}", idempotency_key=_key(ready, "pay"),
                wait_s=WAIT_S,
            )  # fmt: skip
        except (Bolt11Error, AlreadyPaidError) as error:
            # A payment that was booked as failed may have been found to be paid after all.
            before = self._found(task)
            if before is not None:
                return self._became(task, before)
            if isinstance(error, Bolt11Error):
                return self._anew(task, str(error), invoice=False)
            return self._end(task, "failed", str(error), None)
        except LedgerError as error:
            return self._later(task, str(error))
        except TaskStateError:
            return self._now(task)  # another process is at it
        return self._became(ready, paid)

    def _found(self, task: Task) -> Paid | None:
        """Return the payment of this task that is not failed, if there is one."""
        paid: Sequence[Paid] = self._pays.list(direction="out", task_id=task.id, limit=TRIES + 1).entries
        return next((one for one in paid if one.shown != "failed"), None)

    def _became(self, task: Task, paid: Paid) -> Task:
        if paid.shown == "settled":
            return self._end(task, "paid", None, paid.id)
        try:
            if paid.shown == "failed":
                return self._anew(task, paid.failure or "the node did not say why", payment_id=paid.id)
            return self._write(task, pay_state="paying", payment_id=paid.id, pay_at=self._at(0))
        except TaskStateError:
            return self._now(task)

    def _ready(self, task: Task) -> Task:
        """Have the invoice, and what its route may cost: what is in the task before the node is asked."""
        amount = task.bid_msat or 0
        bolt11 = task.bolt11
        if bolt11 is None:
            bolt11 = self._pays.create_invoice(
                amount_msat=amount, memo=f"swarm task {task.id}", source="swarm", agent_id=task.agent,
                task_id=task.id, trace_id=task.trace_id, idempotency_key=_key(task, "invoice"),
            ).bolt11  # fmt: skip
        limit = self._pays.decode(bolt11).fee_limit_msat or 0
        return self._write(task, bolt11=bolt11, fee_limit_msat=max(0, min(limit, task.budget_msat - amount)))

    # What became of it ---------------------------------------------------------------------------------------

    def _anew(self, task: Task, problem: str, payment_id: str | None = None, *, invoice: bool = True) -> Task:
        """Try again with another key; with another invoice only where nothing was ever paid on the one before."""
        if task.pay_tries + 1 >= TRIES:
            return self._end(task, "failed", problem, payment_id)
        fresh: dict[str, Any] = {} if invoice else {"bolt11": None, "fee_limit_msat": None}
        state = "due"
        if not invoice:
            with self._rows.store.read() as connection:
                agent = self._rows.agent(connection, task.agent or "")
            # Its own invoice is no good any more, and only the agent can bring another.
            state = "due" if agent.wallet == "home" else "invoice"
        return self._write(
            task, pay_state=state, pay_tries=task.pay_tries + 1, pay_problem=problem, payment_id=payment_id,
            pay_at=self._at(task.pay_tries) if state == "due" else None, **fresh,
        )  # fmt: skip

    def _later(self, task: Task, problem: str) -> Task:
        """Try the same again later: nothing was paid, or the ledger finds it again by its key."""
        _log.info("the task %s is not paid yet: %s", task.id, problem)
        now = self._now(task)
        if now.pay_state not in ("due", "paying"):
            return now
        return self._write(now, pay_problem=problem, pay_at=self._at(2))

    def _end(self, task: Task, state: str, problem: str | None, payment_id: str | None) -> Task:
        def run(connection: Connection) -> Task:
            now = self._rows.task(connection, task.id)
            if now.pay_state not in ("due", "paying"):
                return now  # another process was first, with the same payment
            ended = self._rows.set(
                connection, now, pay_state=state, pay_problem=problem, payment_id=payment_id, pay_at=None
            )
            if state == "failed":
                data = {
                    "kind": "payment", "message": f"{task.agent} is not paid for {task.title!r}: {problem}",
                    "link": f"/swarm/events?trace={task.trace_id}",
                }  # fmt: skip
                self._rows.tell(connection, "system.error", data, task=ended, agent_id=task.agent)
            return ended

        return self._rows.store.write(run)

    def _write(self, task: Task, **columns: Any) -> Task:
        return self._rows.store.write(partial(self._set, task=task, columns=columns))

    def _set(self, connection: Connection, *, task: Task, columns: dict[str, Any]) -> Task:
        now = self._rows.task(connection, task.id)
        if (now.pay_state, now.pay_tries) != (task.pay_state, task.pay_tries):
            message = f"the payment of the task {task.id} is {now.pay_state} by now"
            raise TaskStateError(message)
        return self._rows.set(connection, now, **columns)

    def _now(self, task: Task) -> Task:
        with self._rows.store.read() as connection:
            return self._rows.task(connection, task.id)

    def _at(self, tries: int) -> int:
        return self._rows.now_us() + AGAIN_S[min(tries, len(AGAIN_S) - 1)] * _US


def _key(task: Task, what: str) -> str:
    return f"swarm:{task.id}:{what}:{task.pay_tries}"
