"""What `/api/v1/memory` takes: parameters and bodies, checked; the memory itself checks what they mean."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from timmy_core.server.query import LIST_AT_MOST, Moment, Name, Params, Seq

Kind = Literal["conversation", "fact", "document"]
By = Annotated[str, Field(min_length=1, max_length=100)]
Limit = Annotated[int, Field(ge=1, le=LIST_AT_MOST)]


class SearchParams(Params):
    """What `/api/v1/memory/search` takes."""

    q: Annotated[str, Field(max_length=100_000)]
    kind: Kind | None = None
    agent_id: Name | None = None
    session: Name | None = None
    scope: Name | None = None
    task_id: Name | None = None
    since: Moment | None = None
    until: Moment | None = None
    valid_at: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 10


class EntriesParams(Params):
    """The filters of `/api/v1/memory/entries`."""

    kind: Kind | None = None
    state: Literal["stored", "proposed", "rejected"] | None = None
    scope: Name | None = None
    agent_id: Name | None = None
    session: Name | None = None
    task_id: Name | None = None
    trace_id: Name | None = None
    source: Name | None = None
    since: Moment | None = None
    until: Moment | None = None
    cursor: Seq | None = None
    limit: Limit = 100


class FactsParams(Params):
    """What `/api/v1/memory/facts` takes."""

    which: Literal["now", "all", "candidates"] = "now"
    valid_at: Moment | None = None
    agent_id: Name | None = None
    scope: Name | None = None
    limit: Limit = 100


class Body(BaseModel):
    """A body in which nothing else may stand."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RememberBody(Body):
    """What `POST /api/v1/memory/entries` takes."""

    text: str
    kind: Kind = "fact"
    agent_id: Name | None = None
    session: Name | None = None
    task_id: Name | None = None
    scope: Name | None = None
    source: Name = "api"
    speaker: Name | None = None
    subject: Name | None = None
    replaces: Annotated[list[Name], Field(max_length=100)] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)
    importance: Annotated[float, Field(ge=0, le=1)] = 0.5
    created_at: Moment | None = None
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    id: Name | None = None


class EditBody(Body):
    """What `/api/v1/memory/entries/{key}/edit` takes; what is left out stays."""

    text: str | None = None
    speaker: Name | None = None
    subject: Name | None = None
    metadata: dict[str, Any] | None = None
    importance: Annotated[float, Field(ge=0, le=1)] | None = None
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    by: By = "api"


class DecideBody(Body):
    """What `confirm` and `reject` take."""

    by: By = "api"


class CloseBody(Body):
    """What `close` takes."""

    replaced_by: Name | None = None
    at: Moment | None = None
    by: By = "api"


class Where(Body):
    """Which entries to forget; all that is given has to be true of one."""

    kind: Kind | None = None
    state: Literal["stored", "proposed", "rejected"] | None = None
    scope: Name | None = None
    agent_id: Name | None = None
    session: Name | None = None
    task_id: Name | None = None
    trace_id: Name | None = None
    source: Name | None = None
    since: Moment | None = None
    until: Moment | None = None


class ForgetBody(Body):
    """What `/api/v1/memory/forget` takes: ids, or filters."""

    ids: Annotated[list[Name], Field(max_length=500)] = Field(default_factory=list)
    where: Where = Where()
    preview: bool = False
    reason: Annotated[str, Field(min_length=1, max_length=500)] = "asked to"
    by: By = "api"


class SwitchBody(Body):
    """What `/api/v1/memory/sessions/{session}` takes."""

    enabled: Annotated[bool, Field(strict=True)]
    by: By = "api"
