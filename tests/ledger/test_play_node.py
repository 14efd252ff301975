"""The play node: the rules of a real one, in a file that survives everything, shared by processes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from timmy_core.errors import NodeError
from timmy_core.ledger.bolt11 import decode, encode
from timmy_core.ledger.node import MAX_PAGE, NodeEvent
from timmy_core.ledger.nodes import open_node, play_path
from timmy_core.ledger.nodes.play import PlayNode, play_fee_msat
from timmy_core.settings_ledger import default_nodes
from timmy_core.testing import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nodes" / "play.jsonl"


@pytest.fixture
def node(path: Path, clock: FakeClock) -> PlayNode:
    return PlayNode("play", path, clock, opening_msat=1_000_000, look_s=0.005)


async def pay(node: PlayNode, bolt11: str, fee_limit_msat: int = 10_000, amount_msat: int | None = None):
    return await node.pay(bolt11, amount_msat=amount_msat, fee_limit_msat=fee_limit_msat, timeout_s=1)


def written(path: Path) -> tuple[list[str], int]:
    """Return what the lines of the file tell of first, and who may read it."""
    return [json.loads(line)[0]["op"] for line in path.read_text().splitlines()], path.stat().st_mode & 0o777


def damage(path: Path) -> None:
    path.write_text("[{]\n")


def start_of_last_line(path: Path) -> int:
    return path.read_bytes()[:-1].rfind(b"\n") + 1


def end_of(path: Path) -> int:
    return path.stat().st_size


async def test_its_invoice_is_a_signed_one_of_a_network_where_sats_are_worth_nothing(node: PlayNode) -> None:
    made = await node.create_invoice(amount_msat=21_000, memo="bread", expiry_s=600)
    read = decode(made.bolt11)
    assert (read.network, read.amount_msat, read.description) == ("regtest", 21_000, "bread")
    assert read.payment_hash.hex() == made.payment_hash
    assert (made.state, made.preimage, made.received_msat) == ("open", None, None)
    assert node.play


async def test_the_neighbour_pays_and_the_preimage_is_the_proof(node: PlayNode) -> None:
    made = await node.create_invoice(amount_msat=21_000, memo="", expiry_s=600)
    await node.neighbour_pays(made.payment_hash, amount_msat=22_000)
    paid = await node.find_invoice(made.payment_hash)
    assert paid is not None
    assert (paid.state, paid.received_msat) == ("settled", 22_000)
    assert hashlib.sha256(bytes.fromhex(paid.preimage or "")).hexdigest() == made.payment_hash
    assert (await node.balance()).spendable_msat == 1_022_000
    assert paid.preimage not in repr(paid)


async def test_paying_the_neighbour_costs_the_fee_and_brings_the_preimage(node: PlayNode) -> None:
    bolt11 = await node.neighbour_invoice(amount_msat=50_000)
    paid = await pay(node, bolt11)
    assert (paid.state, paid.fee_msat) == ("settled", play_fee_msat(50_000))
    assert hashlib.sha256(bytes.fromhex(paid.preimage or "")).digest() == decode(bolt11).payment_hash
    assert (await node.balance()).spendable_msat == 1_000_000 - 50_000 - play_fee_msat(50_000)
    assert await pay(node, bolt11) == paid, "the same invoice is paid once"


async def test_it_can_pay_itself_without_a_fee(node: PlayNode) -> None:
    made = await node.create_invoice(amount_msat=7_000, memo="", expiry_s=600)
    paid = await pay(node, made.bolt11, fee_limit_msat=0)
    own = await node.find_invoice(made.payment_hash)
    assert own is not None
    assert (paid.state, paid.fee_msat, own.state, own.received_msat) == ("settled", 0, "settled", 7_000)
    assert (await node.balance()).spendable_msat == 1_000_000


async def test_an_amountless_invoice_takes_the_payers_amount_and_no_other_does(node: PlayNode) -> None:
    without = await node.neighbour_invoice(amount_msat=None)
    assert (await pay(node, without, amount_msat=3_000)).amount_msat == 3_000
    with_one = await node.neighbour_invoice(amount_msat=3_000)
    with pytest.raises(NodeError, match="and for no other") as caught:
        await pay(node, with_one, amount_msat=3_000)
    assert caught.value.sure


@pytest.mark.parametrize(
    ("amount_msat", "fee_limit_msat", "reason"),
    [(5_000, 1_004, "fee limit"), (999_999, 100_000, "too few sats")],
)
async def test_what_cannot_be_paid_fails_and_holds_nothing(
    node: PlayNode, amount_msat: int, fee_limit_msat: int, reason: str
) -> None:
    bolt11 = await node.neighbour_invoice(amount_msat=amount_msat)
    failed = await pay(node, bolt11, fee_limit_msat)
    assert failed.state == "failed"
    assert reason in (failed.failure or "")
    balance = await node.balance()
    assert (balance.spendable_msat, balance.pending_out_msat) == (1_000_000, 0)
    if fee_limit_msat < 100_000:
        assert (await pay(node, bolt11)).state == "settled", "a failed one can be tried again"


async def test_an_invoice_of_a_stranger_or_of_another_network_is_not_paid(node: PlayNode, clock: FakeClock) -> None:
    facts = {
        "private_key": b"\1" * 32, "payment_hash": b"\2" * 32, "payment_secret": b"\3" * 32,
        "timestamp": clock.now(), "amount_msat": 1000, "description": "",
    }  # fmt: skip
    assert (await pay(node, encode(**facts, network="regtest"))).state == "failed"
    with pytest.raises(NodeError, match="of the network bitcoin") as caught:
        await pay(node, encode(**facts))
    assert (caught.value.kind, caught.value.sure) == ("rejected", True)


async def test_an_open_invoice_runs_out_and_only_a_late_payer_pays_it(node: PlayNode, clock: FakeClock) -> None:
    made = await node.create_invoice(amount_msat=1_000, memo="", expiry_s=60)
    clock.advance(60)
    expired = await node.find_invoice(made.payment_hash)
    assert expired is not None
    assert expired.state == "expired"
    with pytest.raises(NodeError, match="is expired"):
        await node.neighbour_pays(made.payment_hash)
    await node.neighbour_pays(made.payment_hash, late=True)
    assert (await node.list_invoices()).items[0].state == "settled"


async def test_what_it_knows_outlives_it_and_a_line_cut_by_a_kill_is_dropped(
    node: PlayNode, path: Path, clock: FakeClock
) -> None:
    made = await node.create_invoice(amount_msat=1_000, memo="", expiry_s=60)
    with path.open("ab") as file:
        file.write(b'[{"op":"received","hash":"' + made.payment_hash.encode())
    again = PlayNode("play", path, clock)
    assert await again.find_invoice(made.payment_hash) == made
    await again.neighbour_pays(made.payment_hash)
    assert (await node.balance()).spendable_msat == 1_001_000
    assert written(path) == (["opened", "invoiced", "received"], 0o600)


async def test_a_damaged_file_is_named_and_every_call_says_so(node: PlayNode, path: Path) -> None:
    await node.balance()
    damage(path)
    with pytest.raises(NodeError, match=r"play\.jsonl is damaged; move it away") as caught:
        await node.balance()
    assert caught.value.kind == "misconfigured"
    assert not (await node.health()).ok


async def test_a_file_that_cannot_be_used_is_no_certain_failure(tmp_path: Path, clock: FakeClock) -> None:
    (tmp_path / "nodes").write_text("a file where the folder should be")
    with pytest.raises(NodeError, match="cannot be used") as caught:
        await PlayNode("play", tmp_path / "nodes" / "play.jsonl", clock).balance()
    assert (caught.value.kind, caught.value.sure) == ("unreachable", False)


async def test_events_are_told_across_processes_and_again_from_a_cursor(
    node: PlayNode, path: Path, clock: FakeClock
) -> None:
    other = PlayNode("play", path, clock)
    made = await node.create_invoice(amount_msat=1_000, memo="", expiry_s=60)
    stream = node.events()
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.3)
    await other.neighbour_pays(made.payment_hash)
    told = await first
    assert (told.kind, told.hash) == ("invoice", made.payment_hash)
    own = await node.create_invoice(amount_msat=2_000, memo="", expiry_s=60)
    await pay(other, own.bolt11)
    assert [await anext(stream), await anext(stream)] == [
        NodeEvent("payment", own.payment_hash, str(start_of_last_line(path))),
        NodeEvent("invoice", own.payment_hash, str(end_of(path))),
    ]
    await stream.aclose()
    again = node.events("0")
    assert [(await anext(again)).kind for _ in range(3)] == ["invoice", "payment", "invoice"]
    await again.aclose()


async def test_lists_come_oldest_first_in_pages_and_since_a_moment(node: PlayNode, clock: FakeClock) -> None:
    made = []
    for _ in range(MAX_PAGE + 1):
        made.append((await node.create_invoice(amount_msat=1, memo="", expiry_s=60)).payment_hash)
        clock.advance(0.001)
    first = await node.list_invoices()
    assert first.cursor is not None
    rest = await node.list_invoices(cursor=first.cursor)
    assert [row.payment_hash for row in (*first.items, *rest.items)] == made
    assert rest.cursor is None
    assert [row.payment_hash for row in (await node.list_invoices(since=rest.items[0].created_at)).items] == made[-1:]


async def test_a_home_without_nodes_has_one_that_plays(tmp_path: Path, clock: FakeClock) -> None:
    node = open_node(default_nodes()[0], tmp_path, clock)
    assert (node.name, node.kind, node.network, node.play) == ("play", "play", "regtest", True)
    assert not play_path(tmp_path, "play").exists(), "opening a node does nothing yet"
    assert (await node.balance()).spendable_msat == 100_000_000
    health = await node.health()
    assert health.ok
    assert "worth nothing" in health.message
    await node.close()
