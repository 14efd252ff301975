"""The section `[swarm]` of the settings."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Persona = Literal["echo", "forge", "seer"]
PERSONAS: tuple[Persona, ...] = ("echo", "forge", "seer")


class SwarmSettings(BaseModel):
    """Who works on tasks, and how long auctions, work and silence may last."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    personas: tuple[Persona, ...] = PERSONAS  # local agents that `timmy up` runs; none: only remote agents work
    bidding_s: float = Field(default=5.0, ge=0.1, le=86_400)  # how long an auction lasts where nobody says otherwise
    lease_s: float = Field(default=60.0, ge=1, le=86_400)  # a worker that is silent for so long has died
    work_s: float = Field(default=600.0, gt=0, le=86_400)  # one local agent's time for one task
    max_attempts: int = Field(default=3, ge=1, le=100)  # how often a task is given to somebody before it fails
    max_open: int = Field(default=1000, ge=1, le=100_000)  # tasks that are not over
    tools: bool = True  # local agents may call tools
    failures: int = Field(default=3, ge=2, le=1000)  # of one kind within ten minutes; then the log warns

    @model_validator(mode="after")
    def _personas_differ(self) -> Self:
        for name in self.personas:
            if self.personas.count(name) > 1:
                text = f"personas names {name!r} twice; name each once"
                raise ValueError(text)
        return self
