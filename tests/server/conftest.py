"""A real server on loopback, with small notebooks, on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from timmy_core.errors import TimmyError
from timmy_core.server.pages import PAGES
from timmy_core.server.run import Serving, serve

PASSWORD = "correct horse"
NOTEBOOK = """
import marimo
app = marimo.App()

@app.cell
def title():
    import marimo as mo
    mo.md("# page of NAME")
    return
"""
Serve = Callable[..., Serving]


@pytest.fixture(scope="session")
def notebooks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notebooks")
    for page in PAGES:
        (folder / page.notebook).write_text(NOTEBOOK.replace("NAME", page.word), encoding="utf-8")
    return folder


@pytest.fixture
def start(timmy: Any, notebooks: Path) -> Iterator[Serve]:
    """Return what starts a server of this test's Timmy; each is stopped at the end."""
    running: list[tuple[Serving, threading.Thread]] = []

    def begin(**options: Any) -> Serving:
        ready = threading.Event()
        box: list[Any] = []

        def run() -> None:
            chosen = {"host": "127.0.0.1", "port": 0, "password": None, "notebooks": notebooks} | options
            try:
                serve(timmy, **chosen, on_ready=listening)
            except TimmyError as error:
                box.append(error)
            finally:
                ready.set()

        def listening(serving: Serving) -> None:
            box.append(serving)
            ready.set()

        thread = threading.Thread(target=run, name="test-server")
        thread.start()
        ready.wait(30)
        if not box or isinstance(box[0], BaseException):
            raise box[0] if box else TimeoutError
        running.append((box[0], thread))
        return box[0]

    yield begin
    for serving, thread in running:
        serving.stop()
        thread.join(10)
        assert not thread.is_alive(), "the server did not stop"


@pytest.fixture
def site(start: Serve) -> Iterator[httpx.Client]:
    """A client of a server without a password."""
    with httpx.Client(base_url=start().url, timeout=10) as client:
        yield client


@pytest.fixture
def locked(start: Serve) -> Iterator[httpx.Client]:
    """A client, not logged in, of a server with a password."""
    with httpx.Client(base_url=start(password=PASSWORD).url, timeout=10) as client:
        yield client


@pytest.fixture
def origin() -> Callable[[httpx.Client], dict[str, str]]:
    """Return the header that a browser sends with a state change from one of our pages."""
    return lambda client: {"Origin": str(client.base_url).rstrip("/")}


@pytest.fixture
def log_in() -> Callable[..., httpx.Response]:
    """Send the login form as a browser does."""

    def send(client: httpx.Client, password: str = PASSWORD, **form: str) -> httpx.Response:
        headers = {"Origin": str(client.base_url).rstrip("/")}
        return client.post("/login", data={"password": password} | form, headers=headers)

    return send
