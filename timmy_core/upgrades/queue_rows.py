"""The queue's tables: every move of a proposal is one transaction with its event, and nobody else writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from timmy_core.clock import Clock, new_id, to_us
from timmy_core.errors import ProposalNotFoundError, UpgradeStateError
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.store.engine import Connection, Store
from timmy_core.upgrades.model import Approval, Candidate, Page, Proposal, State, TestResult
from timmy_core.upgrades.packing import approval_of, pack_result, proposal_of, unpack_result
from timmy_core.upgrades.states import FINAL, MOVES

T = TypeVar("T")

SOURCE: Final = "upgrades"
MAX_PAGE: Final = 500

_FIELDS: Final = (
    "id", "description", "proposed_by", "kind", "repo", "branch", "base", "head", "patch_id", "files", "added",
    "removed", "state", "risk", "risk_reasons", "candidate_sha", "candidate_tree", "candidate_base", "candidate_at",
    "tests", "created_at", "expires_at", "decided_at", "applied_at", "applied_sha", "rolled_back_sha", "trace_id",
    "task_id", "agent_id", "problem", "queued_at",
)  # fmt: skip
_COLUMNS: Final = ", ".join(_FIELDS)
_QUARANTINED: Final = "EXISTS (SELECT 1 FROM upgrade_quarantine AS q WHERE q.patch_id = p.patch_id)"
_SELECT: Final = f"SELECT {_COLUMNS}, {_QUARANTINED} FROM upgrade_proposals AS p"  # noqa: S608 - constants
_ONE: Final = f"{_SELECT} WHERE id = ?"
_ALLOWED: Final = frozenset(_FIELDS[13:]) | {"queued_at"}
_APPROVALS: Final = """
SELECT id, proposal_id, decision, by, head, base, tree, tests_digest, policy_digest, nonce, expires_at, signature, at,
    reason, urgent
