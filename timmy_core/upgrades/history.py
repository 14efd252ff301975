"""What became of a proposal: its events, and what time does to it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from timmy_core.clock import to_us
from timmy_core.errors import UpgradeStateError
from timmy_core.events.log import EventLog
from timmy_core.events.model import Event
from timmy_core.upgrades.doors import Workspace
from timmy_core.upgrades.model import Proposal
from timmy_core.upgrades.queue_rows import Rows
from timmy_core.upgrades.states import EXPIRING

_MAX_EVENTS: Final = 1_000


class History:
    """Reads the trail, lets proposals run out, and forgets old ones."""

    def __init__(self, rows: Rows, workspace: Workspace, events: EventLog) -> None:
        self._rows = rows
        self._workspace = workspace
        self._events = events

    def of(self, proposal_id: str) -> list[Event]:
        """Return the events of one proposal, oldest first."""
        proposal = self._rows.get(proposal_id)
        found = self._events.list(family="upgrade", trace_id=proposal.trace_id, limit=_MAX_EVENTS, order="asc")
        # A trace may hold more than one proposal; redacted events have lost their name and stay.
        return [event for event in found if event.data is None or event.data.get("proposal") == proposal_id]

    def expire_due(self, now: datetime) -> list[Proposal]:
        """Let proposals run out whose time has come; their refs are given up, no branch is touched."""
        done = []
        for proposal_id in self._rows.due(EXPIRING, to_us(now)):
            try:
                done.append(self._rows.move(proposal_id, EXPIRING, "expired", "upgrade.expired", {}))
            except UpgradeStateError:
                continue  # somebody decided meanwhile
            self._workspace.forget(proposal_id)
        return done

    def prune(self, before: datetime) -> int:
        """Forget what ended before a moment; its events stay. Return how many proposals that were."""
        gone = self._rows.prune(to_us(before))
        for proposal_id in gone:
            self._workspace.forget(proposal_id)
        return len(gone)
