"""`/api/v1`: what pages and programs read and ask for, as JSON. Every blocking read runs on a worker thread."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from timmy_core.server.errors import ApiError
from timmy_core.server.gate import API, TOKEN_HEADER
from timmy_core.server.query import AskBody, EventsParams, NoParams, read_body, read_query

if TYPE_CHECKING:
    from starlette.requests import Request

    from timmy_core.server.gate import Access
    from timmy_core.timmy import Timmy

T = TypeVar("T")
_UNSTORED = {"Cache-Control": "no-store"}
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_CLIENT_GONE = 499  # what proxies write in their logs; nobody is there to read it


class Api:
    """The endpoints; each reads its input, calls Timmy, and hands back plain data."""

    def __init__(self, timmy: Timmy, access: Access) -> None:
        self._timmy, self._access = timmy, access

    def routes(self) -> list[Route]:
        """Return the routes, and one that says that there is no other."""
        reads: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "status": self.status,
            "events": self.events,
            "events/{key}": self.event,
            "router/status": self.router_status,
            "token": self.token,
        }
        routes = [Route(API + path, endpoint, methods=["GET"]) for path, endpoint in reads.items()]
        # Every method ends here, or marimo's mount behind these routes would answer in words of its own.
        rest = Route(f"{API}{{rest:path}}", self.unknown, methods=_METHODS)
        return [*routes, Route(f"{API}ask", self.ask, methods=["POST"]), rest]

    async def status(self, request: Request) -> Response:
        """Everything at a glance."""
        read_query(request, NoParams)
        return _json(await run_in_threadpool(lambda: self._timmy.status().as_dict()))

    async def events(self, request: Request) -> Response:
        """The log, filtered; `next` is the `before` (or, in ascending order, the `after`) of the next page."""
        params = read_query(request, EventsParams)
        wanted = params.model_dump(exclude={"limit"})
        # One more than asked for tells whether there is a next page.
        found = await run_in_threadpool(lambda: self._timmy.events.list(**wanted, limit=params.limit + 1))
        page = found[: params.limit]
        following = page[-1].seq if len(found) > params.limit else None
        return _json({"events": [event.as_dict() for event in page], "next": following})

    async def event(self, request: Request) -> Response:
        """One event, by its seq or its id."""
        read_query(request, NoParams)
        key: str = request.path_params["key"]
        number = int(key) if key.isascii() and key.isdecimal() and len(key) < 19 else None  # noqa: PLR2004
        found = await run_in_threadpool(lambda: self._timmy.events.get(key if number is None else number))
        return _json(found.as_dict())

    async def router_status(self, request: Request) -> Response:
        """How every provider stands."""
        read_query(request, NoParams)
        found = await run_in_threadpool(self._timmy.router.status)
        return _json({"providers": jsonable(found)})

    async def token(self, request: Request) -> Response:
        """The token that state changes carry; only a page of this origin can read it."""
        read_query(request, NoParams)
        keys = self._access.keys
        token = keys.token(request.scope["timmy_session"])
        return _json({"token": token, "header": TOKEN_HEADER, "login_required": keys.login_required})

    async def ask(self, request: Request) -> Response:
        """Ask Timmy; a caller who hangs up cancels the work."""
        body = await read_body(request, AskBody)
        answer = await _unless_gone(request, self._timmy.ask(body.text, session=body.session))
        return _json(jsonable(answer))

    async def unknown(self, request: Request) -> Response:
        """Anything else under `/api/v1`."""
        allowed = next((route.methods for route in self.routes()[:-1] if _leads_to(route, request)), None)
        if allowed:
            names = ", ".join(sorted(allowed))
            raise HTTPException(
                405, f"{request.url.path} takes {names}, not {request.method}", headers={"Allow": names}
            )
        message = f"{request.url.path} does not exist; see {API}status, {API}events and {API}router/status"
        raise ApiError(404, message)


def _leads_to(route: Route, request: Request) -> bool:
    return route.matches(request.scope)[0] is not Match.NONE


def jsonable(value: Any) -> Any:
    """Return plain data: dataclasses become objects, times ISO 8601 in UTC with a Z."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    return value


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await the work, and cancel it when the client hangs up; the framework would let it run on."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise HTTPException(_CLIENT_GONE, "the client hung up")
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(content: Any) -> JSONResponse:
    return JSONResponse(content, headers=_UNSTORED)
