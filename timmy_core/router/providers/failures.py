"""Foreign failures in the house's words: tables from exceptions, status codes and error codes to an `ErrorClass`."""

from __future__ import annotations

import email.utils
import json
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from timmy_core.router.chat import ErrorClass

MAX_MESSAGE: Final = 300
_MAX_CHAIN: Final = 20

# By the name of the exception's class or of one above it: httpx and httpx2 share these names.
_EXCEPTIONS: Final[dict[str, tuple[ErrorClass, str]]] = {
    "ConnectTimeout": (ErrorClass.TIMEOUT, "no connection was made in time"),
    "TimeoutException": (ErrorClass.TIMEOUT, "it did not answer in time"),
    "APITimeoutError": (ErrorClass.TIMEOUT, "it did not answer in time"),
    "TimeoutError": (ErrorClass.TIMEOUT, "it did not answer in time"),
    "RemoteProtocolError": (ErrorClass.CONNECTION, "the connection broke before the answer was complete"),
    "ReadError": (ErrorClass.CONNECTION, "the connection broke while the answer was read"),
    "WriteError": (ErrorClass.CONNECTION, "the connection broke while the question was sent"),
    "ConnectError": (ErrorClass.CONNECTION, "no connection could be made"),
    "SSLError": (ErrorClass.CONNECTION, "no trusted TLS connection could be made"),
    "TransportError": (ErrorClass.CONNECTION, "the connection failed"),
    "APIConnectionError": (ErrorClass.CONNECTION, "the connection failed"),
    "ConnectionError": (ErrorClass.CONNECTION, "no connection could be made"),
    "EndOfStream": (ErrorClass.CONNECTION, "the connection ended early"),
    "OSError": (ErrorClass.CONNECTION, "the connection failed"),
    "UnsupportedProtocol": (ErrorClass.NOT_CONFIGURED, "its base_url is not an address"),
    "ProxyError": (ErrorClass.CONNECTION, "the proxy that the environment names did not connect"),
    "InvalidURL": (ErrorClass.NOT_CONFIGURED, "its base_url is not an address"),
    "DecodingError": (ErrorClass.MALFORMED, "its answer could not be decoded"),
    "APIResponseValidationError": (ErrorClass.MALFORMED, "its answer has another form than its API promises"),
    "JSONDecodeError": (ErrorClass.MALFORMED, "its answer is not the JSON that its API promises"),
    "ValueError": (ErrorClass.MALFORMED, "its answer has another form than its API promises"),
    "TypeError": (ErrorClass.MALFORMED, "its answer has another form than its API promises"),
    "LookupError": (ErrorClass.MALFORMED, "its answer has another form than its API promises"),
    "AttributeError": (ErrorClass.MALFORMED, "its answer has another form than its API promises"),
}

_WRAPPERS: Final = frozenset({"APIConnectionError", "APITimeoutError"})

# Codes and types that say more than the status they come with.
_CODES: Final[dict[str, ErrorClass]] = {
    "context_length_exceeded": ErrorClass.CONTEXT_LENGTH,
    "exceed_context_size_error": ErrorClass.CONTEXT_LENGTH,  # llama.cpp
    "request_too_large": ErrorClass.CONTEXT_LENGTH,
    "string_above_max_length": ErrorClass.CONTEXT_LENGTH,
    "content_filter": ErrorClass.CONTENT_FILTER,  # Azure
    "content_policy_violation": ErrorClass.CONTENT_FILTER,
    "invalid_prompt": ErrorClass.CONTENT_FILTER,  # OpenAI: flagged before a thinking model saw it
    "model_not_found": ErrorClass.MODEL_NOT_FOUND,
    "rate_limit_exceeded": ErrorClass.RATE_LIMITED,
    "rate_limit_error": ErrorClass.RATE_LIMITED,
    "invalid_api_key": ErrorClass.AUTH,
    "account_deactivated": ErrorClass.AUTH,
    "authentication_error": ErrorClass.AUTH,
    "permission_error": ErrorClass.AUTH,
    "overloaded_error": ErrorClass.OVERLOADED,
    "unavailable_error": ErrorClass.OVERLOADED,  # llama.cpp: all its places are taken
    "timeout_error": ErrorClass.TIMEOUT,
}

# Codes, types and a status that say: what was paid for is used up.
_UNPAID: Final = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error", "402"}
)

_STATUSES: Final[dict[int, ErrorClass]] = {
    401: ErrorClass.AUTH,
    403: ErrorClass.AUTH,
    404: ErrorClass.MODEL_NOT_FOUND,
    408: ErrorClass.TIMEOUT,
    413: ErrorClass.CONTEXT_LENGTH,
    429: ErrorClass.RATE_LIMITED,
    503: ErrorClass.OVERLOADED,
    504: ErrorClass.TIMEOUT,
    529: ErrorClass.OVERLOADED,
}

