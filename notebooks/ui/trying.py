"""Trying a provider out: a prompt through the cascade or through one of them, its answer as it comes, and what it took."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import marimo as mo
import traitlets

from timmy_core import Answer, Delta, Done, Switch, TimmyError
from ui import parts
from ui.cascade import usd

if TYPE_CHECKING:
    from timmy_core.router.chat import Attempt
    from timmy_core.router.router import Router

_HERE = Path(__file__).parent
TOGETHER_S = 0.04  # pieces that come within this time go to the browser as one
_STATES: dict[str, tuple[parts.State, str]] = {
    "completed": ("good", "answered"),
    "failed": ("bad", "failed"),
    "skipped": ("off", "not asked"),
    "cancelled": ("wait", "cancelled"),
}


class Trying(anywidget.AnyWidget):
    """A prompt and its answer; `done` rises when one is whole, so that the page looks again.

    Args:
        router: who is asked.
    """

    _esm = _HERE / "trying.js"
    _css = _HERE / "trying.css"

    providers: Any = traitlets.List().tag(sync=True)
    done = traitlets.Int(0).tag(sync=True)

    def __init__(self, router: Router) -> None:
        super().__init__()
        self._router = router
        self._stop = threading.Event()
        self._stream: Any = None
        self.on_msg(self._asked)

    def offer(self, providers: Sequence[tuple[str, str]]) -> None:
        """Offer these providers, (name, model), in the order in which they are asked."""
        self.providers = [list(one) for one in providers]

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        self._end()
        if content.get("kind") != "ask" or not str(content.get("prompt", "")).strip():
            return
        options: dict[str, Any] = {"local_only": bool(content.get("local_only"))}
        if content.get("provider"):
            options["provider"] = str(content["provider"])
        try:
            self._stream = self._router.stream_sync([{"role": "user", "content": str(content["prompt"])}], **options)
        except (TimmyError, ValueError) as error:
            self.send({"kind": "failed", "words": parts.sentence(str(error))})
            return
        self._stop = threading.Event()
        # What it needs is handed over: when the session closes, the cell's globals go first.
        arguments = (self.send, self._stream, self._stop)
        mo.Thread(target=play, args=arguments, daemon=True).start()

    def _end(self) -> None:
        """End the answer that is under way; its provider's call ends with it."""
        self._stop.set()
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()

    def close(self) -> None:
        """End what is under way, then the widget."""
        self._end()
        super().close()


def play(send: Callable[[Any], None], stream: Any, stop: threading.Event) -> None:
    """Send an answer as it comes, in pieces that are not too many, and what it took at the end."""
    held, sent_at = "", 0.0
    try:
        with closing(stream):
            for part in stream:
                if stop.is_set():
                    return
                match part:
                    case Delta(text):
                        held += text
                        if time.monotonic() - sent_at >= TOGETHER_S:
                            send({"kind": "text", "text": held})
                            held, sent_at = "", time.monotonic()
                    case Switch():
                        send({"kind": "text", "text": held})
                        held = ""
                        send({"kind": "switch", "words": switched(part), "continues": part.continues})
                    case Done(answer):
                        send({"kind": "text", "text": held})
                        send({"kind": "done", "text": answer.text, "html": outcome(answer)})
    except (TimmyError, asyncio.CancelledError) as error:
        if not stop.is_set():
            send({"kind": "failed", "words": parts.sentence(str(error) or "the answer was cancelled")})


def switched(switch: Switch) -> str:
    """Say that another provider took over in the middle."""
    goes = "goes on from here" if switch.continues else "begins again, and what stood here is void"
    return f"{switch.from_provider} broke off ({switch.reason.replace('_', ' ')}); {switch.to_provider} {goes}."


def outcome(answer: Answer) -> str:
    """Return who answered, what it took, and every attempt on the way. HTML."""
    usage = answer.usage
    about = "≈ " if usage.estimated else ""
    tokens = f"{about}{_count(usage.input_tokens)} in, {_count(usage.output_tokens)} out"
    facts = [
        (
            "",
            parts.pill("wait", "offline answer")
            if answer.offline
            else parts.pill("good", f"{answer.provider} answered"),
        ),
        ("took", parts.latency(answer.latency_ms)),
        ("tokens", "none" if answer.offline else tokens),
        ("cost", "not known" if answer.cost_microusd is None else usd(answer.cost_microusd)),
        (
            "trace",
            f'<a href="/swarm/events?trace={escape(answer.trace_id, quote=True)}">events</a> {parts.ident(answer.trace_id)}',
        ),
    ]
    line = "".join(f"<span><small>{name}</small>{value}</span>" for name, value in facts)
    steps = "".join(_attempt(attempt) for attempt in answer.attempts)
    return f'<div class="tw-took">{line}</div><ol class="tw-walk">{steps}</ol>'


def _attempt(attempt: Attempt) -> str:
    state, word = _STATES[attempt.outcome]
    kind = attempt.error_class.replace("_", " ") if attempt.error_class else ""
    why = "" if attempt.why == "cascade" else f" ({attempt.why})"
    words = " ".join(parts.advice(parts.sentence(text)) for text in (attempt.message, attempt.advice) if text)
    took = "" if attempt.outcome == "skipped" else parts.latency(attempt.latency_ms)
    begun = f", first token {parts.latency(attempt.first_token_ms)}" if attempt.first_token_ms is not None else ""
    note = f'<span class="tw-walk-why">{words}</span>' if words else ""
    return (
        f"<li>{parts.pill(state, word)}<span><b>{escape(attempt.provider)}</b>{why} "
        f'<span class="tw-muted">{escape(attempt.model)}{" · " + escape(kind) if kind else ""}</span></span>'
        f'<span class="tw-num">{took}{begun}</span>{note}</li>'
    )


def _count(number: int | None) -> str:
    return "?" if number is None else parts.count(number)
