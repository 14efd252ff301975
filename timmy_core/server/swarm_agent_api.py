"""`/api/v1/swarm/agent`: what an agent of the swarm does from another process, with a token of its own.

The gate let it in and left its name in the scope; here it acts for itself alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from timmy_core.errors import BudgetExceededError
from timmy_core.plain import plain
from timmy_core.server.errors import ApiError
from timmy_core.server.gate import AGENT_API
from timmy_core.server.query import NoParams, read_body, read_query
from timmy_core.server.replies import json_reply, unless_gone
from timmy_core.server.swarm_api import task_dict
from timmy_core.server.swarm_query import (
    BidBody,
    CompleteBody,
    FailBody,
    LeaseBody,
    LeaveBody,
    PayMeBody,
    PostBody,
    TaskAskBody,
    ToolBody,
    WorkParams,
)
from timmy_core.swarm.model import HELD, AgentInfo, Task

if TYPE_CHECKING:
    from starlette.requests import Request

    from timmy_core.timmy import Timmy

LOOK_S: Final = 0.25  # between two looks for somebody who waits for work
AT_ONCE: Final = 100


class AgentApi:
    """The endpoints; a caller who hangs up cancels its question to the cascade, and nothing else."""

    def __init__(self, timmy: Timmy) -> None:
        self._timmy = timmy

    def routes(self) -> list[Route]:
        """Return the routes."""
        reads: dict[str, Callable[[Request], Awaitable[Response]]] = {"me": self.me, "work": self.work}
        writes: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "leave": self.leave,
            "tasks": self.post,
            "tasks/{key}/bid": self.bid,
            "tasks/{key}/start": self.start,
            "tasks/{key}/renew": self.renew,
            "tasks/{key}/ask": self.ask,
            "tasks/{key}/tool": self.tool,
            "tasks/{key}/complete": self.complete,
            "tasks/{key}/fail": self.fail,
            "tasks/{key}/invoice": self.invoice,
        }
        return [
            *(Route(f"{AGENT_API}{path}", endpoint, methods=["GET"]) for path, endpoint in reads.items()),
            *(Route(f"{AGENT_API}{path}", endpoint, methods=["POST"]) for path, endpoint in writes.items()),
        ]

    # Looking -------------------------------------------------------------------------------------------------

    async def me(self, request: Request) -> Response:
        """Who it is, and how long a lease lasts without being renewed."""
        read_query(request, NoParams)
        found = await run_in_threadpool(lambda: self._timmy.swarm.agent(_who(request)))
        return json_reply({"agent": plain(found), "lease_s": self._timmy.swarm.settings.lease_s})

    async def work(self, request: Request) -> Response:
        """Tasks that it could bid for, and those that it holds, with their leases; waits where there are none."""
        params = read_query(request, WorkParams)
        return json_reply(await unless_gone(request, self._wait(_who(request), params.wait_s)))

    async def _wait(self, name: str, wait_s: float) -> dict[str, Any]:
        clock = asyncio.get_running_loop()
        ends = clock.time() + wait_s
        while True:
            found = await run_in_threadpool(lambda: self._found(name))
            if found["open"] or found["mine"] or clock.time() >= ends:
                return found
            await asyncio.sleep(min(LOOK_S, max(0.0, ends - clock.time())))

    def _found(self, name: str) -> dict[str, Any]:
        swarm = self._timmy.swarm
        me, now = swarm.agent(name), self._timmy.clock.now()
        offered = [one for one in swarm.tasks(state="bidding", limit=AT_ONCE) if one.bidding_until > now]
        mine = swarm.tasks(state=HELD, agent=name, limit=AT_ONCE)
        return {
            "open": [_seen(one, name) for one in offered if _may_bid(one, me)],
            "mine": [{**_seen(one, name), "lease": one.lease} for one in mine],
        }

    # Doing ---------------------------------------------------------------------------------------------------

    async def leave(self, request: Request) -> Response:
        """Leave the swarm; the token is void afterwards."""
        body = await read_body(request, LeaveBody)
        done = await run_in_threadpool(lambda: self._timmy.swarm.leave(_who(request), reason=body.reason))
        return json_reply(plain(done))

    async def post(self, request: Request) -> Response:
        """Post a task of its own; its budgets of the ledger count."""
        given = (await read_body(request, PostBody)).model_dump()
        name = _who(request)

        def run() -> Task:
            # A token must not be worth the whole node: what nobody set a limit for, an agent may not spend.
            limited = any(one.agent_id == name for one in self._timmy.ledger.budgets())
            if given["budget_sats"] and not limited:
                message = f"{name} has no budget in the ledger; `timmy ledger budget {name} --day SATS` sets one"
                raise BudgetExceededError(message)
            return self._timmy.swarm.post_task(**given, posted_by=name)

        return json_reply(_seen(await run_in_threadpool(run), name))

    async def bid(self, request: Request) -> Response:
        """Bid for a task, or bid anew."""
        body, key = await read_body(request, BidBody), _key(request)
        done = await run_in_threadpool(lambda: self._timmy.swarm.bid(key, _who(request), amount_sats=body.amount_sats))
        return json_reply(plain(done))

    async def start(self, request: Request) -> Response:
        """Begin a task that was given to it."""
        body, key = await read_body(request, LeaseBody), _key(request)
        return await self._did(request, lambda name: self._timmy.swarm.start(key, name, lease=body.lease))

    async def renew(self, request: Request) -> Response:
        """Say that it still works on it."""
        body, key = await read_body(request, LeaseBody), _key(request)
        return await self._did(request, lambda name: self._timmy.swarm.renew(key, name, lease=body.lease))

    async def ask(self, request: Request) -> Response:
        """Ask the home's cascade, in the task's trace and on the agent's own budget; it renews the lease."""
        body, key, name = await read_body(request, TaskAskBody), _key(request), _who(request)
        held = await run_in_threadpool(lambda: self._timmy.swarm.renew(key, name, lease=body.lease))
        options = body.model_dump(exclude={"lease", "messages"}, exclude_none=True)
        try:
            asked = self._timmy.router.chat(
                body.messages, trace_id=held.trace_id, agent_id=name, task_id=key, session=f"task:{key}",
                local_only=held.local_only, **options,
            )  # fmt: skip
            return json_reply(plain(await unless_gone(request, asked)))
        except ValueError as error:
            raise ApiError(422, str(error)) from None

    async def tool(self, request: Request) -> Response:
        """Write down a step of a tool that it called."""
        body, key = await read_body(request, ToolBody), _key(request)
        data = body.model_dump(exclude={"lease", "step", "tool"}, exclude_none=True)
        await run_in_threadpool(
            lambda: self._timmy.swarm.note_tool(
                key, _who(request), lease=body.lease, step=body.step, tool=body.tool, data=data
            )
        )
        return json_reply({"noted": True})

    async def complete(self, request: Request) -> Response:
        """Hand in the result; the same again, after a lost answer, changes nothing."""
        body, key = (await read_body(request, CompleteBody)).model_dump(), _key(request)
        return await self._did(request, lambda name: self._timmy.swarm.complete(key, name, **body))

    async def fail(self, request: Request) -> Response:
        """Give the task up for good."""
        body, key = await read_body(request, FailBody), _key(request)
        return await self._did(
            request, lambda name: self._timmy.swarm.fail(key, name, lease=body.lease, problem=body.problem)
        )

    async def invoice(self, request: Request) -> Response:
        """Bring the invoice for a task that it completed."""
        body, key = await read_body(request, PayMeBody), _key(request)
        return await self._did(request, lambda name: self._timmy.swarm.take_invoice(key, name, bolt11=body.bolt11))

    async def _did(self, request: Request, run: Callable[[str], Task]) -> Response:
        name = _who(request)
        return json_reply(_seen(await run_in_threadpool(lambda: run(name)), name))


def _who(request: Request) -> str:
    """Return the agent that the gate let in."""
    name: str = request.scope["timmy_agent"]
    return name


def _key(request: Request) -> str:
    key: str = request.path_params["key"]
    return key


def _may_bid(task: Task, agent: AgentInfo) -> bool:
    return not task.local_only and set(task.needs) <= set(agent.capabilities)


def _seen(task: Task, name: str) -> dict[str, Any]:
    """Return a task as one agent may see it: what others bid is theirs."""
    own = [bid for bid in task.bids if bid.agent == name]
    return {**task_dict(task), "bids": plain(own), "result": task.result if task.agent == name else None}
