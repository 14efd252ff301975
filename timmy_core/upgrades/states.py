"""The states of a proposal as tables: which moves there are, and what people are shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from timmy_core.upgrades.model import Shown, State

# Nothing else may happen to a proposal; a move that is not here is a mistake in the program.
MOVES: Final[Mapping[State, frozenset[State]]] = {
    "proposed": frozenset({"testing", "conflict", "rejected", "expired"}),
    "testing": frozenset({"proposed", "awaiting_approval", "test_failed", "conflict", "failed", "rejected"}),
    "awaiting_approval": frozenset({"testing", "approved", "rejected", "expired", "conflict"}),
    "test_failed": frozenset({"testing", "conflict", "rejected", "expired"}),
    "approved": frozenset({"queued", "rejected", "expired"}),
    "queued": frozenset({"applying", "stale", "conflict", "blocked_dirty", "failed", "rejected"}),
    "applying": frozenset({"applied", "queued", "blocked_dirty", "failed"}),
    "applied": frozenset({"confirmed", "rolled_back"}),
    "confirmed": frozenset({"rolled_back"}),
    "conflict": frozenset({"testing", "conflict", "rejected", "expired"}),
    "stale": frozenset({"testing", "conflict", "rejected", "expired"}),
    "blocked_dirty": frozenset({"queued", "rejected", "expired"}),
    "failed": frozenset({"testing", "conflict", "rejected", "expired"}),
    "rejected": frozenset(),
    "expired": frozenset(),
    "rolled_back": frozenset(),
}

SHOWN: Final[Mapping[State, Shown]] = {
    "proposed": "proposed",
    "testing": "proposed",
    "awaiting_approval": "proposed",
    "test_failed": "failed",
    "approved": "approved",
    "queued": "approved",
    "applying": "approved",
    "applied": "applied",
    "confirmed": "applied",
    "conflict": "failed",
    "stale": "proposed",
    "blocked_dirty": "approved",
    "failed": "failed",
    "rejected": "rejected",
    "expired": "expired",
    "rolled_back": "failed",
}

# A person still has something to do with these: the badge counts them.
PENDING: Final[tuple[State, ...]] = (
    "proposed", "testing", "awaiting_approval", "test_failed", "approved", "queued", "applying", "conflict", "stale",
    "blocked_dirty",
)  # fmt: skip
# These do not go on without a person.
WAITING: Final[tuple[State, ...]] = ("awaiting_approval", "test_failed", "conflict", "stale", "blocked_dirty")
TESTABLE: Final[tuple[State, ...]] = tuple(state for state, after in MOVES.items() if "testing" in after)
REJECTABLE: Final[tuple[State, ...]] = tuple(state for state, after in MOVES.items() if "rejected" in after)
EXPIRING: Final[tuple[State, ...]] = tuple(state for state, after in MOVES.items() if "expired" in after)
LANDED: Final[tuple[State, ...]] = ("applied", "confirmed")
FINAL: Final[tuple[State, ...]] = ("rejected", "expired", "rolled_back", "applied", "confirmed", "failed")
