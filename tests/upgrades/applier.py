"""One of many appliers: proposes some changes of its own, has them approved, and applies them until all have landed.

Arguments: the home, the repository, its number, how many proposals, and a file that each tested tree is added to.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from queue_house import House

from timmy_core.errors import UpgradeBusyError

PATIENCE_S = 300.0


def main() -> None:
    home, repo, number, count, tested = sys.argv[1:]
    fd = os.open(tested, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(_export: Path) -> bool:
        os.write(fd, f"{house.trials.trees[-1]}\n".encode())
        return True

    house = House(Path(home), Path(repo), verdict=note)
    ready = [house.approved(f"by/{number}/{each}.txt", f"{number} {each}\n").id for each in range(int(count))]
    until = time.monotonic() + PATIENCE_S
    for proposal_id in ready:
        while house.queue.get(proposal_id).state != "applied":
            if time.monotonic() > until:
                raise SystemExit(house.queue.get(proposal_id).problem)
            try:
                house.queue.apply(proposal_id, patience_s=5.0)
            except UpgradeBusyError:
                continue
    house.close()


if __name__ == "__main__":
    main()
