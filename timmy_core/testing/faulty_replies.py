"""Faults that a server admits: statuses and errors, each in the form that the real API gives it."""

from __future__ import annotations

import email.utils
import json
from datetime import UTC, datetime, timedelta
from typing import Final

from timmy_core.router.chat import ErrorClass
from timmy_core.testing.fault import Fault
from timmy_core.testing.turn import Api, Turn

_REST_S: Final = 30.0
_INVALID: Final = "invalid_request_error"
_TOO_MANY: Final[dict[Api, Turn]] = {
    "openai": Turn(
        status=429, code="rate_limit_exceeded", error_type="requests", message="Rate limit reached for requests"
    ),
    "anthropic": Turn(status=429, code="rate_limit_error", message="This request would exceed your rate limit"),
    "ollama": Turn(status=429, message="too many requests"),
}
_WINDOW: Final = {
    "code": 400,
    "message": "request (9000 tokens) exceeds the available context size (8192 tokens), try increasing it",
    "type": "exceed_context_size_error",
    "n_prompt_tokens": 9000,
    "n_ctx": 8192,
}
_LOADING: Final = {"code": 503, "message": "Loading model", "type": "unavailable_error"}
_BAD_GATEWAY: Final = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


def _until() -> Turn:
    """A date is counted from now, so it is written when it is asked for; a second more, since it has no fractions."""
    until = datetime.now(UTC) + timedelta(seconds=_REST_S + 1)
    return Turn(status=429, headers={"retry-after": email.utils.format_datetime(until, usegmt=True)})


def _resting(headers: dict[str, str]) -> dict[Api, Turn]:
    return {
        api: Turn(status=429, code=turn.code, error_type=turn.error_type, message=turn.message, headers=headers)
        for api, turn in _TOO_MANY.items()
    }


_LIMITS: Final = (
    Fault(
        "rate_limited_seconds",
        "429, and it says in seconds when to come back.",
        ErrorClass.RATE_LIMITED,
        ErrorClass.RATE_LIMITED,
        "limited",
        _resting({"retry-after": f"{_REST_S:.0f}"}),
        limit_s=_REST_S,
    ),
    Fault(
        "rate_limited_milliseconds",
        "429, and it says in milliseconds when to come back.",
        ErrorClass.RATE_LIMITED,
        ErrorClass.RATE_LIMITED,
        "limited",
        _resting({"retry-after-ms": f"{_REST_S * 1000:.0f}"}),
        limit_s=_REST_S,
    ),
    Fault(
        "rate_limited_date",
        "429, and it says by a date when to come back.",
        ErrorClass.RATE_LIMITED,
        ErrorClass.RATE_LIMITED,
        "limited",
        _until,
        limit_s=_REST_S,
    ),
    Fault(
        "rate_limited",
        "429, and it does not say when to come back.",
        ErrorClass.RATE_LIMITED,
        ErrorClass.RATE_LIMITED,
        "limited",
        _TOO_MANY,
    ),
    Fault(
        "quota_used_up",
        "What was paid for is used up: 429, or 400 with the words for it.",
        ErrorClass.RATE_LIMITED,
        ErrorClass.RATE_LIMITED,
        "limited",
        {
            "openai": Turn(status=429, code="insufficient_quota", message="You exceeded your current quota"),
            "anthropic": Turn(
                status=400, code=_INVALID, message="Your credit balance is too low to access the Anthropic API."
            ),
        },
    ),
)

