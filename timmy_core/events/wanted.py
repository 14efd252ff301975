"""Which events somebody wants: the filters that page, command line, export and saved views share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from timmy_core.clock import iso
from timmy_core.errors import EventError
from timmy_core.events.model import Event

# Where an event says who answered, the newer name first.
PROVIDER_KEYS: Final = ("gen_ai.provider.name", "provider")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A filter over the log; None means anything. `since` is included, `until` is not.

    `text` holds words that all have to occur in the event.
    """

    type: str | None = None
    family: str | None = None
    source: str | None = None
    task_id: str | None = None
    agent_id: str | None = None
    trace_id: str | None = None
    provider: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Wanted:
        """Return the filter that a page's address or a saved view describes; keys that are none of ours are skipped.

        Raises:
            EventError: a time cannot be read.
        """
        names = {"task": "task_id", "agent": "agent_id", "trace": "trace_id"}
        given: dict[str, Any] = {names.get(name, name): value.strip() for name, value in values.items()}
        for name in ("since", "until"):
            if given.get(name):
                given[name] = read_moment(given[name])
        fields = [field.name for field in dataclasses.fields(cls)]
        return cls(**{name: given[name] for name in fields if given.get(name)})

    def columns(self) -> dict[str, str]:
        """Return the filters that are columns of the events frame, without time and text."""
        names = ("type", "family", "source", "task_id", "agent_id", "trace_id", "provider")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def listing(self) -> dict[str, Any]:
        """Return the arguments of `EventLog.list`, which knows every filter but the provider."""
        kept = {**self.columns(), "since": self.since, "until": self.until, "text": self.text}
        return {name: value for name, value in kept.items() if value is not None and name != "provider"}

    def described(self) -> dict[str, str]:
        """Return what is set, as text: `family` -> `llm`, `since` -> a time in UTC."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: iso(value) if isinstance(value, datetime) else value for name, value in values.items() if value}

    def takes(self, event: Event) -> bool:
        """Whether an event that `EventLog.list` found is also from the wanted provider."""
        return self.provider is None or self.provider == provider_of(event)


def provider_of(event: Event) -> str | None:
    """Return the provider that an event is about, or None."""
    data = event.data or {}
    found = next((data[key] for key in PROVIDER_KEYS if data.get(key)), None)
    return found if isinstance(found, str) else None


def read_moment(text: str) -> datetime:
    """Read a time in ISO 8601; without a zone it is this machine's.

    Raises:
        EventError: it is not a time.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is not a time; expected ISO 8601, such as 2026-05-01T12:00:00Z"
        raise EventError(message) from None
    return moment if moment.tzinfo else moment.astimezone()
