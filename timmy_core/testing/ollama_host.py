"""What an Ollama server has beside its chat: a shelf of models, those in its memory, preloading and pulling."""

from __future__ import annotations

import asyncio
import collections
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from timmy_core.testing.line import Line
from timmy_core.testing.turn import Received

_SERVER_NUM_CTX: Final = 4096
_LAYER: Final = "sha256:" + "ab" * 32
_WHEN: Final = "2026-01-01T00:00:00Z"
_LATER: Final = "2099-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class OllamaModel:
    """A model on the shelf.

    Args:
        context_tokens: the largest window it was trained for.
        num_ctx: the window that its own parameters ask for; None leaves it to the server, which takes 4096.
        size: in bytes.
        family: its architecture.
        capabilities: what it can do.
    """

    context_tokens: int = 8192
    num_ctx: int | None = None
    size: int = 1_000_000
    family: str = "llama"
    capabilities: tuple[str, ...] = ("completion", "tools")


@dataclass(frozen=True, slots=True)
class Pull:
    """What happens when a model is pulled.

    Args:
        total: the size of its one layer, in bytes.
        steps: how many times progress is told.
        pause_s: the wait before each.
        error: said in the end instead of success, as the server does, inside a good reply.
        cut: the connection is reset half way.
    """

    total: int = 1_000_000
    steps: int = 4
    pause_s: float = 0.0
    error: str | None = None
    cut: bool = False


