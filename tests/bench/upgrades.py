"""What the upgrade queue costs beside the tests: one proposal from first to last, and 100 in the queue.

    python tests/bench/upgrades.py --rounds 5 --files 1000 --queued 100

The tests are a no-op; PINs are taken as right, because their check is slow on purpose. Git by itself (write a file,
add, commit, merge) stands beside it on a copy of the same repository.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from figures import load, machine, options, scratch, spread, table

sys.path.insert(0, str(Path(__file__).parents[1] / "upgrades"))

from queue_house import PIN, House, git, is_exactly, make_repo

STEPS = ("propose", "test", "approve", "apply", "propose -> applied", "roll back", "git alone")


def one(house: House, number: int, timings: dict[str, list[float]]) -> None:
    """Take one proposal from first to last, and then back."""
    began = time.perf_counter()

    def timed(step: str, act: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = act()
        timings[step].append((time.perf_counter() - start) * 1000)
        return result

    files = {f"src/part{number % 20}/f{number}.py": "changed\n", f"src/new{number}.py": "new\n"}
    made: list[str] = []
    timed("propose", lambda: made.append(house.queue.propose(description="d", files=files, proposed_by="timmy").id))
    timed("test", lambda: house.queue.test(made[0]))
    timed("approve", lambda: house.queue.approve(made[0], by="ann", pin=PIN))
    timed("apply", lambda: house.queue.apply(made[0]))
    timings["propose -> applied"].append((time.perf_counter() - began) * 1000)
    if house.queue.get(made[0]).state != "applied":
        raise SystemExit(house.queue.get(made[0]).problem)
    timed("roll back", lambda: house.queue.rollback(made[0], by="ann", pin=PIN))


def plain(repo: Path, number: int) -> float:
    """Do by hand what lands: a branch, a commit on it, and its merge."""
    start = time.perf_counter()
    git(repo, "switch", "-q", "-c", f"topic{number}")
    (repo / f"src/part{number % 20}/f{number}.py").write_text("changed\n", encoding="utf-8")
    (repo / f"src/new{number}.py").write_text("new\n", encoding="utf-8")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "changed")
    git(repo, "switch", "-q", "main")
    git(repo, "merge", "-q", "--no-ff", "-m", "merged", f"topic{number}")
    return (time.perf_counter() - start) * 1000


def many(house: House, count: int) -> tuple[float, int]:
    """Land `count` approved proposals in one go; return the seconds and how many trees were tested for it."""
    for number in range(count):
        made = house.propose(f"src/queued{number}.py")
        house.queue.test(made.id)
        house.queue.approve(made.id, by="ann", pin=PIN)
        house.queue.enqueue(made.id)
    tested = len(house.trials.trees)
    start = time.perf_counter()
    done = house.queue.work()
    took_s = time.perf_counter() - start
    landed = sum(each.state == "applied" for each in done)
    if landed != count or not is_exactly(house.repo, house.workspace.tip()):
        message = f"{landed} of {count} landed"
        raise SystemExit(message)
    return took_s, len(house.trials.trees) - tested


def main() -> None:
    asked = options(__doc__ or "", rounds=5, files=1000, queued=100)
    timings: dict[str, list[float]] = {step: [] for step in STEPS}
    with scratch(asked.folder) as folder:
        repo = make_repo(folder / "repo", asked.files)
        beside = folder / "beside"
        subprocess.run(["cp", "-a", str(repo), str(beside)], check=True)
        (folder / "home").mkdir()
        house = House(folder / "home", repo)
        one(house, 0, {step: [] for step in STEPS})
        for number in range(1, asked.rounds + 1):
            one(house, number, timings)
            timings["git alone"].append(plain(beside, number))
        took_s, tested = many(house, asked.queued)
        house.close()
    rows = [[step, spread(values, " ms")] for step, values in timings.items()]
    rows.append([f"{asked.queued} queued proposals land", f"{took_s:.1f} s, {tested} trees tested"])
    print(machine(asked.folder), load(), sep="\n")
    print(table(["What", f"Time with {asked.files:,} files"], rows))


if __name__ == "__main__":
    main()
