"""LNbits itself: two real servers, the second of which pays through the first."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from timmy_core.clock import SystemClock
from timmy_core.errors import NodeError
from timmy_core.ledger.bolt11 import encode
from timmy_core.ledger.node import NodePayment
from timmy_core.ledger.nodes.lnbits import LNbitsNode

from .peer import LNbits, Tunnel, Wallet, node_settings

pytestmark = pytest.mark.slow


@pytest.fixture
def alice(branch: LNbits) -> Wallet:
    return branch.wallet("alice", 100_000)


@pytest.fixture
async def node(branch: LNbits, alice: Wallet) -> AsyncIterator[LNbitsNode]:
    made = LNbitsNode(node_settings(branch, alice), SystemClock())
    yield made
    await made.close()


async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(work, *arguments)


async def pay(node: LNbitsNode, bolt11: str, fee_limit_msat: int = 20_000, timeout_s: float = 20) -> NodePayment:
    return await node.pay(bolt11, amount_msat=None, fee_limit_msat=fee_limit_msat, timeout_s=timeout_s)


async def settled(node: LNbitsNode, payment_hash: str) -> NodePayment:
    """Look a payment up until it is settled; a server that just came back may leave a look without an answer."""
    found = None
    async with asyncio.timeout(90):
        while found is None or found.state != "settled":
            with contextlib.suppress(NodeError):
                found = await node.find_payment(payment_hash)
            await asyncio.sleep(0.1)
    return found


def is_proof(preimage: str | None, payment_hash: str) -> bool:
    return hashlib.sha256(bytes.fromhex(preimage or "")).hexdigest() == payment_hash


async def test_it_is_well_with_its_keys_and_says_what_is_wrong_without(
    node: LNbitsNode, branch: LNbits, alice: Wallet
) -> None:
    health = await node.health()
    assert (health.ok, health.message, health.alias) == (True, "it answers", "alice")
    for keys, words in (
        ({"admin_key": None}, "without an admin_key it cannot pay"),
        ({"admin_key": alice.invoice_key}, "reads but cannot pay"),
        ({"invoice_key": "0" * 32, "admin_key": None}, "the keys are of a wallet there"),
        ({"invoice_key": None, "admin_key": None}, "has no invoice_key"),
        ({"url": "http://127.0.0.1:1"}, "see that it runs"),
        ({"unset_variables": ("MY_KEY",)}, "MY_KEY, which is not set"),
    ):
        other = LNbitsNode(node_settings(branch, alice, **keys), SystemClock())
        found = await other.health()
        assert found.ok is ("without an admin_key" in words)
        assert words in found.message
        assert not any(key in found.message for key in (alice.admin_key, alice.invoice_key))
        await other.close()


async def test_an_invoice_is_made_found_and_paid_and_only_then_tells_its_preimage(
    node: LNbitsNode, branch: LNbits, alice: Wallet
) -> None:
    made = await node.create_invoice(amount_msat=21_000, memo="bread", expiry_s=600)
    assert (made.amount_msat, made.memo, made.state, made.preimage) == (21_000, "bread", "open", None)
    assert await node.find_invoice(made.payment_hash) == made
    payer = await in_thread(branch.wallet, "payer", 100)
    await in_thread(branch.pay, payer, made.bolt11)
    paid = await node.find_invoice(made.payment_hash)
    assert paid is not None
    assert (paid.state, paid.received_msat) == ("settled", 21_000)
    assert is_proof(paid.preimage, made.payment_hash)
    assert (await node.balance()).spendable_msat == 100_021_000
    assert made.payment_hash in [row.payment_hash for row in (await node.list_invoices(since=made.created_at)).items]
    assert await node.find_payment(made.payment_hash) is None


async def test_what_it_cannot_make_is_refused_before_it_is_asked(node: LNbitsNode) -> None:
    for amount_msat, memo in ((21_001, ""), (21_000, "m" * 641)):
        with pytest.raises(NodeError) as caught:
            await node.create_invoice(amount_msat=amount_msat, memo=memo, expiry_s=60)
        assert (caught.value.kind, caught.value.sure) == ("rejected", True)


async def test_an_external_payment_costs_a_fee_and_the_balance_falls_by_both(
    node: LNbitsNode, hub: LNbits, shop: Wallet
) -> None:
    made = await in_thread(hub.make_invoice, shop, 1000)
    paid = await pay(node, made["bolt11"])
    assert (paid.state, paid.amount_msat, paid.fee_msat) == ("settled", 1_000_000, 5_000)
    assert is_proof(paid.preimage, made["payment_hash"])
    assert (await node.balance()).spendable_msat == 100_000_000 - 1_005_000
    assert await pay(node, made["bolt11"]) == paid, "the same invoice is paid once"
    assert (await node.balance()).spendable_msat == 100_000_000 - 1_005_000
    assert [row for row in (await node.list_payments()).items if row.payment_hash == paid.payment_hash] == [paid]


async def test_a_payment_whose_reserve_exceeds_the_fee_limit_is_not_begun(
    node: LNbitsNode, hub: LNbits, shop: Wallet
) -> None:
    made = await in_thread(hub.make_invoice, shop, 1000)
    with pytest.raises(NodeError, match="more than the limit of 9999") as caught:
        await pay(node, made["bolt11"], fee_limit_msat=9_999)
    assert (caught.value.kind, caught.value.sure) == ("rejected", True)
    assert await node.find_payment(made["payment_hash"]) is None


async def test_too_few_sats_is_a_certain_refusal(node: LNbitsNode, hub: LNbits, shop: Wallet) -> None:
    made = await in_thread(hub.make_invoice, shop, 100_000)
    with pytest.raises(NodeError, match="You must reserve") as caught:
        await pay(node, made["bolt11"], fee_limit_msat=10_000_000)
    assert (caught.value.kind, caught.value.sure) == ("rejected", True)


async def test_a_payment_that_failed_is_failed_also_where_the_answer_is_201(hub: LNbits) -> None:
    wallet = await in_thread(hub.wallet, "unlucky", 1_000)
    node = LNbitsNode(node_settings(hub, wallet), SystemClock())
    preimage = b"\7" * 32
    stranger = encode(
        private_key=b"\1" * 32, payment_hash=hashlib.sha256(preimage).digest(), payment_secret=b"\2" * 32,
        timestamp=SystemClock().now(), amount_msat=5_000, description="",
    )  # fmt: skip
    first = await pay(node, stranger)
    assert (first.state, first.fee_msat, first.preimage) == ("failed", None, None)
    assert "Only internal invoices" in (first.failure or "")
    raw = await in_thread(hub.pay, wallet, stranger)
    assert raw["status"] == "failed", "this peer answers 201 to it"
    second = await pay(node, stranger)
    assert second.state == "failed"
    assert [row.state for row in (await node.list_payments()).items] == ["failed"]
    balance = await node.balance()
    assert (balance.spendable_msat, balance.pending_out_msat) == (1_000_000, 0)
    await node.close()


async def test_one_wallet_pays_itself(node: LNbitsNode) -> None:
    made = await node.create_invoice(amount_msat=9_000, memo="", expiry_s=600)
    paid = await pay(node, made.bolt11)
    own = await node.find_invoice(made.payment_hash)
    assert own is not None
    assert (paid.state, paid.amount_msat, own.state, own.received_msat) == ("settled", 9_000, "settled", 9_000)
    assert (await node.balance()).spendable_msat == 100_000_000


async def test_a_payment_into_a_frozen_node_stays_pending_and_settles_exactly_once(
    node: LNbitsNode, branch: LNbits, alice: Wallet, hub: LNbits, shop: Wallet, line: Tunnel
) -> None:
    made = await in_thread(hub.make_invoice, shop, 700)
    payment_hash = made["payment_hash"]
    looker = LNbitsNode(node_settings(branch, alice, timeout_s=2), SystemClock())
    line.cut()
    hub.freeze()
    try:
        paying = asyncio.ensure_future(pay(node, made["bolt11"], timeout_s=90))
        await asyncio.sleep(3)
        assert not paying.done()
        # LNbits shows nobody anything while it waits for what is behind it.
        with pytest.raises(NodeError) as caught:
            await looker.find_payment(payment_hash)
        assert (caught.value.kind, caught.value.sure) == ("timeout", False)
    finally:
        hub.thaw()
        await looker.close()
    # What wakes up slowly is still pending in the answer, and a later look settles it.
    assert (await paying).state in ("in_flight", "settled")
    paid = await settled(node, payment_hash)
    assert (paid.amount_msat, paid.fee_msat) == (700_000, 3_500)
    assert is_proof(paid.preimage, payment_hash)
    assert await pay(node, made["bolt11"]) == paid
    balance = await node.balance()
    assert (balance.spendable_msat, balance.pending_out_msat) == (100_000_000 - 703_500, 0)
    assert [row for row in (await node.list_payments()).items if row.payment_hash == payment_hash] == [paid]


async def test_a_payment_that_lnbits_calls_pending_is_in_flight_with_its_reserve_aside(
    node: LNbitsNode, branch: LNbits, hub: LNbits, shop: Wallet
) -> None:
    made = await in_thread(hub.make_invoice, shop, 400)
    await in_thread(lambda: branch.configure(lnbits_funding_source_pay_invoice_wait_seconds=1))
    hub.freeze()
    try:
        begun = await pay(node, made["bolt11"])
        assert (begun.state, begun.fee_msat, begun.preimage) == ("in_flight", None, None)
        assert await node.find_payment(made["payment_hash"]) == begun
        balance = await node.balance()
        assert balance.pending_out_msat > 400_000
        assert balance.spendable_msat + balance.pending_out_msat == 100_000_000
        assert await pay(node, made["bolt11"]) == begun, "asking again begins no second payment"
    finally:
        hub.thaw()
        await in_thread(lambda: branch.configure(lnbits_funding_source_pay_invoice_wait_seconds=30))


async def test_a_server_killed_in_the_middle_of_a_payment_ends_it_once_after_its_restart(
    node: LNbitsNode, branch: LNbits, hub: LNbits, shop: Wallet, line: Tunnel
) -> None:
    made = await in_thread(hub.make_invoice, shop, 300)
    payment_hash = made["payment_hash"]
    line.hold()
    try:
        with pytest.raises(NodeError) as caught:
            await pay(node, made["bolt11"], timeout_s=4)
        assert not caught.value.sure
        assert (await in_thread(hub.show, shop, payment_hash))["paid"], "the sats have left, and the answer is lost"
        await in_thread(branch.kill)
        with pytest.raises(NodeError) as caught:
            await node.find_payment(payment_hash)
        assert caught.value.kind in ("unreachable", "protocol")
    finally:
        line.release()
    await in_thread(branch.start)
    paid = await settled(node, payment_hash)
    assert (paid.amount_msat, paid.fee_msat) == (300_000, 1_500)
    balance = await node.balance()
    assert (balance.spendable_msat, balance.pending_out_msat) == (100_000_000 - 301_500, 0)
    assert await pay(node, made["bolt11"]) == paid


async def test_the_websocket_tells_a_settlement_twice_and_breaks_with_the_server(
    node: LNbitsNode, branch: LNbits, alice: Wallet, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    payer = await in_thread(branch.wallet, "payer", 100)
    made = await node.create_invoice(amount_msat=5_000, memo="", expiry_s=600)
    stream = node.events()
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(2)
    await in_thread(branch.pay, payer, made.bolt11)
    told = [await first, await asyncio.wait_for(anext(stream), 30)]
    assert [(event.kind, event.hash) for event in told] == [("invoice", made.payment_hash)] * 2
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.1)
    await in_thread(branch.kill)
    with pytest.raises(NodeError) as caught:
        await asyncio.wait_for(waiting, 30)
    assert caught.value.kind == "unreachable"
    again = node.events()
    with pytest.raises(NodeError, match="does not open") as caught:
        await anext(again)
    assert alice.invoice_key not in caught.value.message
    assert alice.invoice_key not in caplog.text
    assert alice.admin_key not in caplog.text
    await in_thread(branch.start)
