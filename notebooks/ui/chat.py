"""The conversation with Timmy: marimo's chat, begun with what was said before, and fed part by part."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import marimo as mo

from timmy_core import Delta, Done, Switch, TimmyError
from ui import parts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from timmy_core.router.chat import StreamPart

SHOWN = 8
_MARKUP = re.compile(r"[^\w\s.,;:?()/'-]")

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
                        # The byline comes last: the page's style knows it by its place.
                        line = byline(answer.provider, answer.model, answer.latency_ms, offline=answer.offline)
                        yield f"{stood_on(answer.memories)}\n\n{line}"
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


def stood_on(memories: Sequence[Any]) -> str:
    """Return the memories that an answer stood on, folded, as the chat takes them; nothing where there are none."""
    if not memories:
        return ""
    rows = "".join(f"<li>{_memory(memo)}</li>" for memo in memories[:SHOWN])
    more = f"<li>and {parts.count(len(memories) - SHOWN)} more</li>" if len(memories) > SHOWN else ""
    words = f"stood on {parts.plural(len(memories), 'memory', 'memories')}"
    return f"\n\n<details><summary>{words}</summary><ul>{rows}{more}</ul></details>"


def _memory(memo: Any) -> str:
    if memo.forgotten:
        return "forgotten since"
    words = " ".join(memo.text.split())
    # What was remembered is no markup here, neither HTML nor Markdown.
    safe = _MARKUP.sub(lambda sign: f"&#{ord(sign[0])};", words)
    when = f" ({memo.kind}, {memo.said_at:%d %b %Y})" if memo.said_at else ""
    return f'<a href="/memory/?entry={quote(memo.id, safe="")}">{safe}</a>{when}'


def _message(turn: Any) -> dict[str, Any]:
    text = turn.content
    if turn.role == "assistant":
        text += stood_on(turn.memories)
        text += f"\n\n{byline(turn.provider, turn.model, None, offline=turn.offline)}"
    return {"id": f"turn-{turn.id}", "role": turn.role, "content": text, "parts": [{"type": "text", "text": text}]}
