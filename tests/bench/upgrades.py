"""What the upgrade queue costs beside the tests: one proposal from first to last, and 100 in the queue.

    python tests/bench/upgrades.py --rounds 7 --files 1000 --queued 100

The tests are a no-op, once without walls and once shut in as well as this machine can; PINs are taken as right, because
their check is slow on purpose. Git by itself (write a file, add, commit, merge) stands beside it on a copy of the same
repository. Others may work on the machine, so beside the time stands how long processors were busy with it (git
included), and the least of all rounds is what is compared with the target.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from figures import load, machine, number, options, scratch, spread, table, verdict

sys.path.insert(0, str(Path(__file__).parents[1] / "upgrades"))

from queue_house import PIN, House, git, is_exactly, make_repo

from timmy_core.errors import SandboxError
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.upgrades.sandbox.levels import Sandbox
from timmy_core.upgrades.trials import Trials
from timmy_core.upgrades.workspace.git import Git

TARGET_S = 1.0
# The least that counts as a test: one program that reports one green case.
NO_OP = "import sys; open(sys.argv[1], 'w').write('<testsuite><testcase classname=\"a\" name=\"b\"/></testsuite>')"
COMMAND = ("{python}", "-I", "-S", "-c", NO_OP, "{report}")
WHOLE = "propose → applied"
STEPS = ("propose", "test", "approve", "apply", WHOLE, "roll back")


@dataclass
class Step:
    """What one step took, round for round, in ms."""

    took: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)

    def row(self, name: str) -> list[str]:
        calls = str(self.calls[-1]) if self.calls else "-"
        return [name, spread(self.took, " ms"), spread(self.busy, " ms"), calls]


class Calls:
    """Counts how often git was run."""

    def __init__(self) -> None:
        self.count = 0
        real = Git._execute

        def counted(git_: Git, *args: object, **kwargs: object) -> object:
            self.count += 1
            return real(git_, *args, **kwargs)  # type: ignore[arg-type]

        Git._execute = counted  # type: ignore[assignment, method-assign]


def busy_s() -> float:
    """Return how long processors worked for this process and for its children that ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


@contextmanager
def measured(step: Step, calls: Calls) -> Iterator[None]:
    start, busy, count = time.perf_counter(), busy_s(), calls.count
    yield
    step.took.append((time.perf_counter() - start) * 1000)
    step.busy.append((busy_s() - busy) * 1000)
    step.calls.append(calls.count - count)


def one(house: House, number_: int, steps: dict[str, Step], calls: Calls) -> None:
    """Take one proposal from first to last, and then back."""
    files = {f"src/part{number_ % 20}/f{number_}.py": "changed\n", f"src/new{number_}.py": "new\n"}
    queue = house.queue
    with measured(steps[WHOLE], calls):
        with measured(steps["propose"], calls):
            id_ = queue.propose(description="d", files=files, proposed_by="timmy").id
        for name, act in (
            ("test", lambda: queue.test(id_)),
            ("approve", lambda: queue.approve(id_, by="ann", pin=PIN)),
            ("apply", lambda: queue.apply(id_)),
        ):
            with measured(steps[name], calls):
                act()
    if queue.get(id_).state != "applied":
        raise SystemExit(queue.get(id_).problem)
    with measured(steps["roll back"], calls):
        queue.rollback(id_, by="ann", pin=PIN)


def rounds(house: House, count: int, calls: Calls, beside: Callable[[int], None] | None = None) -> dict[str, Step]:
    """Take some proposals from first to last; the first of all is not counted."""
    one(house, 0, {name: Step() for name in STEPS}, calls)
    steps = {name: Step() for name in STEPS}
    for each in range(1, count + 1):
        one(house, each, steps, calls)
        if beside is not None:
            beside(each)
    return steps


def plain(repo: Path, number_: int) -> None:
    """Do by hand what lands: a branch, a commit on it, and its merge."""
    git(repo, "switch", "-q", "-c", f"topic{number_}")
    (repo / f"src/part{number_ % 20}/f{number_}.py").write_text("changed\n", encoding="utf-8")
    (repo / f"src/new{number_}.py").write_text("new\n", encoding="utf-8")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "changed")
    git(repo, "switch", "-q", "main")
    git(repo, "merge", "-q", "--no-ff", "-m", "merged", f"topic{number_}")


def many(house: House, count: int, step: Step, calls: Calls) -> int:
    """Land `count` approved proposals in one go; return how many trees were tested for it."""
    for number_ in range(count):
        made = house.propose(f"src/queued{number_}.py")
        house.queue.test(made.id)
        house.queue.approve(made.id, by="ann", pin=PIN)
        house.queue.enqueue(made.id)
    tested = len(house.trials.trees)
    with measured(step, calls):
        done = house.queue.work()
    landed = sum(each.state == "applied" for each in done)
    if landed != count or not is_exactly(house.repo, house.workspace.tip()):
        message = f"{landed} of {count} landed"
        raise SystemExit(message)
    return len(house.trials.trees) - tested


def shut_in(folder: Path, files: int, count: int, calls: Calls) -> tuple[str, dict[str, Step]]:
    """Do the same with a no-op that runs behind walls; return how good those are."""
    sandbox = Sandbox()
    try:
        level = sandbox.find().level
    except SandboxError as error:
        print(error, file=sys.stderr)
        return "", {}
    folder.mkdir()
    (folder / "home").mkdir()
    trials = Trials(UpgradeSettings(test_command=COMMAND), sandbox)
    house = House(folder / "home", make_repo(folder / "repo", files), trials=trials)
    steps = rounds(house, count, calls)
    house.close()
    return level, steps


def main() -> None:
    asked = options(__doc__ or "", rounds=7, files=1000, queued=100)
    calls, alone, queued = Calls(), Step(), Step()
    with scratch(asked.folder) as folder:
        repo = make_repo(folder / "repo", asked.files)
        beside = folder / "beside"
        subprocess.run(["cp", "-a", str(repo), str(beside)], check=True)
        (folder / "home").mkdir()

        def by_hand(number_: int) -> None:
            with measured(alone, calls):
                plain(beside, number_)

        house = House(folder / "home", repo)
        steps = rounds(house, asked.rounds, calls, by_hand)
        alone.calls.clear()
        tested = many(house, asked.queued, queued, calls) if asked.queued else 0
        house.close()
        level, walled = shut_in(folder / "walled", asked.files, asked.rounds, calls)
    rows = [step.row(name) for name, step in steps.items()]
    rows += [walled[name].row(f"{name}, shut in ({level})") for name in ("test", WHOLE) if name in walled]
    rows.append(alone.row("git alone"))
    if asked.queued:
        rows.append(queued.row(f"{asked.queued} queued land, {tested} trees tested"))
    print(machine(asked.folder), load(), sep="\n")
    print(table([f"With {asked.files:,} files", "Time", "Processors busy", "Calls of git"], rows))
    for name, found in (("no walls", steps), (level, walled)):
        if found:
            best_s = min(found[WHOLE].took) / 1000
            busy = number(min(found[WHOLE].busy) / 1000)
            print(verdict(f"{WHOLE}, {name}, best round ({busy} s of processors)", best_s, " s", at_most=TARGET_S))


if __name__ == "__main__":
    main()
