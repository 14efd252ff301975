"""The options by which events are chosen, the same for every command."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer

from timmy_core.errors import EventError
from timmy_core.events.wanted import Wanted, read_moment

Type = Annotated[str | None, typer.Option("--type", help="Only this type, such as llm.failed.", show_default=False)]
Family = Annotated[str | None, typer.Option(help="Only this family, such as llm.", show_default=False)]
Source = Annotated[str | None, typer.Option(help="Only what this wrote.", show_default=False)]
Task = Annotated[str | None, typer.Option(help="Only this task.", show_default=False)]
Agent = Annotated[str | None, typer.Option(help="Only this agent.", show_default=False)]
Trace = Annotated[str | None, typer.Option(help="Only this trace.", show_default=False)]
Provider = Annotated[str | None, typer.Option(help="Only what this provider did.", show_default=False)]
Text = Annotated[str | None, typer.Option(help="Only events with all of these words.", show_default=False)]
Since = Annotated[str | None, typer.Option(help="ISO 8601, or an age such as 2h or 7d.", show_default=False)]
Until = Annotated[str | None, typer.Option(help="ISO 8601, or an age; excluded itself.", show_default=False)]

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGE: Final = re.compile(r"^(?P<count>\d{1,6})(?P<unit>[mhdw])$")


def wanted_of(
    type_: str | None = None,
    family: str | None = None,
    source: str | None = None,
    task: str | None = None,
    agent: str | None = None,
    trace: str | None = None,
    provider: str | None = None,
    text: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> Wanted:
    """Return what the options ask for.

    Raises:
        EventError: a time cannot be read.
    """
    return Wanted(type_, family, source, task, agent, trace, provider, text, moment(since), moment(until))


def age(text: str) -> timedelta:
    """Read an age such as `90d`, `12h` or `4w`.

    Raises:
        EventError: it is none.
    """
    found = _AGE.match(text.strip())
    if found is None:
        message = f"{text!r} is not an age; expected a number and m, h, d or w, such as 90d"
        raise EventError(message)
    return timedelta(**{_UNITS[found["unit"]]: int(found["count"])})


def moment(text: str | None) -> datetime | None:
    """Read a time, or an age as so long ago; None stays None."""
    if text is None:
        return None
    return datetime.now(UTC) - age(text) if _AGE.match(text.strip()) else read_moment(text)
