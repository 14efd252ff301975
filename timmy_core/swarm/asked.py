"""Whom the agent asks, and what it has to know of the answer; the router's own face fits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol, TypedDict


class AskOptions(TypedDict, total=False):
    """How a question is asked; each may be left out."""

    session: str  # whose history is continued: "default"
    deadline_s: float | None  # for the whole answer; None: the router's
    local_only: bool  # nothing of it may leave this machine
    memory: bool | None  # recall before and remember after; None: as the session's switch stands


class Answered(Protocol):
    """What the agent has to know of an answer, whoever gives it."""

    @property
    def text(self) -> str:
        """The answer's text."""

    @property
    def provider(self) -> str:
        """Who answered."""

    @property
    def model(self) -> str:
        """The model that answered."""

    @property
    def offline(self) -> bool:
        """Whether no model answered."""

    @property
    def local(self) -> bool:
        """Whether the answer was made on a machine of the owner's."""

    @property
    def latency_ms(self) -> float:
        """From the question to the whole answer, in milliseconds."""

    @property
    def attempts(self) -> Sequence[object]:
        """One entry a provider that was considered."""


class Parts(Protocol):
    """An answer that comes in parts, and can be given up."""

    def __aiter__(self) -> AsyncIterator[Any]:
        """Iterate over the parts."""

    async def aclose(self) -> None:
        """End the work, and wait until it has ended."""


class Cascade(Protocol):
    """What the agent asks; the router's own face fits."""

    async def chat(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        deadline_s: float | None,
        trace_id: str,
        agent_id: str,
        session: str,
        local_only: bool,
    ) -> Any:
        """Return an answer."""

    def stream(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        deadline_s: float | None,
        trace_id: str,
        agent_id: str,
        session: str,
        local_only: bool,
    ) -> Parts:
        """Return the parts; the last one has the attribute `answer`."""
