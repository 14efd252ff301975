"""The fake node: each way to go wrong is what it says, and what it knows survives a kill."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from timmy_core.errors import NodeError
from timmy_core.testing import NODE_FAULTS, FakeClock, FakeNode


@pytest.fixture
def node(tmp_path: Path, clock: FakeClock) -> FakeNode:
    return FakeNode(tmp_path / "node.jsonl", clock)


async def pay(node: FakeNode, bolt11: str):
    return await node.pay(bolt11, amount_msat=None, fee_limit_msat=10_000, timeout_s=1)


@pytest.mark.parametrize("kind", NODE_FAULTS)
async def test_a_fault_says_whether_it_is_sure_and_does_what_it_says(node: FakeNode, kind: str) -> None:
    bolt11 = await node.neighbour_invoice(amount_msat=5_000)
    node.misbehave("pay", kind)
    sure = None
    try:
        await pay(node, bolt11)
    except NodeError as error:
        sure = error.sure
    page = await node.list_payments()
    was_done = kind in ("lost_answer", "server_error", "slow")
    assert len(page.items) == was_done
    assert sure == {"unreachable": True, "refused": True, "slow": None}.get(kind, False)
    assert (await pay(node, bolt11)).state == "settled", "the fault was for one call"


async def test_a_held_payment_stays_in_flight_until_it_is_released(node: FakeNode) -> None:
    node.hold_payments = True
    held = await pay(node, await node.neighbour_invoice(amount_msat=5_000))
    own = await node.create_invoice(amount_msat=5_000, memo="", expiry_s=60)
    assert (held.state, (await pay(node, own.bolt11)).state) == ("in_flight", "in_flight")
    assert (await node.balance()).pending_out_msat > 0
    await node.release(held.payment_hash, failure="no route")
    await node.release(own.payment_hash)
    await node.release(own.payment_hash)
    states = [row.state for row in (await node.list_payments()).items]
    assert states == ["failed", "settled"]
    assert (await node.balance()).spendable_msat == 100_000_000


async def test_events_are_repeated_or_lost_and_break_with_the_node(node: FakeNode) -> None:
    node.repeat_events = 2
    made = await node.create_invoice(amount_msat=5_000, memo="", expiry_s=60)
    await node.accept(made.payment_hash)
    stream = node.events("0")
    assert await anext(stream) == await anext(stream)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.03)
    node.stop()
    with pytest.raises(NodeError, match="stopped"):
        await waiting
    with pytest.raises(NodeError, match="stopped"):
        await node.find_invoice(made.payment_hash)
    assert not (await node.health()).ok
    node.start()
    found = await node.find_invoice(made.payment_hash)
    assert found is not None
    assert (found.state, found.received_msat) == ("accepted", 5_000)


async def test_it_cancels_forgets_and_moves_sats_that_nobody_is_told_of(node: FakeNode) -> None:
    made = await node.create_invoice(amount_msat=5_000, memo="", expiry_s=60)
    await node.cancel(made.payment_hash)
    assert [row.state for row in (await node.list_invoices()).items] == ["canceled"]
    await node.forget(made.payment_hash)
    assert await node.find_invoice(made.payment_hash) is None
    await node.adjust(-1_234)
    assert (await node.balance()).spendable_msat == 100_000_000 - 1_234


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from timmy_core.clock import SystemClock
from timmy_core.testing import FakeNode

def step(name):
    if name == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    node = FakeNode(Path(sys.argv[1]), SystemClock(), on_step=step)
    bolt11 = await node.neighbour_invoice(amount_msat=5_000)
    await node.pay(bolt11, amount_msat=None, fee_limit_msat=10_000, timeout_s=1)

asyncio.run(main())
"""


@pytest.mark.parametrize(("step", "paid"), [("pay:asked", 0), ("pay:done", 1)])
async def test_a_kill_before_the_work_leaves_nothing_and_one_after_it_all(
    tmp_path: Path, clock: FakeClock, step: str, paid: int
) -> None:
    path = tmp_path / "node.jsonl"
    command = [sys.executable, "-c", CHILD, str(path), step]
    child = await asyncio.to_thread(subprocess.run, command, check=False)
    assert child.returncode == -9
    assert len((await FakeNode(path, clock).list_payments()).items) == paid
