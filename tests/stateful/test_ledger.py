"""The ledger beside plain dictionaries: whatever people, agents and nodes do, in any order and however often."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from timmy_core.errors import (
    AlreadyPaidError,
    BudgetExceededError,
    EntryStateError,
    HoldExceededError,
    InsufficientFundsError,
    PreimageError,
)
from timmy_core.events.log import EventLog
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Balance
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock

NODES = ("home", "second")
AGENTS = ("echo", "mira", None)
LIMIT = 90_000
START = datetime(2026, 11, 29, 22, tzinfo=UTC)


def preimage(number: int) -> str:
    return hashlib.sha256(f"machine {number}".encode()).hexdigest()


def hash_of(number: int) -> str:
    return hashlib.sha256(bytes.fromhex(preimage(number))).hexdigest()


@dataclass(frozen=True)
class Bill:
    """What the ledger reads of somebody's decoded invoice."""

    number: int
    amount_msat: int | None
    expires_at: datetime = START + timedelta(days=1)
    description: str | None = None
    payee: bytes = b"\x03" * 33

    @property
    def text(self) -> str:
        return f"lnbcrt{self.number}x{self.amount_msat}"

    @property
    def payment_hash(self) -> bytes:
        return bytes.fromhex(hash_of(self.number))


@dataclass
class In:
    """An invoice as the model has it."""

    node: str
    amount: int
    state: str = "open"
    received: int = 0


@dataclass
class Out:
    """A payment as the model has it."""

    node: str
    agent: str | None
    amount: int
    fee_limit: int
    day: str
    state: str = "pending"
    spent: int = 0
    fee: int = 0


def figures(balance: Balance) -> tuple[int, int, int, int, int, int]:
    return (
        balance.incoming_total_msat, balance.outgoing_total_msat, balance.fees_paid_msat, balance.pending_incoming_msat,
        balance.pending_outgoing_msat, balance.available_msat,
    )  # fmt: skip