# Types too wide to stand before a status; they decide where an error comes without one.
_WIDE_TYPES: Final[dict[str, ErrorClass]] = {
    "not_found_error": ErrorClass.MODEL_NOT_FOUND,
    "invalid_request_error": ErrorClass.BAD_REQUEST,
}

# Where an API has no code for it, its words decide; each row names whose words they are. They are only looked at in
# a reply that has one of these statuses, or none, and no code that is known.
_WORDS: Final[tuple[tuple[frozenset[int | None], re.Pattern[str], ErrorClass, bool], ...]] = tuple(
    (frozenset(statuses), re.compile(words, re.IGNORECASE), kind, unpaid)
    for statuses, words, kind, unpaid in (
        # Anthropic: every one of these is an `invalid_request_error`.
        ((400, None), r"^prompt is too long\b", ErrorClass.CONTEXT_LENGTH, False),
        ((400, None), r"^input length and `max_tokens` exceed context limit\b", ErrorClass.CONTEXT_LENGTH, False),
        ((400, None), r"^Output blocked by content filtering policy\b", ErrorClass.CONTENT_FILTER, False),
        ((400, None), r"^Your credit balance is too low\b", ErrorClass.RATE_LIMITED, True),
        ((400, 429, None), r"^You have reached your specified API usage limits\b", ErrorClass.RATE_LIMITED, True),
        # vLLM, DeepSeek, Mistral and others that took OpenAI's words without its code; their `code` is the status.
        ((400, 422, None), r"\bmaximum context length (?:is|of)\b", ErrorClass.CONTEXT_LENGTH, False),
        (
            (400, 422, None),
            r"\btoo large for model with \d+ maximum context length\b",
            ErrorClass.CONTEXT_LENGTH,
            False,
        ),
        # Google's compatible API.
        (
            (400, None),
            r"^The input token count .*exceeds the maximum number of tokens",
            ErrorClass.CONTEXT_LENGTH,
            False,
        ),
        # llama.cpp, while it reads the model; it has the same type for this and for being busy.
        ((503,), r"^Loading model\b", ErrorClass.LOADING, False),
    )
)

_FORBIDDEN: Final = 403
_FIRST_OF_SERVERS: Final = 500  # where HTTP puts the server's own faults
_LIMITS: Final = ("requests", "tokens", "input-tokens", "output-tokens")
_UNITS_S: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")

_KEY_LIKE: Final = re.compile(r"\b(?:sk|pk|rk)-[A-Za-z0-9_\-*.]{4,}|\bBearer\s+\S+", re.IGNORECASE)
_TAG: Final = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_SPACE: Final = re.compile(r"\s+")


def from_exception(error: BaseException) -> tuple[ErrorClass, str]:
    """Return the class of a transport's or a parser's exception, and a sentence for it."""
    chain = list(_chain(error))
    if any(isinstance(link, ConnectionRefusedError) for link in chain):
        return ErrorClass.REFUSED, "nothing listens there: the connection was refused"
    if any(isinstance(link, socket.gaierror) for link in chain):
        return ErrorClass.CONNECTION, "the name of its host cannot be resolved"
    if any(above.__name__ == "SSLError" for link in chain for above in type(link).__mro__):
        return _EXCEPTIONS["SSLError"]
    for link in chain:
        # A library's wide wrapper hides the narrow reason, which stands first behind it.
        wide = type(link).__name__ in _WRAPPERS and len(chain) > 1
        for above in () if wide else type(link).__mro__:
            if above.__name__ in _EXCEPTIONS:
                return _EXCEPTIONS[above.__name__]
    return ErrorClass.SERVER, f"it failed with {type(error).__name__}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and what caused it, into groups, up to a bound."""
    waiting: list[BaseException] = [error]
    for _ in range(_MAX_CHAIN):
        if not waiting:
            return
        link = waiting.pop(0)
        yield link
        if isinstance(link, BaseExceptionGroup):
            waiting.extend(link.exceptions)
        cause = link.__cause__ or link.__context__
        if cause is not None:
            waiting.append(cause)


class Said(NamedTuple):
    """What an error reply amounts to."""

    kind: ErrorClass
    message: str
    unpaid: bool  # a quota or a credit is used up, which waiting does not mend


def from_reply(status: int | None, body: object) -> Said:
    """Return the class of an error reply, or of an error inside a stream (`status` None), and what it says.

    A code decides before the status; words decide only where the provider has no code for what it means.
    """
    error = _error_of(body)
    message = _message_of(error, body)
    codes = [str(error[key]) for key in ("code", "type") if error.get(key) is not None]
    if status is None:
        status = next((int(code) for code in codes if code.isdecimal()), None)
    if _UNPAID.intersection((*codes, str(status))):
        return Said(ErrorClass.RATE_LIMITED, message, unpaid=True)
    worded = _by_words(status, message)
    if worded is not None and (worded[0] == ErrorClass.LOADING or not _CODES.keys() & set(codes)):
        return Said(worded[0], message, unpaid=worded[1])
    return Said(_class_of(status, codes, error), message, unpaid=False)


