"""`/api/v1/memory`: finding what is remembered, saying what is so, forgetting, and the switch of each session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from timmy_core.memory.report import match_dict, status_of
from timmy_core.plain import plain
from timmy_core.server.errors import ApiError
from timmy_core.server.gate import API
from timmy_core.server.memory_query import (
    CloseBody,
    DecideBody,
    EditBody,
    EntriesParams,
    FactsParams,
    ForgetBody,
    RememberBody,
    SearchParams,
    SwitchBody,
)
from timmy_core.server.query import NoParams, read_body, read_query
from timmy_core.server.replies import json_reply

if TYPE_CHECKING:
    from starlette.requests import Request

    from timmy_core.memory.model import Entry
    from timmy_core.timmy import Timmy

PREVIEWED: Final = 20


class MemoryApi:
    """The endpoints; each reads its input, calls the memory on a worker thread, and hands back plain data."""

    def __init__(self, timmy: Timmy) -> None:
        self._timmy = timmy

    def routes(self) -> list[Route]:
        """Return the routes."""
        reads: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "status": self.status,
            "search": self.search,
            "entries": self.entries,
            "entries/{key}": self.entry,
            "facts": self.facts,
            "sessions": self.sessions,
            "sessions/{session}": self.session,
        }
        writes: dict[str, Callable[[Request], Awaitable[Response]]] = {
            "entries": self.remember,
            "entries/{key}/edit": self.edit,
            "entries/{key}/confirm": self.confirm,
            "entries/{key}/reject": self.reject,
            "entries/{key}/close": self.close,
            "forget": self.forget,
            "sessions/{session}": self.switch,
        }
        return [
            *(Route(f"{API}memory/{path}", endpoint, methods=["GET"]) for path, endpoint in reads.items()),
            *(Route(f"{API}memory/{path}", endpoint, methods=["POST"]) for path, endpoint in writes.items()),
        ]

    # Looking -------------------------------------------------------------------------------------------------

    async def status(self, request: Request) -> Response:
        """How much is remembered, and how it is found."""
        read_query(request, NoParams)
        return json_reply(await run_in_threadpool(lambda: status_of(self._timmy.memory)))

    async def search(self, request: Request) -> Response:
        """The entries that fit best, best first, each with where its score comes from."""
        params = read_query(request, SearchParams).model_dump(exclude={"q", "scope"})
        query = request.query_params["q"]
        scope = request.query_params.get("scope")
        search = self._timmy.memory.search
        found = await run_in_threadpool(lambda: search(query, scopes=None if scope is None else [scope], **params))
        return json_reply({"matches": [match_dict(match) for match in found]})

    async def entries(self, request: Request) -> Response:
        """Entries by filters, the newest first; `next` is the `cursor` of the next page."""
        params = read_query(request, EntriesParams).model_dump(exclude_none=True)
        page = await run_in_threadpool(lambda: self._timmy.memory.list(**params))
        return json_reply({"entries": [entry.as_dict() for entry in page], "next": page.cursor})

    async def entry(self, request: Request) -> Response:
        """One entry, by its number or its id, with the turns beside it."""
        read_query(request, NoParams)
        key = _key(request)

        def read() -> dict[str, Any]:
            found = self._timmy.memory.get(key)
            beside = self._timmy.memory.around(found.id)
            return {**found.as_dict(), "beside": [turn.as_dict() for turn in beside]}

        return json_reply(await run_in_threadpool(read))

    async def facts(self, request: Request) -> Response:
        """Facts that hold now or at a moment, all that ever held, or those that wait to be confirmed."""
        params = read_query(request, FactsParams)
        filters = params.model_dump(include={"agent_id", "scope", "limit"}, exclude_none=True)
        if params.valid_at is not None and params.which != "now":
            raise ApiError(400, "valid_at is for which=now; leave one of them out")
        memory = self._timmy.memory

        def read() -> list[Entry]:
            if params.which == "candidates":
                return memory.candidates(**filters)
            if params.which == "all":
                return memory.facts(valid_at=None, **filters)
            return memory.facts(**filters) if params.valid_at is None else memory.facts(
                valid_at=params.valid_at, **filters
            )  # fmt: skip

        return json_reply({"facts": [fact.as_dict() for fact in await run_in_threadpool(read)]})

    # Saying --------------------------------------------------------------------------------------------------

    async def remember(self, request: Request) -> Response:
        """Remember a text."""
        given = (await read_body(request, RememberBody)).model_dump()
        return await self._entry(lambda: self._timmy.memory.remember(**given))

    async def edit(self, request: Request) -> Response:
        """Change an entry; null takes a speaker, a subject or an end away."""
        body = await read_body(request, EditBody)
        given = body.model_dump(include=body.model_fields_set | {"by"})
        return await self._entry(lambda: self._timmy.memory.edit(_key(request), **given))

    async def confirm(self, request: Request) -> Response:
        """Take a proposed fact over."""
        body = await read_body(request, DecideBody)
        return await self._entry(lambda: self._timmy.memory.confirm(_key(request), by=body.by))

    async def reject(self, request: Request) -> Response:
        """Turn a proposed fact down."""
        body = await read_body(request, DecideBody)
        return await self._entry(lambda: self._timmy.memory.reject(_key(request), by=body.by))

    async def close(self, request: Request) -> Response:
        """Say that a fact no longer holds."""
        given = (await read_body(request, CloseBody)).model_dump()
        return await self._entry(lambda: self._timmy.memory.close_fact(_key(request), **given))

    async def _entry(self, work: Callable[[], Entry]) -> Response:
        return json_reply((await run_in_threadpool(work)).as_dict())

    # Forgetting ----------------------------------------------------------------------------------------------

    async def forget(self, request: Request) -> Response:
        """Forget by ids or filters; with `preview` only say what would go."""
        body = await read_body(request, ForgetBody)
        where = body.where.model_dump(exclude_none=True)
        if bool(body.ids) == bool(where):
            raise ApiError(422, "say what to forget: either ids, or where with a filter such as session")
        chosen = {"id": list(dict.fromkeys(body.ids))} if body.ids else where
        memory = self._timmy.memory

        def preview() -> dict[str, Any]:
            some = memory.list(limit=PREVIEWED, **chosen)
            return {"entries": memory.count(**chosen), "some": [entry.as_dict() for entry in some]}

        def forget() -> dict[str, Any]:
            return dict(plain(memory.forget(where=chosen, reason=body.reason, by=body.by)))

        return json_reply(await run_in_threadpool(preview if body.preview else forget))

    # Sessions ------------------------------------------------------------------------------------------------

    async def sessions(self, request: Request) -> Response:
        """The sessions that somebody switched, and how all others stand."""
        read_query(request, NoParams)
        found = await run_in_threadpool(self._timmy.switches.all)
        return json_reply({"default": self._timmy.settings.memory.recall, "sessions": plain(found)})

    async def session(self, request: Request) -> Response:
        """Whether one session uses memory."""
        read_query(request, NoParams)
        name: str = request.path_params["session"]
        return json_reply(plain(await run_in_threadpool(lambda: self._timmy.switches.get(name))))

    async def switch(self, request: Request) -> Response:
        """Switch memory on or off for one session."""
        body = await read_body(request, SwitchBody)
        name: str = request.path_params["session"]
        put = self._timmy.switches.put
        return json_reply(plain(await run_in_threadpool(lambda: put(name, body.enabled, by=body.by))))


def _key(request: Request) -> int | str:
    key: str = request.path_params["key"]
    return int(key) if key.isascii() and key.isdecimal() and len(key) < 19 else key  # noqa: PLR2004 - of 64 bits
