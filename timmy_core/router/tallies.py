"""What attempts add up to: counted once for every block of rows, which never change, and kept for the next report."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress
from threading import Lock
from typing import Any, Final, Literal, NamedTuple

from timmy_core.router.attempt import FAULTS
from timmy_core.store.engine import Connection

By = Literal["model", "provider", "agent"]
Key = tuple[str, str, str]
"""Provider, model and agent; what the lines do not go by is empty."""

_BLOCK: Final = 2048
_MOST: Final = 300  # blocks that are kept; a report over as many rows as it may look at needs 49
_KEYS: Final[dict[By, str]] = {
    "model": "provider, model, ''",
    "provider": "provider, '', ''",
    "agent": "'', '', coalesce(agent_id, '')",
}
_ROWS: Final = """
SELECT {key}, ts, outcome, error_class, why, latency_us, first_token_us, estimated, cost_microusd,
       input_tokens, output_tokens, cached_tokens, cache_write_tokens, reasoning_tokens
FROM provider_metrics WHERE id BETWEEN ? AND ? AND ts >= ? AND ts < ?"""
_EVER: Final = (-(2**62), 2**62)


class Tally:
    """What the attempts of one line add up to."""

    __slots__ = (
        "cost",
        "errors",
        "estimated",
        "faults",
        "first",
        "latencies",
        "outcomes",
        "said",
        "tokens",
        "took_us",
        "unpriced",
        "whys",
    )  # fmt: skip

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.whys: Counter[str] = Counter()
        self.latencies = array("q")  # of answers, in the order of blocks
        self.first = array("q")
        self.tokens = [0, 0, 0, 0, 0]  # input, output, cached, written to a cache, thought
        self.faults = self.estimated = self.cost = self.unpriced = self.said = self.took_us = 0

    def add(self, rows: Iterable[Sequence[Any]]) -> None:
        """Count rows; by columns, which is quicker than one row after the other."""
        columns = list(zip(*rows, strict=True))
        outcomes, errors, whys, latencies, first, estimated, costs, *tokens = columns[4:]
        self.outcomes.update(outcomes)
        self.whys.update(whys)
        self.errors.update(error for error in errors if error is not None)
        failed = compress(errors, [outcome == "failed" for outcome in outcomes])
        self.faults += sum(error in FAULTS for error in failed)
        answered = [outcome == "completed" for outcome in outcomes]
        took = sorted(compress(latencies, answered))
        self.latencies.extend(took)
        self.first.extend(sorted(us for us in compress(first, answered) if us is not None))
        said = [
            (us, count) for us, count in compress(zip(latencies, tokens[1], strict=True), answered) if count is not None
        ]
        self.took_us += sum(us for us, _ in said)
        self.said += sum(count for _, count in said)
        self.estimated += sum(estimated)
        self.cost += sum(filter(None, costs))
        self.unpriced += costs.count(None)
        for index, counts in enumerate(tokens):
            self.tokens[index] += sum(filter(None, counts))

    def merge(self, other: Tally) -> None:
        """Add what another one has counted."""
        for ours, theirs in ((self.outcomes, other.outcomes), (self.errors, other.errors), (self.whys, other.whys)):
            for name, count in theirs.items():
                ours[name] += count
        self.latencies.extend(other.latencies)
        self.first.extend(other.first)
        self.tokens = [ours + theirs for ours, theirs in zip(self.tokens, other.tokens, strict=True)]
        self.faults += other.faults
        self.estimated += other.estimated
        self.cost += other.cost
        self.unpriced += other.unpriced
        self.said += other.said
        self.took_us += other.took_us


class _Block(NamedTuple):
    """A row of ids that is full, with the first and the last time in it."""

    begins: int
    ends: int
    tallies: dict[Key, Tally]


class Tallies:
    """Adds up attempts; safe from any thread.

    The figures of an attempt are written once and never changed or deleted, so a block whose last row is there is done.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[By, int], _Block] = {}
        self._lock = Lock()

    def read(self, connection: Connection, by: By, ids: tuple[int, int], times: tuple[int, int]) -> dict[Key, Tally]:
        """Return the tallies of the attempts between two ids, both included, and two times, the second not included."""
        (first, last), (since, until) = ids, times
        sums: dict[Key, Tally] = {}
        rest: list[tuple[int, int]] = []
        for number in range((first - 1) // _BLOCK, (last - 1) // _BLOCK + 1):
            low, high = number * _BLOCK + 1, (number + 1) * _BLOCK
            block = self._block(connection, by, number) if first <= low and high <= last else None
            if block is not None and since <= block.begins and block.ends < until:
                for key, tally in block.tallies.items():
                    sums.setdefault(key, Tally()).merge(tally)
            else:
                rest.append((max(first, low), min(last, high)))
        for some in rest:
            _count(sums, connection.execute(_ROWS.format(key=_KEYS[by]), (*some, *times)).fetchall())
        return sums

    def _block(self, connection: Connection, by: By, number: int) -> _Block:
        with self._lock:
            block = self._kept.get((by, number))
        if block is None:
            ids = number * _BLOCK + 1, (number + 1) * _BLOCK
            rows = connection.execute(_ROWS.format(key=_KEYS[by]), (*ids, *_EVER)).fetchall()
            block = _Block(min(row[3] for row in rows), max(row[3] for row in rows), _count({}, rows))
            with self._lock:
                self._kept[by, number] = block
                if len(self._kept) > _MOST:
                    del self._kept[next(iter(self._kept))]
        return block


def _count(sums: dict[Key, Tally], rows: Iterable[Sequence[Any]]) -> dict[Key, Tally]:
    groups: dict[Key, list[Sequence[Any]]] = {}
    for row in rows:
        groups.setdefault((row[0], row[1], row[2]), []).append(row)
    for key, group in groups.items():
        sums.setdefault(key, Tally()).add(group)
    return sums
