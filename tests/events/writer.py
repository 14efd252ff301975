"""A process that appends from several threads and says on its standard output what was acknowledged."""

from __future__ import annotations

import os
import sys
import threading
from itertools import count
from pathlib import Path

from timmy_core.events.log import EventLog
from timmy_core.store.engine import Store


def main() -> None:
    path, name, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    log = EventLog(Store.open(path))

    def append(thread: int) -> None:
        for number in count():
            key = f"{name}-{thread}-{number}"
            event = log.append("system.info", source=name, id=key, data={"n": number})
            # One write call a line, so a kill cannot tear it, and only after the acknowledgement.
            os.write(1, f"{event.seq} {key}\n".encode())

    for thread in range(threads):
        threading.Thread(target=append, args=(thread,)).start()


if __name__ == "__main__":
    main()
