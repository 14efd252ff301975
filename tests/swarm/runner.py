"""A process that serves a home's swarm until it is killed: `python runner.py HOME`; says `ready` once it works."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from timmy_core.settings import Settings
from timmy_core.settings_memory import MemorySettings
from timmy_core.settings_swarm import SwarmSettings
from timmy_core.testing import ScriptedProvider
from timmy_core.timmy import Timmy


def main(home: Path) -> None:
    settings = Settings(
        home=home,
        providers=(),
        swarm=SwarmSettings(bidding_s=0.2, max_attempts=100),
        memory=MemorySettings(embedder="none"),
    )
    timmy = Timmy(settings, providers=[ScriptedProvider("local", [0.05, "the ", 0.05, "result"])])
    timmy.start_schedule()
    print("ready", flush=True)
    while True:
        time.sleep(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
