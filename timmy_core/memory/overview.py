"""Memory from above: how much of what is there, how it grew, and its vectors laid out on a plane."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from timmy_core.clock import from_us
from timmy_core.store.engine import Connection
from timmy_core.store.readers import Readable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

MAX_POINTS: Final = 2_000
_NAMES: Final = 100
_LOOKED_AT: Final = 2_000  # entries whose agents and sessions are offered as filters
_HOUR_US: Final = 3_600_000_000
_STEPS_US: Final = (_HOUR_US, 24 * _HOUR_US, 7 * 24 * _HOUR_US, 30 * 24 * _HOUR_US)
_BARS: Final = 60
_COUNTED: Final = """
SELECT kind, state, count(*), coalesce(sum(valid_to IS NOT NULL), 0) FROM memory_entries
WHERE parent_seq IS NULL GROUP BY kind, state
"""
_GROWN: Final = """
SELECT created_at / :step * :step, kind, count(*) FROM memory_entries
WHERE parent_seq IS NULL AND state = 'stored' GROUP BY 1, 2 ORDER BY 1, 2
"""
_NEWEST: Final = """
SELECT entry.seq, vector.vector FROM memory_entries AS entry
JOIN memory_vectors AS vector ON vector.entry_seq = entry.seq AND vector.model = ? AND vector.part = 0
WHERE entry.state = 'stored' ORDER BY entry.seq DESC LIMIT ?
"""


@dataclass(frozen=True, slots=True)
class Counted:
    """How many entries there are of a kind in a state, and how many of them have ended."""

    kind: str
    state: str
    entries: int
    ended: int


@dataclass(frozen=True, slots=True)
class Bar:
    """How many entries of a kind were remembered in a stretch of time."""

    start: datetime
    end: datetime
    kind: str
    entries: int


@dataclass(frozen=True, slots=True)
class Point:
    """An entry's place on the plane; what is near is alike."""

    seq: int
    x: float
    y: float


def counted(store: Readable) -> list[Counted]:
    """Return the entries by kind and state, passages left out; one look at the table."""
    with store.read() as connection:
        return [Counted(*row) for row in connection.execute(_COUNTED)]


def grown(store: Readable) -> list[Bar]:
    """Return what was remembered over all the time, in some 60 stretches at most, by the entries' own dates."""
    with store.read() as connection:
        query = "SELECT min(created_at), max(created_at) FROM memory_entries"
        first, last = connection.execute(query).fetchone()
        if first is None:
            return []
        span = last - first
        step = next((one for one in _STEPS_US if span // one < _BARS), max(_STEPS_US[-1], span // _BARS))
        rows = connection.execute(_GROWN, {"step": step}).fetchall()
    return [Bar(from_us(at), from_us(at + step), kind, entries) for at, kind, entries in rows]


def names(store: Readable) -> dict[str, list[str]]:
    """Return the agents and sessions of the newest entries, to be offered as filters."""
    with store.read() as connection:
        return {name: _names(connection, name) for name in ("agent_id", "session")}


def _names(connection: Connection, column: str) -> list[str]:
    newest = f"SELECT {column} AS name, seq FROM memory_entries ORDER BY seq DESC LIMIT ?"  # noqa: S608 - our own names
    query = f"SELECT name FROM ({newest}) WHERE name IS NOT NULL GROUP BY name ORDER BY max(seq) DESC LIMIT ?"  # noqa: S608
    return [row[0] for row in connection.execute(query, (_LOOKED_AT, _NAMES))]


def scopes(store: Readable, *, limit: int = 500) -> list[str]:
    """Return the scopes that hold entries, those of the latest entries first."""
    query = "SELECT scope FROM memory_entries GROUP BY scope ORDER BY max(seq) DESC LIMIT ?"
    with store.read() as connection:
        return [row[0] for row in connection.execute(query, (limit,))]


def laid_out(store: Readable, model: str, *, limit: int = MAX_POINTS) -> list[Point]:
    """Return the newest entries that have vectors of a model on the plane in which these differ most."""
    import numpy as np

    with store.read() as connection:
        rows = connection.execute(_NEWEST, (model, min(limit, MAX_POINTS))).fetchall()
    sizes = {len(vector) for _, vector in rows}
    if len(rows) < len(("x", "y", "and something beside")) or len(sizes) != 1:
        return []
    vectors = np.frombuffer(b"".join(vector for _, vector in rows), "<f2").reshape(len(rows), -1)
    plane = projected(vectors.astype(np.float32))
    return [Point(row[0], float(x), float(y)) for row, (x, y) in zip(rows, plane, strict=True)]


def projected(vectors: Floats) -> Floats:
    """Return vectors on their first two principal components, each from -1 to 1; the same ones give the same plane."""
    import numpy as np

    centred = vectors - vectors.mean(axis=0)
    # The covariance has as many rows as a vector has numbers, however many vectors there are.
    _, axes = np.linalg.eigh(centred.T @ centred)
    flat = centred @ axes[:, -2:][:, ::-1]
    # An axis may point either way; the largest coordinate is made positive, so that the picture stays as it was.
    largest = flat[np.abs(flat).argmax(axis=0), (0, 1)]
    flat = flat * np.where(largest < 0, -1, 1)
    return np.asarray(flat / np.maximum(np.abs(flat).max(axis=0), 1e-9), np.float32)
