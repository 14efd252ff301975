"""The section `[demo]` of the settings."""

from __future__ import annotations

from datetime import timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from timmy_core.clock import Clock, MovedClock, StillClock


class DemoSettings(BaseModel):
    """Of a demonstration, which `timmy demo` makes: its time goes on where the sample ends."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ends_at: AwareDatetime  # when the sample ends
    opened_at: AwareDatetime  # when this copy of it was made
    still: bool = False  # its time stands still, so that what is shown can be compared

    @property
    def moved(self) -> timedelta:
        """How much later it is here than on the machine's clock."""
        return self.ends_at - self.opened_at

    def clock(self) -> Clock:
        """Return its clock."""
        return StillClock(self.ends_at) if self.still else MovedClock(self.moved)
