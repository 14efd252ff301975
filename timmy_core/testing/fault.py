"""What a fault is: something that a server does, and what has to be made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from timmy_core.router.chat import ErrorClass
from timmy_core.testing.turn import APIS, Api, Turn

Effect = Literal["none", "failure", "limited", "barred", "neutral", "stop"]
"""What a fault does to its provider: nothing, a failure for its circuit, a rest that it asked for, a bar until the
configuration changes, nothing although it failed; `stop` also ends the request, without asking anybody else."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail.

    Args:
        name: what it is called in `FAULTS`.
        doc: what happens.
        plain: the class of a whole answer's failure; None where that succeeds.
        streamed: the class of a stream's failure; None where that succeeds.
        effect: what it does to its provider.
        turns: what a server has to do, for all APIs or for each that knows this fault; None where nobody listens.
        shows: whether a stream has shown text before it fails.
        at_once: whether the failure is known as soon as it happens; otherwise only a limit of ours ends the wait.
        limit_s: how long the provider asks to be left alone.
    """

    name: str
    doc: str
    plain: ErrorClass | None
    streamed: ErrorClass | None
    effect: Effect
    turns: Turn | Mapping[Api, Turn] | Callable[[], Turn] | None
    shows: bool = False
    at_once: bool = True
    limit_s: float | None = None

    @property
    def apis(self) -> tuple[Api, ...]:
        """The APIs that know this fault."""
        return tuple(api for api in APIS if api in self.turns) if isinstance(self.turns, Mapping) else APIS

    def error_class(self, *, streamed: bool) -> ErrorClass | None:
        """Return the class that a failure has to get; None where there is no failure."""
        return self.streamed if streamed else self.plain

    def turn(self, api: Api) -> Turn:
        """Return what a server of this API does.

        Raises:
            ValueError: this fault is none of a server of this API.
        """
        if self.turns is None:
            message = f"the fault {self.name!r} is that nobody listens; stop the server instead"
            raise ValueError(message)
        if api not in self.apis:
            message = f"the fault {self.name!r} is unknown to {api}; it belongs to {', '.join(self.apis)}"
            raise ValueError(message)
        if isinstance(self.turns, Mapping):
            return self.turns[api]
        return self.turns if isinstance(self.turns, Turn) else self.turns()
