"""What is sent, printed or kept as JSON: plain data."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from timmy_core.clock import iso


def plain(value: Any) -> Any:
    """Return plain data: dataclasses become objects, times ISO 8601 in UTC with a Z, bytes hexadecimal."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, (Decimal, Path, bytes)):
        return value.hex() if isinstance(value, bytes) else str(value)
    return value
