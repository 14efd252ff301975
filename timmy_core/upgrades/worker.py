"""What the serving process does about proposals by itself: recover first, then test, tell somebody, and land."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Final

from timmy_core.errors import StoreClosedError, TimmyError, UpgradeBusyError, UpgradeStateError
from timmy_core.events.log import EventLog
from timmy_core.upgrades.queue_rows import SOURCE

if TYPE_CHECKING:
    from timmy_core.upgrades.build import UpgradesRoom

LOOK_S: Final = 1.0
RETRY_AT_MOST_S: Final = 300.0
JOIN_S: Final = 10.0  # what is cut off later than this is recovered by the next start
_BATCH: Final = 20

_log = logging.getLogger(__name__)


class Worker:
    """Lands and tests one thing after another, on one thread; what fails is tried again later and later.

    Args:
        room: whose queue it is.
        log: told when something begins to fail, and when it works again.
    """

    def __init__(self, room: UpgradesRoom, log: EventLog) -> None:
        self._room = room
        self._log = log
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timmy-upgrades", daemon=True)
        self._recovered = False
        self._failures = 0
        self._told: set[str] = set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """End soon, and wait for it a while."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stopping.wait(wait_s):
            try:
                self.look()
                self._well()
                wait_s = LOOK_S
            except StoreClosedError:
                return
            except UpgradeBusyError:
                wait_s = LOOK_S  # another process is at it
            except TimmyError as error:
                self._unwell(error)
                wait_s = min(RETRY_AT_MOST_S, LOOK_S * 2**self._failures)

    def look(self) -> None:
        """Do what there is to do now."""
        queue = self._room.queue
        if not self._recovered:
            for finding in (*queue.recover(), *queue.started()):
                _log.warning("upgrade queue: %s", finding.message)
            self._recovered = True
        if queue.list(state="queued", limit=1).proposals:
            self._land()
        for proposal in reversed(queue.list(state=("proposed", "stale"), limit=_BATCH).proposals):
            if self._stopping.is_set():
                return
            # What a crash cut off may be to blame for it, so a person asks for it again.
            if proposal.state == "stale" or proposal.problem is None:
                self._test(proposal.id)
        self._tell()
        self._room.automatic.approve_due(queue)

    def _land(self) -> None:
        first = self._room.queue.list(state="queued", limit=_BATCH).proposals[-1]
        with self._room.following.told(first.id) as progress:
            self._room.queue.work(progress=progress)

    def _test(self, proposal_id: str) -> None:
        try:
            with self._room.following.told(proposal_id) as progress:
                self._room.queue.test(proposal_id, progress=progress)
        except UpgradeStateError:
            return  # somebody else tests or decided it

    def _tell(self) -> None:
        """Tell somebody of what waits for a decision, once for each state of it that can be decided."""
        if not self._room.settings.notice_command:
            return
        for proposal in self._room.queue.list(state="awaiting_approval", limit=_BATCH).proposals:
            if proposal.seen in self._told or self._room.notices.delivered_at(proposal) is not None:
                continue
            self._told.add(proposal.seen)
            self._room.notices.send(proposal)

    # Failing -------------------------------------------------------------------------------------------------

    def _unwell(self, error: TimmyError) -> None:
        self._failures += 1
        if self._failures == 1:
            _log.warning("the upgrade queue cannot go on: %s", error)
            self._log.append(
                "system.warning", source=SOURCE, data={"message": f"the upgrade queue cannot go on: {error}"}
            )

    def _well(self) -> None:
        if self._failures:
            self._log.append("system.info", source=SOURCE, data={"message": "the upgrade queue goes on"})
        self._failures = 0
