"""`/api/v1/ledger`: what came in and went out, invoices and payments, budgets, findings, and the books as a file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from timmy_core.ledger.export.formats import export_bytes, file_name, format_of
from timmy_core.ledger.model import Entry, Payment
from timmy_core.plain import plain
from timmy_core.server.gate import API
from timmy_core.server.ledger_query import (
    AccountsParams,
    BalanceParams,
    BudgetBody,
    DecideBody,
    DecodeBody,
    ExportParams,
    FindingsParams,
    InvoiceBody,
    LedgerBudgetsParams,
    LedgerEntriesParams,
    PayBody,
    ReconcileBody,
    StatementParams,
    StatsParams,
)
from timmy_core.server.query import NoParams, read_body, read_query
from timmy_core.server.replies import UNSTORED, json_reply

if TYPE_CHECKING:
    from starlette.requests import Request

    from timmy_core.timmy import Timmy

_WHICH: Final[dict[str, bool | None]] = {"open": True, "resolved": False, "all": None}


class LedgerApi:
    """The endpoints; each reads its input, calls the ledger on a worker thread, and hands back plain data."""

    def __init__(self, timmy: Timmy) -> None:
        self._timmy = timmy

    def routes(self) -> list[Route]:
        """Return the routes."""
        reads: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "balance": self.balance,
            "entries": self.entries,
            "entries/{key}": self.entry,
            "accounts": self.accounts,
            "statement": self.statement,
            "stats": self.stats,
            "budgets": self.budgets,
            "findings": self.findings,
            "nodes": self.nodes,
            "verify": self.verify,
            "export": self.export,
        }
        writes: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "invoices": self.create_invoice,
            "decode": self.decode,
            "payments": self.pay,
            "reconcile": self.reconcile,
            "budgets": self.set_budget,
            "findings/{key}/resolve": self.resolve,
        }
        return [
            *(Route(f"{API}ledger/{path}", endpoint, methods=["GET"]) for path, endpoint in reads.items()),
            *(Route(f"{API}ledger/{path}", endpoint, methods=["POST"]) for path, endpoint in writes.items()),
        ]

    # Looking -------------------------------------------------------------------------------------------------

    async def balance(self, request: Request) -> Response:
        """What came in, went out, is pending and is left; now, or as it was at a moment."""
        params = read_query(request, BalanceParams)
        balance = self._timmy.ledger.balance
        return json_reply(plain(await run_in_threadpool(lambda: balance(params.node, as_of=params.as_of))))

    async def entries(self, request: Request) -> Response:
        """Invoices and payments, the newest first; `next` is the `cursor` of the next page."""
        params = read_query(request, LedgerEntriesParams).model_dump(exclude_none=True)
        page = await run_in_threadpool(lambda: self._timmy.ledger.list(**params))
        return json_reply({"entries": [entry_dict(one) for one in page.entries], "next": page.cursor})

    async def entry(self, request: Request) -> Response:
        """One invoice or payment by its id, with its lines in the book and its attempts."""
        read_query(request, NoParams)
        key: str = request.path_params["key"]
        ledger = self._timmy.ledger

        def read() -> dict[str, Any]:
            one = ledger.get(key)
            attempts = ledger.attempts(key) if isinstance(one, Payment) else []
            return {**entry_dict(one), "postings": plain(ledger.postings(key)), "tries": plain(attempts)}

        return json_reply(await run_in_threadpool(read))

    async def accounts(self, request: Request) -> Response:
        """Every account with its totals; now, or as they were at a moment."""
        params = read_query(request, AccountsParams)
        found = await run_in_threadpool(lambda: self._timmy.ledger.accounts(as_of=params.as_of))
        return json_reply({"accounts": [{**plain(one), "balance_msat": one.balance_msat} for one in found]})

    async def statement(self, request: Request) -> Response:
        """The lines of one account with the balance after each; `cursor` continues it."""
        params = read_query(request, StatementParams).model_dump()
        account = params.pop("account")
        return json_reply(plain(await run_in_threadpool(lambda: self._timmy.ledger.statement(account, **params))))

    async def stats(self, request: Request) -> Response:
        """What settled in a number of days, by day, agent, task and source."""
        params = read_query(request, StatsParams)
        return json_reply(plain(await run_in_threadpool(lambda: self._timmy.ledger.stats(params.days))))

    async def budgets(self, request: Request) -> Response:
        """What agents may spend, and what they have spent."""
        params = read_query(request, LedgerBudgetsParams)
        found = await run_in_threadpool(lambda: self._timmy.ledger.budgets(params.at))
        return json_reply({"budgets": [{**plain(one), "left_msat": one.left_msat} for one in found]})

    async def findings(self, request: Request) -> Response:
        """What ledger and node do not agree on."""
        params = read_query(request, FindingsParams)
        findings = self._timmy.payments.findings
        found = await run_in_threadpool(
            lambda: findings(open=_WHICH[params.which], node=params.node, limit=params.limit)
        )
        return json_reply({"findings": plain(found)})

    async def nodes(self, request: Request) -> Response:
        """The nodes, and how the serving process follows each; none of them is asked."""
        read_query(request, NoParams)
        payments = self._timmy.payments
        return json_reply({"nodes": plain(payments.nodes()), "watching": plain(payments.watching())})

    async def verify(self, request: Request) -> Response:
        """Check every line of the book."""
        read_query(request, NoParams)
        found = await run_in_threadpool(self._timmy.ledger.verify)
        return json_reply({"ok": found.ok, **plain(found)})

    async def export(self, request: Request) -> Response:
        """The books as a file."""
        params = read_query(request, ExportParams)
        format_ = format_of(params.format)
        bounds = params.model_dump(exclude={"format"})
        pieces = await run_in_threadpool(lambda: export_bytes(self._timmy.ledger, format_.name, **bounds))
        named = {"Content-Disposition": f'attachment; filename="{file_name(format_, params.until)}"'}
        return StreamingResponse(pieces, media_type=format_.media_type, headers=UNSTORED | named)

    # Doing ---------------------------------------------------------------------------------------------------
    # Hanging up cancels nothing here: money may be under way, and what becomes of it is written down.

    async def create_invoice(self, request: Request) -> Response:
        """Make an invoice."""
        given = (await read_body(request, InvoiceBody)).model_dump()
        return json_reply(entry_dict(await self._timmy.payments.acreate_invoice(**given)))

    async def decode(self, request: Request) -> Response:
        """Say what an invoice says, and why it could not be paid from here."""
        given = (await read_body(request, DecodeBody)).model_dump()
        bolt11 = given.pop("bolt11")
        return json_reply(plain(await run_in_threadpool(lambda: self._timmy.payments.decode(bolt11, **given))))

    async def pay(self, request: Request) -> Response:
        """Pay an invoice, and say what became of it; `shown` may still be `pending`."""
        given = (await read_body(request, PayBody)).model_dump()
        bolt11 = given.pop("bolt11")
        return json_reply(entry_dict(await self._timmy.payments.apay(bolt11, **given)))

    async def reconcile(self, request: Request) -> Response:
        """Compare the book with a node; without `dry_run` write down what is missing."""
        body = await read_body(request, ReconcileBody)
        report = await self._timmy.payments.areconcile(body.node, dry_run=body.dry_run, by=body.by)
        return json_reply(plain(report))

    async def set_budget(self, request: Request) -> Response:
        """Set what an agent may spend; null takes the limit away."""
        body = await read_body(request, BudgetBody)
        put = self._timmy.ledger.set_budget
        return json_reply(
            plain(await run_in_threadpool(lambda: put(body.agent_id, body.period, body.limit_msat, by=body.by)))
        )

    async def resolve(self, request: Request) -> Response:
        """Take note that a finding is settled."""
        body = await read_body(request, DecideBody)
        key: str = request.path_params["key"]
        return json_reply(plain(await run_in_threadpool(lambda: self._timmy.payments.resolve(key, by=body.by))))


def entry_dict(one: Entry) -> dict[str, Any]:
    """Return an invoice or a payment as JSON can carry it."""
    return {"direction": one.direction, "shown": one.shown, **plain(one)}
