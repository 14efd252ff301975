"""Faults of connections, of time, and of the form of an answer."""

from __future__ import annotations

import json
from typing import Final

from timmy_core.router.chat import ErrorClass
from timmy_core.testing.fault import Fault
from timmy_core.testing.turn import Turn

_LONG_S: Final = 3600.0
_OTHER_JSON: Final = json.dumps({"status": "up", "version": "1.2.3"}).encode()
_PORTAL: Final = b"<!doctype html><html><title>Sign in</title><h1>Welcome to the guest network</h1></html>"
_EVENTS: Final = (
    b'data: {"type": "ping", "choices": [], "message": {"role": "assistant", "content": "Hel"}, "done": false}\n\n'
    b'data: {"type": "ping", "choices": [], "message": {"role": "assistant", "content": "lo"}, "done": true}\n\n'
    b"data: [DONE]\n\n"
)

_CONNECTIONS: Final = (
    Fault("refused", "Nobody listens on its port.", ErrorClass.REFUSED, ErrorClass.REFUSED, "failure", turns=None),
    Fault(
        "reset",
        "It takes the question and resets the connection before a byte came.",
        ErrorClass.CONNECTION,
        ErrorClass.CONNECTION,
        "failure",
        Turn(drop=True),
    ),
    Fault(
        "reset_before_text",
        "The connection is reset behind the headers; of a plain answer half has come.",
        ErrorClass.CONNECTION,
        ErrorClass.CONNECTION,
        "failure",
        Turn(ending="reset", after=0),
    ),
    Fault(
        "reset_in_stream",
        "The connection is reset in the middle of the answer.",
        ErrorClass.CONNECTION,
        ErrorClass.TRUNCATED,
        "failure",
        Turn(ending="reset", after=2),
        shows=True,
    ),
    Fault(
        "body_cut",
        "The connection ends politely before the promised length, or the last chunk, was reached.",
        ErrorClass.CONNECTION,
        ErrorClass.TRUNCATED,
        "failure",
        Turn(ending="close", after=2),
        shows=True,
    ),
    Fault(
        "dead_keep_alive",
        "A connection that it kept open turns out to be dead when it is used again; a new one works.",
        None,
        None,
        "none",
        Turn(drop_reused=True),
    ),
)

_TIMES: Final = (
    Fault(
        "hang_before_headers",
        "It takes the question and never says a word.",
        ErrorClass.TIMEOUT,
        ErrorClass.TIMEOUT,
        "failure",
        Turn(hang=True),
        at_once=False,
    ),
    Fault(
        "hang_in_body",
        "It sends the headers, half of a plain answer or nothing of a stream, and then nothing more.",
        ErrorClass.TIMEOUT,
        ErrorClass.TIMEOUT,
        "failure",
        Turn(ending="hang", after=0),
        at_once=False,
    ),
    Fault(
        "slow_first_token",
        "Its first token, or its plain answer, would come after an hour.",
        ErrorClass.TIMEOUT,
        ErrorClass.TIMEOUT,
        "failure",
        Turn(first_token_s=_LONG_S),
        at_once=False,
    ),
    Fault(
        "stall",
        "It begins well and then stops between two tokens, with the connection open.",
        ErrorClass.TIMEOUT,
        ErrorClass.TIMEOUT,
        "failure",
        Turn(ending="hang", after=2),
        shows=True,
        at_once=False,
    ),
    Fault(
        "drip",
        "It sends five characters a second, without end; each pause is short enough.",
        ErrorClass.TIMEOUT,
        ErrorClass.TIMEOUT,
        "failure",
        Turn(pieces=("a",) * 10_000, pause_s=0.2),
        shows=True,
        at_once=False,
    ),
)

_FORMS: Final = (
    Fault(
        "malformed_event",
        "One event, or the whole body, is half a JSON.",
        ErrorClass.MALFORMED,
        ErrorClass.MALFORMED,
        "failure",
        Turn(ending="malformed", after=2),
        shows=True,
    ),
    Fault(
        "other_json",
        "A good status and a JSON that has nothing to do with the question, also where a stream was asked for.",
        ErrorClass.MALFORMED,
        ErrorClass.MALFORMED,
        "failure",
        Turn(body=_OTHER_JSON, content_type="application/json"),
    ),
    Fault(
        "html",
        "A good status and a page of HTML, such as a network's sign-in.",
        ErrorClass.MALFORMED,
        ErrorClass.MALFORMED,
        "failure",
        Turn(body=_PORTAL, content_type="text/html"),
    ),
    Fault(
        "other_events",
        "A stream of events of some other API, also where a plain answer was asked for; it has no good end.",
        ErrorClass.MALFORMED,
        ErrorClass.TRUNCATED,
        "failure",
        {
            "openai": Turn(body=_EVENTS, content_type="text/event-stream"),
            "anthropic": Turn(body=_EVENTS, content_type="text/event-stream"),
        },
    ),
    Fault(
        "ended_without_finish",
        "The answer ends politely, but nothing says that it is finished.",
        ErrorClass.TRUNCATED,
        ErrorClass.TRUNCATED,
        "failure",
        Turn(ending="end", after=2),
        shows=True,
    ),
    Fault(
        "empty_answer",
        "A finished answer without a word.",
        ErrorClass.EMPTY,
        ErrorClass.EMPTY,
        "failure",
        Turn(pieces=()),
    ),
    Fault(
        "only_thoughts",
        "It thinks aloud, and then finishes without a word.",
        ErrorClass.EMPTY,
        ErrorClass.EMPTY,
        "failure",
        Turn(pieces=(), thinking="Let me see"),
    ),
    Fault(
        "no_final_marker",
        "The finish reason is there, but not what ends the stream behind it: an answer all the same.",
        None,
        None,
        "none",
        Turn(marker=False),
    ),
    Fault(
        "lingers",
        "The answer is finished, but its stream stays open: an answer all the same, and it is not waited for.",
        None,
        None,
        "none",
        Turn(ending="linger"),
    ),
    Fault(
        "no_usage",
        "The answer is good and does not say what it used: an answer all the same, with an estimate.",
        None,
        None,
        "none",
        {"openai": Turn(usage=None), "ollama": Turn(usage=None)},
    ),
)

FAULTS: Final[tuple[Fault, ...]] = (*_CONNECTIONS, *_TIMES, *_FORMS)
