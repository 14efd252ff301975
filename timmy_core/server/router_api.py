"""`/api/v1/router`: how the cascade stands, what it did, what is configured; asking it, and steering it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from timmy_core.errors import RouterError, TimmyError
from timmy_core.plain import plain
from timmy_core.router.chat import Delta, Done, StreamPart, Switch, ToolCall
from timmy_core.server.errors import ApiError, kind_of
from timmy_core.server.gate import API
from timmy_core.server.query import (
    CompleteBody,
    ControlBody,
    HealthCheckBody,
    MetricsParams,
    NoParams,
    read_body,
    read_query,
)
from timmy_core.server.replies import UNSTORED, json_reply, unless_gone

if TYPE_CHECKING:
    from starlette.requests import Request

    from timmy_core.loop import BridgedStream
    from timmy_core.timmy import Timmy

_PARTS: Final[dict[type[StreamPart], str]] = {Delta: "delta", ToolCall: "tool_call", Switch: "switch", Done: "done"}


class RouterApi:
    """The endpoints; each reads its input, calls the router, and hands back plain data."""

    def __init__(self, timmy: Timmy) -> None:
        self._timmy = timmy

    def routes(self) -> list[Route]:
        """Return the routes."""
        reads: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "status": self.status,
            "metrics": self.metrics,
            "providers": self.providers,
            "config": self.config,
        }
        writes: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "complete": self.complete,
            "providers/{name}/control": self.control,
            "health-check": self.health_check,
        }
        return [
            *(Route(f"{API}router/{path}", endpoint, methods=["GET"]) for path, endpoint in reads.items()),
            *(Route(f"{API}router/{path}", endpoint, methods=["POST"]) for path, endpoint in writes.items()),
        ]

    # Looking -------------------------------------------------------------------------------------------------

    async def status(self, request: Request) -> Response:
        """How every provider stands, and what is wrong with the configuration."""
        read_query(request, NoParams)
        router = self._timmy.router
        found = await run_in_threadpool(router.status)
        return json_reply({"providers": plain(found), "problem": plain(router.config().problem)})

    async def metrics(self, request: Request) -> Response:
        """What the providers did in a time, one line a model, provider or agent; and what is left of the budgets."""
        params = read_query(request, MetricsParams)
        router = self._timmy.router
        try:
            report = await run_in_threadpool(lambda: router.report(**params.model_dump()))
        except RouterError as error:
            raise ApiError(400, str(error)) from None
        budgets = await run_in_threadpool(router.budgets)
        left = [{**plain(budget), "left_microusd": budget.left_microusd} for budget in budgets]
        return json_reply({**report.as_dict(), "budgets": left})

    async def providers(self, request: Request) -> Response:
        """What every provider is, and how it was steered; without any number."""
        read_query(request, NoParams)
        return json_reply({"providers": plain(await run_in_threadpool(self._timmy.router.providers))})

    async def config(self, request: Request) -> Response:
        """The configuration in force, without any secret, and what is wrong with the file."""
        read_query(request, NoParams)
        return json_reply(plain(await run_in_threadpool(self._timmy.router.config)))

    # Asking --------------------------------------------------------------------------------------------------

    async def complete(self, request: Request) -> Response:
        """Ask the cascade: one JSON object, or an event a part with `"stream": true`; hanging up cancels the work."""
        body = await read_body(request, CompleteBody)
        given = body.model_dump(include=body.model_fields_set - {"stream"})
        messages = given.pop("messages")
        try:
            if body.stream:
                parts = self._timmy.router.stream(messages, **given)
                return StreamingResponse(_events(parts), media_type="text/event-stream", headers=UNSTORED)
            answer = await unless_gone(request, self._timmy.router.chat(messages, **given))
        except ValueError as error:
            raise ApiError(422, str(error)) from None
        return json_reply(plain(answer))

    async def health_check(self, request: Request) -> Response:
        """Ask every provider, or one, whether it would answer."""
        body = await read_body(request, HealthCheckBody)
        work = self._timmy.router.test(body.name, timeout_s=body.timeout_s)
        results = await unless_gone(request, work)
        return json_reply({"results": [{"name": name, **plain(health)} for name, health in results]})

    # Steering ------------------------------------------------------------------------------------------------

    async def control(self, request: Request) -> Response:
        """Steer one provider; replies how it stands now."""
        body = await read_body(request, ControlBody)
        name = request.path_params["name"]
        return json_reply(plain(await self._timmy.router.control(name, body.action, by=body.by, value=body.value)))


async def _events(parts: BridgedStream[StreamPart]) -> AsyncIterator[str]:
    """Yield each part as a server-sent event; an error that comes once the reply has begun is one too."""
    async with aclosing(parts):
        try:
            async for part in parts:
                yield _event(_PARTS[type(part)], plain(part))
        except TimmyError as error:
            yield _event("error", {"type": kind_of(error), "message": str(error)})


def _event(kind: str, data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
