"""Tending: threads of the serving process that do what is due, woken by the doorbell; a failure does not end them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from timmy_core.errors import StoreClosedError, TimmyError
from timmy_core.events.log import EventLog
from timmy_core.store.engine import Store
from timmy_core.swarm.rows import SOURCE

LOOK_S: Final = 0.5  # at the latest; the time of an auction or a lease passes without a bell
SPACE_S: Final = 0.1  # between two looks, however often the bell rings
RETRY_AT_MOST_S: Final = 60.0
JOIN_S: Final = 10.0

_log = logging.getLogger(__name__)


class Tender:
    """Looks again and again, on a thread of its own; what fails is tried later and later, and said once in the log.

    Args:
        what: in the words of the warning.
        look: does what is due.
        store: rings when anything changed, in any process.
        log: told when it begins to fail, and when it works again.
    """

    def __init__(self, what: str, look: Callable[[], object], store: Store, log: EventLog) -> None:
        self._what = what
        self._look = look
        self._store = store
        self._log = log
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="timmy-" + what.replace(" ", "-"), daemon=True)
        self._failures = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end."""
        self._stopping.set()

    def join(self) -> None:
        """Wait a while until it has ended."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(JOIN_S)

    def _run(self) -> None:
        try:
            with self._store.watch() as bell:
                while not self._stopping.is_set():
                    wait_s = self._once()
                    if not self._stopping.wait(SPACE_S) and wait_s <= LOOK_S:
                        bell.wait(LOOK_S)
                    elif wait_s > LOOK_S:
                        self._stopping.wait(wait_s)
        except StoreClosedError:
            return

    def _once(self) -> float:
        try:
            self._look()
        except StoreClosedError:
            raise
        except TimmyError as error:
            if self._stopping.is_set():
                return 0.0
            self._failures += 1
            if self._failures == 1:
                _log.warning("%s cannot go on: %s", self._what, error)
                data = {"message": f"{self._what} cannot go on: {error}"}
                self._log.append("system.warning", source=SOURCE, data=data)
            return min(RETRY_AT_MOST_S, LOOK_S * 2.0 ** min(self._failures, 10))
        if self._failures:
            self._log.append("system.info", source=SOURCE, data={"message": f"{self._what} goes on"})
            self._failures = 0
        return 0.0
