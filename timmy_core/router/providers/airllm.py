"""AirLLM: models larger than the memory, layer by layer from the disk, in a process of their own."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass, Health, Usage
from timmy_core.router.providers.airllm_process import Child, ChildGoneError
from timmy_core.router.providers.failures import plain, scrub
from timmy_core.router.providers.loading import Loading, patience_s
from timmy_core.settings import ProviderSettings, RouterSettings

MAX_TOKENS: Final = 512
"""How long an answer may be when the caller does not say; each token reads the whole model."""

STOP_S: Final = 2.0
_LOOK_S: Final = 5.0  # how long what was found on the disk is believed
_REMEMBER_S: Final = 60.0  # and what the process could not do for want of something
_TRIES: Final = 3

# What the process says it failed for.
_KINDS: Final[dict[str, ErrorClass]] = {
    "package": ErrorClass.NOT_CONFIGURED,
    "import": ErrorClass.NOT_CONFIGURED,
    "device": ErrorClass.NOT_CONFIGURED,
    "code": ErrorClass.NOT_CONFIGURED,
    "model": ErrorClass.MODEL_NOT_FOUND,
    "network": ErrorClass.CONNECTION,
    "context": ErrorClass.CONTEXT_LENGTH,
    "memory": ErrorClass.SERVER,
    "error": ErrorClass.SERVER,
}
_INSTALL: Final = "run `pip install torch`, then `pip install 'timmy-workbench[airllm]'`"
_KIND_ADVICE: Final[dict[str, str]] = {
    "package": _INSTALL,
    "import": f"{_INSTALL}; a library that it needs is missing or does not fit",
    "device": 'set device = "cpu" or "auto" for {where}',
    "code": "if you trust whoever made the model with everything on this machine, set trust_remote_code = true for "
    "{where}; otherwise choose a model that transformers knows by itself",
    "memory": "choose a smaller model, or free memory",
}
_ADVICE: Final[dict[ErrorClass, str]] = {
    ErrorClass.LOADING: "ask again in a while; raise first_token_s of {where} to wait for it",
    ErrorClass.TIMEOUT: "raise load_s in [router]; the first load of a model also splits its files",
    ErrorClass.MODEL_NOT_FOUND: "download the model into a folder and name it in models of {where}",
    ErrorClass.CONTEXT_LENGTH: "shorten the conversation, or choose a model with a larger window",
    ErrorClass.BAD_REQUEST: "ask another provider; it goes on to the next by itself",
    ErrorClass.CONNECTION: "ask again; it starts anew by itself",
    ErrorClass.TRUNCATED: "ask again; it starts anew by itself",
    ErrorClass.SERVER: "look whether `timmy router test {name}` says more; a smaller model may fit",
    ErrorClass.MALFORMED: "check that the versions of airllm and transformers fit together",
    ErrorClass.NOT_CONFIGURED: "complete {where}",
}


class AirllmDoor:
    """A model in a process that is started by the first question, and can be killed.

    Args:
        settings: the provider's table in `timmy.toml`.
        router: the limits that hold for all.
        python: the interpreter that has AirLLM; the one that runs Timmy if None.
    """

    kind = "airllm"
    can_prefill = False
    max_concurrency: int | None = 1

    def __init__(self, settings: ProviderSettings, router: RouterSettings, *, python: str | None = None) -> None:
        self.name = settings.name
        self.models: Mapping[str, str] = dict(settings.models)
        self.default_model = settings.models.get("default") or next(iter(settings.models.values()), "")
        self.priority = settings.priority
        self.first_token_s = settings.first_token_s
        self.free = settings.price is None or settings.price.input == settings.price.output == 0
        self.local = settings.local is not False
        self._settings = settings
        self._python = python or sys.executable
        self._token = settings.api_key.get_secret_value() if settings.api_key is not None else None
        self._loading = Loading(self._load, router.load_s, self._error)
        self._using = asyncio.Lock()
        self._child: Child | None = None
        self._held = ""  # the model that the process has loaded
        self._window: int | None = None
        self._numbers = itertools.count(1)
        self._stopping: set[asyncio.Task[None]] = set()
        self._looked: tuple[float, tuple[str, str] | None] = (0.0, None)

    # What the cascade sees ----------------------------------------------------------------------------------

    def problem(self) -> tuple[str, str] | None:
        """Return (what is missing, what to do) when it cannot be asked at all.

        It looks at the disk, at most once in some seconds; never further.
        """
        until, found = self._looked
        if time.monotonic() >= until:
            found = self._look()
            self._looked = time.monotonic() + _LOOK_S, found
        return found

    def window_tokens(self, model: str) -> int | None:
        """Return how many tokens a question and its answer may have together; known once the model is loaded."""
        return self._settings.context_tokens or (self._window if model == self._held else None)

    async def chat(self, request: ChatRequest) -> Completion:
        """Return the whole answer.

        Raises:
            ProviderError: there is none; says why and what to do.
        """
        pieces: list[str] = []
        async with aclosing(self.stream(request)) as chunks:
            async for chunk in chunks:
                pieces.append(chunk.text)
                if chunk.finish_reason is not None:
                    usage = chunk.usage or Usage()
                    return Completion("".join(pieces), chunk.finish_reason, usage, request.model)
        raise self._error(ErrorClass.TRUNCATED, "its answer ended before it was finished", request.model)

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """Yield the answer token by token, the last chunk with the finish reason.

        Raises:
            ProviderError: it cannot answer, is still loading, or its process ended.
        """
        self._refuse_what_it_cannot(request)
        child = await self._take(request)
        # From here on the process is ours, until it has said its last word about this question.
        number, settled, began = next(self._numbers), False, False
        try:
            await child.send(self._order(request, number))
            while not settled:
                message = await child.next()
                settled = message.get("id") == number and message["is"] in ("done", "failed")
                if not settled and message["is"] == "text":
                    began = True
                    yield Chunk(str(message.get("text", "")))
            last = self._end(message, request.model)
        except ChildGoneError as error:
            settled = True
            await self._drop(child)
            kind = ErrorClass.TRUNCATED if began else ErrorClass.CONNECTION
            raise self._error(kind, str(error), request.model) from None
        finally:
            if settled:
                self._using.release()
            else:
                self._stop(child, number)
        yield last

    async def check(self, *, timeout_s: float) -> Health:
        """Say whether it could answer; neither loads the model nor asks it."""
        del timeout_s
        began = time.monotonic()
        self._looked = (0.0, None)
        problem = self.problem()
        models = tuple(self.models.values())
        latency_ms = (time.monotonic() - began) * 1000
        if problem is not None:
            return Health(ok=False, message=problem[0], advice=problem[1], models=models, latency_ms=latency_ms)
        model = self.default_model
        loaded = self._child is not None and self._held == model and self._child.is_alive()
        busy = "loads" if self._loading.is_loading(model) else "is ready to load"
        message = f"has {model} in memory" if loaded else f"{busy} {model}"
        return Health(ok=True, message=message, models=models, latency_ms=latency_ms)

    async def close(self) -> None:
        """End the process and every task."""
        await self._loading.close()
        for task in tuple(self._stopping):
            task.cancel()
        await asyncio.gather(*self._stopping, return_exceptions=True)
        if self._child is not None:
            await self._drop(self._child)

    # The process --------------------------------------------------------------------------------------------

    async def _take(self, request: ChatRequest) -> Child:
        """Return the process with the request's model loaded, locked for this request."""
        ends = time.monotonic() + patience_s(request)
        for _ in range(_TRIES):
            if self._ready(request.model) is None:
                problem = self.problem()
                if problem is not None:
                    raise ProviderError(ErrorClass.NOT_CONFIGURED, problem[0], advice=problem[1])
                await self._loading.wait(request.model, max(0.0, ends - time.monotonic()))
            await self._using.acquire()
            child = self._ready(request.model)
            if child is not None:
                return child
            self._using.release()
        raise self._error(ErrorClass.OVERLOADED, "other questions want other models of it", request.model)

    def _ready(self, model: str) -> Child | None:
        child = self._child
        return child if child is not None and self._held == model and child.is_alive() else None

    async def _load(self, model: str) -> None:
        """Start a process and have it load a model; one that holds another model ends first."""
        async with self._using:
            if self._child is not None:
                await self._drop(self._child)
            try:
                child = await Child.start(self._python)
            except OSError as error:
                message = f"its process cannot be started: {error.strerror or error}"
                raise self._error(ErrorClass.NOT_CONFIGURED, message, model) from None
            kept = False
            try:
                await child.send(self._load_order(model))
                reply = await child.next()
                if reply["is"] != "loaded":
                    raise self._failure(reply, model)
                window = reply.get("window")
                self._child, self._held, kept = child, model, True
                self._window = window if isinstance(window, int) else None
            except ChildGoneError as error:
                raise self._error(ErrorClass.CONNECTION, str(error), model) from None
            finally:
                if not kept:
                    await child.kill()

    def _load_order(self, model: str) -> dict[str, Any]:
        folder = _folder(model)
        return {
            "do": "load",
            "model": str(folder) if folder is not None else model,
            "device": self._settings.device,
            "token": self._token,
            "trust": self._settings.trust_remote_code,
        }

    def _order(self, request: ChatRequest, number: int) -> dict[str, Any]:
        return {
            "do": "ask",
            "id": number,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "max_tokens": request.max_tokens or MAX_TOKENS,
            "temperature": request.temperature,
            "window": self._settings.context_tokens,
        }

    def _stop(self, child: Child, number: int) -> None:
        """Stop an answer that nobody waits for any more; the caller does not wait for that either."""
        task = asyncio.get_running_loop().create_task(self._quiet(child, number), name=f"stop-{self.name}")
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def _quiet(self, child: Child, number: int) -> None:
        quiet = False
        try:
            async with asyncio.timeout(STOP_S):
                await child.send({"do": "stop", "id": number})
                while not quiet:
                    message = await child.next()
                    quiet = message.get("id") == number and message["is"] in ("done", "failed")
        except (TimeoutError, ChildGoneError):
            pass
        finally:
            try:
                if not quiet:
                    await self._drop(child)
            finally:
                self._using.release()

    async def _drop(self, child: Child) -> None:
        if self._child is child:
            self._child, self._held, self._window = None, "", None
        await child.kill()

    # Words --------------------------------------------------------------------------------------------------

    def _end(self, message: Mapping[str, Any], model: str) -> Chunk:
        if message["is"] == "failed":
            raise self._failure(message, model)
        usage = Usage(message.get("input_tokens"), message.get("output_tokens"))
        return Chunk(finish_reason=str(message.get("finish") or "stop"), usage=usage, model=model)

    def _failure(self, message: Mapping[str, Any], model: str) -> ProviderError:
        """Put what the process says it failed for into the house's words; some of it stays true for a while."""
        kind = str(message.get("kind"))
        text = plain(str(message.get("text") or "it does not say why"))
        error = self._error(_KINDS.get(kind, ErrorClass.MALFORMED), text, model)
        if kind in _KIND_ADVICE:
            where = f'[[providers]] name = "{self.name}" in timmy.toml'
            error = ProviderError(error.error_class, error.message, advice=_KIND_ADVICE[kind].format(where=where))
        if error.error_class == ErrorClass.NOT_CONFIGURED:
            self._looked = time.monotonic() + _REMEMBER_S, (error.message, error.advice)
        return error

    def _error(self, kind: ErrorClass, message: str, model: str) -> ProviderError:
        where = f'[[providers]] name = "{self.name}" in timmy.toml'
        advice = _ADVICE.get(kind, "").format(name=self.name, model=model, where=where)
        return ProviderError(kind, scrub(message, self._token), advice=advice)

    def _refuse_what_it_cannot(self, request: ChatRequest) -> None:
        wants = {
            "look at pictures": any(message.images for message in request.messages),
            "call tools": bool(request.tools) and request.tool_choice != "none",
            "be held to JSON": request.json_mode or request.json_schema is not None,
        }
        for what, wanted in wants.items():
            if wanted:
                raise self._error(ErrorClass.BAD_REQUEST, f"a model of airllm cannot {what}", request.model)

    def _look(self) -> tuple[str, str] | None:
        settings, where = self._settings, f'[[providers]] name = "{self.name}" in timmy.toml'
        unset = ", ".join(settings.unset_variables)
        folder = _folder(self.default_model)
        has_package = self._python != sys.executable or (find_spec("airllm") is not None and find_spec("torch"))
        found: tuple[tuple[object, str, str], ...] = (
            (not settings.enabled, "it is switched off", f"set enabled = true for {where}"),
            (unset, f"the environment variable {unset} is not set", f"set {unset} and start Timmy again"),
            (not self.default_model, "it has no model", f'add models = {{ default = "/path/of/a/model" }} to {where}'),
            (sys.platform == "darwin", "AirLLM speaks another language on macOS", 'use kind = "ollama" there'),
            (not has_package, "airllm or torch is not installed", _INSTALL),
            (
                folder is not None and not (folder / "config.json").is_file(),
                f"there is no model in {folder}",
                f"download one into it, with its config.json and its weights, or correct models of {where}",
            ),
        )
        return next(((problem, advice) for wrong, problem, advice in found if wrong), None)


def _folder(model: str) -> Path | None:
    """The folder that a model's name means; None where it is a name on the hub."""
    path = Path(model).expanduser()
    return path if model.startswith(("/", "./", "../", "~")) or path.is_dir() else None