FROM upgrade_approvals WHERE proposal_id = ? ORDER BY at, id LIMIT 100
"""


@dataclass(frozen=True, slots=True)
class OpenLanding:
    """An intent that nobody finished: the branch was to move from `old` to `new`, for these proposals."""

    id: str
    kind: str  # apply or rollback
    old: str
    new: str
    proposals: tuple[tuple[str, str], ...]  # id and the commit that is its own


class Rows:
    """Reads and writes proposals."""

    def __init__(self, store: Store, events: EventLog, clock: Clock) -> None:
        self._store = store
        self._events = events
        self._clock = clock

    def now_us(self) -> int:
        """Return the time as tables keep it."""
        return to_us(self._clock.now())

    # Reading -------------------------------------------------------------------------------------------------

    def get(self, proposal_id: str) -> Proposal:
        """Return a proposal.

        Raises:
            ProposalNotFoundError: there is none with that id.
        """
        with self._store.read() as connection:
            return self.read_in(connection, proposal_id)

    def read_in(self, connection: Connection, proposal_id: str) -> Proposal:
        """Return a proposal as it is inside somebody's transaction."""
        row = connection.execute(_ONE, (proposal_id,)).fetchone()
        if row is None:
            message = f"there is no proposal {proposal_id[:64]!r}; `timmy upgrades list` shows those there are"
            raise ProposalNotFoundError(message)
        return _proposal(connection, row)

    def page(self, states: Sequence[State], limit: int, cursor: str | None) -> Page:
        """Return proposals in any of these states (all when empty), newest first, from behind the cursor."""
        limit = max(1, min(limit, MAX_PAGE))
        where = ["1"]
        values: list[Any] = []
        if states:
            where.append(f"state IN ({', '.join('?' * len(states))})")
            values += states
        if cursor is not None:
            where.append("id < ?")
            values.append(cursor)
        # Only marks of our own are put in; every value is bound.
        query = f"{_SELECT} WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?"
        with self._store.read() as connection:
            rows = connection.execute(query, (*values, limit + 1)).fetchall()
            found = tuple(_proposal(connection, row) for row in rows[:limit])
        return Page(found, found[-1].id if len(rows) > limit else None)

    def queued(self, limit: int) -> list[Proposal]:
        """Return whose turn it is, first come first."""
        query = f"{_SELECT} WHERE state = 'queued' ORDER BY queued_at, id LIMIT ?"
        with self._store.read() as connection:
            return [_proposal(connection, row) for row in connection.execute(query, (limit,))]

    def count(self, states: Sequence[State]) -> int:
        """Return how many proposals are in one of these states."""
        marks = ", ".join("?" * len(states))
        query = f"SELECT count(*) FROM upgrade_proposals WHERE state IN ({marks})"  # noqa: S608 - marks of our own
        with self._store.read() as connection:
            return int(connection.execute(query, tuple(states)).fetchone()[0])

    def ids(self) -> set[str]:
        """Return every id that there is."""
        with self._store.read() as connection:
            return {row[0] for row in connection.execute("SELECT id FROM upgrade_proposals LIMIT 1000000")}

    def is_quarantined(self, patch_id: str) -> bool:
        """Whether a patch was applied once and taken back."""
        with self._store.read() as connection:
            asked = "SELECT 1 FROM upgrade_quarantine WHERE patch_id = ?"
            return connection.execute(asked, (patch_id,)).fetchone() is not None

    def due(self, states: Sequence[State], before_us: int) -> list[str]:
        """Return proposals in these states that ran out."""
        marks = ", ".join("?" * len(states))
        query = f"SELECT id FROM upgrade_proposals WHERE state IN ({marks}) AND expires_at <= ? ORDER BY id LIMIT 1000"  # noqa: S608
        with self._store.read() as connection:
            return [row[0] for row in connection.execute(query, (*states, before_us))]

    # Writing -------------------------------------------------------------------------------------------------

    def insert(self, columns: Mapping[str, Any], event: Mapping[str, Any]) -> Proposal:
        """Write a new proposal and its event."""

        def run(connection: Connection) -> Proposal:
            marks = ", ".join("?" * len(columns))
            query = f"INSERT INTO upgrade_proposals ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - our names
            connection.execute(query, tuple(columns.values()))
            made = self.read_in(connection, columns["id"])
            self.tell(connection, made, "upgrade.proposed", event)
            return made

        return self._store.write(run)

    def move(
        self, proposal_id: str, expected: Iterable[State], to: State, event: str, data: Mapping[str, Any] | None = None,
        **columns: Any,
    ) -> Proposal:  # fmt: skip
        """Move one proposal, with its event, if it is in one of the expected states.

        Raises:
            UpgradeStateError: it is not; somebody else was first.
        """
        frozen = tuple(expected)
        return self._store.write(
            lambda connection: self.move_in(connection, proposal_id, frozen, to, event, data, **columns)
        )

    def move_in(
        self, connection: Connection, proposal_id: str, expected: Sequence[State], to: State, event: str,
        data: Mapping[str, Any] | None = None, **columns: Any,
    ) -> Proposal:  # fmt: skip
        """Do as `move`, inside somebody's transaction."""
        before = self.read_in(connection, proposal_id)
        if before.state not in expected or to not in MOVES[before.state]:
            message = (
                f"{proposal_id} is {before.state.replace('_', ' ')} now, so it cannot become {to.replace('_', ' ')}"
            )
            raise UpgradeStateError(message)
        self.set_in(connection, before, state=to, changed_at=self.now_us(), **columns)
        after = self.read_in(connection, proposal_id)
        self.tell(connection, after, event, {"from": before.state, "to": to, **(data or {})})
        return after

    def set_in(self, connection: Connection, before: Proposal, **columns: Any) -> None:
        """Set columns of a proposal that is still as it was read.

        Raises:
            UpgradeStateError: it is not.
        """
        unknown = set(columns) - _ALLOWED - {"state", "changed_at"}
        if unknown:
            message = f"upgrade_proposals has no column {', '.join(sorted(unknown))} to set"
            raise KeyError(message)
        assignments = ", ".join(f"{name} = ?" for name in columns)
        query = f"UPDATE upgrade_proposals SET {assignments} WHERE id = ? AND state = ?"  # noqa: S608 - checked above
        if connection.execute(query, (*columns.values(), before.id, before.state)).rowcount != 1:
            message = f"{before.id} is not {before.state} any more; look at it again"
            raise UpgradeStateError(message)

    def tell(self, connection: Connection, proposal: Proposal, event: str, data: Mapping[str, Any]) -> None:
        """Write an event of a proposal."""
        self._events.append_in(
            connection,
            NewEvent(
                event,
                SOURCE,
                {"proposal": proposal.id, **data},
                task_id=proposal.task_id,
                agent_id=proposal.agent_id,
                trace_id=proposal.trace_id,
                ts=self._clock.now(),
            ),
        )

    # Tests ---------------------------------------------------------------------------------------------------

    def result(self, tree: str, base_tree: str, recipe: str) -> TestResult | None:
        """Return what the tests said about a tree, tested against a base in the same way."""
        asked = "SELECT result FROM upgrade_tests WHERE tree = ? AND base_tree = ? AND recipe = ?"
        with self._store.read() as connection:
            row = connection.execute(asked, (tree, base_tree, recipe)).fetchone()
        return unpack_result(row[0]) if row else None

    def keep_result(self, result: TestResult, base_tree: str, recipe: str) -> None:
        """Remember what the tests said."""
        values = (result.tree, base_tree, recipe, int(result.passed), pack_result(result), to_us(result.at))
        query = (
            "INSERT OR REPLACE INTO upgrade_tests (tree, base_tree, recipe, passed, result, at) VALUES (?,?,?,?,?,?)"
        )
        self._store.write(lambda connection: connection.execute(query, values).rowcount)

    # Approvals -----------------------------------------------------------------------------------------------

    def add_approval(self, connection: Connection, approval: Approval) -> None:
        """Write a decision."""
        values = (
            approval.id, approval.proposal_id, approval.decision, approval.by, approval.head, approval.base,
            approval.tree, approval.tests_digest, approval.policy_digest, approval.nonce, to_us(approval.expires_at),
            approval.signature, to_us(approval.at), approval.reason, int(approval.urgent),
        )  # fmt: skip
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO upgrade_approvals VALUES ({marks})", values)  # noqa: S608 - marks of our own

    # Landings ------------------------------------------------------------------------------------------------

    def begin(self, kind: str, old: str, new: str, own: Sequence[tuple[str, str]]) -> str:
        """Write the intent to move the branch; who applies moves its proposals to `applying` with it."""
        landing_id = new_id()

        def run(connection: Connection) -> str:
            listed = json.dumps(own)
            query = "INSERT INTO upgrade_landings (id, kind, old, new, proposals, started_at) VALUES (?, ?, ?, ?, ?, ?)"
            connection.execute(query, (landing_id, kind, old, new, listed, self.now_us()))
            for proposal_id, commit in own:
                if kind == "apply":
                    data = {"old": old, "new": new, "commit": commit, "landing": landing_id}
                    self.move_in(
                        connection, proposal_id, ("queued",), "applying", "upgrade.applying", data, problem=None
                    )
            return landing_id

        return self._store.write(run)

    def open_landings(self) -> list[OpenLanding]:
        """Return the intents that were never ended."""
        query = (
            "SELECT id, kind, old, new, proposals FROM upgrade_landings WHERE ended_at IS NULL ORDER BY id LIMIT 100"
        )
        with self._store.read() as connection:
            rows = connection.execute(query).fetchall()
        return [
            OpenLanding(id_, kind, old, new, tuple((one, commit) for one, commit in json.loads(listed)))
            for id_, kind, old, new, listed in rows
        ]

    def end(self, landing: OpenLanding, outcome: str, to: State, event: str, data: Mapping[str, Any]) -> None:
        """End an intent, and move its proposals, in one transaction."""

        def run(connection: Connection) -> None:
            query = "UPDATE upgrade_landings SET ended_at = ?, outcome = ? WHERE id = ? AND ended_at IS NULL"
            if connection.execute(query, (self.now_us(), outcome, landing.id)).rowcount != 1:
                message = f"the landing {landing.id} was ended by somebody else; look at its proposals again"
                raise UpgradeStateError(message)
            for proposal_id, commit in landing.proposals:
                self._end_one(connection, landing, proposal_id, commit, to, event, data)

        self._store.write(run)

    def _end_one(
        self, connection: Connection, landing: OpenLanding, proposal_id: str, commit: str, to: State, event: str,
        data: Mapping[str, Any],
    ) -> None:  # fmt: skip
        told = {"commit": commit, "landing": landing.id, **data}
        if landing.kind == "apply":
            applied = {"applied_sha": commit, "applied_at": self.now_us(), "problem": None} if to == "applied" else {}
            problem = {"problem": data["problem"]} if "problem" in data else {}
            self.move_in(connection, proposal_id, ("applying",), to, event, told, **applied, **problem)
        elif to == "rolled_back":
            before = self.read_in(connection, proposal_id)
            asked = "INSERT OR IGNORE INTO upgrade_quarantine (patch_id, proposal_id, at, by) VALUES (?, ?, ?, ?)"
            connection.execute(asked, (before.patch_id, proposal_id, self.now_us(), str(data.get("by", ""))))
            self.move_in(
                connection, proposal_id, ("applied", "confirmed"), "rolled_back", event, told, rolled_back_sha=commit
            )
        else:
            self.tell(connection, self.read_in(connection, proposal_id), event, told)

    # Pruning -------------------------------------------------------------------------------------------------

    def prune(self, before_us: int) -> list[str]:
        """Remove what ended before a time, with its decisions and results; events stay. Return the ids."""

        def run(connection: Connection) -> list[str]:
            marks = ", ".join("?" * len(FINAL))
            query = f"SELECT id FROM upgrade_proposals WHERE state IN ({marks}) AND changed_at < ? LIMIT 1000"  # noqa: S608
            gone = [row[0] for row in connection.execute(query, (*FINAL, before_us))]
            for proposal_id in gone:
                connection.execute("DELETE FROM upgrade_approvals WHERE proposal_id = ?", (proposal_id,))
                connection.execute("DELETE FROM upgrade_proposals WHERE id = ?", (proposal_id,))
            connection.execute("DELETE FROM upgrade_tests WHERE at < ?", (before_us,))
            connection.execute("DELETE FROM upgrade_landings WHERE ended_at < ?", (before_us,))
            return gone

        return self._store.write(run)

    def write(self, run: Callable[[Connection], T]) -> T:
        """Run a function inside one transaction."""
        return self._store.write(run)


def _proposal(connection: Connection, row: Sequence[Any]) -> Proposal:
    values = dict(zip(_FIELDS, row, strict=False))
    approvals = tuple(approval_of(one) for one in connection.execute(_APPROVALS, (values["id"],)))
    return proposal_of(values, quarantined=bool(row[-1]), approvals=approvals)


def candidate_columns(candidate: Candidate) -> dict[str, Any]:
    """Return a candidate as its columns."""
    return {
        "candidate_sha": candidate.sha,
        "candidate_tree": candidate.tree,
        "candidate_base": candidate.base,
        "candidate_at": to_us(candidate.made_at),
    }
