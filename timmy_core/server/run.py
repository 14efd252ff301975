"""Serving one home: the lock that lets only one process do it, the port, and a clean end."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import threading
import webbrowser
from dataclasses import dataclass
from typing import TYPE_CHECKING

from timmy_core.errors import HomeInUseError, SettingsError
from timmy_core.server.auth import check_exposure, is_loopback, is_wildcard
from timmy_core.server.gate import BODY_BYTES
from timmy_core.server.pages import find_notebooks
from timmy_core.store.lock import take

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from starlette.applications import Starlette

    from timmy_core.timmy import Timmy

_LOCK_BYTES = 4096
_CLOSE_S = 1


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that listens: where, and how to end it from any thread."""

    url: str
    host: str
    port: int
    stop: Callable[[], None]


def serve(
    timmy: Timmy,
    *,
    host: str,
    port: int,
    password: str | None,
    notebooks: Path | None = None,
    allowed_hosts: Sequence[str] = (),
    open_browser: bool = False,
    on_ready: Callable[[Serving], None] = lambda _: None,
) -> int | None:
    """Serve pages, API and feed until a signal or `Serving.stop`; prints nothing.

    Args:
        timmy: whom to serve; the caller closes it afterwards.
        host: the address to listen on; anything but this machine's own needs a password.
        port: the port, or 0 for any free one.
        password: who logs in needs it; None for no login.
        notebooks: the folder of the pages; found by itself if None.
        allowed_hosts: more `Host` headers to answer to, such as the name that a reverse proxy has.
        open_browser: show the first page once it can be loaded.
        on_ready: called once it listens.

    Returns:
        The signal that ended it, or None.

    Raises:
        HomeInUseError: another process serves this home; the message says which and where.
        SettingsError: the address, the port or a page cannot be had; the message says what to do.
    """
    check_exposure(host, password)
    with home_lock(timmy.settings.home) as note, listening_socket(host, port) as listener:
        from timmy_core.server.app import create_app

        port = listener.getsockname()[1]
        url = f"http://{_shown(host)}:{port}"
        note(url)
        app = create_app(
            timmy,
            password=password,
            host=host,
            port=port,
            notebooks=notebooks or find_notebooks(),
            allowed_hosts=allowed_hosts,
        )
        return _run(app, listener, url, on_ready=_and_browse(on_ready) if open_browser else on_ready)


@contextlib.contextmanager
def home_lock(home: Path) -> Iterator[Callable[[str], None]]:
    """Hold the home for this process; yields what writes the address into the lock file.

    The lock is the kernel's and ends with the process, however it ends; the file stays and means nothing by itself.

    Raises:
        HomeInUseError: another process, or another server in this one, holds it.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / "serve.lock"
    path.touch(mode=0o600)
    with path.open("a+", encoding="utf-8") as file:
        if not take(file.fileno()):
            raise HomeInUseError(_in_use(home, path))

        def note(url: str) -> None:
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "url": url}))
            file.flush()

        note("")
        try:
            yield note
        finally:
            file.truncate(0)


@contextlib.contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Bind the address, so that what is wrong with it is said before anything slow begins.

    Raises:
        SettingsError: says what is wrong and what to do.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        message = f"the address {host!r} is not known on this machine; use 127.0.0.1, or 0.0.0.0 for every address"
        raise SettingsError(message) from error
    with socket.socket(family, kind, protocol) as listener:
        # After a restart the old connections still linger; this lets the port be taken again at once.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(128)
        except OSError as error:
            raise SettingsError(_cannot_bind(error, host, port)) from error
        listener.setblocking(False)  # noqa: FBT003 - its name says what it is
        yield listener


def _run(app: Starlette, listener: socket.socket, url: str, *, on_ready: Callable[[Serving], None]) -> int | None:
    import uvicorn

    from timmy_core.server.uvicorn_server import AbortableWebSocket, Server

    host, port = listener.getsockname()[:2]
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws=AbortableWebSocket,
        ws_max_size=BODY_BYTES,
        # Between two programs on one machine compressing costs time and saves nothing.
        ws_per_message_deflate=not is_loopback(host),
        lifespan="on",
        log_config=None,
        access_log=False,
        # Who asks is who is connected; a header could say anything, and the limit on guesses counts by it.
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_CLOSE_S,
    )

    def stop() -> None:
        server.should_exit = True

    serving = Serving(url, host, port, stop)
    server = Server(config, on_listening=lambda: on_ready(serving), before_close=app.state.feeds.close)
    server.run(sockets=[listener])
    return server.stopped_by


def _and_browse(on_ready: Callable[[Serving], None]) -> Callable[[Serving], None]:
    def ready(serving: Serving) -> None:
        on_ready(serving)
        # Looking for a browser can take seconds, and the server has to answer meanwhile.
        threading.Thread(target=_browse, args=(serving.url,), name="timmy-browser", daemon=True).start()

    return ready


def _browse(url: str) -> None:
    with contextlib.suppress(webbrowser.Error, OSError):
        webbrowser.open(url)


def _in_use(home: Path, path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8")[:_LOCK_BYTES])
        pid, url = int(holder["pid"]), str(holder["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return (
            f"the home {home} is already served by another process; stop that one, or choose another home with --home"
        )
    where = f" at {url}" if url else ", which is just starting"
    return (
        f"the home {home} is already served by process {pid}{where}; "
        f"open that address, stop it with Ctrl-C (or `kill {pid}`), or choose another home with --home"
    )


def _cannot_bind(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is taken by another program; choose another with --port, or let --port 0 find one"
        )
    if error.errno == errno.EACCES:
        return f"this user may not listen on port {port}; choose one from 1024 on with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine; use 127.0.0.1, or 0.0.0.0 for every address"
    return f"cannot listen on {host}, port {port}: {error.strerror}; choose others with --host and --port"


def _shown(host: str) -> str:
    """Return what to type into a browser on this machine."""
    if is_wildcard(host):
        return "[::1]" if ":" in host else "127.0.0.1"
    return f"[{host}]" if ":" in host else host
