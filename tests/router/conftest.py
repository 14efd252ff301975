"""A server that speaks all wire formats, and a door to it of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from timmy_core.router.chat import Provider
from timmy_core.testing import WireServer

from .doors import KINDS, door


@pytest.fixture
async def server() -> AsyncIterator[WireServer]:
    async with WireServer() as running:
        yield running


@pytest.fixture(params=KINDS)
async def provider(request: pytest.FixtureRequest, server: WireServer) -> AsyncIterator[Provider]:
    made = door(request.param, server.url)
    yield made
    await made.close()
