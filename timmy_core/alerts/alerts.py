"""The alerts of a home: conditions become alerts once, are told once, and are taken back when they are over."""

from __future__ import annotations

import contextlib
import logging
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

from timmy_core.alerts.model import Alert, Condition, Delivery
from timmy_core.alerts.rows import MAX_LIST, SOURCE, Rows
from timmy_core.alerts.rules import Watched, last_check, look
from timmy_core.alerts.sending import send
from timmy_core.clock import new_id
from timmy_core.errors import AlertError, StoreClosedError, StoreError, TimmyError
from timmy_core.events.findings import Verification
from timmy_core.events.schedule import Job
from timmy_core.settings_alerts import RULES, AlertSettings, Rule
from timmy_core.store.engine import Connection

if TYPE_CHECKING:
    from timmy_core.loop import LoopThread

# Named, because inside the class `list` is the method.
AlertList: TypeAlias = list[Alert]
Conditions: TypeAlias = list[Condition]
Pairs: TypeAlias = list[tuple[Alert, Condition]]

KEEP: Final = timedelta(days=90)
VERIFY_LOOK: Final = timedelta(hours=1)
_AT_ONCE: Final = 20
_SEEN_EVERY: Final = timedelta(minutes=1)
_JOIN_S: Final = 10.0

_log = logging.getLogger(__name__)


