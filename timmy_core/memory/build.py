"""Puts the room together; `timmy.py` calls it, so that it need not know the parts."""

from __future__ import annotations

from collections.abc import Sequence

from timmy_core.clock import Clock
from timmy_core.events.log import EventLog
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import ForgetsToo
from timmy_core.store.engine import Store


def build_memory(*, store: Store, events: EventLog, clock: Clock, copies: Sequence[ForgetsToo] = ()) -> Memory:
    """Return the memory of a home, with what a crash left of a forgetting finished."""
    memory = Memory(store, events, clock)
    memory.copies.extend(copies)
    # Last, so that whoever keeps something of an entry is told of it.
    memory.mend()
    return memory
