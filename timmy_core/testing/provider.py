"""A provider that follows a script: for tests of what stands in front of a cascade, and for trying things out."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncGenerator, Iterable, Mapping

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass, Health, ToolCall, Usage

Step = str | Chunk | float | ProviderError | Completion
"""A piece of text, a chunk, a pause in seconds, an error, or a whole answer."""

Script = Step | Iterable[Step]
"""What becomes of one request: one step, or several in order."""


class ScriptedProvider:
    """Answers each request by the next entry of its script; the last entry is repeated for ever.

    An entry is a text ("hello" is a finished answer), a `ProviderError` to raise, or a list of steps such as
    `["hel", 0.5, "lo"]`: pieces of text, pauses in seconds, an error in the middle. A list that ends in a `Chunk`
    has said itself how it ends; any other list of texts is finished with "stop".

        ScriptedProvider("first", ProviderError("server_error", "down"), "back again")

    Args:
        name: the provider's name.
        script: the entries; without any it answers "ok".
        priority: the lowest is asked first.
        models: what can be asked for; the first, or `default`, is the default model.
        missing: (what is missing, what to do) for a provider that cannot be asked at all.
        free: whether a call costs nothing.
        first_token_s: its own limit for the first token.
        local: whether it counts as on this machine.
        can_prefill: whether it can go on from the beginning of an answer.
        max_concurrency: how many calls it takes at once.
        window: how many tokens it can take; None where that is not known.
    """

    kind = "scripted"

    def __init__(
        self,
        name: str,
        *script: Script,
        priority: int = 1,
        models: Mapping[str, str] | None = None,
        missing: tuple[str, str] | None = None,
        free: bool = True,
        first_token_s: float | None = None,
        local: bool = True,
        can_prefill: bool = False,
        max_concurrency: int | None = None,
        window: int | None = None,
    ) -> None:
        self.name = name
        self.kind = type(self).kind
        self.models: Mapping[str, str] = dict(models or {"default": f"{name}-model"})
        self.default_model = self.models.get("default") or next(iter(self.models.values()))
        self.priority = priority
        self.first_token_s = first_token_s
        self.free = free
        self.local = local
        self.can_prefill = can_prefill
        self.max_concurrency = max_concurrency
        self._window = window
        self.requests: list[ChatRequest] = []
        self.cancelled = 0
        self.closed = False
        self._missing = missing
        self._script: collections.deque[Script] = collections.deque(script or ("ok",))

    def then(self, *script: Script) -> None:
        """Replace what is left of the script."""
        self._script = collections.deque(script)

    def problem(self) -> tuple[str, str] | None:
        """Return what is missing, if anything is."""
        return self._missing

    def window_tokens(self, model: str) -> int | None:
        """Return the window it was given."""
        del model
        return self._window

    async def chat(self, request: ChatRequest) -> Completion:
        """Follow the next entry to its end and return the whole."""
        text, last = "", Chunk()
        calls: list[ToolCall] = []
        async for chunk in self.stream(request):
            text += chunk.text
            calls.extend(chunk.tool_calls)
            last = chunk
        if last.finish_reason is None:
            raise ProviderError(ErrorClass.TRUNCATED, "the script ended without a finish reason")
        usage, model = last.usage or Usage(), last.model or request.model
        return Completion(text, last.finish_reason, usage, model, tuple(calls))

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """Follow the next entry, chunk by chunk."""
        self.requests.append(request)
        entry = self._script.popleft() if len(self._script) > 1 else self._script[0]
        steps: list[Step] = [entry] if isinstance(entry, Step) else list(entry)
        said = 0
        last: Step | None = None
        for last in steps:
            if isinstance(last, ProviderError):
                raise last
            if isinstance(last, (int, float)):
                await self._pause(last)
                continue
            chunk = _chunk(last)
            said += len(chunk.text.split())
            yield chunk
        if not isinstance(last, (Chunk, Completion)):
            yield Chunk(finish_reason="stop", usage=Usage(len(request.messages), said), model=request.model)

    async def check(self, *, timeout_s: float) -> Health:
        """Say that it would answer, unless its next entry is an error."""
        del timeout_s
        following = self._script[0]
        if isinstance(following, ProviderError):
            return Health(ok=False, message=following.message, advice=following.advice)
        return Health(ok=True, message="answers", models=tuple(self.models.values()))

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def _chunk(step: str | Chunk | Completion) -> Chunk:
    if isinstance(step, Chunk):
        return step
    if isinstance(step, Completion):
        return Chunk(step.text, step.finish_reason, step.usage, step.model, step.tool_calls)
    return Chunk(step)