class Alerts:
    """Looks at the rooms by the rules of the settings; only the serving process does so by itself.

    Args:
        settings: the section `[alerts]`.
        watched: what is looked at.
        loop: Timmy's event loop, which sends.
    """

    def __init__(self, settings: AlertSettings, watched: Watched, loop: LoopThread) -> None:
        self.settings = settings
        self._watched, self._loop, self._clock = watched, loop, watched.clock
        self._rows = Rows(watched.store, watched.events, watched.clock)
        self._looking = threading.Lock()
        self._first: dict[tuple[str, str], datetime] = {}  # since when a condition holds that is not said yet
        self._last: dict[tuple[str, str], datetime] = {}  # when an open one was last seen
        self._failed: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # Looking -------------------------------------------------------------------------------------------------

    def open(self) -> AlertList:
        """Return what needs a person's eye now, the newest first."""
        return self._rows.list(open_only=True, limit=MAX_LIST)

    def list(self, limit: int = 100) -> AlertList:
        """Return alerts, also those that are over, the newest first.

        Raises:
            AlertError: the limit is out of range.
        """
        if not 1 <= limit <= MAX_LIST:
            message = f"limit is {limit}; expected 1 to {MAX_LIST:,}"
            raise AlertError(message)
        return self._rows.list(open_only=False, limit=limit)

    def delivery(self) -> Delivery:
        """Return how telling people goes."""
        waiting, problem = self._rows.waiting()
        return Delivery(self.settings.url is not None, waiting, problem)

    # Checking ------------------------------------------------------------------------------------------------

    def check(self) -> int:
        """Look by every rule, raise and resolve; returns how many alerts changed. What cannot be looked at stays."""
        with self._looking:
            found: dict[Rule, tuple[Condition, ...]] = {}
            for rule in RULES:
                try:
                    found[rule] = look(rule, self._watched, self.settings)
                except StoreClosedError:
                    raise
                except TimmyError as error:
                    self._say(rule, str(error))
                else:
                    self._say(rule, "")
            return self._take(found)

    def _take(self, found: dict[Rule, tuple[Condition, ...]]) -> int:
        now = self._clock.now()
        holding = {(one.rule, one.subject): one for conditions in found.values() for one in conditions}
        self._first = {key: self._first.get(key, now) for key in holding}
        ripe = {key: one for key, one in holding.items() if (now - self._first[key]).total_seconds() >= one.wait_s}
        known = {(alert.rule, alert.subject): alert for alert in self.open()}
        self._last = {
            key: now if key in holding else self._last.get(key, alert.seen_at) for key, alert in known.items()
        }
        new = [one for key, one in ripe.items() if key not in known]
        changed = [(known[key], one) for key, one in holding.items() if key in known and self._moved(known[key], one)]
        over = [
            alert for key, alert in known.items() if alert.rule in found and self._is_over(key, alert, now, holding)
        ]
        if not (new or changed or over):
            return 0
        return self._watched.store.write(lambda connection: self._write(connection, new, changed, over))

    def _write(
        self,
        connection: Connection,
        new: Conditions,
        changed: Pairs,
        over: AlertList,
    ) -> int:
        tell = self.settings.url is not None
        # Another process may have looked at the same moment; what is said in the meantime is said.
        rows = connection.execute("SELECT rule, subject FROM alerts WHERE resolved_at IS NULL").fetchall()
        said = {(rule, subject) for rule, subject in rows}
        fresh = [one for one in new if (one.rule, one.subject) not in said]
        ended = [alert for alert in over if (alert.rule, alert.subject) in said]
        for one in fresh:
            self._rows.raise_(connection, one, tell=tell)
        for alert, one in changed:
            self._rows.update(connection, alert, one)
        for alert in ended:
            self._rows.resolve(connection, alert, tell=tell and self.settings.resolved)
        return len(fresh) + len(ended)

    def _moved(self, alert: Alert, one: Condition) -> bool:
        same = (alert.severity, alert.message, alert.path) == (one.severity, one.message, one.path)
        return not same or self._clock.now() - alert.seen_at >= _SEEN_EVERY

    def _is_over(
        self, key: tuple[str, str], alert: Alert, now: datetime, holding: dict[tuple[Rule, str], Condition]
    ) -> bool:
        if key in holding:
            return False
        # A provider that comes and goes is one trouble, not many.
        settle_s = self.settings.settle_s if alert.rule == "provider_open" else 0.0
        return (now - self._last[key]).total_seconds() >= settle_s

    def _say(self, rule: str, problem: str) -> None:
        """Say in the log, once, that a rule cannot be looked at."""
        if problem and self._failed.get(rule) != problem:
            with contextlib.suppress(StoreError):
                data = {"message": f"the alert rule {rule} cannot be looked at: {problem}", "rule": rule}
                self._watched.events.append("system.warning", source=SOURCE, data=data)
        self._failed[rule] = problem

    # Telling -------------------------------------------------------------------------------------------------

    def deliver(self) -> int:
        """Tell whom it may concern what is due, in order; returns how many notices arrived."""
        if self.settings.url is None:
            return 0
        sent = 0
        for notice in self._rows.due(_AT_ONCE):
            if self._stopping.is_set():
                break
            problem = self._loop.run(send(self.settings, notice.alert, notice.what))
            if problem:
                self._rows.failed(notice, problem)
                # Whoever does not answer now does not answer the next either.
                break
            self._rows.told(notice)
            sent += 1
        return sent

    def test(self) -> None:
        """Send a message that says that it is a test.

        Raises:
            AlertError: no address is named, or it did not arrive; says why.
        """
        if self.settings.url is None:
            message = "no address is named, so nobody can be told; name a webhook or an ntfy topic as url in [alerts]"
            raise AlertError(message)
        now = self._clock.now()
        said = "This is a test; alerts arrive here."
        alert = Alert(new_id(), "provider_open", "test", "warning", said, "/", now, now, None, "")
        problem = self._loop.run(send(self.settings, alert, "raised"))
        if problem:
            raise AlertError(problem)

    # By itself -----------------------------------------------------------------------------------------------

    def jobs(self) -> tuple[Job, ...]:
        """Return what the serving process does on its schedule: the whole chain is checked now and then."""
        if not self.settings.verify_h:
            return ()
        every = min(VERIFY_LOOK, timedelta(hours=self.settings.verify_h))
        return (Job("verify", every, self._verify), Job("alerts", VERIFY_LOOK, self._forget))

    def _forget(self) -> str:
        self._rows.forget(KEEP)
        return ""

    def _verify(self) -> str:
        events = self._watched.events
        checked_at, _ = last_check(self._watched.store)
        if checked_at is not None and self._clock.now() - checked_at < timedelta(hours=self.settings.verify_h):
            return ""
        try:
            found = events.verify()
        except StoreClosedError:
            raise
        except StoreError as error:
            # An archive file that is gone, for instance: what cannot be read does not hold.
            found = Verification(str(error), 0, 0, "")
        data = {"ok": found.ok, "checked": found.checked, "redacted": found.redacted, "problem": found.problem}
        events.append("log.verified", source="schedule", data=data)
        return f"{found.checked:,} events hold" + ("" if found.ok else f"; {found.problem}")

    def start(self) -> None:
        """Begin to look, on a thread of its own; the serving process calls it. Harmless when repeated."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="timmy-alerts", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End soon; what is being sent is cut off when Timmy's event loop closes."""
        self._stopping.set()

    def close(self) -> None:
        """Wait for the end, after `stop` and after the loop was closed."""
        if self._thread is not None:
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        while not self._stopping.wait(self.settings.every_s):
            try:
                self.check()
                self.deliver()
            except StoreClosedError:
                return
            except TimmyError as error:
                # A full disk, or the loop that closes; the next look tries again.
                if not self._stopping.is_set() and self._failed.get(SOURCE) != str(error):
                    _log.warning("alerts could not be looked at: %s", error)
                self._failed[SOURCE] = str(error)
