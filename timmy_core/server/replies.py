"""What every endpoint of the API answers with: plain data as JSON, and nothing once the caller has hung up."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Coroutine
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")
UNSTORED = {"Cache-Control": "no-store"}
_CLIENT_GONE = 499  # what proxies write in their logs; nobody is there to read it


def jsonable(value: Any) -> Any:
    """Return plain data: dataclasses become objects, times ISO 8601 in UTC with a Z, bytes hexadecimal."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, frozenset)):
        return [jsonable(item) for item in (sorted(value) if isinstance(value, frozenset) else value)]
    if isinstance(value, (Decimal, Path, bytes)):
        return value.hex() if isinstance(value, bytes) else str(value)
    return value


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
