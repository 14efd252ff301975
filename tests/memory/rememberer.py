"""A process that remembers, edits and forgets in a loop until it is killed, and says what was promised."""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path

from timmy_core.clock import SystemClock
from timmy_core.events.events import Events
from timmy_core.memory import forget
from timmy_core.memory.build import build_memory
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import NewEntry
from timmy_core.store.engine import Store


def open_memory(path: str) -> Memory:
    store, clock = Store.open(Path(path)), SystemClock()
    return build_memory(store=store, events=Events(store, clock), clock=clock)


def say(kind: str, *names: str) -> None:
    os.write(1, "".join(f"{kind} {name}\n" for name in names).encode())


def loop(memory: Memory, name: str) -> None:
    """Each text holds a word that stands nowhere else, made of the entry's id."""
    forget.CHUNK = 3
    for number in count():
        ids = [f"{name}x{number}x{n}" for n in range(5)]
        memory.remember(f"first word{ids[0]}", id=ids[0], session="s")
        say("stored", ids[0])
        memory.remember_many([NewEntry(f"then word{one}", id=one, session="s", agent_id="a") for one in ids[1:]])
        say("stored", *ids[1:])
        say("forgetting", *ids[1:4])
        memory.forget(where={"id": ids[1:4]}, by="test")
        say("forgotten", *ids[1:4])
        say("editing", ids[4])
        memory.edit(ids[4], text="edited", metadata={"of": ids[4]}, speaker=ids[4], by="test")
        say("edited", ids[4])


def same(memory: Memory, many: str) -> None:
    """Remember the same texts as others do at this moment."""
    sys.stdin.readline()
    for number in range(int(many)):
        say("stored", memory.remember(f"the text number {number}", kind="fact", subject=f"subject {number}").id)


if __name__ == "__main__":
    {"loop": loop, "same": same}[sys.argv[2]](open_memory(sys.argv[1]), sys.argv[3])
