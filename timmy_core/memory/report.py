"""What the memory says of itself and of its matches, as JSON can carry it."""

from __future__ import annotations

import dataclasses
from typing import Any

from timmy_core.memory.memory import Memory
from timmy_core.memory.model import Match


def match_dict(match: Match) -> dict[str, Any]:
    """Return a match with its entry and its reasons."""
    why = dataclasses.asdict(match.why)
    return {"score": match.score, "entry": match.entry.as_dict(), "why": why}


def status_of(memory: Memory) -> dict[str, Any]:
    """Return how much is remembered; `note` says what keeps it from being found by meaning."""
    sizes = memory.sizes()
    plain = {name: dict(getattr(sizes, name)) for name in ("kinds", "states", "scopes", "vectors")}
    note = "" if plain["vectors"] or not sizes.entries else "no entry has vectors yet; words alone are compared"
    return {"entries": sizes.entries, "passages": sizes.passages, **plain, "note": note}
