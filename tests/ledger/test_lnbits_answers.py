"""LNbits' door against answers that a real one gives only on bad days, from a server that says what it is told."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from timmy_core.clock import SystemClock
from timmy_core.errors import NodeError
from timmy_core.ledger.bolt11 import encode
from timmy_core.ledger.nodes.lnbits import LNbitsNode
from timmy_core.settings_ledger import NodeSettings

PREIMAGE = b"\7" * 32
HASH = hashlib.sha256(PREIMAGE).hexdigest()
BOLT11 = encode(
    private_key=b"\1" * 32, payment_hash=bytes.fromhex(HASH), payment_secret=b"\2" * 32,
    timestamp=datetime.now(UTC), amount_msat=5_000, description="",
)  # fmt: skip
ROW = {
    "checking_id": HASH, "payment_hash": HASH, "amount": -5_000, "fee": -1_000, "bolt11": BOLT11, "status": "success",
    "memo": "", "expiry": "2026-01-01T01:00:00", "preimage": PREIMAGE.hex(), "time": "2026-01-01T00:00:00",
    "updated_at": "2026-01-01T00:00:05+00:00", "labels": [],
}  # fmt: skip
LONG_AGO = {**ROW, "amount": 5_000, "fee": 0}


class Stub:
    """Answers each path with what it was told, whatever else the question says."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {
            "GET /api/v1/payments/fee-reserve": (200, {"fee_reserve": 2_000}),
            "GET /api/v1/payments/paginated": (200, {"data": [], "total": 0}),
        }
        self.asked: list[str] = []
        self.served: list[Any] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served.append(asyncio.current_task())
        await self._answer(reader, writer)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        what = " ".join(head.split(" ", 2)[:2]).partition("?")[0]
        self.asked.append(what)
        status, body = self.answers.get(what, (0, None))
        if status:
            text = body if isinstance(body, str) else json.dumps(body)
            answer = (
                f"HTTP/1.1 {status} X\r\ncontent-length: {len(text.encode())}\r\nlocation: /elsewhere\r\n\r\n{text}"
            )
            writer.write(answer.encode())
            await writer.drain()
        elif body == "silence":
            await reader.read()  # until its client has gone
        writer.close()


@pytest.fixture
async def stub() -> AsyncIterator[tuple[Stub, LNbitsNode]]:
    made = Stub()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    table = {
        "name": "main", "kind": "lnbits", "url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}",
        "invoice_key": SecretStr("the-invoice-key"), "admin_key": SecretStr("the-admin-key"), "timeout_s": 20,
    }  # fmt: skip
    node = LNbitsNode(NodeSettings.model_validate(table), SystemClock())
    yield made, node
    await node.close()
    server.close()
    await asyncio.gather(*made.served, return_exceptions=True)


@pytest.mark.parametrize(
    ("status", "body", "kind", "sure"),
    [
        (0, None, "protocol", False),  # the connection ends without an answer
        (0, "silence", "timeout", False),
        (200, "<html>a proxy's page</html>", "protocol", False),
        (201, {**ROW, "status": "new"}, "protocol", False),
        (201, {**ROW, "amount": "5000"}, "protocol", False),
        (401, {"detail": "the-admin-key is wrong"}, "refused", True),
        (307, "", "misconfigured", True),
        (400, {"detail": "an assertion failed"}, "rejected", False),
        (422, {"detail": [{"msg": "field required"}]}, "rejected", True),
        (429, {"detail": "too many"}, "rejected", True),
        (502, "bad gateway", "protocol", False),
        (504, "gateway timeout", "protocol", False),
        (520, {"detail": "Insufficient balance.", "status": "failed"}, "rejected", True),
        (520, {"detail": "who knows", "status": "pending"}, "rejected", False),
    ],
)
async def test_only_what_surely_paid_nothing_is_sure(
    stub: tuple[Stub, LNbitsNode], status: int, body: Any, kind: str, sure: bool
) -> None:
    server, node = stub
    server.answers["POST /api/v1/payments"] = (status, body)
    with pytest.raises(NodeError) as caught:
        await node.pay(BOLT11, amount_msat=None, fee_limit_msat=2_000, timeout_s=0.3 if body == "silence" else 20)
    assert (caught.value.kind, caught.value.sure) == (kind, sure)
    assert "the-admin-key" not in str(caught.value)
    assert "/elsewhere" not in " ".join(server.asked), "no redirect is followed"


