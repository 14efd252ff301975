"""One ASGI app: the door first, then health, login, API, feed and pages."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from timmy_core.errors import TimmyError
from timmy_core.server.api import Api
from timmy_core.server.auth import Hosts, Keys, LoginLimiter, check_exposure, load_key
from timmy_core.server.errors import EXCEPTION_HANDLERS, FriendlyErrors
from timmy_core.server.gate import Access, Gate
from timmy_core.server.login import Login
from timmy_core.server.pages import Pages, check_notebooks
from timmy_core.server.ws import FeedSockets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from starlette.requests import Request

    from timmy_core.timmy import Timmy

_READY_WITHIN_S = 2.0
_READY_KEPT_S = 1.0


def create_app(
    timmy: Timmy, *, password: str | None, host: str, port: int, notebooks: Path, allowed_hosts: Sequence[str] = ()
) -> Starlette:
    """Build the app; `port` is the real one, because the checks of `Host` and the cookie's name depend on it.

    Args:
        timmy: whom to ask and what to show; the caller closes it.
        password: who logs in needs it; None lets everybody on this machine in.
        host: the address that is listened on.
        port: the port that is listened on.
        notebooks: the folder of the pages.
        allowed_hosts: more `Host` headers to answer to, such as the name that a reverse proxy has.

    Raises:
        SettingsError: other machines could reach it and there is no password, or a page or the key is missing.
    """
    check_exposure(host, password)
    keys = Keys(load_key(timmy.settings.home), password)
    limiter, hosts = LoginLimiter(timmy.clock), Hosts(host, port, allowed_hosts)
    access = Access(keys, hosts, limiter, timmy.clock, f"timmy_{port}", timmy.swarm.agent_of)
    pages = Pages(check_notebooks(notebooks))
    feeds = FeedSockets(timmy.feed)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        pages.start()
        timmy.warm()
        timmy.router.watch()
        try:
            yield
        finally:
            await feeds.close()
            await pages.close()

    app = Starlette(
        routes=[
            Route("/healthz", _healthz, methods=["GET"]),
            Route("/readyz", Readiness(timmy).endpoint, methods=["GET"]),
            *Login(access).routes(),
            *Api(timmy, access).routes(),
            WebSocketRoute("/ws/events", feeds.endpoint),
            *pages.routes(),
        ],
        middleware=[
            Middleware(Gate, access=access, open_paths=pages.open_paths),
            Middleware(FriendlyErrors),
            Middleware(GZipMiddleware, minimum_size=1024, compresslevel=4),
        ],
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=lifespan,
    )
    app.state.feeds, app.state.pages = feeds, pages
    return app


class Readiness:
    """Answers `/readyz`: can the store be read and written, and does the feed follow it."""

    def __init__(self, timmy: Timmy) -> None:
        self._timmy = timmy
        self._lock = asyncio.Lock()
        self._checked_at_s = float("-inf")
        self._checks: dict[str, str] = {}

    async def endpoint(self, request: Request) -> Response:
        """Answer 200 if everything is, 503 otherwise; anybody may ask, so it is checked once a second at most."""
        del request
        async with self._lock:
            now_s = asyncio.get_running_loop().time()
            if now_s - self._checked_at_s > _READY_KEPT_S:
                self._checks, self._checked_at_s = await self._check(), now_s
            checks = self._checks
        ready = all(word == "ok" for word in checks.values())
        return JSONResponse({"ready": ready, "checks": checks}, 200 if ready else 503, {"Cache-Control": "no-store"})

    async def _check(self) -> dict[str, str]:
        store = "ok"
        try:
            async with asyncio.timeout(_READY_WITHIN_S):
                # An empty write takes the lock and commits nothing, so it costs no disk access.
                await self._timmy.store.awrite(lambda connection: connection.execute("SELECT 1").fetchone())
                await asyncio.to_thread(self._timmy.events.head)
        except TimeoutError:
            store = "does not answer"
        except TimmyError:
            store = "failed"
        return {"store": store, "feed": "ok" if self._timmy.feed.alive else "stopped"}


async def _healthz(request: Request) -> Response:
    """Say that the process is up."""
    del request
    return JSONResponse({"status": "ok"}, headers={"Cache-Control": "no-store"})
