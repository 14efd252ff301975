"""A cascade whose models may call tools: what they ask for is done, logged and handed back, a few times at most."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, Protocol

from timmy_core.errors import TimmyError
from timmy_core.events.log import EventLog
from timmy_core.swarm.asked import Cascade, Parts
from timmy_core.swarm.own_code import Said

MAX_ROUNDS: Final = 12
_END: Final = "I have called tools often enough for one question; ask again, and more narrowly."


class Tools(Protocol):
    """What a model may call."""

    @property
    def offered(self) -> list[dict[str, Any]]:
        """The tools as models are told of them."""

    def wanted(self, question: str) -> bool:
        """Whether a question needs them; others are asked without."""

    def call(self, name: str, arguments: str, trace_id: str) -> Said:
        """Do what a model asked for; raises `TimmyError` with words for the model."""


class Calling:
    """Asks another cascade, with tools where a question needs them; it is asked as that one is.

    Args:
        cascade: answers.
        tools: what may be called.
        events: told of every call.
        delta: makes a part of a stream from text.
        void: makes the part that says that what was shown does not count, and why.
    """

    def __init__(
        self, cascade: Cascade, tools: Tools, events: EventLog, delta: Callable[[str], Any], void: Callable[[str], Any]
    ) -> None:
        self._cascade = cascade
        self._tools = tools
        self._events = events
        self._delta = delta
        self._void = void

    async def chat(self, messages: Sequence[dict[str, Any]], **options: Any) -> Any:
        """Return an answer, after what its models asked for was done."""
        if not self._tools.wanted(_question(messages)):
            return await self._cascade.chat(messages, **options)
        said, texts = list(messages), list[str]()
        for _ in range(MAX_ROUNDS):
            answer = await self._cascade.chat(said, **options, tools=self._tools.offered)  # type: ignore[call-arg]
            if not answer.tool_calls:
                return await self._whole(answer, texts, lambda: self._cascade.chat(messages, **options))
            texts += [answer.text] if answer.text.strip() else []
            end = await self._carry_out(said, answer, options)
            if end:
                return _joined(answer, [*texts, end])
        return _joined(answer, [*texts, _END])

    async def _whole(self, answer: Any, texts: Sequence[str], plainly: Callable[[], Any]) -> Any:
        # A model that knows no tools may answer all the same, as long as none was called.
        return await plainly() if answer.offline and not texts else _joined(answer, [*texts, answer.text])

    def stream(self, messages: Sequence[dict[str, Any]], **options: Any) -> Parts:
        """Yield an answer as it comes; calls of tools are done, and not passed on."""
        if not self._tools.wanted(_question(messages)):
            return self._cascade.stream(messages, **options)
        return self._stream(list(messages), options)

    async def _stream(self, said: list[dict[str, Any]], options: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        plain, texts = list(said), list[str]()
        last: Any = None
        for _ in range(MAX_ROUNDS):
            parts = self._cascade.stream(said, **options, tools=self._tools.offered)  # type: ignore[call-arg]
            async with aclosing(parts):
                async for part in parts:
                    last = part if hasattr(part, "answer") else last
                    if not hasattr(part, "answer") and not hasattr(part, "arguments"):
                        yield part
            answer = last.answer
            if not answer.tool_calls:
                break
            texts += [answer.text] if answer.text.strip() else []
            end = await self._carry_out(said, answer, options) or ""
            if end:
                yield self._delta(f"\n\n{end}" if texts else end)
                yield replace(last, answer=_joined(answer, [*texts, end]))
                return
            if answer.text.strip():
                yield self._delta("\n\n")
        else:
            yield self._delta(_END)
            yield replace(last, answer=_joined(answer, [*texts, _END]))
            return
        if answer.offline and not texts:
            yield self._void("nobody could be asked with tools, so it is asked without")
            async for part in self._cascade.stream(plain, **options):
                yield part
            return
        yield replace(last, answer=_joined(answer, [*texts, answer.text]))

    # Calls ---------------------------------------------------------------------------------------------------

    async def _carry_out(self, said: list[dict[str, Any]], answer: Any, options: Mapping[str, Any]) -> str:
        """Do what a model asked for, and put it into the conversation; return what ends it, if something does."""
        calls = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in answer.tool_calls
        ]
        said.append({"role": "assistant", "content": answer.text, "tool_calls": calls})
        for call in answer.tool_calls:
            result = await asyncio.to_thread(self._call, call, options)
            said.append({"role": "tool", "tool_call_id": call.id, "content": result.text})
            if result.ends:
                return result.ends
        return ""

    def _call(self, call: Any, options: Mapping[str, Any]) -> Said:
        trace_id, whose = str(options["trace_id"]), {"agent_id": options["agent_id"], "task_id": options.get("task_id")}

        def tell(kind: str, **more: Any) -> None:
            data = {"tool": call.name, **more}
            self._events.append(f"tool.{kind}", source="agent", trace_id=trace_id, data=data, **whose)

        tell("called", characters=len(call.arguments))
        begun = time.monotonic()
        try:
            result = self._tools.call(call.name, call.arguments, trace_id)
        except TimmyError as error:
            tell("failed", message=str(error))
            return Said(f"That did not work: {error}")
        tell("completed", took_ms=round(1000 * (time.monotonic() - begun), 3), characters=len(result.text))
        return result


def _question(messages: Sequence[Mapping[str, Any]]) -> str:
    content = messages[-1].get("content") if messages else ""
    return content if isinstance(content, str) else ""


def _joined(answer: Any, texts: Sequence[str]) -> Any:
    text = "\n\n".join(part.strip() for part in texts if part.strip())
    return replace(answer, text=text, tool_calls=())
