"""The rows of alerts and notices: what is raised, resolved and still to be told, each with its event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from timmy_core.alerts.model import Alert, Condition, Notice
from timmy_core.clock import Clock, from_us, new_id, to_us
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.store.engine import Connection, Store

SOURCE: Final = "alerts"
MAX_LIST: Final = 1000
FIRST_WAIT_S: Final = 15.0
LONGEST_WAIT_S: Final = 3600.0
GIVE_UP: Final = timedelta(days=1)

_ALERT: Final = "id, rule, subject, severity, message, path, raised_at, seen_at, resolved_at, trace_id"
_COLUMNS: Final = ", ".join(f"alert.{name}" for name in _ALERT.split(", "))
_INSERT: Final = f"INSERT INTO alerts ({_ALERT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, NULL, ?)"  # noqa: S608
_DUE: Final = f"""
SELECT notice.seq, notice.what, notice.tries, {_COLUMNS} FROM alert_notices AS notice
JOIN alerts AS alert ON alert.id = notice.alert_id
WHERE notice.state = 'due' AND notice.next_at <= ? ORDER BY notice.seq LIMIT ?"""  # noqa: S608
_NOTICE: Final = """
INSERT INTO alert_notices (alert_id, what, state, tries, next_at, problem) VALUES (?, ?, 'due', 0, ?, '')"""
# Who was not told that it began need not be told that it is over.
_UNTOLD: Final = """
UPDATE alert_notices SET state = 'dropped' WHERE alert_id = ? AND what = 'raised' AND state = 'due'"""
_OLD: Final = """
DELETE FROM alert_notices WHERE alert_id IN (SELECT id FROM alerts WHERE resolved_at < ? LIMIT 1000)"""
_OLD_ALERTS: Final = """
DELETE FROM alerts WHERE resolved_at < ? AND id NOT IN (SELECT alert_id FROM alert_notices)"""


class Rows:
    """Reads and writes alerts; safe to use from any thread and process."""

    def __init__(self, store: Store, events: EventLog, clock: Clock) -> None:
        self._store, self._events, self._clock = store, events, clock

    # Looking -------------------------------------------------------------------------------------------------

    def list(self, *, open_only: bool, limit: int) -> list[Alert]:
        """Return alerts, the newest first."""
        where = "WHERE resolved_at IS NULL" if open_only else ""
        query = f"SELECT {_ALERT} FROM alerts {where} ORDER BY raised_at DESC, id DESC LIMIT ?"  # noqa: S608
        with self._store.read() as connection:
            return [_alert(row) for row in connection.execute(query, (limit,))]

    def waiting(self) -> tuple[int, str]:
        """Return how many notices wait, and why the last one of them that was tried failed."""
        with self._store.read() as connection:
            count = connection.execute("SELECT count(*) FROM alert_notices WHERE state = 'due'").fetchone()[0]
            query = "SELECT problem FROM alert_notices WHERE state = 'due' AND problem <> '' ORDER BY seq LIMIT 1"
            row = connection.execute(query).fetchone()
        return int(count), row[0] if row else ""

    # Raising and resolving -----------------------------------------------------------------------------------

    def raise_(self, connection: Connection, condition: Condition, *, tell: bool) -> None:
        """Say something that nothing was said of yet."""
        now, alert_id = to_us(self._clock.now()), new_id()
        said = (condition.rule, condition.subject, condition.severity, condition.message, condition.path)
        connection.execute(_INSERT, (alert_id, *said, now, now, alert_id))
        if tell:
            connection.execute(_NOTICE, (alert_id, "raised", now))
        names = ("rule", "subject", "severity", "message", "path")
        self._event(connection, "alert.raised", alert_id, dict(zip(names, said, strict=True)))

    def update(self, connection: Connection, alert: Alert, condition: Condition) -> None:
        """Take the present words over, and note that it still holds."""
        query = "UPDATE alerts SET severity = ?, message = ?, path = ?, seen_at = ? WHERE id = ?"
        values = (condition.severity, condition.message, condition.path, to_us(self._clock.now()), alert.id)
        connection.execute(query, values)

    def resolve(self, connection: Connection, alert: Alert, *, tell: bool) -> None:
        """Say that it is over."""
        now = to_us(self._clock.now())
        connection.execute("UPDATE alerts SET resolved_at = ? WHERE id = ?", (now, alert.id))
        untold = connection.execute(_UNTOLD, (alert.id,)).rowcount
        if tell and not untold:
            connection.execute(_NOTICE, (alert.id, "resolved", now))
        lasted_s = (now - to_us(alert.raised_at)) / 1e6
        data = {"rule": alert.rule, "subject": alert.subject, "message": alert.message, "lasted_s": round(lasted_s, 3)}
        self._event(connection, "alert.resolved", alert.id, data)

    def forget(self, older_than: timedelta) -> None:
        """Remove what is over for so long; the log keeps it."""
        before = to_us(self._clock.now() - older_than)

        def write(connection: Connection) -> None:
            connection.execute(_OLD, (before,))
            connection.execute(_OLD_ALERTS, (before,))

        self._store.write(write)

    def _event(self, connection: Connection, type_: str, alert_id: str, data: dict[str, Any]) -> None:
        event = NewEvent(type_, SOURCE, {"alert": alert_id, **data}, trace_id=alert_id, ts=self._clock.now())
        self._events.append_in(connection, event)

    # Telling -------------------------------------------------------------------------------------------------

    def due(self, limit: int) -> Sequence[Notice]:
        """Return whom to tell what, in the order in which it happened."""
        with self._store.read() as connection:
            rows = connection.execute(_DUE, (to_us(self._clock.now()), limit)).fetchall()
        return [Notice(seq, _alert(row), what, tries) for seq, what, tries, *row in rows]

    def told(self, notice: Notice) -> None:
        """Note that it arrived."""

        def write(connection: Connection) -> None:
            query = "UPDATE alert_notices SET state = 'sent', problem = '' WHERE seq = ? AND state = 'due'"
            if connection.execute(query, (notice.seq,)).rowcount:
                data = {"rule": notice.alert.rule, "what": notice.what, "tries": notice.tries + 1}
                self._event(connection, "alert.notified", notice.alert.id, data)

        self._store.write(write)

    def failed(self, notice: Notice, problem: str) -> None:
        """Try again later and later, and give up in the end; the log says it once as long as the reason is the same."""
        now = self._clock.now()
        begun = notice.alert.raised_at if notice.what == "raised" else notice.alert.resolved_at or now
        state = "dropped" if now - begun > GIVE_UP else "due"
        wait_s = min(FIRST_WAIT_S * 2**notice.tries, LONGEST_WAIT_S)
        values = (state, to_us(now + timedelta(seconds=wait_s)), problem, notice.seq)

        def write(connection: Connection) -> None:
            before = connection.execute("SELECT problem FROM alert_notices WHERE seq = ?", (notice.seq,)).fetchone()
            query = "UPDATE alert_notices SET state = ?, tries = tries + 1, next_at = ?, problem = ? WHERE seq = ?"
            if before is None or not connection.execute(query, values).rowcount:
                return
            if before[0] != problem or state == "dropped":
                data = {"rule": notice.alert.rule, "what": notice.what, "problem": problem, "given_up": state != "due"}
                self._event(connection, "alert.notify_failed", notice.alert.id, data)

        self._store.write(write)


def _alert(row: Sequence[Any]) -> Alert:
    alert_id, rule, subject, severity, message, path, raised, seen, resolved, trace_id = row
    return Alert(
        alert_id, rule, subject, severity, message, path, from_us(raised), from_us(seen),
        None if resolved is None else from_us(resolved), trace_id,
    )  # fmt: skip