_STATUSES: Final = (
    Fault("server_error", "500 with a JSON.", ErrorClass.SERVER, ErrorClass.SERVER, "failure", Turn(status=500)),
    Fault(
        "bad_gateway",
        "502 with a page of HTML.",
        ErrorClass.SERVER,
        ErrorClass.SERVER,
        "failure",
        Turn(status=502, body=_BAD_GATEWAY, content_type="text/html"),
    ),
    Fault(
        "unavailable",
        "503: too many others ask.",
        ErrorClass.OVERLOADED,
        ErrorClass.OVERLOADED,
        "failure",
        Turn(status=503, message="server busy, please try again. maximum pending requests exceeded"),
    ),
    Fault(
        "loading",
        "503 as llama.cpp says it while it reads its model into memory.",
        ErrorClass.LOADING,
        ErrorClass.LOADING,
        "neutral",
        {"openai": Turn(status=503, body=json.dumps({"error": _LOADING}).encode())},
    ),
    Fault(
        "gateway_timeout",
        "504: what stands in front of it gave up waiting.",
        ErrorClass.TIMEOUT,
        ErrorClass.TIMEOUT,
        "failure",
        Turn(status=504, body=_BAD_GATEWAY.replace(b"502 Bad Gateway", b"504 Gateway Time-out")),
    ),
    Fault(
        "overloaded",
        "529: overloaded.",
        ErrorClass.OVERLOADED,
        ErrorClass.OVERLOADED,
        "failure",
        {
            "openai": Turn(status=529, code="overloaded", message="Overloaded"),
            "anthropic": Turn(status=529, code="overloaded_error", message="Overloaded"),
            "ollama": Turn(status=529, message="Overloaded"),
        },
    ),
    Fault(
        "unauthorized",
        "401: the key is wrong.",
        ErrorClass.AUTH,
        ErrorClass.AUTH,
        "barred",
        {
            "openai": Turn(status=401, code="invalid_api_key", error_type=_INVALID, message="Incorrect API key"),
            "anthropic": Turn(status=401, code="authentication_error", message="invalid x-api-key"),
            "ollama": Turn(status=401, message="unauthorized"),
        },
    ),
    Fault(
        "forbidden",
        "403: the key may not do this.",
        ErrorClass.AUTH,
        ErrorClass.AUTH,
        "barred",
        {
            "openai": Turn(
                status=403, code="unsupported_country_region_territory", error_type="request_forbidden", message="No"
            ),
            "anthropic": Turn(status=403, code="permission_error", message="Your key may not use this resource"),
            "ollama": Turn(status=403, message="forbidden"),
        },
    ),
    Fault(
        "model_not_found",
        "404: it has no such model.",
        ErrorClass.MODEL_NOT_FOUND,
        ErrorClass.MODEL_NOT_FOUND,
        "barred",
        {
            "openai": Turn(
                status=404, code="model_not_found", error_type=_INVALID, message="The model `tiny` does not exist"
            ),
            "anthropic": Turn(status=404, code="not_found_error", message="model: tiny"),
            "ollama": Turn(status=404, message="model 'tiny' not found"),
        },
    ),
    Fault(
        "bad_request",
        "400: it does not like how it was asked.",
        ErrorClass.BAD_REQUEST,
        ErrorClass.BAD_REQUEST,
        "neutral",
        {
            "openai": Turn(
                status=400, code="invalid_value", error_type=_INVALID, message="temperature must be at most 2"
            ),
            "anthropic": Turn(status=400, code=_INVALID, message="temperature: must be at most 1"),
            "ollama": Turn(status=400, message="invalid options: temperature"),
        },
    ),
    Fault(
        "redirect",
        "307 to somewhere else, where the key must not go.",
        ErrorClass.BAD_REQUEST,
        ErrorClass.BAD_REQUEST,
        "neutral",
        Turn(status=307, headers={"location": "http://127.0.0.1:9/elsewhere"}),
    ),
)

