"""A page's WebSocket that comes before the pages are warm: it waits, and lets go of whoever leaves meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidMessage, InvalidStatus

from tests.waiting import auntil
from timmy_core.server.pages import Pages

PATH = "/memory/ws?session_id=s_abcdef"


class Cold:
    """A server of pages whose warm-up has not begun."""

    def __init__(self, notebooks: Path) -> None:
        self.pages = Pages(notebooks)
        app = Starlette(routes=self.pages.routes())
        config = uvicorn.Config(app, port=0, ws="websockets-sansio", lifespan="off", timeout_graceful_shutdown=2)
        self.server = uvicorn.Server(config)

    @property
    def url(self) -> str:
        """Where a page's kernel would be."""
        (listening,) = self.server.servers[0].sockets
        return f"ws://127.0.0.1:{listening.getsockname()[1]}{PATH}"

    def waiting(self) -> int:
        """How many connections are neither accepted nor refused."""
        return len(self.server.server_state.tasks)


@pytest.fixture
async def cold(notebooks: Path) -> AsyncIterator[Cold]:
    made = Cold(notebooks)
    serving = asyncio.create_task(made.server.serve())
    await auntil(lambda: made.server.started, "the server listens")
    yield made
    made.server.should_exit = True
    await serving
    await made.pages.close()


async def never(url: str) -> None:
    """Connect, and end with the server or the client."""
    with suppress(InvalidStatus, InvalidMessage, OSError):
        async with connect(url, open_timeout=30):
            pytest.fail("the page was opened before it was warm")


async def test_a_page_opened_while_the_server_starts_is_served_once_it_is_warm(cold: Cold) -> None:
    opening = asyncio.create_task(connect(cold.url, open_timeout=30).__aenter__())
    await auntil(lambda: cold.waiting() == 1, "the page's WebSocket waits")
    assert not opening.done()
    cold.pages.start()
    socket = await opening
    assert "kernel-ready" in str(await asyncio.wait_for(socket.recv(), 20))
    await socket.close()


async def test_whoever_leaves_while_the_server_starts_is_not_waited_for(cold: Cold) -> None:
    opening = asyncio.create_task(never(cold.url))
    await auntil(lambda: cold.waiting() == 1, "the page's WebSocket waits")
    opening.cancel()
    await auntil(lambda: cold.waiting() == 0, "the server forgot it")


async def test_a_server_that_is_stopped_while_it_starts_ends_without_a_word(
    cold: Cold, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    opening = asyncio.create_task(never(cold.url))
    await auntil(lambda: cold.waiting() == 1, "the page's WebSocket waits")
    cold.server.should_exit = True
    await opening
    await auntil(lambda: cold.waiting() == 0, "the server forgot it")
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []
