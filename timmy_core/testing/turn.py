"""What a `WireServer` is told: one `Turn` for each request, and what it keeps of the requests that came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from timmy_core.router.chat import Image, ToolCall, Usage

Api = Literal["openai", "anthropic", "ollama"]
"""A wire format, by the kind of provider that speaks it."""

APIS: tuple[Api, ...] = get_args(Api)

Ending = Literal["finish", "end", "close", "reset", "hang", "error", "malformed", "linger"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What becomes of one request.

    Args:
        pieces: the answer's text, piece by piece.
        ending: what happens behind the pieces: `finish` is a good end; `end` closes politely without one; `close`
            ends the connection before the body is complete; `reset` cuts it; `hang` says nothing more; `error` sends
            an error inside the stream, or as the body; `malformed` sends half a JSON and goes on well; `linger`
            finishes well but does not end the stream.
        after: how many pieces are sent before the ending; all when None.
        pause_s: the wait before each piece, which makes a drip.
        first_s: the wait before the headers.
        first_token_s: the wait between the headers and the first piece.
        finish_reason: in the format's own words; its ordinary one when None.
        status: of the reply; one that is not 200 sends `body`, or the format's own error with `code` and `message`.
        headers: to be added to the reply.
        body: sent as it is instead of an answer, for instance HTML or half a JSON.
        content_type: the reply's, when not the format's own.
        code: of an error, in the format's own words.
        error_type: of an error, where the format has a type beside the code; the code when None.
        message: of an error, or of a refusal.
        hang: accept the request and never send a byte.
        drop: accept the request and reset the connection.
        drop_reused: reset the connection if it has served a request before; the turn then waits for the next one.
        marker: send what ends a stream behind its finish reason: `[DONE]`, `message_stop`, the last line's break.
        tool_calls: what the model wants to have called, behind the pieces.
        thinking: what the model thinks aloud before the pieces.
        refusal: OpenAI's own field for a refusal, instead of the text.
        usage: what the reply reports, as (input, output) or whole; nothing when None.
        model: the model that the reply names; the one that was asked for when None.
        models: what the list of models holds.
    """

    pieces: tuple[str, ...] = ("Hello", " there", ".")
    ending: Ending = "finish"
    after: int | None = None
    pause_s: float = 0.0
    first_s: float = 0.0
    first_token_s: float = 0.0
    finish_reason: str | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str | None = None
    code: str | None = None
    error_type: str | None = None
    message: str = "made to fail"
    hang: bool = False
    drop: bool = False
    drop_reused: bool = False
    marker: bool = True
    tool_calls: tuple[ToolCall, ...] = ()
    thinking: str = ""
    refusal: str | None = None
    usage: tuple[int, int] | Usage | None = (11, 7)
    model: str | None = None
    models: tuple[str, ...] = ("tiny",)

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.pieces)

    @property
    def tokens(self) -> Usage:
        """What it reports, whole; None where it does not."""
        if isinstance(self.usage, Usage):
            return self.usage
        return Usage() if self.usage is None else Usage(*self.usage)


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    api: Api | None = None  # whose question it is; None for everything else
    streamed: bool = False
    images: tuple[Image, ...] = ()  # of all messages, in order
    connection: int = 0  # which connection it came on, counted from 1
