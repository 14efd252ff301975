"""`kill -9` at every step of a walk, then reconcile: the book is that of the run without a crash."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from timmy_core.clock import SystemClock
from timmy_core.errors import AlreadyPaidError, NodeError
from timmy_core.testing import FakeNode

from .lightning import House

CRASHER = Path(__file__).with_name("crasher.py")
STEPS = 50  # more than the walk has
AT_ONCE = 2


class Later(SystemClock):
    """The time long after the crash, when what nobody knows is given up."""

    def __init__(self, later: timedelta) -> None:
        self.later = later

    def now(self) -> datetime:
        return super().now() + self.later


def prepare(folder: Path) -> None:
    """Have the neighbour ask for what is to be paid, before anything is counted."""
    folder.mkdir(parents=True)

    async def ask() -> list[str]:
        node = FakeNode(folder / "fake.jsonl", SystemClock(), opening_msat=10_000_000)
        return [await node.neighbour_invoice(amount_msat=amount, memo="b", expiry_s=3600) for amount in (50_000, 7_000)]

    (folder / "asked").write_text(" ".join(asyncio.run(ask())))


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[str, Path]]:
    """Return where each walk was cut off: its number -> (the step, its home); the last ones came to their end."""
    root = tmp_path_factory.mktemp("crashes")
    for number in range(STEPS):
        prepare(root / str(number))
    share = STEPS // AT_ONCE
    started = [
        subprocess.Popen(
            [sys.executable, CRASHER, root, str(first), str(first + share)], stdout=subprocess.PIPE, text=True
        )
        for first in range(0, STEPS, share)
    ]
    lines = [line for process in started for line in process.communicate()[0].splitlines()]
    named = [line.partition(" ") for line in lines]
    return {int(number): (name, root / number) for number, _, name in named}


@dataclass(frozen=True)
class Facts:
    """What has to be the same after a crash, as far as the walk had come."""

    entries: list[tuple[str, str, int]]
    sums_msat: tuple[int, ...]


def facts(house: House) -> Facts:
    balance = house.ledger.balance()
    entries = [(one.direction, one.status, one.amount_msat) for one in house.payments.list().entries]
    sums = (balance.posted_msat, balance.pending_incoming_msat, balance.pending_outgoing_msat,
            balance.incoming_total_msat, balance.outgoing_total_msat, balance.fees_paid_msat)  # fmt: skip
    return Facts(sorted(entries, key=lambda one: (one[0], one[2])), sums)


def finish(folder: Path) -> Facts:
    """Reconcile after the crash, long after, and check that book and node agree in every entry."""
    with House(folder, Later(timedelta(days=3))) as house:
        house.payments.reconcile(dry_run=False, by="test")
        again = house.payments.reconcile(dry_run=False, by="test")
        assert (again.applied, again.residue_msat) == (0, 0)
        house.agrees()
        assert house.ledger.pending() == []
        assert house.ledger.open_intents() == []
        assert house.payments.open_findings() == 0
        agree_in_every_entry(house)
        return facts(house)


def agree_in_every_entry(house: House) -> None:
    invoices = {one.payment_hash: one for one in house.do(house.node.list_invoices()).items}
    payments = {one.payment_hash: one for one in house.do(house.node.list_payments()).items}
    entries = house.payments.list(limit=500).entries
    for entry in entries:
        if entry.direction == "in":
            assert entry.status == invoices[entry.payment_hash].state
        else:
            seen = payments.get(entry.payment_hash)
            assert entry.status == ("failed" if seen is None else seen.state)
    known = {(entry.direction, entry.payment_hash) for entry in entries}
    assert {("in", one) for one in invoices} | {("out", one) for one in payments} <= known


def test_the_walk_has_an_end_and_every_step_before_it_was_a_crash(crashed: dict[int, tuple[str, Path]]) -> None:
    names = [crashed[number][0] for number in sorted(crashed)]
    assert sorted(crashed) == list(range(STEPS))
    assert "end" in names, "the walk has more steps than are tried"
    ends = names.index("end")
    assert set(names[ends:]) == {"end"}
    for name in ("before begin_payment", "after begin_payment", "pay:asked", "pay:done", "after settle_payment",
                 "create_invoice:done", "after record_invoice", "before settle_invoice"):  # fmt: skip
        assert name in names[:ends]


def test_after_a_crash_at_any_step_and_reconciling_the_book_is_what_the_node_did(
    crashed: dict[int, tuple[str, Path]], tmp_path: Path
) -> None:
    for number in sorted(crashed):
        name, folder = crashed[number]
        try:
            finish(shutil.copytree(folder, tmp_path / str(number)))
        except AssertionError as error:
            error.add_note(f"the process died at step {number}, {name}")
            raise


def test_asking_again_with_the_same_keys_after_a_crash_does_nothing_twice(
    crashed: dict[int, tuple[str, Path]], tmp_path: Path
) -> None:
    """Ask again as a client does that never got its answer; what was never sent may fail, and all else is the same."""
    whole = finish(shutil.copytree(crashed[STEPS - 1][1], tmp_path / "whole"))
    for number in range(0, STEPS, 5):
        name, folder = crashed[number]
        rerun(again := shutil.copytree(folder, tmp_path / str(number)))
        try:
            found = finish(again)
            assert [(way, amount) for way, _, amount in found.entries] == [
                (way, amount) for way, _, amount in whole.entries
            ]
            never_sent = "mark_in_flight" in name or name in {"after begin_payment", "pay:asked"}
            assert never_sent or found == whole
        except AssertionError as error:
            error.add_note(f"the process died at step {number}, {name}")
            raise


def rerun(folder: Path) -> None:
    """Do the walk anew in this process, with the same keys, as far as they allow."""
    bolt11, dear = (folder / "asked").read_text().split()
    with House(folder, SystemClock()) as house:
        made = house.payments.create_invoice(amount_msat=30_000, memo="m", agent_id="echo", idempotency_key="in")
        if house.payments.check(made).status == "open":
            house.do(house.node.neighbour_pays(made.payment_hash))
        house.payments.check(made)
        for text, options in ((bolt11, {"idempotency_key": "out", "agent_id": "echo"}),
                              (dear, {"idempotency_key": "dear", "fee_limit_msat": 0})):  # fmt: skip
            house.payments.pay(text, wait_s=0.2, **options)  # type: ignore[arg-type]
        own = house.payments.create_invoice(amount_msat=4_000, memo="self", idempotency_key="again")
        try:
            house.payments.pay(own.bolt11, wait_s=5, idempotency_key="self")
        except (AlreadyPaidError, NodeError) as error:
            pytest.fail(str(error))
