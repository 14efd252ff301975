"""Tells somebody of a proposal through a command of the settings, and remembers in the log when that arrived.

Silence counts as consent only after a notice that was delivered: whoever was not told cannot have agreed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import Clock, iso
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.events.redactor import Redactor
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.store.engine import Store
from timmy_core.upgrades.model import Proposal

DELIVERED: Final = "upgrade.noticed"
UNDELIVERED: Final = "upgrade.notice_failed"
_MANY: Final = 1000
_SAID: Final = 300
_BARE: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


class Notices:
    """Delivers notices and knows which arrived; safe to use from any thread."""

    def __init__(self, settings: UpgradeSettings, store: Store, events: EventLog, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._events = events
        self._clock = clock
        self._redactor = Redactor()

    def send(self, proposal: Proposal) -> bool:
        """Tell somebody of a proposal as it stands now; returns whether that arrived, which the log says too.

        Without `notice_command` nobody is told, and nothing is written.
        """
        if not self._settings.notice_command:
            return False
        problem = self._deliver(json.dumps(_content(proposal)).encode())
        data: dict[str, Any] = {"proposal": proposal.id, "seen": proposal.seen}
        if problem:
            data["problem"] = self._redactor.clean_text(problem)
        event = NewEvent(
            UNDELIVERED if problem else DELIVERED,
            "upgrades",
            data,
            task_id=proposal.task_id,
            agent_id=proposal.agent_id,
            trace_id=proposal.trace_id,
            ts=self._clock.now(),
        )
        self._store.write(lambda connection: self._events.append_in(connection, event))
        return not problem

    def delivered_at(self, proposal: Proposal) -> datetime | None:
        """Return when somebody was first told of the proposal as it stands now; None where nobody was.

        A notice of what it was before does not count: somebody else's silence was about something else.
        """
        found = self._events.list(type=DELIVERED, trace_id=proposal.trace_id, limit=_MANY, order="asc")
        for event in found:
            data = event.data or {}
            if data.get("proposal") == proposal.id and data.get("seen") == proposal.seen:
                return event.ts
        return None

    def _deliver(self, content: bytes) -> str:
        """Run the command; returns what went wrong, or nothing."""
        words = self._settings.notice_command
        try:
            process = subprocess.Popen(  # noqa: S603 - the command that the settings name, without a shell
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_BARE,
                start_new_session=True,
            )
        except OSError as error:
            return f"{words[0]} cannot be run: {error.strerror}; mend notice_command in [upgrades]"
        try:
            _, said = process.communicate(content, timeout=self._settings.notice_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return f"{words[0]} did not end within notice_s, {self._settings.notice_s:g} s"
        if process.returncode:
            return f"{words[0]} ended with {process.returncode}: {said.decode(errors='replace').strip()[-_SAID:]}"
        return ""


def _content(proposal: Proposal) -> Mapping[str, Any]:
    """Return what a notice says; the diff itself is for the page."""
    return {
        "id": proposal.id,
        "description": proposal.description,
        "proposed_by": proposal.proposed_by,
        "risk": proposal.risk,
        "reasons": list(proposal.risk_reasons),
        "files": [change.path for change in proposal.files[:100]],
        "added": proposal.added,
        "removed": proposal.removed,
        "tests_passed": proposal.tests.passed if proposal.tests else None,
        "expires_at": iso(proposal.expires_at),
    }
