"""A process that keeps the log: appends, seals, prunes or redacts in a loop, until it is done or killed."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from importlib import import_module
from itertools import count
from pathlib import Path

from timmy_core.errors import StoreBusyError
from timmy_core.events import archive, retention, segment
from timmy_core.events.events import Events
from timmy_core.store.engine import Store


def append(events: Events, many: str, name: str) -> None:
    for number in range(int(many)):
        events.append("system.info", source="writer", id=f"{name}-{number}", data={"n": number})


def seal(events: Events, size: str) -> None:
    archive.SEGMENT = int(size)
    while True:
        events.seal()


def keep(events: Events, what: str, name: str) -> None:
    """Append and seal, prune or redact, and say after each acknowledgement what was promised."""
    archive.SEGMENT, segment.ROW_GROUP, retention.CHUNK = 20, 8, 7
    events.mend()
    # Loaded before the first acknowledgement, so that a kill does not only hit the loading.
    import_module("pyarrow.parquet")
    import_module("pyarrow.compute")
    for number in count():
        keys = [f"{name}-{number}-{n}" for n in range(4)]
        written = [events.append("system.info", source="keeper", id=key, data={"s": f"secret-{key}"}) for key in keys]
        os.write(1, "".join(f"a {event.seq} {event.id}\n" for event in written).encode())
        try:
            events.seal()
            if what == "prune":
                events.prune(timedelta(0))
            if what == "redact" and number % 3 == 2:
                chosen = max(1, written[0].seq - 30)
                if events.get(chosen).family == "log":
                    continue
                events.redact(seq=chosen, reason="test", by="keeper")
                os.write(1, f"r {chosen} -\n".encode())
        except StoreBusyError:
            continue


if __name__ == "__main__":
    {"append": append, "seal": seal, "keep": keep}[sys.argv[2]](Events(Store.open(Path(sys.argv[1]))), *sys.argv[3:])
