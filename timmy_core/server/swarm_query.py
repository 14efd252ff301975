"""What `/api/v1/swarm` takes: parameters and bodies, checked; the swarm itself checks what they mean."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from timmy_core.server.memory_query import Body, By
from timmy_core.server.query import Name, Params
from timmy_core.swarm.model import TaskState

Sats = Annotated[float, Field(ge=0, le=2_100_000_000_000_000)]
Seconds = Annotated[float, Field(gt=0, le=2_592_000)]
Text = Annotated[str, Field(min_length=1, max_length=20_000)]
Words = Annotated[list[Name], Field(max_length=50)]
Bolt11 = Annotated[str, Field(min_length=1, max_length=8_000)]


class AgentsParams(Params):
    """The filter of `/api/v1/swarm/agents`."""

    left: bool = False


class TasksParams(Params):
    """The filters of `/api/v1/swarm/tasks`."""

    state: TaskState | None = None
    agent: Name | None = None
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: Name | None = None


class WorkParams(Params):
    """How long `/api/v1/swarm/agent/work` waits for something to do."""

    wait_s: Annotated[float, Field(ge=0, le=60)] = 0


class PostBody(Body):
    """What is to be done."""

    description: Text
    title: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    budget_sats: Sats = 0
    needs: Words = Field(default_factory=list)
    bidding_s: Seconds | None = None
    deadline_s: Seconds | None = None
    local_only: bool = False
    trace_id: Name | None = None
    id: Name | None = None


class OwnerPostBody(PostBody):
    """What is to be done, and who wants it."""

    posted_by: By | None = None


class CancelBody(Body):
    """Who withdraws it, and why."""

    by: By = "api"
    reason: Annotated[str, Field(max_length=1_000)] = ""


class RegisterBody(Body):
    """Who joins from elsewhere."""

    name: Name
    capabilities: Words = Field(default_factory=list)
    description: Annotated[str, Field(max_length=500)] = ""
    wallet: Literal["home", "own"] = "own"
    by: By = "api"


class ByBody(Body):
    """Who asks for it."""

    by: By = "api"


class LeaveBody(Body):
    """Why it leaves."""

    reason: Annotated[str, Field(min_length=1, max_length=500)] = "asked to"


class BidBody(Body):
    """What it wants."""

    amount_sats: Sats


class LeaseBody(Body):
    """The lease that the task was given with."""

    lease: Name


class CompleteBody(LeaseBody):
    """The result; an agent with a wallet of its own adds its invoice over the bid, now or later."""

    result: Annotated[str, Field(min_length=1, max_length=100_000)]
    provider: Name | None = None
    model: Name | None = None
    bolt11: Bolt11 | None = None


class FailBody(LeaseBody):
    """Why it cannot be done."""

    problem: Annotated[str, Field(min_length=1, max_length=1_000)]


class PayMeBody(Body):
    """An invoice over the bid."""

    bolt11: Bolt11


class ToolBody(LeaseBody):
    """One step of a tool that the agent called."""

    step: Literal["called", "completed", "failed"]
    tool: Annotated[str, Field(min_length=1, max_length=100)]
    took_ms: Annotated[float, Field(ge=0)] | None = None
    characters: Annotated[int, Field(ge=0)] | None = None
    message: Annotated[str, Field(max_length=1_000)] | None = None


class TaskAskBody(LeaseBody):
    """What the home's cascade is asked for a task; the router itself checks what messages and options mean."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=1_000)]
    tools: Annotated[list[dict[str, Any]], Field(max_length=100)] = Field(default_factory=list)
    max_tokens: int | None = None
    temperature: float | None = None
    deadline_s: float | None = None
    json_mode: bool = False
