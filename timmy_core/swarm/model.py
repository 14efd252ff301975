"""What the swarm speaks of: agents, tasks and bids, and which moves of a task there are. Amounts are whole msat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias

AgentKind = Literal["local", "persona", "remote"]
AgentStatus = Literal["idle", "working", "lost", "left"]
Wallet = Literal["home", "own"]
TaskState = Literal["bidding", "assigned", "working", "completed", "failed", "canceled"]
PayState = Literal["none", "invoice", "due", "paying", "paid", "failed"]

TASK_STATES: Final[tuple[TaskState, ...]] = ("bidding", "assigned", "working", "completed", "failed", "canceled")
OPEN: Final[tuple[TaskState, ...]] = ("bidding", "assigned", "working")
HELD: Final[tuple[TaskState, ...]] = ("assigned", "working")

# Nothing else may happen to a task; a move that is not here is a mistake in the program.
TASK_MOVES: Final[Mapping[TaskState, frozenset[TaskState]]] = {
    "bidding": frozenset({"bidding", "assigned", "failed", "canceled"}),
    "assigned": frozenset({"working", "assigned", "bidding", "failed", "canceled"}),
    "working": frozenset({"completed", "assigned", "bidding", "failed", "canceled"}),
    "completed": frozenset(),
    "failed": frozenset(),
    "canceled": frozenset(),
}


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """One agent of the swarm.

    Attributes:
        kind: `persona` and `local` are run by the serving process, `remote` joins over the API.
        wallet: `home` has its invoices made by the home's own node, `own` brings them.
        status: `lost` was silent while it worked; it is back as soon as it says anything.
        has_token: whether it may come over the API.
    """

    name: str
    kind: AgentKind
    capabilities: tuple[str, ...]
    description: str
    wallet: Wallet
    status: AgentStatus
    has_token: bool
    joined_at: datetime
    seen_at: datetime
    completed: int = 0
    failed: int = 0
    earned_msat: int = 0


@dataclass(frozen=True, slots=True)
class Bid:
    """What an agent wants for a task; `won` says that the task was given to it for that."""

    seq: int
    task_id: str
    auction: int
    agent: str
    amount_msat: int
    at: datetime
    won: bool

    @property
    def amount_sats(self) -> float:
        """The amount in sats."""
        return self.amount_msat / 1000


@dataclass(frozen=True, slots=True)
class Task:
    """One task, and how it stands.

    Attributes:
        needs: the capabilities that who bids has to have.
        payer: the agent whose budgets of the ledger count.
        auction: which auction it is in, from 1; another one begins where nobody is left to take over.
        attempts: how often it was given to somebody.
        lease: what its worker shows with each step; None where nobody works on it.
        pay_state: `invoice` waits for the agent's invoice, `due` for its turn, `paying` for the node.
    """

    id: str
    title: str
    description: str
    needs: tuple[str, ...]
    budget_msat: int
    posted_by: str
    payer: str
    local_only: bool
    state: TaskState
    auction: int
    bidding_s: float
    bidding_until: datetime
    deadline_at: datetime | None
    attempts: int
    agent: str | None
    bid_msat: int | None
    lease: str | None
    lease_until: datetime | None
    holder: str | None
    created_at: datetime
    assigned_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    result: str | None
    problem: str | None
    provider: str | None
    model: str | None
    trace_id: str
    pay_state: PayState
    pay_tries: int
    bolt11: str | None
    fee_limit_msat: int | None
    payment_id: str | None
    pay_problem: str | None
    bids: tuple[Bid, ...] = ()

    @property
    def open(self) -> bool:
        """Whether it is not over."""
        return self.state in OPEN

    @property
    def budget_sats(self) -> float:
        """The budget in sats."""
        return self.budget_msat / 1000


@dataclass(frozen=True, slots=True)
class Page:
    """Some tasks, newest first, and the cursor that the next call begins with; None at the end."""

    tasks: tuple[Task, ...]
    cursor: str | None = None

    def __iter__(self) -> Iterator[Task]:
        """Iterate over the tasks."""
        return iter(self.tasks)

    def __len__(self) -> int:
        """Return how many these are."""
        return len(self.tasks)


@dataclass(frozen=True, slots=True)
class Done:
    """What a worker hands in: its words, and who gave them."""

    text: str
    provider: str | None = None
    model: str | None = None


# Named, because inside the classes `list` is the method.
Agents: TypeAlias = list[AgentInfo]
Bids: TypeAlias = list[Bid]
Tasks: TypeAlias = list[Task]
