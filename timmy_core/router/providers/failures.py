"""Foreign failures in the house's words: tables from exceptions, status codes and error codes to an `ErrorClass`."""

from __future__ import annotations

import email.utils
import json
import re
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

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
    "InvalidURL": (ErrorClass.NOT_CONFIGURED, "its base_url is not an address"),
    "DecodingError": (ErrorClass.MALFORMED, "its answer could not be decoded"),
    "APIResponseValidationError": (ErrorClass.MALFORMED, "its answer has another form than its API promises"),
    "JSONDecodeError": (ErrorClass.MALFORMED, "its answer is not the JSON that its API promises"),
    "ValueError": (ErrorClass.MALFORMED, "its answer has another form than its API promises"),
    "TypeError": (ErrorClass.MALFORMED, "its answer has another form than its API promises"),
    "LookupError": (ErrorClass.MALFORMED, "its answer has another form than its API promises"),
    "AttributeError": (ErrorClass.MALFORMED, "its answer has another form than its API promises"),
}

# Codes and types that say more than the status they come with.
_CODES: Final[dict[str, ErrorClass]] = {
    "context_length_exceeded": ErrorClass.CONTEXT_LENGTH,
    "exceed_context_size_error": ErrorClass.CONTEXT_LENGTH,
    "request_too_large": ErrorClass.CONTEXT_LENGTH,
    "content_filter": ErrorClass.CONTENT_FILTER,
    "content_policy_violation": ErrorClass.CONTENT_FILTER,
    "model_not_found": ErrorClass.MODEL_NOT_FOUND,
    "insufficient_quota": ErrorClass.RATE_LIMITED,
    "rate_limit_exceeded": ErrorClass.RATE_LIMITED,
    "rate_limit_error": ErrorClass.RATE_LIMITED,
    "invalid_api_key": ErrorClass.AUTH,
    "authentication_error": ErrorClass.AUTH,
    "permission_error": ErrorClass.AUTH,
    "billing_error": ErrorClass.AUTH,
    "overloaded_error": ErrorClass.OVERLOADED,
    "unavailable_error": ErrorClass.OVERLOADED,
    "timeout_error": ErrorClass.TIMEOUT,
}

_STATUSES: Final[dict[int, ErrorClass]] = {
    401: ErrorClass.AUTH,
    402: ErrorClass.AUTH,
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

# Providers that have no code for it say it in these words.
_TOO_LONG: Final = re.compile(r"^prompt is too long\b", re.IGNORECASE)

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
    for link in chain:
        # A library's wide wrapper hides the narrow reason, which stands first behind it.
        wide = type(link).__name__ == "APIConnectionError" and len(chain) > 1
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


def from_reply(status: int | None, body: object) -> tuple[ErrorClass, str]:
    """Return the class of an error reply, or of an error inside a stream (`status` None), and what it says."""
    error = _error_of(body)
    message = _message_of(error, body)
    codes = [str(error[key]) for key in ("code", "type") if error.get(key) is not None]
    for code in codes:
        if code in _CODES:
            return _CODES[code], message
    if status is None:
        status = next((int(code) for code in codes if code.isdecimal()), None)
    if _TOO_LONG.match(message):
        return ErrorClass.CONTEXT_LENGTH, message
    if status in _STATUSES:
        return _STATUSES[status], message
    for code in codes:
        if code in _WIDE_TYPES:
            return _WIDE_TYPES[code], message
    if status is not None and status < 500:  # noqa: PLR2004 - where HTTP puts the caller's faults
        return ErrorClass.BAD_REQUEST, message
    return ErrorClass.SERVER, message


def _error_of(body: object) -> Mapping[str, Any]:
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
    """Return how long a reply asks to be left alone: `retry-after-ms`, seconds, or a date; None if it does not say."""
    ms = _number(headers.get("retry-after-ms"))
    if ms is not None:
        return ms / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        until = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or datetime.now(UTC))).total_seconds())


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        return None
    return number if number is not None and 0 <= number < float("inf") else None
