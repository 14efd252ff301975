"""Turns every refusal and failure into an answer: JSON for programs, a readable page for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from timmy_core.errors import (
    AgentTokenError,
    AgentUnknownError,
    AlertError,
    AlreadyPaidError,
    BidError,
    BudgetExceededError,
    ControlError,
    EntryConflictError,
    EntryError,
    EntryNotFoundError,
    EntryStateError,
    EntryUnknownError,
    EventError,
    EventNotFoundError,
    GitError,
    HomeInUseError,
    IdempotencyConflictError,
    InsufficientFundsError,
    LedgerError,
    NodeError,
    PinError,
    ProposalError,
    ProposalNotFoundError,
    QueryError,
    QuestionError,
    RouterError,
    SandboxError,
    StoreBusyError,
    StoreClosedError,
    StoreFullError,
    SwarmError,
    TaskNotFoundError,
    TaskStateError,
    TimmyError,
    UnknownProviderError,
    UpgradeBusyError,
    UpgradeError,
)
from timmy_core.server.screens import problem_screen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

# The first match counts, so the narrow errors stand before the wide ones.
STATUS_OF: tuple[tuple[type[TimmyError], int], ...] = (
    (EventNotFoundError, 404),
    (EventError, 400),
    (EntryNotFoundError, 404),
    (EntryConflictError, 409),
    (EntryError, 422),
    (EntryUnknownError, 404),
    (AlreadyPaidError, 409),
    (BudgetExceededError, 409),
    (EntryStateError, 409),
    (IdempotencyConflictError, 409),
    (InsufficientFundsError, 409),
    (NodeError, 502),
    (LedgerError, 422),
    (ProposalNotFoundError, 404),
    (ProposalError, 422),
    (PinError, 403),
    (UpgradeBusyError, 503),
    (SandboxError, 500),
    (GitError, 500),
    (UpgradeError, 409),
    (AgentUnknownError, 404),
    (TaskNotFoundError, 404),
    (AgentTokenError, 401),
    (TaskStateError, 409),
    (BidError, 409),
    (SwarmError, 422),
    (QueryError, 400),
    (StoreBusyError, 503),
    (StoreClosedError, 503),
    (StoreFullError, 507),
    (AlertError, 409),
    (HomeInUseError, 409),
    (QuestionError, 422),
    (UnknownProviderError, 404),
    (ControlError, 422),
    (RouterError, 502),
    (TimmyError, 500),
)
TITLES = {
    400: "That request cannot be understood",
    401: "You are not logged in",
    403: "That is not allowed",
    404: "There is no such page",
    405: "That is not possible here",
    413: "That is too large",
    429: "Too many attempts",
    500: "Something failed here",
    503: "Not ready just now",
}
_TYPES = {
    400: "bad_request",
    401: "not_logged_in",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "not_json",
    422: "invalid_body",
    429: "too_many_attempts",
    503: "not_ready",
}


class ApiError(Exception):
    """An answer that the API gives instead of a result."""

    def __init__(self, status: int, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = dict(headers or {})


def wants_page(scope: Scope) -> bool:
    """Say whether a person with a browser asked, who should see a page and not JSON."""
    path: str = scope["path"]
    accepts = Headers(scope=scope).get("accept", "")
    return "text/html" in accepts and not path.startswith("/api/")


def answer(
    scope: Scope, status: int, message: str, *, headers: Mapping[str, str] | None = None, kind: str = ""
) -> Response:
    """Return the answer that fits who asked."""
    if wants_page(scope):
        title = TITLES.get(status, TITLES[500] if status >= 500 else TITLES[400])  # noqa: PLR2004
        return problem_screen(title, message, status=status, headers=dict(headers or {}))
    error = {"type": kind or _TYPES.get(status, "error"), "message": message}
    return JSONResponse(
        {"error": error}, status_code=status, headers={"Cache-Control": "no-store"} | dict(headers or {})
    )


async def on_api_error(request: Request, error: Exception) -> Response:
    """Answer an `ApiError`."""
    if not isinstance(error, ApiError):
        raise error
    return answer(request.scope, error.status, error.message, headers=error.headers)


async def on_timmy_error(request: Request, error: Exception) -> Response:
    """Answer an error of the house with its own words; they never hold a secret."""
    status = next((code for kind, code in STATUS_OF if isinstance(error, kind)), 500)
    return answer(request.scope, status, str(error), kind=kind_of(error))


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer what the framework refused: no such path, no such method, too large."""
    if not isinstance(error, HTTPException):
        raise error
    message = f"{request.url.path} does not exist" if error.status_code == 404 else f"{error.detail}"  # noqa: PLR2004
    return answer(request.scope, error.status_code, message, headers=error.headers)


async def on_failure(request: Request, error: Exception) -> Response:
    """Answer a fault of ours without its details; the server's log has them."""
    del error
    return answer(request.scope, 500, "This is a fault of the workbench; its log says more.", kind="internal_error")


EXCEPTION_HANDLERS = {
    ApiError: on_api_error,
    TimmyError: on_timmy_error,
    HTTPException: on_http_error,
    Exception: on_failure,
}


class FriendlyErrors:
    """Replaces an error body that a mounted app wrote for programs by a page, where a person asked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and watch what comes back."""
        if scope["type"] != "http" or not wants_page(scope):
            await self._app(scope, receive, send)
            return
        replaced = False

        async def send_friendly(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and _is_bare_error(message):
                replaced = True
                await _replacement(scope, message["status"])(scope, receive, send)
            elif not replaced:
                await send(message)

        await self._app(scope, receive, send_friendly)


def _is_bare_error(message: Message) -> bool:
    kind = Headers(raw=message["headers"]).get("content-type", "")
    return message["status"] >= 400 and not kind.startswith("text/html")  # noqa: PLR2004


def _replacement(scope: Scope, status: int) -> Response:
    texts = {
        404: f"{scope['path']} does not exist.",
        401: "This page needs a login.",
        403: "This page may not be used so.",
    }
    return answer(scope, status, texts.get(status, "The page could not be shown; the server's log says more."))


def kind_of(error: Exception) -> str:
    """Return the word by which programs know an error: `router` for a `RouterError`."""
    name = type(error).__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).removeprefix("_").removesuffix("_error")
