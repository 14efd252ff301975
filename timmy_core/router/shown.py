"""The configuration in force, as pages, API and command line may show it: every secret is `set` or `not set`."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from timmy_core.settings import Settings

SET: Final = "set"
NOT_SET: Final = "not set"
HIDDEN: Final = "[hidden]"
_LEAST: Final = 6  # shorter values occur by chance, and are no secrets worth the name


def shown(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON can carry them, without any secret."""
    return {
        name: hide(_plain(getattr(settings, name), field.annotation), settings)
        for name, field in Settings.model_fields.items()
    }


def hide(value: Any, settings: Settings) -> Any:
    """Return plain data with every occurrence of a configured secret replaced, wherever somebody wrote it."""
    return _hide(value, sorted(set(_secrets(settings)), key=len, reverse=True))


def address(url: str) -> str:
    """Return an address without the user, the password and the query that it may hold."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _plain(value: Any, annotation: Any = None) -> Any:
    if isinstance(value, BaseModel):
        fields = type(value).model_fields.items()
        return {name: _plain(getattr(value, name), field.annotation) for name, field in fields}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, SecretStr) or (value is None and SecretStr in get_args(annotation)):
        return SET if value is not None and value.get_secret_value() else NOT_SET
    return _word(value)


def _word(value: Any) -> Any:
    if isinstance(value, (Decimal, Path)):
        return str(value)
    return address(value) if isinstance(value, str) and "://" in value else value


def _hide(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, dict):
        return {_hide(key, secrets): _hide(item, secrets) for key, item in value.items()}
    if isinstance(value, list):
        return [_hide(item, secrets) for item in value]
    return value


def _secrets(value: Any) -> Iterator[str]:
    """Yield every secret of some settings, and the passwords inside addresses."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _secrets(item)
    elif isinstance(value, dict):
        yield from _secrets(list(value.values()))
    else:
        text = value.get_secret_value() if isinstance(value, SecretStr) else _password(value)
        if len(text) >= _LEAST:
            yield text


def _password(value: Any) -> str:
    """The password inside an address."""
    if not isinstance(value, str) or "@" not in value or "://" not in value:
        return ""
    try:
        return urlsplit(value).password or ""
    except ValueError:
        return ""
