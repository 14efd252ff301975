"""`/api/v1/swarm`: tasks and agents, as their owner sees and steers them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from timmy_core.plain import plain
from timmy_core.server.gate import API
from timmy_core.server.query import NoParams, read_body, read_query
from timmy_core.server.replies import json_reply
from timmy_core.server.swarm_query import (
    AgentsParams,
    ByBody,
    CancelBody,
    LeaveBody,
    OwnerPostBody,
    RegisterBody,
    TasksParams,
)
from timmy_core.swarm.model import Task

if TYPE_CHECKING:
    from starlette.requests import Request

    from timmy_core.timmy import Timmy

_SECRET = ("lease", "holder", "bolt11")  # who works proves itself with the lease, and nobody else needs it


class SwarmApi:
    """The endpoints; each reads its input, calls the swarm on a worker thread, and hands back plain data."""

    def __init__(self, timmy: Timmy) -> None:
        self._timmy = timmy

    def routes(self) -> list[Route]:
        """Return the routes."""
        reads: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "swarm/agents": self.agents,
            "swarm/tasks": self.tasks,
            "swarm/tasks/{key}": self.task,
            "swarm/tasks/{key}/history": self.history,
        }
        writes: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "swarm/agents": self.register,
            "swarm/agents/{key}/leave": self.leave,
            "swarm/agents/{key}/token": self.token,
            "swarm/agents/{key}/revoke": self.revoke,
            "swarm/tasks": self.post,
            "swarm/tasks/{key}/cancel": self.cancel,
        }
        return [
            *(Route(f"{API}{path}", endpoint, methods=["GET"]) for path, endpoint in reads.items()),
            *(Route(f"{API}{path}", endpoint, methods=["POST"]) for path, endpoint in writes.items()),
        ]

    # Looking -------------------------------------------------------------------------------------------------

    async def agents(self, request: Request) -> Response:
        """Who is in the swarm."""
        params = read_query(request, AgentsParams)
        found = await run_in_threadpool(lambda: self._timmy.swarm.agents(left=params.left))
        return json_reply({"agents": plain(found)})

    async def tasks(self, request: Request) -> Response:
        """Tasks with their bids, newest first; `next` is the `cursor` of the next page."""
        params = read_query(request, TasksParams).model_dump()
        page = await run_in_threadpool(lambda: self._timmy.swarm.tasks(**params))
        return json_reply({"tasks": [task_dict(one) for one in page], "next": page.cursor})

    async def task(self, request: Request) -> Response:
        """One task with its bids."""
        read_query(request, NoParams)
        key: str = request.path_params["key"]
        return json_reply(task_dict(await run_in_threadpool(lambda: self._timmy.swarm.task(key))))

    async def history(self, request: Request) -> Response:
        """Everything that shares its trace, oldest first."""
        read_query(request, NoParams)
        key: str = request.path_params["key"]
        found = await run_in_threadpool(lambda: self._timmy.swarm.history(key))
        return json_reply({"events": [event.as_dict() for event in found]})

    # Doing ---------------------------------------------------------------------------------------------------

    async def post(self, request: Request) -> Response:
        """Take a task in; its auction begins at once."""
        given = (await read_body(request, OwnerPostBody)).model_dump()
        return json_reply(task_dict(await run_in_threadpool(lambda: self._timmy.swarm.post_task(**given))))

    async def cancel(self, request: Request) -> Response:
        """Withdraw a task that is not over."""
        body = await read_body(request, CancelBody)
        key: str = request.path_params["key"]
        done = await run_in_threadpool(lambda: self._timmy.swarm.cancel(key, by=body.by, reason=body.reason))
        return json_reply(task_dict(done))

    async def register(self, request: Request) -> Response:
        """Let a remote agent join, and tell its token, this once."""
        body = await read_body(request, RegisterBody)

        def run() -> dict[str, Any]:
            swarm = self._timmy.swarm
            agent = swarm.register(
                body.name, kind="remote", capabilities=body.capabilities, description=body.description,
                wallet=body.wallet,
            )  # fmt: skip
            token = swarm.make_token(agent.name, by=body.by)
            return {"agent": plain(swarm.agent(agent.name)), "token": token}

        return json_reply(await run_in_threadpool(run))

    async def leave(self, request: Request) -> Response:
        """Let an agent go."""
        body = await read_body(request, LeaveBody)
        key: str = request.path_params["key"]
        return json_reply(plain(await run_in_threadpool(lambda: self._timmy.swarm.leave(key, reason=body.reason))))

    async def token(self, request: Request) -> Response:
        """Make a new token; the one before is void."""
        body = await read_body(request, ByBody)
        key: str = request.path_params["key"]
        return json_reply({"token": await run_in_threadpool(lambda: self._timmy.swarm.make_token(key, by=body.by))})

    async def revoke(self, request: Request) -> Response:
        """Make the token void."""
        body = await read_body(request, ByBody)
        key: str = request.path_params["key"]
        return json_reply(plain(await run_in_threadpool(lambda: self._timmy.swarm.revoke_token(key, by=body.by))))


def task_dict(task: Task) -> dict[str, Any]:
    """Return a task as JSON can carry it, without what only its worker may know."""
    return {name: value for name, value in plain(task).items() if name not in _SECRET}
