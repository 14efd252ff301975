"""LNbits: a wallet on somebody's server, by its REST interface and its WebSocket.

What it really does, and what is made of it here:
- It has no fee limit. What it sets aside for fees is asked for before paying, and more than the limit is refused.
- It answers a payment with 201 also where it failed or is under way: the status in the body counts, never the code.
- Errors are followed by a look at the payment itself, because one that is under way looks like a refusal at times.
- While it waits for its own funding source it shows nothing of a payment, so one that cannot be found may still be.
- Its WebSocket tells most things twice and asks for no key; so all that is taken from it is that there is news.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import Clock
from timmy_core.ledger.node import (
    MAX_PAGE,
    Network,
    NodeBalance,
    NodeError,
    NodeErrorKind,
    NodeEvent,
    NodeHealth,
    NodeInvoice,
    NodeKind,
    NodePayment,
    Page,
)
from timmy_core.ledger.nodes.lnbits_wire import Row, held_msat, invoice_of, is_income, is_spending, payment_of, strange
from timmy_core.ledger.nodes.wire import Reply, Wire, is_loopback, parsed, payment_hash_of
from timmy_core.settings_ledger import NodeSettings

_PAYMENTS: Final = "/api/v1/payments"
_MAX_MEMO: Final = 640
_MAX_MESSAGE: Final = 1 << 20
_SAT: Final = 1000
_LOOK_S: Final = 5.0  # how long LNbits may take to ask its own funding source about a payment
_OWN_ERROR: Final = 520  # what it answers where its own rules, or its funding source, said no

# What other answers mean, and whether they surely changed nothing.
_ANSWERS: Final[Mapping[int, tuple[NodeErrorKind, bool, str]]] = {
    307: ("misconfigured", True, "it leads elsewhere, as one does that was never set up; open it in a browser"),
    400: ("rejected", False, "change what it names"),
    401: ("refused", True, "give the wallet's invoice_key and admin_key"),
    403: ("refused", True, "give the wallet's admin_key"),
    404: ("misconfigured", True, "see that url is the address of LNbits, and the keys are of a wallet there"),
    422: ("rejected", True, "change what it names"),
    429: ("rejected", True, "it was asked too often; wait a minute, or raise its rate limit"),
}


class LNbitsNode:
    """A wallet of LNbits.

    Args:
        settings: its table.
        clock: the time.
    """

    kind: NodeKind = "lnbits"
    play = False

    def __init__(self, settings: NodeSettings, clock: Clock) -> None:
        self.name = settings.name
        self.network: Network = settings.network
        self._settings = settings
        self._clock = clock
        self._admin_key = settings.admin_key.get_secret_value() if settings.admin_key else ""
        invoice_key = settings.invoice_key.get_secret_value() if settings.invoice_key else ""
        self._reading_key = invoice_key or self._admin_key
        url, timeout_s = settings.url or "", settings.timeout_s
        self._reader = Wire(self.name, url, {"x-api-key": self._reading_key}, timeout_s=timeout_s)
        self._payer = Wire(self.name, url, {"x-api-key": self._admin_key}, timeout_s=timeout_s, keep=0)

    async def create_invoice(self, *, amount_msat: int, memo: str, expiry_s: int) -> NodeInvoice:
        """Make an invoice, of whole sats."""
        if amount_msat <= 0 or amount_msat % _SAT:
            text = f"LNbits makes invoices of whole sats, and {amount_msat} msat are none; ask for a multiple of 1000"
            raise NodeError(kind="rejected", message=text, sure=True)
        if len(memo) > _MAX_MEMO:
            text = f"the memo has {len(memo)} characters, and LNbits takes {_MAX_MEMO}; make it shorter"
            raise NodeError(kind="rejected", message=text, sure=True)
        body = {"out": False, "unit": "sat", "amount": amount_msat // _SAT, "memo": memo, "expiry": expiry_s}
        reply = await self._ready().ask("POST", _PAYMENTS, body=body)
        return invoice_of(_row(self._good(reply)), self._clock.now())

    async def find_invoice(self, payment_hash: str) -> NodeInvoice | None:
        """Return an invoice of the wallet; None says that it shows none."""
        rows = [row for row in await self._of_hash(payment_hash) if is_income(row)]
        return invoice_of(rows[0], self._clock.now()) if rows else None

    async def pay(self, bolt11: str, *, amount_msat: int | None, fee_limit_msat: int, timeout_s: float) -> NodePayment:
        """Pay an invoice that has an amount."""
        self._ready()
        if not self._admin_key:
            raise self._missing(key="admin_key")
        payment_hash = payment_hash_of(bolt11)
        if amount_msat is not None:
            text = "LNbits cannot pay an invoice without an amount; ask the payee for one that has it"
            raise NodeError(kind="rejected", message=text, sure=True)
        await self._check_fee(bolt11, fee_limit_msat)
        body = {"out": True, "bolt11": bolt11}
        reply = await self._payer.ask("POST", _PAYMENTS, body=body, limit_s=timeout_s)
        if reply.status in (200, 201):
            return payment_of(_row(reply))
        return await self._after_refusal(reply, payment_hash)

    async def find_payment(self, payment_hash: str) -> NodePayment | None:
        """Return a payment of the wallet; None says that it shows none, which right after paying is no proof."""
        rows = [row for row in await self._of_hash(payment_hash) if is_spending(row)]
        return payment_of(rows[0]) if rows else None

    async def list_invoices(self, since: datetime | None = None, cursor: str | None = None) -> Page[NodeInvoice]:
        """Return invoices, oldest first."""
        rows, following = await self._list("amount[gt]", since, cursor)
        now = self._clock.now()
        return Page(tuple(invoice_of(row, now) for row in rows if is_income(row)), following)

    async def list_payments(self, since: datetime | None = None, cursor: str | None = None) -> Page[NodePayment]:
        """Return payments, oldest first, those that failed among them."""
        rows, following = await self._list("amount[lt]", since, cursor)
        return Page(tuple(payment_of(row) for row in rows if is_spending(row)), following)

    async def balance(self) -> NodeBalance:
        """Return the wallet's balance, which is without payments under way and what is set aside for their fees."""
        wallet = _row(self._good(await self._ready().ask("GET", "/api/v1/wallet")))
        balance_msat = wallet.get("balance")
        if not isinstance(balance_msat, int):
            what = "a wallet without a balance"
            raise strange(what)
        params: dict[str, str | int] = {"status": "pending", "amount[lt]": 0, "limit": MAX_PAGE}
        rows = _rows(self._good(await self._ready().ask("GET", f"{_PAYMENTS}/paginated", params=params)))
        held = sum(held_msat(row) for row in rows if is_spending(row) and row.get("status") == "pending")
        return NodeBalance(balance_msat, self._clock.now(), held)

    async def health(self) -> NodeHealth:
        """Ask for the wallet with each key; LNbits does not tell its network."""
        try:
            wallet = _row(self._good(await self._ready().ask("GET", "/api/v1/wallet")))
            admin = _row(self._good(await self._payer.ask("GET", "/api/v1/wallet"))) if self._admin_key else {"id": ""}
        except NodeError as error:
            return self._health(ok=False, message=error.message, alias=None)
        alias = wallet.get("name") if isinstance(wallet.get("name"), str) else None
        if "id" not in admin:
            text = "the admin_key is not an admin's: it reads but cannot pay; copy the wallet's admin key"
            return self._health(ok=False, message=text, alias=alias)
        message = "it answers" if self._admin_key else "it answers; without an admin_key it cannot pay"
        return self._health(ok=True, message=message, alias=alias)

    async def events(self, cursor: str | None = None) -> AsyncGenerator[NodeEvent, None]:
        """Yield what changes from now on; LNbits cannot tell what was before."""
        del cursor
        self._ready()
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, WebSocketException

        url = (self._settings.url or "").rstrip("/")
        try:
            async with connect(
                f"ws{url.removeprefix('http')}/api/v1/ws/{self._reading_key}",
                open_timeout=self._settings.timeout_s,
                max_size=_MAX_MESSAGE,
                proxy=None if is_loopback(url) else True,
                logger=_silent(),
            ) as socket:
                async for message in socket:
                    event = _event(message)
                    if event is not None:
                        yield event
        except ConnectionClosed as error:
            text = f"the WebSocket of the node {self.name} broke; it is opened again"
            raise NodeError(kind="unreachable", message=text, sure=True) from error
        except (WebSocketException, OSError, TimeoutError) as error:
            # The library's own words may hold the address, and that holds the key.
            text = f"the WebSocket of the node {self.name} at {self._reader.place} does not open; see that it runs"
            raise NodeError(kind="unreachable", message=f"{text} ({type(error).__name__})", sure=True) from None

    async def close(self) -> None:
        """Give the connections back."""
        await self._reader.close()
        await self._payer.close()

    # How it is asked.

    async def _check_fee(self, bolt11: str, fee_limit_msat: int) -> None:
        """Refuse what may cost more than the limit: LNbits itself takes no limit."""
        reply = self._good(await self._payer.ask("GET", f"{_PAYMENTS}/fee-reserve", params={"invoice": bolt11}))
        reserve_msat = _row(reply).get("fee_reserve")
        if not isinstance(reserve_msat, int):
            what = "no fee_reserve"
            raise strange(what)
        if reserve_msat > fee_limit_msat:
            text = (
                f"LNbits sets {reserve_msat} msat aside for the fee, more than the limit of {fee_limit_msat}; "
                "raise the limit, or lower the reserve in LNbits"
            )
            raise NodeError(kind="rejected", message=text, sure=True)

    async def _after_refusal(self, reply: Reply, payment_hash: str) -> NodePayment:
        """Return the payment that is there in spite of the refusal, or raise the refusal."""
        refusal = self._refusal(reply)
        if refusal.kind in ("refused", "misconfigured"):
            raise refusal
        try:
            found = await self.find_payment(payment_hash)
        except NodeError:
            text = f"{refusal.message}; and whether it pays all the same could not be seen"
            raise NodeError(kind=refusal.kind, message=text, sure=False) from refusal
        if found is None:
            raise refusal
        return replace(found, failure=refusal.message) if found.state == "failed" else found

    async def _of_hash(self, payment_hash: str) -> list[Row]:
        """Return the wallet's rows of a hash; where one is under way, after LNbits has asked about it."""
        params: dict[str, str | int] = {"payment_hash": payment_hash, "limit": MAX_PAGE}
        rows = await self._page_of_hash(params, None)
        if not any(row.get("status") == "pending" for row in rows):
            return rows
        try:
            return await self._page_of_hash({**params, "recheck_pending": "true"}, _LOOK_S)
        except NodeError:
            # Its funding source does not answer; what LNbits itself knows stands.
            return rows

    async def _page_of_hash(self, params: Mapping[str, str | int], limit_s: float | None) -> list[Row]:
        reply = await self._ready().ask("GET", f"{_PAYMENTS}/paginated", params=params, limit_s=limit_s)
        rows = _rows(self._good(reply))
        if any(row.get("payment_hash") != params["payment_hash"] for row in rows):
            # An old one that does not know this filter shows everything, and its silence would prove nothing.
            what = "payments that were not asked for"
            raise strange(what)
        return rows

    async def _list(self, direction: str, since: datetime | None, cursor: str | None) -> tuple[list[Row], str | None]:
        first = int(cursor or 0)
        params: dict[str, str | int] = {
            direction: 0, "sortby": "time", "direction": "asc", "limit": MAX_PAGE, "offset": first,
        }  # fmt: skip
        if since is not None:
            params["time[ge]"] = int(since.timestamp())
        rows = _rows(self._good(await self._ready().ask("GET", f"{_PAYMENTS}/paginated", params=params)))
        return rows, str(first + MAX_PAGE) if len(rows) == MAX_PAGE else None

    def _ready(self) -> Wire:
        """Return the connections for reading, unless the settings lack something."""
        if self._settings.unset_variables:
            names = " and ".join(self._settings.unset_variables)
            text = f"the node {self.name} wants the environment variable {names}, which is not set; set it"
            raise NodeError(kind="misconfigured", message=text, sure=True)
        if not self._reading_key:
            raise self._missing(key="invoice_key")
        return self._reader

    def _missing(self, *, key: str) -> NodeError:
        text = f"the node {self.name} has no {key}, which this needs; add it to its [[nodes]] table"
        return NodeError(kind="misconfigured", message=text, sure=True)

    def _good(self, reply: Reply) -> Reply:
        if reply.status not in (200, 201):
            raise self._refusal(reply)
        return reply

    def _refusal(self, reply: Reply) -> NodeError:
        """Put an answer that is none into our words."""
        detail = self._payer.words(self._reader.words(reply.field("detail")))
        if reply.status == _OWN_ERROR:
            text = f"LNbits at {self._reader.place} says: {detail or 'no'}"
            return NodeError(kind="rejected", message=text, sure=reply.field("status") == "failed")
        kind, sure, mend = _ANSWERS.get(reply.status, ("protocol", False, "look at its log"))
        said = f" ({detail})" if detail else ""
        text = f"LNbits at {self._reader.place} answered {reply.status}{said}: {mend}"
        return NodeError(kind=kind, message=text, sure=sure)

    def _health(self, *, ok: bool, message: str, alias: str | None) -> NodeHealth:
        return NodeHealth(ok=ok, message=message, network=None, alias=alias, checked_at=self._clock.now())


def _event(message: str | bytes) -> NodeEvent | None:
    """Return what a message is about; None for what is no payment of the wallet."""
    body = parsed(message.encode() if isinstance(message, str) else message)
    row = body.get("payment") if isinstance(body, dict) else None
    if not isinstance(row, dict) or not isinstance(row.get("payment_hash"), str):
        return None
    return NodeEvent("payment" if is_spending(row) else "invoice", row["payment_hash"])


def _row(reply: Reply) -> Row:
    if not isinstance(reply.body, dict):
        what = "something that is no object"
        raise strange(what)
    return reply.body


def _rows(reply: Reply) -> list[Row]:
    found: Any = _row(reply).get("data")
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        what = "a page without rows"
        raise strange(what)
    return found


def _silent() -> logging.Logger:
    """Return a logger that nobody hears: the address of the WebSocket, which it would write, holds the key."""
    return logging.Logger("lnbits", level=logging.CRITICAL + 1)  # noqa: LOG001 - it shall have no parent that writes
