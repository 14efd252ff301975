"""`/api/v1`: what pages and programs read and ask for, as JSON. Every blocking read runs on a worker thread."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match, Route

from timmy_core.plain import plain
from timmy_core.server.alerts_api import AlertsApi
from timmy_core.server.errors import ApiError
from timmy_core.server.gate import API, TOKEN_HEADER
from timmy_core.server.ledger_api import LedgerApi
from timmy_core.server.memory_api import MemoryApi
from timmy_core.server.query import AskBody, EventsParams, NoParams, read_body, read_query
from timmy_core.server.replies import json_reply, unless_gone
from timmy_core.server.router_api import RouterApi
from timmy_core.server.swarm_agent_api import AgentApi
from timmy_core.server.swarm_api import SwarmApi
from timmy_core.server.upgrades_api import UpgradesApi

if TYPE_CHECKING:
    from starlette.requests import Request

    from timmy_core.server.gate import Access
    from timmy_core.timmy import Timmy

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


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
            "token": self.token,
        }
        routes = [Route(API + path, endpoint, methods=["GET"]) for path, endpoint in reads.items()]
        # Every method ends here, or marimo's mount behind these routes would answer in words of its own.
        rest = Route(f"{API}{{rest:path}}", self.unknown, methods=_METHODS)
        ask = Route(f"{API}ask", self.ask, methods=["POST"])
        timmy = self._timmy
        rooms = (
            RouterApi(timmy), MemoryApi(timmy), LedgerApi(timmy), UpgradesApi(timmy), SwarmApi(timmy), AgentApi(timmy),
            AlertsApi(timmy),
        )  # fmt: skip
        return [*routes, *(route for room in rooms for route in room.routes()), ask, rest]

    async def status(self, request: Request) -> Response:
        """Everything at a glance."""
        read_query(request, NoParams)
        return json_reply(await run_in_threadpool(lambda: self._timmy.status().as_dict()))

    async def events(self, request: Request) -> Response:
        """The log, filtered; `next` is the `before` (or, in ascending order, the `after`) of the next page."""
        params = read_query(request, EventsParams)
        wanted = params.model_dump(exclude={"limit"})
        # One more than asked for tells whether there is a next page.
        found = await run_in_threadpool(lambda: self._timmy.events.list(**wanted, limit=params.limit + 1))
        page = found[: params.limit]
        following = page[-1].seq if len(found) > params.limit else None
        return json_reply({"events": [event.as_dict() for event in page], "next": following})

    async def event(self, request: Request) -> Response:
        """One event, by its seq or its id."""
        read_query(request, NoParams)
        key: str = request.path_params["key"]
        number = int(key) if key.isascii() and key.isdecimal() and len(key) < 19 else None  # noqa: PLR2004
        found = await run_in_threadpool(lambda: self._timmy.events.get(key if number is None else number))
        return json_reply(found.as_dict())

    async def token(self, request: Request) -> Response:
        """The token that state changes carry; only a page of this origin can read it."""
        read_query(request, NoParams)
        keys = self._access.keys
        token = keys.token(request.scope["timmy_session"])
        return json_reply({"token": token, "header": TOKEN_HEADER, "login_required": keys.login_required})

    async def ask(self, request: Request) -> Response:
        """Ask Timmy; a caller who hangs up cancels the work."""
        body = await read_body(request, AskBody)
        answer = await unless_gone(
            request,
            self._timmy.ask(body.text, session=body.session, local_only=body.local_only, memory=body.memory),
        )
        return json_reply(plain(answer))

    async def unknown(self, request: Request) -> Response:
        """Anything else under `/api/v1`."""
        allowed = {
            method for route in self.routes()[:-1] if _leads_to(route, request) for method in route.methods or ()
        }
        if allowed:
            names = ", ".join(sorted(allowed))
            raise HTTPException(
                405, f"{request.url.path} takes {names}, not {request.method}", headers={"Allow": names}
            )
        message = f"{request.url.path} does not exist; see {API}status, {API}events and {API}router/status"
        raise ApiError(404, message)


def _leads_to(route: Route, request: Request) -> bool:
    return route.matches(request.scope)[0] is not Match.NONE