class Machine(RuleBasedStateMachine):
    """Invoices and payments come, go, fail, come late and come again."""

    invoices = Bundle("invoices")
    payments = Bundle("payments")

    @initialize(opening=st.integers(0, 300_000))
    def open(self, opening: int) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock(START)
        self.store = Store.open(Path(self.folder.name) / "timmy.db")
        self.events = EventLog(self.store, self.clock)
        self.ledger = Ledger(self.store, self.events, self.clock, {"echo": {"day": LIMIT}})
        self.funds = dict.fromkeys(NODES, 0)
        self.ins: dict[int, In] = {}
        self.outs: dict[int, Out] = {}
        self.past: list[tuple[datetime, tuple[int, ...]]] = []
        self.number = 0
        self.ledger.opening(NODES[0], opening)
        self.funds[NODES[0]] = opening

    def teardown(self) -> None:
        if hasattr(self, "store"):
            assert self.ledger.verify().ok
            for moment, seen in self.past[-6:]:
                assert figures(self.ledger.balance(as_of=moment)) == seen
            self.store.close()
            self.folder.cleanup()

    def available(self, node: str) -> int:
        held = sum(
            one.amount + one.fee_limit for one in self.outs.values() if (one.node, one.state) == (node, "pending")
        )
        return self.funds[node] - held

    def today(self) -> str:
        return f"{self.clock.now():%Y-%m-%d}"

    # In -------------------------------------------------------------------------------------------------------

    @rule(target=invoices, node=st.sampled_from(NODES), amount=st.integers(0, 60_000), agent=st.sampled_from(AGENTS))
    def record(self, node: str, amount: int, agent: str | None) -> int:
        self.number += 1
        self._record(self.number, node, amount, agent)
        self.ins[self.number] = In(node, amount)
        return self.number

    def _record(self, number: int, node: str, amount: int, agent: str | None = None) -> None:
        self.ledger.record_invoice(
            node=node, payment_hash=hash_of(number), bolt11=f"i{number}", amount_msat=amount, source="machine",
            agent_id=agent, expires_at=START + timedelta(days=1),
        )  # fmt: skip

    @rule(number=invoices)
    def record_again(self, number: int) -> None:
        self._record(number, self.ins[number].node, self.ins[number].amount)

    @rule(number=invoices, received=st.integers(1, 80_000), told=st.booleans(), times=st.integers(1, 2))
    def settle_in(self, number: int, received: int, told: bool, times: int) -> None:
        one = self.ins[number]
        for _ in range(times):
            try:
                self.ledger.settle_invoice(
                    one.node, hash_of(number), received_msat=received, settled_at=self.clock.now(),
                    preimage=preimage(number) if told else None, proof="machine",
                )  # fmt: skip
            except EntryStateError:
                assert one.state == "canceled"
                return
            if one.state != "settled":
                one.state, one.received = "settled", received
                self.funds[one.node] += received

    @rule(number=invoices, word=st.sampled_from(["accept", "cancel", "expire"]))
    def node_says(self, number: int, word: str) -> None:
        one = self.ins[number]
        getattr(self.ledger, f"{word}_invoice")(one.node, hash_of(number))
        if one.state in {"open", "accepted"}:
            one.state = {"accept": "accepted", "cancel": "canceled", "expire": "expired"}[word]

    # Out ------------------------------------------------------------------------------------------------------

    @rule(
        target=payments, node=st.sampled_from(NODES), amount=st.integers(1, 60_000), fee=st.integers(0, 3_000),
        agent=st.sampled_from(AGENTS),
    )  # fmt: skip
    def begin(self, node: str, amount: int, fee: int, agent: str | None) -> int:
        self.number += 1
        self._begin(1_000_000 + self.number, Out(node, agent, amount, fee, self.today()))
        return 1_000_000 + self.number

    @rule(number=payments)
    def begin_again(self, number: int) -> None:
        if number in self.outs:
            one = self.outs[number]
            self._begin(number, Out(one.node, one.agent, one.amount, one.fee_limit, self.today()))

    def _begin(self, number: int, new: Out) -> None:
        wanted = new.amount + new.fee_limit
        try:
            self.ledger.begin_payment(
                new.node, Bill(number, new.amount), None, new.fee_limit, agent_id=new.agent
            )  # fmt: skip
        except InsufficientFundsError:
            assert wanted > self.available(new.node)
        except BudgetExceededError:
            assert wanted > LIMIT - self.spending(new.day)
        except AlreadyPaidError:
            assert self.outs[number].state in {"pending", "settled"}
        else:
            assert number not in self.outs or self.outs[number].state == "failed"
            self.outs[number] = new

    def spending(self, day: str) -> int:
        return sum(
            one.amount + one.fee_limit if one.state == "pending" else one.spent + one.fee
            for one in self.outs.values()
            if (one.agent, one.day) == ("echo", day) and one.state != "failed"
        )

    @rule(number=payments, share=st.floats(0, 1), times=st.integers(1, 2))
    def settle_out(self, number: int, share: float, times: int) -> None:
        one = self.outs.get(number)
        if one is None:
            return
        fee = int(one.fee_limit * share)
        for _ in range(times):
            try:
                self.ledger.settle_payment(
                    one.node, hash_of(number), amount_msat=one.amount, fee_msat=fee, preimage=preimage(number),
                    proof="machine",
                )  # fmt: skip
            except EntryStateError:
                assert one.state == "failed"
                return
            if one.state == "pending":
                self._spent(one, fee)

    def _spent(self, one: Out, fee: int) -> None:
        one.state, one.spent, one.fee = "settled", one.amount, fee
        self.funds[one.node] -= one.spent + one.fee

    @rule(number=payments)
    def settle_wrongly(self, number: int) -> None:
        one = self.outs.get(number)
        if one is None or one.state != "pending":
            return
        for amount, proof, error in (
            (one.amount, 0, PreimageError),
            (one.amount + one.fee_limit + 1, number, HoldExceededError),
        ):
            try:
                self.ledger.settle_payment(
                    one.node, hash_of(number), amount_msat=amount, fee_msat=0, preimage=preimage(proof), proof="machine"
                )
            except error:
                continue
            raise AssertionError(error)

    @rule(number=payments, sure=st.booleans())
    def fail(self, number: int, sure: bool) -> None:
        one = self.outs.get(number)
        if one is not None:
            self.ledger.fail_payment(one.node, hash_of(number), reason="no route", sure=sure)
            if one.state == "pending" and sure:
                one.state = "failed"

    @rule(number=payments)
    def reconcile_failed(self, number: int) -> None:
        one = self.outs.get(number)
        if one is None or one.state != "failed":
            return
        missing = max(0, one.amount - self.available(one.node))
        self.ledger.settle_failed(
            one.node, hash_of(number), amount_msat=one.amount, fee_msat=0, preimage=preimage(number), proof="reconcile"
        )
        self.funds[one.node] += missing
        self._spent(one, 0)

    # Time, and what always holds ------------------------------------------------------------------------------

    @rule(hours=st.integers(0, 30))
    def wait(self, hours: int) -> None:
        self.past.append((self.clock.now(), figures(self.ledger.balance())))
        self.clock.advance(hours * 3600 + 1)
        self.ledger.expire_due()
        if self.clock.now() >= START + timedelta(days=1):
            for one in self.ins.values():
                if one.state == "open":
                    one.state = "expired"

    @rule()
    def reopen(self) -> None:
        self.ledger = Ledger(self.store, self.events, self.clock, {"echo": {"day": LIMIT}})

    @invariant()
    def balances_are_those_of_the_model(self) -> None:
        if not hasattr(self, "store"):
            return
        waiting = sum(one.amount for one in self.ins.values() if one.state in {"open", "accepted"})
        leaving = sum(one.amount + one.fee_limit for one in self.outs.values() if one.state == "pending")
        assert figures(self.ledger.balance()) == (
            sum(one.received for one in self.ins.values()), sum(one.spent for one in self.outs.values()),
            sum(one.fee for one in self.outs.values()), waiting, leaving, sum(map(self.available, NODES)),
        )  # fmt: skip
        for node in NODES:
            assert self.ledger.balance(node).available_msat == self.available(node) >= 0

    @invariant()
    def debits_are_credits(self) -> None:
        if hasattr(self, "store"):
            accounts = self.ledger.accounts()
            for side in ("posted", "pending"):
                debits = sum(getattr(one, f"{side}_debits_msat") for one in accounts)
                assert debits == sum(getattr(one, f"{side}_credits_msat") for one in accounts)

    @invariant()
    def the_budget_stands_as_the_model_says(self) -> None:
        if hasattr(self, "store"):
            (budget,) = self.ledger.budgets()
            assert budget.spent_msat + budget.held_msat == self.spending(self.today())


Machine.TestCase.settings = hypothesis_settings(max_examples=20, stateful_step_count=30, deadline=None)
TestLedger = Machine.TestCase
