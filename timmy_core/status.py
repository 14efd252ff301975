"""The state of everything at a glance."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from timmy_core.events.schedule import JobState
from timmy_core.plain import plain
from timmy_core.router.chat import ProviderStatus
from timmy_core.router.reload import Problem


@dataclass(frozen=True, slots=True)
class Status:
    """The state of everything at a glance; read from the store, without network I/O."""

    version: str
    home: Path
    started_at: datetime
    events: int
    last_event_at: datetime | None
    questions: int
    database_bytes: int
    providers: tuple[ProviderStatus, ...]
    problem: Problem | None  # why a changed configuration is not used
    upkeep: tuple[JobState, ...]  # what the serving process does by itself; empty in any other

    def as_dict(self) -> dict[str, Any]:
        """Return the status as JSON can carry it; times are ISO 8601 in UTC."""
        return cast("dict[str, Any]", plain(self))
