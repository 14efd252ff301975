"""Puts the room together; `timmy.py` calls it, so that it need not know the parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from timmy_core.clock import Clock
from timmy_core.events.log import EventLog
from timmy_core.events.schedule import TIDY_EVERY, Job
from timmy_core.loop import LoopThread
from timmy_core.memory.finding import Finding
from timmy_core.memory.meaning import Meaning
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import Finder, Forgets, ForgetsToo
from timmy_core.settings import Settings
from timmy_core.store.engine import Store


def build_memory(
    *,
    store: Store,
    events: EventLog,
    clock: Clock,
    finder: Finder | None = None,
    forgetters: Sequence[Forgets] = (),
    copies: Sequence[ForgetsToo] = (),
) -> Memory:
    """Return the memory of a home, with what a crash left of a forgetting finished."""
    memory = Memory(store, events, clock)
    memory.finder = finder
    memory.forgetters.extend(forgetters)
    memory.copies.extend(copies)
    # Last, so that whoever keeps something of an entry is told of it.
    memory.mend()
    return memory


class Room:
    """The memory of a home and what finds in it.

    Args:
        settings: where the home is, and which embedder it uses.
        store: where the entries are.
        events: the log.
        loop: Timmy's event loop, for embedders behind a server.
        clock: the time.
        tokens: how many tokens a text has.
        copies: whoever keeps copies of entries in the store.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        events: EventLog,
        loop: LoopThread,
        clock: Clock,
        tokens: Callable[[str], int],
        copies: Sequence[ForgetsToo] = (),
    ) -> None:
        self.meaning = Meaning(store, settings.memory, settings.models_path, loop, clock)
        self._finding = Finding(store, clock, self.meaning, settings.home / "memory-index", tokens)
        self.memory = build_memory(
            store=store,
            events=events,
            clock=clock,
            finder=self._finding,
            forgetters=(self.meaning, self._finding),
            copies=copies,
        )

    def jobs(self) -> list[Job]:
        """Return what the serving process does by itself, beside the worker."""
        return [Job("words", TIDY_EVERY, self._tidy)]

    def _tidy(self) -> str:
        grown = self.memory.tidy()
        return f"{grown:,} new entries found sooner" if grown else ""

    def close(self) -> None:
        """End worker and index; call it before the loop and the store are closed."""
        self.meaning.close()
        self._finding.close()
