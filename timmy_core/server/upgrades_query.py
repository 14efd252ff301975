"""What `/api/v1/upgrades` takes: parameters and bodies, checked; the queue itself checks what they mean."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from timmy_core.server.memory_query import Body, By
from timmy_core.server.query import LIST_AT_MOST, Name, Params

Text = Annotated[str, Field(min_length=1, max_length=4_000)]
Pin = Annotated[SecretStr, Field(min_length=1, max_length=200)]
FileText = Annotated[str, Field(max_length=1 << 20)]


class UpgradesParams(Params):
    """The filters of `/api/v1/upgrades`."""

    state: Name | None = None
    limit: Annotated[int, Field(ge=1, le=LIST_AT_MOST)] = 50
    cursor: Name | None = None


class ProposeBody(Body):
    """What is proposed: exactly one of `diff`, `files` and `branch`; a file that is null is removed."""

    description: Text
    proposed_by: By
    diff: Annotated[str, Field(max_length=16 << 20)] | None = None
    files: Annotated[dict[str, FileText | None], Field(max_length=1_000)] | None = None
    branch: Name | None = None
    agent_id: Name | None = None
    task_id: Name | None = None
    trace_id: Name | None = None


class TestBody(Body):
    """How tests are run."""

    __test__ = False  # not a class of tests, whatever its name begins with

    anew: bool = False


class ApproveBody(Body):
    """Who says yes, to what they saw: the `seen` of the proposal that was shown."""

    by: By
    pin: Pin
    seen: Annotated[str, Field(min_length=1, max_length=500)]
    urgent: bool = False
    consent: bool = False


class RejectBody(Body):
    """Who says no, and why."""

    by: By
    pin: Pin
    reason: Annotated[str, Field(min_length=1, max_length=2_000)]


class RollbackBody(Body):
    """Who takes it back."""

    by: By
    pin: Pin
    untested: bool = False