_CONTENT: Final = (
    Fault(
        "context_length",
        "400: the conversation is longer than its window.",
        ErrorClass.CONTEXT_LENGTH,
        ErrorClass.CONTEXT_LENGTH,
        "neutral",
        {
            "openai": Turn(
                status=400,
                code="context_length_exceeded",
                error_type=_INVALID,
                message="This model's maximum context length is 8192 tokens. However, your messages resulted in 9000",
            ),
            "anthropic": Turn(status=400, code=_INVALID, message="prompt is too long: 9000 tokens > 8192 maximum"),
            "ollama": Turn(status=400, message="the input length exceeds the context length"),
        },
    ),
    Fault(
        "context_length_local",
        "400 as llama.cpp says it: by itself, from behind Ollama as a JSON within a text.",
        ErrorClass.CONTEXT_LENGTH,
        ErrorClass.CONTEXT_LENGTH,
        "neutral",
        {
            "openai": Turn(status=400, body=json.dumps({"error": _WINDOW}).encode()),
            "ollama": Turn(status=400, message=json.dumps({"error": _WINDOW})),
        },
    ),
    Fault(
        "request_too_large",
        "413: the request has more bytes than it takes.",
        ErrorClass.CONTEXT_LENGTH,
        ErrorClass.CONTEXT_LENGTH,
        "neutral",
        {"anthropic": Turn(status=413, code="request_too_large", message="Request exceeds the maximum size")},
    ),
    Fault(
        "content_filter",
        "400: a filter does not let the question through.",
        ErrorClass.CONTENT_FILTER,
        ErrorClass.CONTENT_FILTER,
        "stop",
        {
            "openai": Turn(
                status=400, code="content_filter", message="The prompt triggered the content management policy"
            ),
            "anthropic": Turn(status=400, code=_INVALID, message="Output blocked by content filtering policy"),
        },
    ),
    Fault(
        "content_filter_finish",
        "It begins to answer, and its finish reason says that a filter took the answer away.",
        ErrorClass.CONTENT_FILTER,
        ErrorClass.CONTENT_FILTER,
        "stop",
        {
            "openai": Turn(pieces=("I could ",), finish_reason="content_filter"),
            "anthropic": Turn(pieces=("I could ",), finish_reason="refusal"),
        },
        shows=True,
    ),
    Fault(
        "refusal",
        "It refuses in a field of its own, with an ordinary finish reason, or without a word.",
        ErrorClass.CONTENT_FILTER,
        ErrorClass.CONTENT_FILTER,
        "stop",
        {
            "openai": Turn(pieces=("I'm sorry, ", "I can't."), refusal="I'm sorry, I can't."),
            "anthropic": Turn(pieces=(), finish_reason="refusal"),
        },
    ),
)

_IN_BAND: Final = (
    Fault(
        "in_band_error_first",
        "A good status, and an error instead of the first piece.",
        ErrorClass.SERVER,
        ErrorClass.SERVER,
        "failure",
        Turn(ending="error", after=0),
    ),
    Fault(
        "in_band_error_later",
        "A good status, some pieces, and then an error.",
        ErrorClass.SERVER,
        ErrorClass.SERVER,
        "failure",
        Turn(ending="error", after=2),
        shows=True,
    ),
    Fault(
        "in_band_overloaded",
        "A good status, some pieces, and then an error that says: overloaded.",
        ErrorClass.OVERLOADED,
        ErrorClass.OVERLOADED,
        "failure",
        {
            "openai": Turn(ending="error", after=2, code="503", message="Provider is overloaded"),
            "anthropic": Turn(ending="error", after=2, code="overloaded_error", message="Overloaded"),
        },
        shows=True,
    ),
    Fault(
        "in_band_rate_limited",
        "A good status, and an error that says: too many requests.",
        ErrorClass.RATE_LIMITED,
        ErrorClass.RATE_LIMITED,
        "limited",
        {
            "openai": Turn(ending="error", after=0, code="rate_limit_exceeded", message="Rate limit reached"),
            "anthropic": Turn(ending="error", after=0, code="rate_limit_error", message="Rate limit reached"),
        },
    ),
)

FAULTS: Final[tuple[Fault, ...]] = (*_LIMITS, *_STATUSES, *_CONTENT, *_IN_BAND)
