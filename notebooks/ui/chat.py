"""The conversation with Timmy: marimo's chat, begun with what was said before, and fed part by part."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import marimo as mo

from timmy_core import Delta, Done, Switch, TimmyError
from ui import parts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from timmy_core.router.chat import StreamPart

Ask = Callable[[str], "AsyncIterator[StreamPart]"]


class Conversation(mo.ui.chat):
    """`mo.ui.chat` that shows earlier turns when the page is loaded.

    marimo's chat begins empty and takes no messages. What it draws first is what this hook hands it.
    """

    def __init__(self, ask: Ask, earlier: Sequence[Any], *, prompts: list[str] | None = None) -> None:
        self._earlier = [_message(turn) for turn in earlier]

        async def answer(messages: list[Any], _config: object) -> AsyncIterator[str]:
            async with aclosing(spoken(ask(str(messages[-1].content)))) as texts:
                async for text in texts:
                    yield text

        super().__init__(answer, prompts=prompts)

    def _frontend_initial_value(self, value: dict[str, Any]) -> dict[str, Any]:
        return {"messages": self._earlier} if self._earlier else value


async def spoken(stream: AsyncIterator[StreamPart]) -> AsyncGenerator[str]:
    """Yield what the chat shows of an answer, piece by piece, and at the end a small line that says who gave it.

    What was shown cannot be taken back, so a provider that fails in the middle is followed by a line that says so.
    """
    try:
        async with aclosing(stream) as open_stream:  # type: ignore[type-var]  # every stream of ours is a generator
            async for part in open_stream:
                match part:
                    case Delta(text):
                        yield text
                    case Switch():
                        yield switched(part)
                    case Done(answer):
                        yield f"\n\n{byline(answer.provider, answer.model, answer.latency_ms, offline=answer.offline)}"
    except TimmyError as error:
        yield f"\n\n**That did not work.** {error}"


def switched(switch: Switch) -> str:
    """Say that what was shown so far is void, and who begins again."""
    return (
        f"\n\n---\n\n*{switch.from_provider} broke off ({switch.reason}); what stands above is void. "
        f"{switch.to_provider} starts again:*\n\n"
    )


def byline(provider: str | None, model: str | None, latency_ms: float | None, *, offline: bool) -> str:
    """Return the line below an answer: provider, model and latency, or that no model answered."""
    if offline:
        return "`offline answer · no model answered`"
    words = [provider or "", model or "", parts.latency(latency_ms) if latency_ms is not None else ""]
    return f"`{' · '.join(word for word in words if word)}`"


def _message(turn: Any) -> dict[str, Any]:
    text = turn.content
    if turn.role == "assistant":
        text += f"\n\n{byline(turn.provider, turn.model, None, offline=turn.offline)}"
    return {"id": f"turn-{turn.id}", "role": turn.role, "content": text, "parts": [{"type": "text", "text": text}]}
