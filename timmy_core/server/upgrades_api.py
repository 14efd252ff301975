"""`/api/v1/upgrades`: proposals, their diffs and trails, and what people do with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from timmy_core.errors import UpgradeError
from timmy_core.plain import plain
from timmy_core.server.gate import API
from timmy_core.server.query import NoParams, read_body, read_query
from timmy_core.server.replies import json_reply
from timmy_core.server.upgrades_query import (
    ApproveBody,
    ProposeBody,
    RejectBody,
    RollbackBody,
    TestBody,
    UpgradesParams,
)
from timmy_core.upgrades.model import Finding, Proposal

if TYPE_CHECKING:
    from starlette.requests import Request

    from timmy_core.timmy import Timmy


class UpgradesApi:
    """The endpoints; each reads its input, calls the queue on a worker thread, and hands back plain data.

    Hanging up cancels nothing: what was begun is finished, and written down.
    """

    def __init__(self, timmy: Timmy) -> None:
        self._timmy = timmy

    def routes(self) -> list[Route]:
        """Return the routes."""
        reads: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "upgrades": self.proposals,
            "upgrades/pending": self.pending,
            "upgrades/state": self.state,
            "upgrades/{key}": self.proposal,
            "upgrades/{key}/diff": self.diff,
            "upgrades/{key}/history": self.history,
        }
        writes: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "upgrades": self.propose,
            "upgrades/recover": self.recover,
            "upgrades/{key}/test": self.test,
            "upgrades/{key}/approve": self.approve,
            "upgrades/{key}/reject": self.reject,
            "upgrades/{key}/apply": self.apply,
            "upgrades/{key}/rollback": self.rollback,
        }
        return [
            *(Route(f"{API}{path}", endpoint, methods=["GET"]) for path, endpoint in reads.items()),
            *(Route(f"{API}{path}", endpoint, methods=["POST"]) for path, endpoint in writes.items()),
        ]

    # Looking -------------------------------------------------------------------------------------------------

    async def proposals(self, request: Request) -> Response:
        """Proposals, the newest first; `next` is the `cursor` of the next page."""
        params = read_query(request, UpgradesParams).model_dump()
        page = await run_in_threadpool(lambda: self._timmy.upgrades.list(**params))
        return json_reply({"proposals": [proposal_dict(one) for one in page.proposals], "next": page.cursor})

    async def pending(self, request: Request) -> Response:
        """How many proposals are on their way; the repository is not touched, so every page may ask."""
        read_query(request, NoParams)
        return json_reply({"pending": await run_in_threadpool(self._timmy.upgrading.pending)})

    async def state(self, request: Request) -> Response:
        """How many proposals wait, who may decide, how well tests are shut in, and what is checked out."""
        read_query(request, NoParams)
        return json_reply(await run_in_threadpool(self._state))

    def _state(self) -> dict[str, Any]:
        room = self._timmy.upgrading
        reached = room.sandbox.known
        said = {
            "pending": room.pending(),
            "people": list(room.approvals.people()),
            "sandbox": None if reached is None else reached.level,
        }
        try:
            return {**said, "problem": None, "repository": plain(dict(room.queue.state()))}
        except UpgradeError as error:
            return {**said, "problem": str(error), "repository": None}

    async def proposal(self, request: Request) -> Response:
        """One proposal by its id, and how far the work on it is."""
        read_query(request, NoParams)
        key: str = request.path_params["key"]
        one = await run_in_threadpool(lambda: self._timmy.upgrades.get(key))
        return json_reply(proposal_dict(one) | {"step": plain(self._timmy.upgrading.following.of(key))})

    async def diff(self, request: Request) -> Response:
        """What it would change, bounded."""
        read_query(request, NoParams)
        key: str = request.path_params["key"]
        return json_reply(plain(await run_in_threadpool(lambda: self._timmy.upgrades.diff(key))))

    async def history(self, request: Request) -> Response:
        """Its events, oldest first."""
        read_query(request, NoParams)
        key: str = request.path_params["key"]
        found = await run_in_threadpool(lambda: self._timmy.upgrades.history(key))
        return json_reply({"events": [event.as_dict() for event in found]})

    # Doing ---------------------------------------------------------------------------------------------------

    async def propose(self, request: Request) -> Response:
        """Take a proposal in; its tests run by themselves."""
        given = (await read_body(request, ProposeBody)).model_dump()
        return json_reply(proposal_dict(await run_in_threadpool(lambda: self._timmy.upgrades.propose(**given))))

    async def test(self, request: Request) -> Response:
        """Merge it with the branch and test that; answers when the tests have ended."""
        body = await read_body(request, TestBody)
        key: str = request.path_params["key"]

        def run() -> Proposal:
            with self._timmy.upgrading.following.told(key) as progress:
                return self._timmy.upgrades.test(key, progress=progress, anew=body.anew)

        return json_reply(proposal_dict(await run_in_threadpool(run)))

    async def approve(self, request: Request) -> Response:
        """Say yes to what was shown."""
        body = await read_body(request, ApproveBody)
        key: str = request.path_params["key"]

        def run() -> Proposal:
            queue, pin = self._timmy.upgrades, body.pin.get_secret_value()
            self._timmy.upgrading.policy.check_consent(queue.get(key), given=body.consent)
            return queue.approve(key, by=body.by, pin=pin, seen=body.seen, urgent=body.urgent)

        return json_reply(proposal_dict(await run_in_threadpool(run)))

    async def reject(self, request: Request) -> Response:
        """Say no, and why."""
        body = await read_body(request, RejectBody)
        key: str = request.path_params["key"]

        def run() -> Proposal:
            return self._timmy.upgrades.reject(key, by=body.by, reason=body.reason, pin=body.pin.get_secret_value())

        return json_reply(proposal_dict(await run_in_threadpool(run)))

    async def apply(self, request: Request) -> Response:
        """Land what was approved; `state` says what came of it."""
        read_query(request, NoParams)
        key: str = request.path_params["key"]

        def run() -> Proposal:
            with self._timmy.upgrading.following.told(key) as progress:
                return self._timmy.upgrades.apply(key, progress=progress)

        return json_reply(proposal_dict(await run_in_threadpool(run)))

    async def rollback(self, request: Request) -> Response:
        """Take it back by a new commit."""
        body = await read_body(request, RollbackBody)
        key: str = request.path_params["key"]

        def run() -> Proposal:
            pin = body.pin.get_secret_value()
            with self._timmy.upgrading.following.told(key) as progress:
                return self._timmy.upgrades.rollback(
                    key, by=body.by, pin=pin, progress=progress, untested=body.untested
                )

        return json_reply(proposal_dict(await run_in_threadpool(run)))

    async def recover(self, request: Request) -> Response:
        """Finish or undo what a crash left."""
        read_query(request, NoParams)

        def run() -> Sequence[Finding]:
            return self._timmy.upgrades.recover()

        return json_reply({"findings": plain(await run_in_threadpool(run))})


def proposal_dict(one: Proposal) -> dict[str, Any]:
    """Return a proposal as JSON can carry it, with the word that an approval names what was seen by."""
    return {**plain(one), "seen": one.seen}
