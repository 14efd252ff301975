"""The files that every page loads, some 250 of them: kept ready in memory, packed once, cached by browsers for good."""

from __future__ import annotations

import gzip
import mimetypes
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_KEPT_BYTES: Final = 64 * 1024 * 1024
_WORTH_PACKING: Final = ("text/", "application/javascript", "application/json", "image/svg+xml", "application/wasm")
# The address of these files carries their version, so a browser need never ask again.
_FOREVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class _Asset:
    body: bytes
    kind: str
    packed: bool


class Assets:
    """An ASGI app over one folder that does not change while the process lives."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ready: dict[str, _Asset] = {}
        self._kept_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with one file."""
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
            raise HTTPException(405, "these files are only read, with GET", headers={"Allow": "GET, HEAD"})
        name = scope["path"].removeprefix(scope.get("root_path", "")).removeprefix("/")
        asset = self._ready.get(name)
        if asset is None:
            asset = await run_in_threadpool(self._load, name)
        body, headers = asset.body, {"Cache-Control": _FOREVER, "Content-Type": asset.kind, "Vary": "Accept-Encoding"}
        if asset.packed and "gzip" in Headers(scope=scope).get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
        elif asset.packed:
            body = await run_in_threadpool(gzip.decompress, body)
        await Response(body, headers=headers)(scope, receive, send)

    @cached_property
    def _names(self) -> frozenset[str]:
        """Every file there is, so that an address can name nothing else."""
        return frozenset(
            str(path.relative_to(self._folder).as_posix()) for path in self._folder.rglob("*") if path.is_file()
        )

    def _load(self, name: str) -> _Asset:
        if name not in self._names:
            raise HTTPException(404, f"there is no file {name}")
        body = (self._folder / name).read_bytes()
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        packed = kind.startswith(_WORTH_PACKING) or kind == "text/javascript"
        asset = _Asset(gzip.compress(body, 5, mtime=0) if packed else body, kind, packed)
        if self._kept_bytes + len(asset.body) <= _KEPT_BYTES:
            self._kept_bytes += len(asset.body)
            self._ready[name] = asset
        return asset
