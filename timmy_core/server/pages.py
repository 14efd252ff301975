"""The pages: which notebook stands at which path, and marimo serving them all from this one process."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.websockets import WebSocketDisconnected

from timmy_core.errors import SettingsError
from timmy_core.server import compile_lock
from timmy_core.server.assets import Assets

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION_TTL_S = 120


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the workbench."""

    path: str
    notebook: str
    title: str
    word: str  # what the navigation calls it


PAGES: tuple[Page, ...] = (
    Page("/", "home.py", "Timmy", "home"),
    Page("/swarm/live", "live.py", "Live", "live"),
    Page("/swarm/events", "events.py", "Events", "events"),
    Page("/lightning/ledger", "ledger.py", "Ledger", "ledger"),
    Page("/memory", "memory.py", "Memory", "memory"),
    Page("/router/status", "router.py", "Router", "router"),
    Page("/self-modify/queue", "upgrades.py", "Upgrades", "upgrades"),
    Page("/labs/latency", "latency_lab.py", "Latency lab", "labs"),
    Page("/labs/policy", "policy_lab.py", "Policy lab", "labs"),
)


def find_notebooks() -> Path:
    """Return the folder of the pages: `notebooks/` of a checkout, `timmy_core/_notebooks` of an installed package.

    Raises:
        SettingsError: neither is there with every page in it.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package.parent / "notebooks", package / "_notebooks"):
        if (folder / PAGES[0].notebook).is_file():
            return check_notebooks(folder)
    message = (
        f"the pages were found neither in {package.parent / 'notebooks'} nor in {package / '_notebooks'}; "
        "install timmy-workbench again, or start it from a complete checkout"
    )
    raise SettingsError(message)


def check_notebooks(folder: Path) -> Path:
    """Return the folder if it holds every page.

    Raises:
        SettingsError: names what is missing.
    """
    missing = [page.notebook for page in PAGES if not (folder / page.notebook).is_file()]
    if missing:
        message = f"{folder} lacks the page{'s' if len(missing) > 1 else ''} {', '.join(missing)}; restore or reinstall"
        raise SettingsError(message)
    return folder


class Pages:
    """marimo's app for every page, with its assets served once for all of them."""

    def __init__(self, notebooks: Path) -> None:
        import marimo

        compile_lock.install()
        logging.getLogger("marimo").addFilter(is_news)
        self.asset_url = f"/-/marimo-{marimo.__version__}"
        self._static = Path(marimo.__file__).parent / "_static"
        head = notebooks / "ui" / "head.html"
        builder = marimo.create_asgi_app(
            quiet=True,
            include_code=False,
            asset_url=self.asset_url,
            session_ttl=SESSION_TTL_S,
            html_head=head.read_text(encoding="utf-8") if head.is_file() else None,
        )
        for page in PAGES:
            builder = builder.with_app(path=page.path, root=str(notebooks / page.notebook))
        self._app: ASGIApp = builder.build()
        self._warm = asyncio.Event()

    @property
    def open_paths(self) -> frozenset[str]:
        """What browsers fetch without the cookie, by the standard: the manifests, which say nothing."""
        folders = ["" if page.path == "/" else page.path for page in PAGES]
        return frozenset(f"{folder}/manifest.json" for folder in (*folders, self.asset_url))

    def routes(self) -> list[BaseRoute]:
        """Return the routes of assets and pages; the last one takes everything, so it has to come last."""
        return [
            Mount(self.asset_url, Assets(self._static)),
            *[Route(page.path, _to_slash, methods=["GET"]) for page in PAGES if page.path != "/"],
            Mount("/", self._when_warm),
        ]

    def start(self) -> None:
        """Load in the background what every page loads, while the first browser loads its assets."""
        from marimo._server.utils import initialize_mimetypes

        initialize_mimetypes()
        loop = asyncio.get_running_loop()

        def ready() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._warm.set)

        threading.Thread(target=_warm_up, args=(ready,), name="timmy-warm-up", daemon=True).start()

    async def close(self) -> None:
        """End every kernel. A mounted app hears nothing of the server's end, so marimo has to be told."""
        for manager in self.session_managers():
            await manager.shutdown()

    def session_managers(self) -> list[Any]:
        """Return marimo's own books on who has which page open."""
        mounted = [getattr(route, "app", None) for route in getattr(self._app, "routes", [])]
        managers = [getattr(getattr(app, "state", None), "session_manager", None) for app in mounted]
        return [manager for manager in managers if manager is not None]

    async def _when_warm(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A kernel begins with the page's WebSocket. Altair has to be set up before the first one draws.
        if scope["type"] == "websocket" and not self._warm.is_set():
            held = await _held(receive, self._warm)
            if held is None:
                return
            receive = held
        try:
            await self._app(scope, receive, send)
        except ValueError as error:
            # A page that outlived its kernel, after a restart or a long sleep, still speaks to it. marimo has answered
            # and raises all the same, which would only fill the server's output.
            if not str(error).startswith("Invalid session id"):
                raise
        except WebSocketDisconnected:
            # The tab was closed while its kernel greeted it; there is nobody left to tell.
            if scope["type"] != "websocket":
                raise


async def _held(receive: Receive, until: asyncio.Event) -> Receive | None:
    """Wait for an event and return what to receive from then on; None once the client, or the server, has left."""
    connect: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    connect.set_result(await receive())
    # Who is not accepted yet can say nothing but goodbye.
    goodbye, happened = asyncio.ensure_future(receive()), asyncio.ensure_future(until.wait())
    try:
        await asyncio.wait((goodbye, happened), return_when=asyncio.FIRST_COMPLETED)
    finally:
        happened.cancel()
        if not until.is_set():
            goodbye.cancel()
    kept = [connect, goodbye]

    async def again() -> Message:
        return await (kept.pop(0) if kept else receive())

    return again if until.is_set() else None


def _warm_up(ready: Callable[[], None]) -> None:
    try:
        import altair as alt
        from marimo._plugins.ui._impl.charts.altair_transformer import register_transformers

        # Altair keeps one registry for the whole process. Set once here, no page has to switch it while another
        # draws, which is not safe between threads; the compact form also makes charts ten times smaller.
        register_transformers()
        alt.data_transformers.enable("marimo_csv")
        import anywidget  # noqa: F401
        import polars  # noqa: F401, ICN001
    finally:
        ready()


def is_news(record: logging.LogRecord) -> bool:
    """Keep from the terminal what is as it should be: only the tests of the pages need pytest, not their serving."""
    return "skipping assertion rewriting" not in record.getMessage()


async def _to_slash(request: Request) -> Response:
    """Add the slash that marimo's relative addresses need; its own redirect loses the query."""
    query = request.url.query
    return RedirectResponse(f"{request.url.path}/{'?' if query else ''}{query}", status_code=307)
