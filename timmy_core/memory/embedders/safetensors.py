"""Weights as they lie in a `.safetensors` file: mapped into memory, so that only what is used is read."""

from __future__ import annotations

import json
import math
import mmap
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from timmy_core.errors import ModelFilesError

Array = npt.NDArray[Any]

_MAX_HEADER: Final = 1 << 24
_LENGTH: Final = struct.Struct("<Q")
_TYPES: Final[Mapping[str, str]] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U8": "u1"}


def read_tensors(path: Path) -> dict[str, Array]:
    """Return every tensor of a file as a read-only view of its bytes; the file must never be changed in place.

    Raises:
        ModelFilesError: the file cannot be read, is cut off, or is no such file.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ModelFilesError(_unusable(path, str(error))) from error
    if size < _LENGTH.size or not 0 < (length := _LENGTH.unpack_from(data)[0]) <= min(_MAX_HEADER, size - _LENGTH.size):
        raise ModelFilesError(_unusable(path, "its header is not that of a safetensors file"))
    begin = _LENGTH.size + length
    try:
        header = json.loads(data[_LENGTH.size : begin])
        named = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: _view(data, begin, entry) for name, entry in named.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFilesError(_unusable(path, f"its header cannot be read: {error}")) from error


def _view(data: mmap.mmap, begin: int, entry: Mapping[str, Any]) -> Array:
    first, last = entry["data_offsets"]
    kind = np.dtype(_TYPES[entry["dtype"]])
    shape = tuple(int(side) for side in entry["shape"])
    count = math.prod(shape)
    if not 0 <= first <= last <= len(data) - begin or last - first != count * kind.itemsize:
        message = "a tensor lies outside the file"
        raise ValueError(message)
    return np.frombuffer(data, kind, count, begin + first).reshape(shape)


def _unusable(path: Path, why: str) -> str:
    return f"{path} cannot be used: {why}; run `timmy memory model install` to fetch it again"
