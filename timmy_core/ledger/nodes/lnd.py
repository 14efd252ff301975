"""LND, by its REST interface: a macaroon in a header, its own certificate, and streams of a line of JSON a message."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from timmy_core.clock import Clock
from timmy_core.ledger.node import (
    MAX_PAGE,
    Network,
    NodeBalance,
    NodeError,
    NodeEvent,
    NodeHealth,
    NodeInvoice,
    NodeKind,
    NodePayment,
    Page,
)
from timmy_core.ledger.nodes.lnd_wire import (
    NETWORKS,
    NOT_FOUND,
    Row,
    hex_of,
    inside,
    invoice_of,
    number,
    payment_of,
    refusal,
    rows,
    strange,
    text,
    url_bytes,
)
from timmy_core.ledger.nodes.wire import Reply, Wire, payment_hash_of
from timmy_core.settings_ledger import NodeSettings

T = TypeVar("T")

_MACAROON: Final = "grpc-metadata-macaroon"
_OK: Final = 200
_QUEUE: Final = 1000
# What a stream that this LND does not have answers with.
_UNKNOWN_PATHS: Final = (404, 405, 501)


class LndNode:
    """A node of LND.

    Args:
        settings: its table.
        home: where relative paths begin.
        clock: the time.
    """

    kind: NodeKind = "lnd"
    play = False

    def __init__(self, settings: NodeSettings, home: Path, clock: Clock) -> None:
        self.name = settings.name
        self.network: Network = settings.network
        self._settings = settings
        self._home = home
        self._clock = clock
        self._wires: tuple[Wire, Wire] | None = None  # for all, and for paying

    async def create_invoice(self, *, amount_msat: int, memo: str, expiry_s: int) -> NodeInvoice:
        """Make an invoice, which may also be paid over channels that nobody is told of."""
        body = {"memo": memo, "value_msat": str(amount_msat), "expiry": str(expiry_s), "private": True}
        made = await self._row("POST", "/v1/invoices", body=body)
        payment_hash = hex_of(made, "r_hash")
        found = await self.find_invoice(payment_hash)
        if found is None:
            what = "an invoice that it does not know"
            raise strange(what)
        return found

    async def find_invoice(self, payment_hash: str) -> NodeInvoice | None:
        """Return an invoice of its own; None says that it has none."""
        reply = await (await self._ready()).ask("GET", f"/v1/invoice/{payment_hash}")
        if reply.status != _OK:
            error, code = self._refusal(reply.body)
            if (
                code == NOT_FOUND
                or "unable to locate invoice" in error.message
                or "no existing invoices" in error.message
            ):
                return None
            raise error
        return invoice_of(_object(reply), self._clock.now())

    async def pay(self, bolt11: str, *, amount_msat: int | None, fee_limit_msat: int, timeout_s: float) -> NodePayment:
        """Pay an invoice; LND goes on with it when the wait is over."""
        payment_hash = payment_hash_of(bolt11)
        body: dict[str, Any] = {
            "payment_request": bolt11,
            "fee_limit_msat": str(fee_limit_msat),
            "timeout_seconds": max(1, int(timeout_s)),
            "allow_self_payment": True,  # as over any other route: around a circle of channels, if there is one
        }
        if amount_msat is not None:
            body["amt_msat"] = str(amount_msat)
        wire, last = await self._ready(paying=True), None
        try:
            async with asyncio.timeout(timeout_s), wire.lines("POST", "/v2/router/send", body=body) as (status, lines):
                async for line in lines:
                    last = self._update(status, line)
                    if last.state != "in_flight":
                        return last
        except TimeoutError as error:
            if last is not None:
                return last
            words = f"LND of the node {self.name} said nothing of the payment within {timeout_s:g} s; it may go on"
            raise NodeError(kind="timeout", message=words, sure=False) from error
        except NodeError as error:
            if last is not None:
                return last
            if error.kind != "rejected":
                raise
            return await self._in_spite_of(error, payment_hash)
        if last is None:
            what = "no word about the payment"
            raise strange(what)
        return last

    async def find_payment(self, payment_hash: str) -> NodePayment | None:
        """Return a payment of its own; None says that it has begun none."""
        wire = await self._ready()
        path = f"/v2/router/track/{url_bytes(payment_hash)}"
        try:
            async with (
                asyncio.timeout(self._settings.timeout_s),
                wire.lines("GET", path, params={"no_inflight_updates": "false"}) as (status, lines),
            ):
                async for line in lines:
                    return self._tracked(status, line)
        except TimeoutError as error:
            words = f"LND of the node {self.name} did not answer within {self._settings.timeout_s:g} s; ask again"
            raise NodeError(kind="timeout", message=words, sure=False) from error
        what = "no word about the payment"
        raise strange(what)

    async def list_invoices(self, since: datetime | None = None, cursor: str | None = None) -> Page[NodeInvoice]:
        """Return invoices, oldest first."""
        now = self._clock.now()
        params: dict[str, str | int] = {"num_max_invoices": MAX_PAGE}
        return await self._list("invoices", params, since, cursor, lambda row: invoice_of(row, now))

    async def list_payments(self, since: datetime | None = None, cursor: str | None = None) -> Page[NodePayment]:
        """Return payments, oldest first, those that failed or are under way among them."""
        params: dict[str, str | int] = {"max_payments": MAX_PAGE, "include_incomplete": "true"}
        return await self._list("payments", params, since, cursor, payment_of)

    async def balance(self) -> NodeBalance:
        """Return what its channels hold on its side; what is under way in them counts as going out."""
        found = await self._row("GET", "/v1/balance/channels")
        spendable_msat = number(inside(found, "local_balance"), "msat")
        pending_msat = number(inside(found, "unsettled_local_balance"), "msat")
        return NodeBalance(spendable_msat, self._clock.now(), pending_msat)

    async def health(self) -> NodeHealth:
        """Ask what it is, and whether it knows the present."""
        try:
            found = await self._row("GET", "/v1/getinfo")
            chains = [text(chain, "network") for chain in rows(found, "chains")]
            alias = text(found, "alias")
        except NodeError as error:
            return self._health(error.message, None, None)
        network = chains[0] if chains else None
        if network is not None and NETWORKS.get(network) != self.network:
            words = f"it is on {network}, and its table says {self.network!r}; set network to what it is on"
            return self._health(words, network, alias)
        if found.get("synced_to_chain") is not True:
            return self._health("it does not know the newest blocks yet; wait until it has them", network, alias)
        return self._health("", network, alias)

    async def events(self, cursor: str | None = None) -> AsyncGenerator[NodeEvent, None]:
        """Yield what changes: of invoices since the cursor, of payments from now on."""
        queue: asyncio.Queue[NodeEvent | NodeError | None] = asyncio.Queue(_QUEUE)
        added, settled = (int(part) for part in (cursor or "0:0").split(":"))
        streams = (self._invoices(added, settled), self._payments())
        tasks = [asyncio.ensure_future(_follow(stream, queue)) for stream in streams]
        try:
            while (event := await queue.get()) is not None:
                if isinstance(event, NodeError):
                    raise event
                yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Give the connections back."""
        wires, self._wires = self._wires, None
        for wire in wires or ():
            await wire.close()

    # How it is asked.

    async def _in_spite_of(self, error: NodeError, payment_hash: str) -> NodePayment:
        """Return the payment that is there although LND refused one, or raise the refusal.

        LND notes a payment before it answers for the first time, so one that it refused and does not know is none.
        """
        try:
            found = await self.find_payment(payment_hash)
        except NodeError:
            words = f"{error.message}; and whether it pays all the same could not be seen"
            raise NodeError(kind=error.kind, message=words, sure=False) from error
        if found is None:
            raise NodeError(kind=error.kind, message=error.message, sure=True) from error
        return found

    async def _invoices(self, added: int, settled: int) -> AsyncGenerator[NodeEvent, None]:
        wire = await self._ready()
        params: dict[str, str | int] = {"add_index": str(added), "settle_index": str(settled)}
        async with wire.lines("GET", "/v1/invoices/subscribe", params=params) as (status, lines):
            async for line in lines:
                row = self._result(status, line)
                number_added = number(row, "add_index")
                if number_added > added:
                    # LND tells what was added first, as it is now. So this one may be settled, and settlements of
                    # older ones still to come: its settle_index is no place to go on from.
                    added = number_added
                else:
                    settled = max(settled, number(row, "settle_index"))
                yield NodeEvent("invoice", hex_of(row, "r_hash"), f"{added}:{settled}")

    async def _payments(self) -> AsyncGenerator[NodeEvent, None]:
        wire = await self._ready()
        params: dict[str, str | int] = {"no_inflight_updates": "true"}
        async with wire.lines("GET", "/v2/router/payments", params=params) as (status, lines):
            if status in _UNKNOWN_PATHS:
                # Older ones have no such stream; payments are looked up one by one then. Invoices go on.
                await asyncio.get_running_loop().create_future()
            async for line in lines:
                yield NodeEvent("payment", text(self._result(status, line), "payment_hash").lower())

    def _refusal(self, body: object) -> tuple[NodeError, int]:
        return refusal(self.name, body, self._wires[0].words if self._wires is not None else str)

    def _update(self, status: int, line: object) -> NodePayment:
        return payment_of(self._result(status, line))

    def _tracked(self, status: int, line: object) -> NodePayment | None:
        if status == _OK and isinstance(line, Mapping) and "error" not in line:
            return self._update(status, line)
        error, code = self._refusal(line)
        if code == NOT_FOUND or "isn't initiated" in error.message:
            return None
        raise error

    def _result(self, status: int, line: object) -> Row:
        """Return what a line of a stream holds."""
        if status != _OK or not isinstance(line, Mapping) or "error" in line:
            raise self._refusal(line)[0]
        return inside(line, "result")

    async def _list(
        self,
        key: str,
        params: dict[str, str | int],
        since: datetime | None,
        cursor: str | None,
        read: Callable[[Row], T],
    ) -> Page[T]:
        params |= {"index_offset": cursor or "0", "reversed": "false"}
        if since is not None:
            params["creation_date_start"] = str(int(since.timestamp()))
        found = await self._row("GET", f"/v1/{key}", params=params)
        page = rows(found, key)
        more = len(page) >= MAX_PAGE
        return Page(tuple(read(row) for row in page), str(number(found, "last_index_offset")) if more else None)

    async def _row(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Row:
        reply = await (await self._ready()).ask(method, path, params=params, body=body)
        if reply.status != _OK:
            raise self._refusal(reply.body)[0]
        return _object(reply)

    async def _ready(self, *, paying: bool = False) -> Wire:
        """Return the connections; the first call reads the macaroon and the certificate."""
        if self._wires is None:
            if self._settings.unset_variables:
                names = " and ".join(self._settings.unset_variables)
                raise self._misconfigured(what=f"wants the environment variable {names}, which is not set; set it")
            macaroon, context = await asyncio.to_thread(self._read_files)
            if self._wires is None:
                url, timeout_s, headers = self._settings.url or "", self._settings.timeout_s, {_MACAROON: macaroon}
                self._wires = (
                    Wire(self.name, url, headers, timeout_s=timeout_s, verify=context),
                    Wire(self.name, url, headers, timeout_s=timeout_s, verify=context, keep=0),
                )
        return self._wires[paying]

    def _read_files(self) -> tuple[str, ssl.SSLContext | None]:
        macaroon_path, cert_path = self._settings.macaroon_path, self._settings.tls_cert_path
        if macaroon_path is None:
            raise self._misconfigured(what="has no macaroon_path, which it needs; add it to its [[nodes]] table")
        try:
            macaroon = self._path(macaroon_path).read_bytes().hex()
        except OSError as error:
            what = f"has a macaroon_path that cannot be read ({error.strerror}); see that {macaroon_path} is right"
            raise self._misconfigured(what=what) from error
        if cert_path is None:
            return macaroon, None
        try:
            return macaroon, ssl.create_default_context(cafile=self._path(cert_path))
        except (OSError, ssl.SSLError) as error:
            what = f"has a tls_cert_path that cannot be used ({error.strerror}); see that {cert_path} is its tls.cert"
            raise self._misconfigured(what=what) from error

    def _path(self, path: Path) -> Path:
        return self._home / path.expanduser()

    def _misconfigured(self, *, what: str) -> NodeError:
        return NodeError(kind="misconfigured", message=f"the node {self.name} {what}", sure=True)

    def _health(self, problem: str, network: str | None, alias: str | None) -> NodeHealth:
        message = problem or "it answers"
        now = self._clock.now()
        return NodeHealth(ok=not problem, message=message, network=network, alias=alias, checked_at=now)


async def _follow(stream: AsyncGenerator[NodeEvent, None], queue: asyncio.Queue[NodeEvent | NodeError | None]) -> None:
    """Put what a stream tells into a queue, and at its end None or its error."""
    async with contextlib.aclosing(stream):
        try:
            async for event in stream:
                await queue.put(event)
            await queue.put(None)
        except NodeError as error:
            await queue.put(error)


def _object(reply: Reply) -> Row:
    if not isinstance(reply.body, Mapping):
        what = "something that is no object"
        raise strange(what)
    return reply.body
