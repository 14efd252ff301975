"""An LND on this machine: its REST interface to the letter, with TLS and a macaroon, over a `FakeNode`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from timmy_core.errors import NodeError
from timmy_core.ledger.bolt11 import decode
from timmy_core.testing.fake_node import FakeNode
from timmy_core.testing.lnd_json import invoice_json, payment_json

if TYPE_CHECKING:
    from aiohttp import web

_LOOK_S: Final = 0.01
_MACAROON: Final = "Grpc-Metadata-macaroon"

# gRPC's numbers, and the status of HTTP that stands for each.
UNKNOWN: Final = 2
NOT_FOUND: Final = 5
ALREADY_EXISTS: Final = 6
_STATUS: Final = {UNKNOWN: 500, NOT_FOUND: 404, ALREADY_EXISTS: 409}

Handler = Callable[["web.Request"], Awaitable["web.StreamResponse"]]


class LndServer:
    """Serves a fake node as LND does.

        async with LndServer(FakeNode(path, clock), folder) as server:
            ... server.url, server.macaroon_path, server.tls_cert_path ...

    Args:
        node: what it knows and does; its faults of kind `lost_answer` and `lost_request` cut the connection.
        folder: for its certificate and its macaroon.

    Attributes:
        requests: method, path, parameters and body of what came.
        payments_stream: whether it has the stream of all payments, which old ones have not.
        synced: whether it says that it knows the newest blocks.
        following: how many streams of news have begun to hear.
        lines: how many lines were sent in streams.
    """

    def __init__(self, node: FakeNode, folder: Path) -> None:
        self.node = node
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.payments_stream = True
        self.synced = True
        self.following = 0
        self.lines = 0
        self.macaroon_path = folder / "admin.macaroon"
        self.tls_cert_path = folder / "tls.cert"
        self._key_path = folder / "tls.key"
        self._macaroon = bytes.fromhex("0201036c6e64022f") + b"timmy's fake node"
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._refusals: list[tuple[int, str]] = []
        self._life = 0

    @property
    def url(self) -> str:
        """Where it listens; the same after a restart."""
        return f"https://127.0.0.1:{self._port}"

    def refuse(self, code: int, message: str) -> None:
        """Answer the next request with an error of gRPC's."""
        self._refusals.append((code, message))

    def cut_streams(self) -> None:
        """End every stream that is open."""
        self._life += 1

    async def start(self) -> None:
        """Listen."""
        from aiohttp import web

        if not self.tls_cert_path.exists():
            _make_certificate(self.tls_cert_path, self._key_path)
            self.macaroon_path.write_bytes(self._macaroon)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.tls_cert_path, self._key_path)
        app = web.Application()
        app.add_routes(
            [
                web.route(method, path, functools.partial(self._gate, handler))
                for method, path, handler in self._routes()
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=context)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Cut all connections, and listen no more."""
        self.cut_streams()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def _routes(self) -> list[tuple[str, str, Handler]]:
        return [
            ("GET", "/v1/getinfo", self._info),
            ("GET", "/v1/balance/channels", self._balance),
            ("POST", "/v1/invoices", self._add_invoice),
            ("GET", "/v1/invoices", self._list_invoices),
            ("GET", "/v1/invoices/subscribe", self._subscribe),
            ("GET", "/v1/invoice/{hash}", self._look_up),
            ("GET", "/v1/payments", self._list_payments),
            ("POST", "/v2/router/send", self._send),
            ("GET", "/v2/router/track/{hash}", self._track),
            ("GET", "/v2/router/payments", self._track_all),
        ]

    async def _gate(self, handler: Handler, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        self.requests.append((request.method, request.path, dict(request.query), body))
        sent = request.headers.get(_MACAROON)
        if sent is None:
            return _error(UNKNOWN, "expected 1 macaroon, got 0")
        if sent != self._macaroon.hex():
            return _error(UNKNOWN, "verification failed: signature mismatch after caveat verification")
        if self._refusals:
            return _error(*self._refusals.pop(0))
        try:
            return await handler(request)
        except NodeError as error:
            if error.kind == "rejected":
                return _error(UNKNOWN, error.message, inside=request.path.startswith("/v2/router"))
            # The node was told to lose this; on the wire that is a connection that ends without an answer.
            if request.transport is not None:
                request.transport.abort()
            raise asyncio.CancelledError from error

    async def _info(self, request: web.Request) -> web.StreamResponse:
        del request
        return _json({
            "version": "0.20.0-beta", "identity_pubkey": "02" + "ab" * 32, "alias": self.node.name,
            "num_active_channels": 1, "synced_to_chain": self.synced, "synced_to_graph": True,
            "chains": [{"chain": "bitcoin", "network": "regtest"}],
        })  # fmt: skip

    async def _balance(self, request: web.Request) -> web.StreamResponse:
        del request
        found = await self.node.balance()
        return _json({
            "balance": str(found.spendable_msat // 1000), "pending_open_balance": "0",
            "local_balance": _amount(found.spendable_msat),
            "remote_balance": _amount(1_000_000_000),
            "unsettled_local_balance": _amount(found.pending_out_msat),
            "unsettled_remote_balance": _amount(0),
        })  # fmt: skip

    async def _add_invoice(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        made = await self.node.create_invoice(
            amount_msat=int(body["value_msat"]), memo=body["memo"], expiry_s=int(body["expiry"])
        )
        read = decode(made.bolt11)
        index = list((await self.node.state()).invoices).index(made.payment_hash) + 1
        return _json({
            "r_hash": base64.b64encode(read.payment_hash).decode(), "payment_request": made.bolt11,
            "add_index": str(index), "payment_addr": base64.b64encode(read.payment_secret or b"").decode(),
        })  # fmt: skip

    async def _look_up(self, request: web.Request) -> web.StreamResponse:
        found = await self.node.find_invoice(request.match_info["hash"])
        if found is None:
            return _error(NOT_FOUND, "unable to locate invoice")
        return _json((await self._invoices())[found.payment_hash])

    async def _list_invoices(self, request: web.Request) -> web.StreamResponse:
        rows = list((await self._invoices()).values())
        return _listed("invoices", rows, "add_index", "num_max_invoices", request)

    async def _list_payments(self, request: web.Request) -> web.StreamResponse:
        rows = list((await self._payments()).values())
        if request.query.get("include_incomplete") != "true":
            rows = [row for row in rows if row["status"] == "SUCCEEDED"]
        return _listed("payments", rows, "payment_index", "max_payments", request)

    async def _send(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name = decode(body["payment_request"]).payment_hash.hex()
        known = (await self.node.state()).payments.get(name)
        if known is not None and known.state != "failed":
            words = "invoice is already paid" if known.state == "settled" else "payment is in transition"
            return _error(ALREADY_EXISTS, words, inside=True)
        await self.node.pay(
            body["payment_request"],
            amount_msat=int(body["amt_msat"]) if "amt_msat" in body else None,
            fee_limit_msat=int(body.get("fee_limit_msat", "0")),
            timeout_s=body["timeout_seconds"],
        )
        return await self._stream(request, self._until_done(name))

    async def _track(self, request: web.Request) -> web.StreamResponse:
        name = base64.urlsafe_b64decode(request.match_info["hash"]).hex()
        if await self.node.find_payment(name) is None:
            return _error(NOT_FOUND, "payment isn't initiated", inside=True)
        return await self._stream(request, self._until_done(name))

    async def _until_done(self, name: str) -> AsyncIterator[Any]:
        told = None
        while told is None or told["status"] == "IN_FLIGHT":
            row = (await self._payments())[name]
            if row != told:
                yield row
            told = row
            await asyncio.sleep(_LOOK_S)

    async def _track_all(self, request: web.Request) -> web.StreamResponse:
        if not self.payments_stream:
            return _error(NOT_FOUND, "Not Found")
        return await self._stream(request, self._payments_done())

    async def _payments_done(self) -> AsyncIterator[Any]:
        old = {name for name, row in (await self._payments()).items() if row["status"] != "IN_FLIGHT"}
        self.following += 1
        while True:
            for name, row in (await self._payments()).items():
                if name not in old and row["status"] != "IN_FLIGHT":
                    old.add(name)
                    yield row
            await asyncio.sleep(_LOOK_S)

    async def _subscribe(self, request: web.Request) -> web.StreamResponse:
        added, settled = int(request.query.get("add_index", "0")), int(request.query.get("settle_index", "0"))
        return await self._stream(request, self._invoice_news(added, settled))

    async def _invoice_news(self, added: int, settled: int) -> AsyncIterator[Any]:
        rows = list((await self._invoices()).values())
        # Nought stands for "from now on".
        added = added or len(rows)
        settled = settled or max((int(row["settle_index"]) for row in rows), default=0)
        self.following += 1
        while True:
            rows = list((await self._invoices()).values())
            for row in rows[added:]:
                added += 1
                yield row
            for row in sorted(rows, key=lambda row: int(row["settle_index"])):
                if int(row["settle_index"]) > settled:
                    settled = int(row["settle_index"])
                    yield row
            await asyncio.sleep(_LOOK_S)

    async def _stream(self, request: web.Request, rows: AsyncIterator[Any]) -> web.StreamResponse:
        """Send each row as a line of JSON."""
        import json

        from aiohttp import web

        response = web.StreamResponse(headers={"content-type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        life, waiting = self._life, asyncio.ensure_future(_next(rows))
        try:
            while self._life == life:
                done, _ = await asyncio.wait([waiting], timeout=_LOOK_S)
                if not done:
                    continue
                if (row := waiting.result()) is None:
                    break
                await response.write(json.dumps({"result": row}).encode() + b"\n")
                self.lines += 1
                waiting = asyncio.ensure_future(_next(rows))
        except ConnectionError:
            pass  # its client has gone
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
        with contextlib.suppress(ConnectionError):
            await response.write_eof()
        return response

    async def _invoices(self) -> dict[str, Any]:
        state, order = await self.node.state(), await self.node.settled_order()
        return {
            name: invoice_json(invoice, state.preimages[name], number, order.index(name) + 1 if name in order else 0)
            for number, (name, invoice) in enumerate(state.invoices.items(), 1)
        }

    async def _payments(self) -> dict[str, Any]:
        payments = (await self.node.state()).payments
        return {name: payment_json(payment, number) for number, (name, payment) in enumerate(payments.items(), 1)}


async def _next(rows: AsyncIterator[Any]) -> Any:
    return await anext(rows, None)


def _listed(key: str, rows: list[Any], index: str, most: str, request: web.Request) -> web.StreamResponse:
    after, since = int(request.query.get("index_offset", "0")), int(request.query.get("creation_date_start", "0"))
    found = [row for row in rows if int(row[index]) > after and int(row["creation_date"]) >= since]
    found = found[: int(request.query.get(most, "100"))]
    return _json(
        {
            key: found,
            "first_index_offset": found[0][index] if found else "0",
            "last_index_offset": found[-1][index] if found else "0",
        }
    )


def _amount(msat: int) -> dict[str, str]:
    return {"sat": str(msat // 1000), "msat": str(msat)}


def _json(body: object, status: int = 200) -> web.StreamResponse:
    from aiohttp import web

    return web.json_response(body, status=status)


def _error(code: int, message: str, *, inside: bool = False) -> web.StreamResponse:
    """Return an error; one of a stream stands inside another object."""
    body = {"code": code, "message": message, "details": []}
    return _json({"error": body} if inside else body, _STATUS.get(code, 500))


def _make_certificate(cert_path: Path, key_path: Path) -> None:
    """Make a certificate for this machine, as LND makes its own: self-signed, and its own authority."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "lnd autogenerated cert")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )  # fmt: skip
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    cert_path.parent.mkdir(parents=True, exist_ok=True)
    cert_path.write_bytes(certificate.public_bytes(pem))
    key_path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )  # fmt: skip
