"""What every endpoint of the API answers with: plain data as JSON, and nothing once the caller has hung up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")
UNSTORED = {"Cache-Control": "no-store"}
_CLIENT_GONE = 499  # what proxies write in their logs; nobody is there to read it


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
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


def json_reply(content: Any) -> JSONResponse:
    """Return plain data that no cache keeps."""
    return JSONResponse(content, headers=UNSTORED)