@pytest.mark.parametrize("status", [400, 502, 520])
async def test_a_refusal_is_not_believed_where_the_payment_is_there(stub: tuple[Stub, LNbitsNode], status: int) -> None:
    server, node = stub
    server.answers["POST /api/v1/payments"] = (status, {"detail": "no", "status": "failed"})
    server.answers["GET /api/v1/payments/paginated"] = (200, {"data": [ROW], "total": 1})
    paid = await node.pay(BOLT11, amount_msat=None, fee_limit_msat=2_000, timeout_s=20)
    assert (paid.state, paid.amount_msat, paid.fee_msat, paid.preimage) == ("settled", 5_000, 1_000, PREIMAGE.hex())


async def test_a_refusal_is_not_sure_where_nobody_can_look(stub: tuple[Stub, LNbitsNode]) -> None:
    server, node = stub
    server.answers["POST /api/v1/payments"] = (520, {"detail": "no", "status": "failed"})
    server.answers["GET /api/v1/payments/paginated"] = (503, "away")
    with pytest.raises(NodeError, match="could not be seen") as caught:
        await node.pay(BOLT11, amount_msat=None, fee_limit_msat=2_000, timeout_s=20)
    assert not caught.value.sure


async def test_rows_of_another_hash_prove_nothing(stub: tuple[Stub, LNbitsNode]) -> None:
    server, node = stub
    server.answers["GET /api/v1/payments/paginated"] = (200, {"data": [{**ROW, "payment_hash": "00"}], "total": 1})
    with pytest.raises(NodeError, match="not asked for"):
        await node.find_payment(HASH)


@pytest.mark.parametrize(
    ("changes", "state", "preimage"),
    [
        ({}, "settled", PREIMAGE.hex()),
        ({"preimage": "0" * 64}, "settled", None),
        ({"preimage": None}, "settled", None),
        ({"status": "pending"}, "expired", None),
        ({"status": "pending", "expiry": "2999-01-01T00:00:00+00:00"}, "open", None),
        ({"status": "failed", "expiry": "2999-01-01T00:00:00+00:00"}, "canceled", None),
        ({"status": "failed", "labels": ["expired"], "expiry": "2999-01-01T00:00:00"}, "expired", None),
    ],
)
async def test_an_invoice_tells_a_preimage_only_when_it_is_the_proof_of_a_settled_one(
    stub: tuple[Stub, LNbitsNode], changes: dict[str, Any], state: str, preimage: str | None
) -> None:
    server, node = stub
    server.answers["GET /api/v1/payments/paginated"] = (200, {"data": [{**LONG_AGO, **changes}], "total": 1})
    found = await node.find_invoice(HASH)
    assert found is not None
    assert (found.state, found.preimage) == (state, preimage)
    assert found.created_at == datetime(2026, 1, 1, tzinfo=UTC)


async def test_what_cannot_be_reached_surely_got_nothing(stub: tuple[Stub, LNbitsNode]) -> None:
    _, node = stub
    table = node._settings.model_copy(update={"url": "http://127.0.0.1:1"})
    other = LNbitsNode(table, SystemClock())
    with pytest.raises(NodeError) as caught:
        await other.pay(BOLT11, amount_msat=None, fee_limit_msat=2_000, timeout_s=1)
    assert (caught.value.kind, caught.value.sure) == ("unreachable", True)
    with pytest.raises(NodeError) as caught:
        await other.pay("lnbc1nonsense", amount_msat=None, fee_limit_msat=2_000, timeout_s=1)
    assert (caught.value.kind, caught.value.sure) == ("rejected", True)
    await other.close()