def _class_of(status: int | None, codes: Sequence[str], error: Mapping[str, Any]) -> ErrorClass:
    coded = next((_CODES[code] for code in codes if code in _CODES), None)
    if coded is not None:
        return coded
    if status == _FORBIDDEN and _is_moderation(error):
        return ErrorClass.CONTENT_FILTER
    if status in _STATUSES:
        return _STATUSES[status]
    wide = next((_WIDE_TYPES[code] for code in codes if code in _WIDE_TYPES), None)
    if wide is not None:
        return wide
    return ErrorClass.BAD_REQUEST if status is not None and status < _FIRST_OF_SERVERS else ErrorClass.SERVER


def _by_words(status: int | None, message: str) -> tuple[ErrorClass, bool] | None:
    rows = ((words, kind, unpaid) for statuses, words, kind, unpaid in _WORDS if status in statuses)
    return next(((kind, unpaid) for words, kind, unpaid in rows if words.search(message)), None)


def _is_moderation(error: Mapping[str, Any]) -> bool:
    """OpenRouter answers 403 for a flagged question, too, and then says for which reasons."""
    metadata = error.get("metadata")
    return isinstance(metadata, Mapping) and bool(metadata.get("reasons"))


def _error_of(body: object) -> Mapping[str, Any]:
    if isinstance(body, list) and len(body) == 1:
        body = body[0]  # Google's compatible API puts it into a list
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        return inner if isinstance(inner, Mapping) else {"message": inner}
    return {}


def _message_of(error: Mapping[str, Any], body: object) -> str:
    for key in ("message", "detail", "error"):
        if isinstance(error.get(key), str):
            return plain(error[key])
    return plain(body if isinstance(body, str) else "")


def parse_body(text: str) -> object:
    """Return a reply's body as JSON, or as the text that it is."""
    try:
        parsed: object = json.loads(text)
    except ValueError:
        return text
    return parsed


def plain(text: str) -> str:
    """Return a foreign text as one short line without markup."""
    line = _SPACE.sub(" ", _TAG.sub(" ", text[: 20 * MAX_MESSAGE])).strip()
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"


def scrub(text: str, secret: str | None) -> str:
    """Return a text without the secret, and without what looks like one."""
    if secret:
        text = text.replace(secret, "[key]")
    return _KEY_LIKE.sub("[key]", text)


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return how long a reply asks to be left alone; None if it does not say.

    It may say so by `retry-after-ms`, by `retry-after` in seconds or as a date, and where it has neither by the
    headers that tell when its limits are reset. A date is measured by the reply's own clock if it shows it.
    """
    ms = _number(headers.get("retry-after-ms"))
    if ms is not None:
        return ms / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None:
        return seconds
    here = now or _date(headers.get("date")) or datetime.now(UTC)
    until = _date(value)
    if until is not None:
        return max(0.0, (until - here).total_seconds())
    return _reset_s(headers, here)


def _reset_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """When the limit that is used up is reset; when none is at zero, the one that is reset first.

    OpenAI and those like it write `x-ratelimit-reset-requests: 1m12.5s`, Anthropic
    `anthropic-ratelimit-requests-reset: 2026-01-01T00:00:30Z`.
    """
    waits: list[tuple[bool, float]] = []
    for limit in _LIMITS:
        for reset, left in (
            (f"x-ratelimit-reset-{limit}", f"x-ratelimit-remaining-{limit}"),
            (f"anthropic-ratelimit-{limit}-reset", f"anthropic-ratelimit-{limit}-remaining"),
        ):
            wait_s = _wait_s(headers.get(reset), now)
            if wait_s is not None:
                waits.append((_number(headers.get(left)) == 0, wait_s))
    used_up = [wait_s for is_used_up, wait_s in waits if is_used_up]
    return max(used_up) if used_up else min((wait_s for _, wait_s in waits), default=None)


def _wait_s(value: str | None, now: datetime) -> float | None:
    if not value:
        return None
    parts = _DURATION_PART.findall(value)
    if parts and "".join(number + unit for number, unit in parts) == value:
        return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    try:
        until = datetime.fromisoformat(value)
    except ValueError:
        return _number(value)
    return max(0.0, (_aware(until) - now).total_seconds())


def _date(value: str | None) -> datetime | None:
    try:
        return None if value is None else _aware(email.utils.parsedate_to_datetime(value))
    except ValueError:
        return None


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None
