"""The models of an Ollama server: what it has, what is in its memory, and how a new one comes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from timmy_core.router.providers.ollama_wire import same_model

_MAX_LAYERS = 10_000


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model that a server has on its disk."""

    name: str
    size_bytes: int | None = None
    loaded: bool | None = None  # in memory, ready to answer at once; None where the server does not say
    quantization: str = ""
    parameters: str = ""  # how large it is, such as "3.2B"


@dataclass(frozen=True, slots=True)
class PullProgress:
    """How far a pull is; the bytes are those of all parts that were named so far."""

    status: str
    completed_bytes: int | None = None
    total_bytes: int | None = None


def local_models(tags: Mapping[str, Any], running: Mapping[str, Any] | None) -> tuple[LocalModel, ...]:
    """Return the models of `/api/tags`, with what `/api/ps` says of each.

    Raises:
        ValueError, LookupError, TypeError: the replies have another form than the API promises.
    """
    names = None if running is None else [_name(entry) for entry in running.get("models") or ()]
    return tuple(_local(entry, names) for entry in tags["models"] or ())


def _local(entry: Mapping[str, Any], running: list[str] | None) -> LocalModel:
    name, details = _name(entry), entry.get("details") or {}
    size = entry.get("size")
    return LocalModel(
        name,
        size if isinstance(size, int) else None,
        None if running is None else any(same_model(name, other) for other in running),
        str(details.get("quantization_level") or ""),
        str(details.get("parameter_size") or ""),
    )


def _name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("model") or entry["name"])


class PullTally:
    """Adds up the layers of a pull; each of them tells of itself alone."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}

    def add(self, line: Mapping[str, Any]) -> PullProgress:
        """Take one line of the reply in, and return how far the whole is."""
        status, digest, total = str(line.get("status") or ""), line.get("digest"), line.get("total")
        if isinstance(digest, str) and isinstance(total, int) and len(self._layers) < _MAX_LAYERS:
            completed = line.get("completed")
            self._layers[digest] = (completed if isinstance(completed, int) else 0, total)
        if not self._layers:
            return PullProgress(status)
        return PullProgress(status, sum(self._done()), sum(total for _, total in self._layers.values()))

    def _done(self) -> Iterator[int]:
        return (min(completed, total) for completed, total in self._layers.values())
