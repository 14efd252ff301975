"""A lightning room of its own for a test: a book, a node that goes wrong when told to, and a loop."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.waiting import until
from timmy_core.clock import Clock
from timmy_core.events.log import EventLog
from timmy_core.ledger.bolt11 import decode
from timmy_core.ledger.build import LightningRoom
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Entry, Invoice, Payment
from timmy_core.ledger.payments import PaymentHandler
from timmy_core.loop import LoopThread
from timmy_core.settings import Settings
from timmy_core.store.engine import Store
from timmy_core.testing import FakeNode

T = TypeVar("T")


class House:
    """Everything of one home that moves sats; closed by whoever opened it."""

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        names: Sequence[str] = ("fake",),
        ledger: dict[str, Any] | None = None,
        on_step: Callable[[str], None] | None = None,
        opening_msat: int = 10_000_000,
    ) -> None:
        self.clock = clock
        self.store = Store.open(folder / "timmy.db")
        self.events = EventLog(self.store, clock)
        self.loop = LoopThread("test-loop")
        self.all = [
            FakeNode(folder / f"{name}.jsonl", clock, name=name, opening_msat=opening_msat, on_step=on_step)
            for name in names
        ]
        settings = Settings.model_validate({"home": folder, "providers": (), "ledger": ledger or {}})
        self.room = LightningRoom(
            settings, store=self.store, events=self.events, loop=self.loop, clock=clock, nodes=self.all
        )

    @property
    def node(self) -> FakeNode:
        return self.all[0]

    @property
    def ledger(self) -> Ledger:
        return self.room.ledger

    @property
    def payments(self) -> PaymentHandler:
        return self.room.payments

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(work)

    def asked(self, amount_msat: int | None = 100_000, memo: str = "bread", **options: Any) -> str:
        """Return an invoice of the neighbour's."""
        return self.do(self.node.neighbour_invoice(amount_msat=amount_msat, memo=memo, **options))

    def made(self, amount_msat: int = 50_000, **options: Any) -> Invoice:
        return self.payments.create_invoice(amount_msat=amount_msat, **options)

    def hash_of(self, bolt11: str) -> str:
        return decode(bolt11).payment_hash.hex()

    def held_payment(self, bolt11: str) -> Payment:
        """Pay, and return once the node has it and holds it."""
        self.node.hold_payments = True
        paid = self.payments.pay(bolt11, wait_s=0)
        until(lambda: self.do(self.node.find_payment(paid.payment_hash)) is not None)
        until(lambda: self.payment(bolt11).status == "in_flight")
        return self.payment(bolt11)

    def lost_payment(self, bolt11: str, **options: Any) -> Payment:
        """Pay with a call that never reaches the node, and return once that is noted."""
        self.node.misbehave("pay", "lost_request")
        paid = self.payments.pay(bolt11, wait_s=0, **options)
        until(lambda: bool(self.ledger.attempts(paid.id)[-1].notes))
        return self.payment(bolt11)

    def payment(self, bolt11: str) -> Payment:
        found = self.ledger.find_payment(self.node.name, self.hash_of(bolt11))
        assert found is not None
        return found

    def invoice(self, payment_hash: str) -> Invoice:
        found = self.ledger.find_invoice(self.node.name, payment_hash)
        assert found is not None
        return found

    def types(self, *families: str) -> list[str]:
        """Return the types of the events of these families, oldest first."""
        events = self.events.list(limit=1000, order="asc")
        return [event.type for event in events if event.family in families]

    def held_msat(self, node: FakeNode | None = None) -> int:
        """Return all that the node holds, also what is under way."""
        balance = self.do((node or self.node).balance())
        return balance.spendable_msat + balance.pending_out_msat

    def agrees(self) -> None:
        """Check that the book holds, and that it says what each node says."""
        verified = self.ledger.verify()
        assert verified.ok, verified.problem
        for node in self.all:
            assert self.ledger.balance(node.name).posted_msat == self.held_msat(node)

    def close(self) -> None:
        self.room.close()
        self.loop.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ended(entries: Sequence[Entry]) -> list[tuple[str, str, int]]:
    """Return what became of entries, to be compared."""
    return sorted((entry.direction, entry.status, entry.amount_msat) for entry in entries)
