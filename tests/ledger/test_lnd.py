"""LND over its wire: int64 as strings, bytes as base64, lines of JSON, a macaroon, a certificate of its own."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.waiting import auntil
from timmy_core.clock import SystemClock
from timmy_core.errors import NodeError
from timmy_core.ledger.node import MAX_PAGE, NodePayment
from timmy_core.ledger.nodes.lnd import LndNode
from timmy_core.ledger.nodes.play import play_fee_msat
from timmy_core.settings_ledger import NodeSettings
from timmy_core.testing import FakeNode, LndServer
from timmy_core.testing.lnd_server import NOT_FOUND, UNKNOWN


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[LndServer]:
    async with LndServer(FakeNode(tmp_path / "lnd.jsonl", SystemClock()), tmp_path / "lnd") as started:
        yield started


def table(server: LndServer, **more: Any) -> NodeSettings:
    made = {
        "name": "main", "kind": "lnd", "url": server.url, "network": "regtest",
        "macaroon_path": server.macaroon_path, "tls_cert_path": server.tls_cert_path,
    }  # fmt: skip
    return NodeSettings.model_validate(made | more)


@pytest.fixture
async def node(server: LndServer, tmp_path: Path) -> AsyncIterator[LndNode]:
    made = LndNode(table(server), tmp_path, SystemClock())
    yield made
    await made.close()


async def pay(node: LndNode, bolt11: str, timeout_s: float = 20, amount_msat: int | None = None) -> NodePayment:
    return await node.pay(bolt11, amount_msat=amount_msat, fee_limit_msat=10_000, timeout_s=timeout_s)


def is_proof(preimage: str | None, payment_hash: str) -> bool:
    return hashlib.sha256(bytes.fromhex(preimage or "")).hexdigest() == payment_hash


async def test_an_invoice_is_made_found_and_paid_and_only_then_tells_its_preimage(
    node: LndNode, server: LndServer
) -> None:
    made = await node.create_invoice(amount_msat=21_001, memo="bread", expiry_s=600)
    assert server.requests[0][3] == {"memo": "bread", "value_msat": "21001", "expiry": "600", "private": True}
    assert (made.amount_msat, made.memo, made.state, made.preimage) == (21_001, "bread", "open", None)
    assert (made.expires_at - made.created_at).total_seconds() == 600
    await server.node.accept(made.payment_hash)
    accepted = await node.find_invoice(made.payment_hash)
    assert accepted is not None
    assert (accepted.state, accepted.received_msat, accepted.preimage) == ("accepted", 21_001, None)
    other = await node.create_invoice(amount_msat=5_000, memo="", expiry_s=600)
    await server.node.neighbour_pays(other.payment_hash, amount_msat=6_000)
    paid = await node.find_invoice(other.payment_hash)
    assert paid is not None
    assert (paid.state, paid.amount_msat, paid.received_msat) == ("settled", 5_000, 6_000)
    assert is_proof(paid.preimage, other.payment_hash)
    assert (await node.balance()).spendable_msat == 100_006_000


async def test_what_lnd_cancels_after_its_time_has_expired_and_before_it_was_canceled(
    node: LndNode, server: LndServer
) -> None:
    made = await node.create_invoice(amount_msat=1_000, memo="", expiry_s=600)
    await server.node.cancel(made.payment_hash)
    found = await node.find_invoice(made.payment_hash)
    short = await node.create_invoice(amount_msat=1_000, memo="", expiry_s=0)
    assert found is not None
    assert (found.state, short.state) == ("canceled", "expired")


async def test_a_payment_tells_limit_and_time_as_lnd_wants_them_and_brings_its_proof(
    node: LndNode, server: LndServer
) -> None:
    bolt11 = await server.node.neighbour_invoice(amount_msat=50_000)
    paid = await pay(node, bolt11)
    sent = {
        "payment_request": bolt11, "fee_limit_msat": "10000", "timeout_seconds": 20, "allow_self_payment": True,
    }  # fmt: skip
    assert ("POST", "/v2/router/send", {}, sent) in server.requests
    assert (paid.state, paid.amount_msat, paid.fee_msat) == ("settled", 50_000, play_fee_msat(50_000))
    assert is_proof(paid.preimage, paid.payment_hash)
    assert paid.settled_at is not None
    assert await node.find_payment(paid.payment_hash) == paid
    assert await pay(node, bolt11) == paid, "LND refuses to pay twice, and the payment that there is comes back"
    without = await server.node.neighbour_invoice(amount_msat=None)
    assert (await pay(node, without, amount_msat=7_000)).amount_msat == 7_000


async def test_a_payment_that_fails_says_why_and_one_that_was_never_begun_is_sure(
    node: LndNode, server: LndServer
) -> None:
    dear = await pay(node, await server.node.neighbour_invoice(amount_msat=99_999_999))
    assert (dear.state, dear.fee_msat, dear.preimage) == ("failed", None, None)
    assert dear.failure == "no way leads to the payee within the fee limit"
    bolt11 = await server.node.neighbour_invoice(amount_msat=5_000)
    server.refuse(UNKNOWN, "invoice expired. Valid until yesterday")
    with pytest.raises(NodeError, match="invoice expired") as caught:
        await pay(node, bolt11)
    assert (caught.value.kind, caught.value.sure) == ("rejected", True)
    assert (await node.balance()).spendable_msat == 100_000_000


async def test_a_payment_in_flight_outlives_the_wait_and_settles_once(node: LndNode, server: LndServer) -> None:
    server.node.hold_payments = True
    bolt11 = await server.node.neighbour_invoice(amount_msat=5_000)
    begun = await pay(node, bolt11, timeout_s=2)
    assert (begun.state, begun.fee_msat, begun.preimage, begun.settled_at) == ("in_flight", None, None, None)
    assert await node.find_payment(begun.payment_hash) == begun
    assert await pay(node, bolt11) == begun, "LND says that it is in transition"
    assert (await node.balance()).pending_out_msat > 5_000
    await server.node.release(begun.payment_hash)
    settled = await node.find_payment(begun.payment_hash)
    assert settled is not None
    assert (settled.state, settled.fee_msat) == ("settled", play_fee_msat(5_000))
    assert (await node.list_payments()).items == (settled,)


@pytest.mark.parametrize("kind", ["lost_answer", "lost_request"])
async def test_a_lost_answer_is_never_sure_and_the_look_afterwards_tells(
    node: LndNode, server: LndServer, kind: str
) -> None:
    bolt11 = await server.node.neighbour_invoice(amount_msat=5_000)
    server.node.misbehave("pay", kind)
    with pytest.raises(NodeError) as caught:
        await pay(node, bolt11)
    assert caught.value.sure is False
    states = [row.state for row in (await node.list_payments()).items]
    assert states == (["settled"] if kind == "lost_answer" else [])


async def test_a_restart_in_the_middle_of_a_payment_loses_nothing(node: LndNode, server: LndServer) -> None:
    server.node.hold_payments = True
    bolt11 = await server.node.neighbour_invoice(amount_msat=5_000)
    waiting = asyncio.ensure_future(pay(node, bolt11))
    await auntil(lambda: server.lines == 1)
    await asyncio.sleep(0.3)
    await server.stop()
    begun = await waiting
    assert begun.state == "in_flight"
    with pytest.raises(NodeError) as caught:
        await node.find_payment(begun.payment_hash)
    assert (caught.value.kind, caught.value.sure) == ("unreachable", True)
    await server.node.release(begun.payment_hash)
    await server.start()
    found = await node.find_payment(begun.payment_hash)
    assert found is not None
    assert found.state == "settled"


async def test_what_it_does_not_know_is_none_and_an_error_is_not(node: LndNode, server: LndServer) -> None:
    assert await node.find_invoice("00" * 32) is None
    assert await node.find_payment("00" * 32) is None
    for look in (node.find_invoice, node.find_payment):
        server.refuse(UNKNOWN, "database is locked")
        with pytest.raises(NodeError, match="database is locked"):
            await look("00" * 32)
    server.refuse(NOT_FOUND, "there are no existing invoices")
    assert await node.find_invoice("00" * 32) is None


async def test_lists_come_oldest_first_in_pages_with_what_failed(node: LndNode, server: LndServer) -> None:
    made = [
        (await server.node.create_invoice(amount_msat=1, memo="", expiry_s=60)).payment_hash for _ in range(MAX_PAGE)
    ]
    made.append((await server.node.create_invoice(amount_msat=1, memo="", expiry_s=60)).payment_hash)
    first = await node.list_invoices()
    assert first.cursor == str(MAX_PAGE)
    rest = await node.list_invoices(cursor=first.cursor)
    assert [row.payment_hash for row in (*first.items, *rest.items)] == made
    assert rest.cursor is None
    assert len((await node.list_invoices(since=rest.items[0].created_at)).items) >= 1
    server.node.hold_payments = True
    await server.node.pay(
        await server.node.neighbour_invoice(amount_msat=5_000), amount_msat=None, fee_limit_msat=9_999, timeout_s=1
    )
    server.node.hold_payments = False
    await pay(node, await server.node.neighbour_invoice(amount_msat=99_999_999))
    assert [row.state for row in (await node.list_payments()).items] == ["in_flight", "failed"]


async def test_events_go_on_from_where_they_were_and_end_with_the_server(node: LndNode, server: LndServer) -> None:
    old = await node.create_invoice(amount_msat=1_000, memo="", expiry_s=60)
    stream = node.events()
    upcoming = asyncio.ensure_future(anext(stream))
    await auntil(lambda: server.following == 2)
    new = await node.create_invoice(amount_msat=2_000, memo="", expiry_s=60)
    first = await asyncio.wait_for(upcoming, 20)
    assert (first.kind, first.hash, first.cursor) == ("invoice", new.payment_hash, "2:0")
    await server.node.neighbour_pays(new.payment_hash)
    second = await asyncio.wait_for(anext(stream), 20)
    assert (second.hash, second.cursor) == (new.payment_hash, "2:1")
    paid = await pay(node, await server.node.neighbour_invoice(amount_msat=5_000))
    third = await asyncio.wait_for(anext(stream), 20)
    assert (third.kind, third.hash, third.cursor) == ("payment", paid.payment_hash, None)
    server.cut_streams()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(stream), 20)
    await server.node.neighbour_pays(old.payment_hash)
    again = node.events(second.cursor)
    missed = await asyncio.wait_for(anext(again), 20)
    assert (missed.hash, missed.cursor) == (old.payment_hash, "2:2")
    await again.aclose()


async def test_a_settlement_found_with_an_added_invoice_hides_no_older_one(node: LndNode, server: LndServer) -> None:
    made = [await node.create_invoice(amount_msat=1_000, memo="", expiry_s=60) for _ in range(3)]
    await server.node.neighbour_pays(made[0].payment_hash)
    await server.node.neighbour_pays(made[1].payment_hash)
    await server.node.neighbour_pays(made[2].payment_hash)
    stream = node.events("2:1")
    told = [await asyncio.wait_for(anext(stream), 20)]
    assert (told[0].hash, told[0].cursor) == (made[2].payment_hash, "3:1"), "the older settlement is still to come"
    told += [await asyncio.wait_for(anext(stream), 20) for _ in range(2)]
    await stream.aclose()
    assert [event.hash for event in told[1:]] == [made[1].payment_hash, made[2].payment_hash]
    assert told[-1].cursor == "3:3"


async def test_an_lnd_without_the_stream_of_payments_still_tells_of_invoices(node: LndNode, server: LndServer) -> None:
    server.payments_stream = False
    stream = node.events()
    upcoming = asyncio.ensure_future(anext(stream))
    await auntil(lambda: server.following == 1)
    made = await node.create_invoice(amount_msat=1_000, memo="", expiry_s=60)
    assert (await asyncio.wait_for(upcoming, 20)).hash == made.payment_hash
    await stream.aclose()


async def test_it_is_well_and_says_what_is_wrong(server: LndServer, node: LndNode, tmp_path: Path) -> None:
    health = await node.health()
    assert (health.ok, health.network, health.alias) == (True, "regtest", "fake")
    server.synced = False
    assert "newest blocks" in (await node.health()).message
    server.refuse(UNKNOWN, "wallet locked, unlock it to enable full RPC access")
    assert "lncli unlock" in (await node.health()).message
    wrong = tmp_path / "wrong.macaroon"
    await asyncio.to_thread(wrong.write_bytes, b"wrong")
    for keys, words in (
        ({"macaroon_path": wrong}, "the macaroon is of another node"),
        ({"macaroon_path": "missing.macaroon"}, "see that missing.macaroon is right"),
        ({"macaroon_path": None}, "has no macaroon_path"),
        ({"tls_cert_path": wrong}, "is its tls.cert"),
        ({"tls_cert_path": None}, "give its own with tls_cert_path"),
        ({"network": "bitcoin"}, "it is on regtest, and its table says 'bitcoin'"),
        ({"url": "https://127.0.0.1:1"}, "see that it runs"),
    ):
        other = LndNode(table(server, **keys), tmp_path, SystemClock())
        found = await other.health()
        assert not found.ok
        assert words in found.message
        assert server.macaroon_path.name not in found.message
        await other.close()


async def test_no_message_holds_the_macaroon(server: LndServer, node: LndNode) -> None:
    macaroon = (await asyncio.to_thread(server.macaroon_path.read_bytes)).hex()
    server.refuse(UNKNOWN, f"cannot use {macaroon}")
    with pytest.raises(NodeError) as caught:
        await node.balance()
    assert macaroon not in str(caught.value)


def test_keys_of_another_kind_are_refused() -> None:
    with pytest.raises(ValidationError, match="admin_key is for kind = 'lnbits', and this one is 'lnd'"):
        NodeSettings.model_validate({"name": "a", "kind": "lnd", "url": "https://a:1", "admin_key": "k"})