@dataclass(slots=True)
class OllamaHost:
    """The part of a `WireServer` that answers `/api/ps`, `/api/show`, `/api/pull`, `/api/generate` and their like.

    Args:
        models: what is on the shelf, by name; while it is empty any name will do.
        loaded: what is in memory, with its window.
        load_s: how long a cold load takes; a client that goes away aborts it, as with the real one.
        pull: what happens when a model is pulled.
        loads: the loads that began, in order.
        aborted: those that their client did not wait for.
        pulled: what was pulled, by full name.
    """

    models: dict[str, OllamaModel] = field(default_factory=dict)
    loaded: dict[str, int] = field(default_factory=dict)
    load_s: float = 0.0
    pull: Pull = field(default_factory=Pull)
    loads: list[str] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    pulled: list[str] = field(default_factory=list)
    _locks: dict[str, asyncio.Lock] = field(default_factory=lambda: collections.defaultdict(asyncio.Lock))

    def names(self, otherwise: Iterable[str]) -> list[str]:
        """Return the full names of all models on the shelf; the others' where it is empty."""
        shelf = [full_name(name) for name in (self.models or otherwise)]
        return [*shelf, *(name for name in self.pulled if name not in shelf)]

    def unload(self, name: str) -> None:
        """Take a model out of memory."""
        self.loaded.pop(full_name(name), None)

    async def load(self, line: Line, body: dict[str, Any]) -> None:
        """Wait until the model that a request names is in memory with the window it asks for."""
        name = full_name(str(body.get("model", "")))
        window = (body.get("options") or {}).get("num_ctx")
        async with self._locks[name]:
            loaded = self.loaded.get(name)
            if loaded is not None and window in (None, loaded):
                return
            # A model that has to have another window is loaded anew.
            self.loaded.pop(name, None)
            self.loads.append(name)
            if self.load_s:
                try:
                    await line.pause(self.load_s)
                except ConnectionError:
                    self.aborted.append(name)
                    raise
            self.loaded[name] = int(window or self._model(name).num_ctx or _SERVER_NUM_CTX)

    def knows(self, name: str) -> bool:
        """Return whether a model can be asked."""
        return not self.models or full_name(name) in self.names(())

    async def missing(self, line: Line, name: str) -> bool:
        """Say that there is no such model."""
        return await line.json({"error": f"model '{name}' not found"}, HTTPStatus.NOT_FOUND)

    async def serve(self, line: Line, request: Received, shelf: Iterable[str]) -> bool | None:
        """Answer a request that is no chat; returns None where it is not for this part."""
        path = request.path.partition("?")[0]
        if request.method == "GET":
            listed = {
                "/api/version": {"version": "0.32.0"},
                "/api/tags": {"models": [self._entry(name) for name in self.names(shelf)]},
                "/api/ps": {"models": [self._running(name, window) for name, window in self.loaded.items()]},
            }
            return await line.json(listed[path]) if path in listed else None
        if path not in ("/api/show", "/api/pull", "/api/generate"):
            return None
        name = str(request.body.get("model") or request.body.get("name") or "")
        if path == "/api/pull":
            return await self._pull(line, name, streamed=bool(request.body.get("stream", True)))
        if not self.knows(name):
            return await self.missing(line, name)
        if path == "/api/show":
            return await line.json(self._shown(name))
        return await self._generate(line, request.body)

    async def _generate(self, line: Line, body: dict[str, Any]) -> bool:
        """Load a model, or drop it from memory; without a prompt that is all this address is for."""
        name = str(body.get("model", ""))
        done = {"model": name, "created_at": _WHEN, "response": "", "done": True}
        if body.get("prompt"):
            error = "this server answers /api/generate only without a prompt; ask /api/chat"
            return await line.json({"error": error}, HTTPStatus.BAD_REQUEST)
        if body.get("keep_alive") in (0, "0", "0s"):
            self.unload(name)
            return await line.json({**done, "done_reason": "unload"})
        await self.load(line, body)
        return await line.json({**done, "done_reason": "load"})

    async def _pull(self, line: Line, name: str, *, streamed: bool) -> bool:
        script = self.pull
        if not streamed:
            await line.pause(script.pause_s * script.steps)
            if script.error is not None:
                return await line.json({"error": script.error}, HTTPStatus.INTERNAL_SERVER_ERROR)
            self._shelve(name)
            return await line.json({"status": "success"})
        line.head(HTTPStatus.OK, {"content-type": "application/x-ndjson", "transfer-encoding": "chunked"})
        await line.chunk(_line({"status": "pulling manifest"}))
        for step in range(1, script.steps + 1):
            if script.pause_s:
                await line.pause(script.pause_s)
            part = {"status": f"pulling {_LAYER[7:19]}", "digest": _LAYER, "total": script.total}
            await line.chunk(_line({**part, "completed": script.total * step // script.steps}))
            if script.cut and step >= script.steps // 2:
                return line.reset()
        if script.error is not None:
            await line.chunk(_line({"error": script.error}))
            return await line.end()
        for status in ("verifying sha256 digest", "writing manifest", "success"):
            await line.chunk(_line({"status": status}))
        self._shelve(name)
        return await line.end()

    def _shelve(self, name: str) -> None:
        if full_name(name) not in self.pulled:
            self.pulled.append(full_name(name))

    def _model(self, name: str) -> OllamaModel:
        full = full_name(name)
        return next((model for known, model in self.models.items() if full_name(known) == full), OllamaModel())

    def _entry(self, name: str) -> dict[str, Any]:
        model = self._model(name)
        details = {"format": "gguf", "family": model.family, "families": [model.family]}
        more = {"parameter_size": "1B", "quantization_level": "Q4_K_M", "parent_model": ""}
        head = {"name": name, "model": name, "modified_at": _WHEN, "size": model.size, "digest": _LAYER[7:]}
        return {**head, "details": {**details, **more}}

    def _running(self, name: str, window: int) -> dict[str, Any]:
        size = self._model(name).size
        return {**self._entry(name), "expires_at": _LATER, "size_vram": size, "context_length": window}

    def _shown(self, name: str) -> dict[str, Any]:
        model = self._model(name)
        info = {"general.architecture": model.family, f"{model.family}.context_length": model.context_tokens}
        return {
            "modelfile": f"FROM {name}",
            "parameters": "" if model.num_ctx is None else f"num_ctx                        {model.num_ctx}",
            "template": "{{ .Prompt }}",
            "details": self._entry(full_name(name))["details"],
            "model_info": info,
            "capabilities": list(model.capabilities),
            "modified_at": _WHEN,
        }


def full_name(name: str) -> str:
    """Return a model's name with its tag."""
    return name if ":" in name else f"{name}:latest"


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"
