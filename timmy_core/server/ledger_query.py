"""What `/api/v1/ledger` takes: parameters and bodies, checked; the ledger itself checks what they mean."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from timmy_core.ledger.money import MAX_MSAT
from timmy_core.server.memory_query import Body, By, DecideBody
from timmy_core.server.query import LIST_AT_MOST, Moment, Name, Params

__all__ = ["DecideBody"]

# Whole msat: a float or a text is a mistake somewhere, and money is not the place to guess.
Amount = Annotated[int, Field(strict=True, ge=0, le=MAX_MSAT)]
Memo = Annotated[str, Field(max_length=639)]
Bolt11 = Annotated[str, Field(min_length=1, max_length=10_000)]
Limit = Annotated[int, Field(ge=1, le=LIST_AT_MOST)]
Cursor = Annotated[str, Field(min_length=1, max_length=200)]
Period = Literal["day", "week", "month"]
Wait = Annotated[float, Field(ge=0, le=300)]


class BalanceParams(Params):
    """What `/api/v1/ledger/balance` takes."""

    node: Name | None = None
    as_of: Moment | None = None


class LedgerEntriesParams(Params):
    """The filters of `/api/v1/ledger/entries`."""

    direction: Literal["in", "out"] | None = None
    status: Name | None = None
    task_id: Name | None = None
    agent_id: Name | None = None
    source: Name | None = None
    node: Name | None = None
    trace_id: Name | None = None
    text: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    since: Moment | None = None
    until: Moment | None = None
    cursor: Cursor | None = None
    limit: Limit = 100


class AccountsParams(Params):
    """What `/api/v1/ledger/accounts` takes."""

    as_of: Moment | None = None


class StatementParams(Params):
    """What `/api/v1/ledger/statement` takes."""

    account: Name
    since: Moment | None = None
    until: Moment | None = None
    cursor: Cursor | None = None
    limit: Limit = 500


class StatsParams(Params):
    """What `/api/v1/ledger/stats` takes."""

    days: Annotated[int, Field(ge=1, le=3660)] = 30


class LedgerBudgetsParams(Params):
    """What `/api/v1/ledger/budgets` takes."""

    at: Moment | None = None


class FindingsParams(Params):
    """What `/api/v1/ledger/findings` takes."""

    which: Literal["open", "resolved", "all"] = "open"
    node: Name | None = None
    limit: Limit = 100


class ExportParams(Params):
    """What `/api/v1/ledger/export` takes."""

    format: Name = "csv"
    since: Moment | None = None
    until: Moment | None = None
    node: Name | None = None


class InvoiceBody(Body):
    """What `POST /api/v1/ledger/invoices` takes."""

    amount_msat: Amount
    memo: Memo = ""
    expiry_s: Annotated[int, Field(strict=True, ge=1, le=31_536_000)] | None = None
    source: Name = "api"
    agent_id: Name | None = None
    task_id: Name | None = None
    trace_id: Name | None = None
    node: Name | None = None
    idempotency_key: Name | None = None


class DecodeBody(Body):
    """What `POST /api/v1/ledger/decode` takes."""

    bolt11: Bolt11
    amount_msat: Amount | None = None
    node: Name | None = None


class PayBody(Body):
    """What `POST /api/v1/ledger/payments` takes."""

    bolt11: Bolt11
    amount_msat: Amount | None = None
    fee_limit_msat: Amount | None = None
    memo: Memo = ""
    agent_id: Name | None = None
    task_id: Name | None = None
    trace_id: Name | None = None
    node: Name | None = None
    idempotency_key: Name | None = None
    wait_s: Wait = 30.0


class ReconcileBody(Body):
    """What `POST /api/v1/ledger/reconcile` takes."""

    node: Name | None = None
    dry_run: Annotated[bool, Field(strict=True)] = True
    by: By = "api"


class BudgetBody(Body):
    """What `POST /api/v1/ledger/budgets` takes."""

    agent_id: Name
    period: Period
    limit_msat: Amount | None
    by: By = "api"
