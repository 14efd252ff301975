"""`/api/v1/alerts`: what needs a person's eye, and a test of telling somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from timmy_core.plain import plain
from timmy_core.server.gate import API
from timmy_core.server.query import LIST_AT_MOST, NoParams, Params, read_query
from timmy_core.server.replies import json_reply

if TYPE_CHECKING:
    from starlette.requests import Request

    from timmy_core.timmy import Timmy


class AlertsParams(Params):
    """What `/api/v1/alerts` may be asked for."""

    open: bool = True
    limit: int = Field(default=100, ge=1, le=LIST_AT_MOST)


class AlertsApi:
    """The endpoints; each calls the alerts on a worker thread, and hands back plain data."""

    def __init__(self, timmy: Timmy) -> None:
        self._timmy = timmy

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(f"{API}alerts", self.alerts, methods=["GET"]),
            Route(f"{API}alerts/test", self.test, methods=["POST"]),
        ]

    async def alerts(self, request: Request) -> Response:
        """Alerts, the newest first, and how telling somebody goes; every page asks."""
        params = read_query(request, AlertsParams)
        return json_reply(await run_in_threadpool(lambda: self._look(params)))

    def _look(self, params: AlertsParams) -> dict[str, Any]:
        alerts = self._timmy.alerts
        found = alerts.open()[: params.limit] if params.open else alerts.list(params.limit)
        return {"alerts": plain(found), "delivery": plain(alerts.delivery())}

    async def test(self, request: Request) -> Response:
        """Send a message that says that it is a test."""
        read_query(request, NoParams)
        await run_in_threadpool(self._timmy.alerts.test)
        return json_reply({"sent": True})
