"""A line of time on which long stretches without any event are cut short, so that what happened can be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ui import parts

LONG_MS = 1000.0  # shorter gaps are never cut
SHARE = 0.4  # of what is left: a gap that takes more is cut
CUT_WIDTH = 0.07  # what a cut takes of the whole
MOST_CUTS = 6
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Cut:
    """A stretch without events; `left` and `width` are shares of the whole line."""

    begin_ms: float
    end_ms: float
    left: float
    width: float

    @property
    def ms(self) -> float:
        """How long it was."""
        return self.end_ms - self.begin_ms


@dataclass(frozen=True, slots=True)
class Scale:
    """Where a moment lies, as a share of the whole from 0 to 1; `points` are (ms, share), both rising."""

    points: tuple[tuple[float, float], ...]
    cuts: tuple[Cut, ...]

    @property
    def end_ms(self) -> float:
        """The last moment."""
        return self.points[-1][0]

    @classmethod
    def of(cls, stretches: Sequence[tuple[float, float]]) -> Scale:
        """Return the line for stretches of (begin, end), of which one or more may be moments."""
        end = max((end for _, end in stretches), default=0.0)
        gaps = _long(_gaps(stretches), end)
        width = CUT_WIDTH * len(gaps)
        # Summed piece by piece: the whole without its gaps would lose what is short beside them.
        edges = [0.0, *(edge for gap in gaps for edge in gap), end]
        shown_ms = max(sum(after - before for before, after in zip(edges[::2], edges[1::2], strict=True)), 0.001)
        points, cuts = [(0.0, 0.0)], []
        for first, last in gaps:
            left = points[-1][1] + (first - points[-1][0]) / shown_ms * (1 - width)
            points += [(first, left), (last, left + CUT_WIDTH)]
            cuts.append(Cut(first, last, left, CUT_WIDTH))
        points.append((max(end, 0.001), 1.0))
        return cls(tuple(points), tuple(cuts))

    def at(self, ms: float) -> float:
        """Return where a moment lies."""
        for (before_ms, before), (after_ms, after) in pairwise(self.points):
            if ms <= after_ms:
                length = after_ms - before_ms
                return before + (after - before) * (max(0.0, ms - before_ms) / length if length > 0 else 0.0)
        return 1.0


def words(ms: float) -> str:
    """Return a time as `412 ms`, `1.8 s`, `3 min`, `2 h`, `5 d`."""
    return parts.latency(ms) if ms < MINUTE_MS else parts.duration(ms / 1000)


def _gaps(stretches: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return where nothing was going on, in order."""
    gaps: list[tuple[float, float]] = []
    busy_until = 0.0
    for begin, end in sorted(stretches):
        if begin > busy_until:
            gaps.append((busy_until, begin))
        busy_until = max(busy_until, end)
    return gaps


def _long(gaps: Sequence[tuple[float, float]], end: float) -> list[tuple[float, float]]:
    """Return those that would leave too little room for the rest, in order."""
    found: list[tuple[float, float]] = []
    for first, last in sorted(gaps, key=lambda gap: gap[0] - gap[1])[:MOST_CUTS]:
        length = last - first
        if length < LONG_MS or length < SHARE * end:
            break
        found.append((first, last))
        end -= length
    return sorted(found)
