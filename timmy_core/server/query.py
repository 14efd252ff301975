"""Reads query parameters and JSON bodies, and says exactly what is wrong with them."""

from __future__ import annotations

import difflib
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from timmy_core.server.errors import ApiError

if TYPE_CHECKING:
    from starlette.requests import Request

LIST_AT_MOST = 1000
_SEQ_AT_MOST = 2**63 - 1
_ZONE_AFTER_SPACE = re.compile(r" (?=\d\d:?\d\d$)")


def _as_moment(text: Any) -> Any:
    """Return an aware time; the `+` of a zone may have become a space, as it does in an unescaped URL."""
    if not isinstance(text, str):
        return text
    expected = "expected a time with its zone, such as 2026-01-31T12:00:00Z"
    try:
        moment = datetime.fromisoformat(_ZONE_AFTER_SPACE.sub("+", text))
    except ValueError:
        raise ValueError(expected) from None
    if moment.tzinfo is None:
        raise ValueError(expected)
    return moment


Seq = Annotated[int, Field(ge=0, le=_SEQ_AT_MOST)]
Moment = Annotated[datetime, BeforeValidator(_as_moment)]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class Params(BaseModel):
    """What an address may carry behind its question mark; anything else is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoParams(Params):
    """Nothing may be asked for."""


class EventsParams(Params):
    """The filters of `/api/v1/events`, as `EventLog.list` takes them."""

    type: Name | None = None
    family: Name | None = None
    task_id: Name | None = None
    agent_id: Name | None = None
    trace_id: Name | None = None
    source: Name | None = None
    text: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    since: Moment | None = None
    until: Moment | None = None
    after: Seq | None = None
    before: Seq | None = None
    limit: Annotated[int, Field(ge=1, le=LIST_AT_MOST)] = 100
    order: Literal["desc", "asc"] = "desc"


class MetricsParams(Params):
    """The time and the grouping of `/api/v1/router/metrics`, as `Router.report` takes them."""

    since: Moment | None = None
    until: Moment | None = None
    by: Literal["model", "provider", "agent"] = "model"


class AskBody(BaseModel):
    """What `/api/v1/ask` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    text: Annotated[str, Field(min_length=1, max_length=100_000)]
    session: Annotated[str, Field(min_length=1, max_length=100)] = "default"
    local_only: bool = False
    memory: bool | None = None


class CompleteBody(BaseModel):
    """What `/api/v1/router/complete` takes; the router itself checks what messages and options mean."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=10_000)]
    model: Name = "default"
    provider: Name | None = None
    deadline_s: float | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=1000)] = Field(default_factory=list)
    tool_choice: Name = "auto"
    json_mode: bool = False
    json_schema: dict[str, Any] | None = None
    local_only: bool = False
    stream: bool = False
    trace_id: Name | None = None
    agent_id: Name | None = None
    task_id: Name | None = None
    session: Name | None = None


class ControlBody(BaseModel):
    """What `/api/v1/router/providers/{name}/control` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    action: Literal["enable", "disable", "isolate", "close", "priority"]
    value: Annotated[int, Field(ge=0, le=10_000)] | None = None
    by: Annotated[str, Field(min_length=1, max_length=100)] = "api"


class HealthCheckBody(BaseModel):
    """What `/api/v1/router/health-check` takes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Name | None = None
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 5.0


P = TypeVar("P", bound=BaseModel)


def read_query(request: Request, model: type[P]) -> P:
    """Return the checked query.

    Raises:
        ApiError: 400, naming every parameter that is wrong.
    """
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given:
            message = f"{name} is given more than once; give it once"
            raise ApiError(400, message)
        given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ApiError(400, _explain(error, model, "parameter")) from None


async def read_body(request: Request, model: type[P]) -> P:
    """Return the checked JSON body.

    Raises:
        ApiError: 415 or 400 if it is not JSON, 422 if the JSON is not what was expected.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        message = f"the body is {kind or 'of no stated type'}; send JSON with 'Content-Type: application/json'"
        raise ApiError(415, message)
    try:
        data = json.loads(await request.body())
    except (ValueError, RecursionError) as error:
        message = f"the body is not JSON: {error}"
        raise ApiError(400, message) from None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise ApiError(422, _explain(error, model, "key")) from None


def _explain(error: ValidationError, model: type[BaseModel], word: str) -> str:
    problems = error.errors(include_url=False, include_context=False)
    return "; ".join(_explain_one(dict(problem), model, word) for problem in problems)


def _explain_one(problem: dict[str, Any], model: type[BaseModel], word: str) -> str:
    name = ".".join(str(part) for part in problem["loc"])
    known = list(model.model_fields)
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"expected {_one_of(known)}"
        return f"the {word} {name!r} is not known; {hint}"
    if problem["type"] == "missing":
        return f"the {word} {name!r} is missing"
    what = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    what = what if what.startswith("expected") else f"expected {what[:1].lower()}{what[1:]}"
    return f"{name or 'the body'}: {what}, not {_short(problem['input'])}"


def _one_of(names: list[str]) -> str:
    return f"one of {', '.join(names)}" if names else "none"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004
