"""kill -9 after every step and at random moments: what is found afterwards is the old state or the new, exactly."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from timmy_core.upgrades.model import Mode

from .queue_house import PIN, House, copy_repo, git, is_exactly, make_repo, snapshot

KILLER = Path(__file__).with_name("killer.py")
MOMENTS = 60


class Killer:
    """The process that forks the ones to be killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(KILLER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, scene: Scene, what: str, **more: Any) -> dict[str, Any]:
        order = {
            "home": str(scene.home), "repo": str(scene.repo), "id": scene.id, "mode": scene.mode, "what": what,
            "step": 0, **more,
        }  # fmt: skip
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(order) + "\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline())
        assert not answer["failed"]
        return answer

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.wait(timeout=30)


@dataclass(frozen=True)
class Scene:
    """A folder with a home and a repository, and the proposal that something is done with."""

    folder: Path
    id: str
    tip: str
    mode: Mode = "in_place"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def repo(self) -> Path:
        return self.folder / "repo"

    def copy(self, name: str) -> Scene:
        return Scene(copy_repo(self.folder, self.folder.with_name(name)), self.id, self.tip, self.mode)


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    made = Killer()
    yield made
    made.close()


Prepare = Callable[[House], str]


def prepared(folder: Path, prepare: Prepare, mode: Mode = "in_place") -> Scene:
    repo = make_repo(folder / "repo")
    (folder / "home").mkdir()
    house = House(folder / "home", repo, mode=mode)
    proposal_id = prepare(house)
    tip = house.workspace.tip()
    house.close()
    return Scene(folder, proposal_id, tip, mode)


def mixed(house: House) -> str:
    """Propose a change that adds, changes and removes a file, and makes and empties a folder."""
    files = {"src/part0/f0.py": "changed\n" * 50, "deep/er/new.py": "new\n", "src/part2/f2.py": None}
    return house.queue.propose(description="mixed", files=files, proposed_by="timmy").id


def approved(house: House) -> str:
    made = house.queue.test(mixed(house))
    return house.queue.approve(made.id, by="ann", pin=PIN).id


def applied(house: House) -> str:
    return house.queue.apply(approved(house)).id


def beside(house: House) -> str:
    """Land one proposal, so that there is a release, and approve another."""
    house.applied("src/first.py")
    return approved(house)


def never_well(house: House) -> str:
    """Land two proposals; the release with the second was started as often as it may be."""
    house.applied("src/first.py")
    second = applied(house)
    for _ in range(3):
        house.queue.begin()
    return second


SCENES: dict[str, Prepare] = {
    "propose": lambda house: house.propose("src/old.py").id,
    "test": mixed,
    "apply": approved,
    "rollback": applied,
}


def check(scene: Scene, what: str) -> str:
    """Recover, look that everything is the old state or the new exactly, then do it again; return which it was."""
    house = House(scene.home, scene.repo, mode=scene.mode)
    try:
        found = house.queue.recover()
        assert all(finding.done for finding in found), found
        tip = house.workspace.tip()
        assert is_exactly(scene.repo, tip), git(scene.repo, "status", "--porcelain")
        git(scene.repo, "fsck", "--strict", "--no-dangling")
        assert house.queue.recover() == []
        assert not list((scene.home / "scratch").iterdir())
        state = house.queue.get(scene.id).state
        if house.workspace.releases is not None:
            is_release(house)
        assert (tip == scene.tip) == (state not in _NEW[what]), state
        assert house.log.verify().ok
        again(house, scene, what)
        assert is_exactly(scene.repo, house.workspace.tip())
        return "old" if tip == scene.tip else "new"
    finally:
        house.close()


def is_release(house: House) -> None:
    """Look that `current` leads to the branch as it is, to the byte."""
    assert house.workspace.releases is not None
    current, tip = house.workspace.releases.current, house.workspace.tip()
    assert current.readlink() == Path(tip)
    assert snapshot(current) == snapshot(house.repo)


_NEW = {"propose": (), "test": (), "apply": ("applied",), "recover": ("applied",), "rollback": ("rolled_back",)}


def again(house: House, scene: Scene, what: str) -> None:
    if what == "propose":
        assert house.propose("src/part1/f1.py", "proposed\n").state == "proposed"
        return
    if what == "test":
        if house.queue.get(scene.id).state == "proposed":
            assert house.queue.test(scene.id).state == "awaiting_approval"
        return
    if what == "rollback":
        assert house.queue.rollback(scene.id, by="ann", pin=PIN).state == "rolled_back"
        assert git(scene.repo, "diff", "--stat", "main", "main~2") == ""
        return
    assert house.queue.apply(scene.id).state == "applied"


@pytest.mark.parametrize("what", list(SCENES))
def test_a_kill_after_any_step_leaves_the_old_state_or_the_new(tmp_path: Path, killer: Killer, what: str) -> None:
    scene = prepared(tmp_path / "scene", SCENES[what])
    steps = killer.run(scene.copy("counted"), what)["steps"]
    outcomes = []
    for step in range(1, steps + 1):
        copy = scene.copy(f"step{step}")
        assert killer.run(copy, what, step=step)["killed"]
        outcomes.append(check(copy, what))
    assert "old" in outcomes
    if what in {"apply", "rollback"}:
        # Once it is new, it stays new for every later step.
        assert outcomes == sorted(outcomes, reverse=True)
        assert outcomes[-1] == "new"


def test_a_kill_after_any_step_of_recovering_is_recovered_from(tmp_path: Path, killer: Killer) -> None:
    scene = prepared(tmp_path / "scene", approved)
    steps = killer.run(scene.copy("counted"), "apply")["steps"]
    # Many kills are recovered from in the same way; each way is gone step by step, once.
    ways: dict[str, tuple[Scene, int]] = {}
    for cut in range(1, steps + 1):
        broken = scene.copy(f"broken{cut}")
        assert killer.run(broken, "apply", step=cut)["killed"]
        found = killer.run(broken.copy(f"counted{cut}"), "recover")
        ways.setdefault(found["way"], (broken, found["steps"]))
    assert len(ways) > 3
    for number, (broken, count) in enumerate(ways.values()):
        for step in range(1, count + 1):
            copy = broken.copy(f"way{number}-{step}")
            assert killer.run(copy, "recover", step=step)["killed"]
            check(copy, "recover")


def test_a_kill_after_any_step_of_landing_a_release_leaves_the_old_or_the_new(tmp_path: Path, killer: Killer) -> None:
    scene = prepared(tmp_path / "scene", beside, "releases")
    steps = killer.run(scene.copy("counted"), "apply")["steps"]
    outcomes = []
    for step in range(1, steps + 1):
        copy = scene.copy(f"step{step}")
        assert killer.run(copy, "apply", step=step)["killed"]
        outcomes.append(check(copy, "apply"))
    assert outcomes == sorted(outcomes, reverse=True)
    assert set(outcomes) == {"old", "new"}


def test_a_kill_after_any_step_of_leaving_a_release_is_made_up_for(tmp_path: Path, killer: Killer) -> None:
    scene = prepared(tmp_path / "scene", never_well, "releases")
    steps = killer.run(scene.copy("counted"), "start")["steps"]
    for step in range(1, steps + 1):
        copy = scene.copy(f"step{step}")
        assert killer.run(copy, "start", step=step)["killed"]
        house = House(copy.home, copy.repo, mode=copy.mode)
        try:
            house.queue.begin()
            house.queue.recover()
            house.queue.started()
            assert house.queue.get(copy.id).state == "rolled_back"
            assert git(copy.repo, "diff", "--stat", "main", "main~2") == ""
            assert is_exactly(copy.repo, house.workspace.tip())
            is_release(house)
            house.queue.started()  # of the release without it, which starts well
            assert (house.queue.recover(), house.queue.started()) == ([], [])
        finally:
            house.close()


def test_a_kill_at_a_random_moment_leaves_the_old_state_or_the_new(tmp_path: Path, killer: Killer) -> None:
    chosen = random.Random(7)  # noqa: S311 - a sample that is the same each time
    scenes = {what: prepared(tmp_path / what, prepare) for what, prepare in SCENES.items()}
    until_s = {what: killer.run(scene.copy(f"{what}-timed"), what)["took_s"] for what, scene in scenes.items()}
    outcomes: list[str] = []
    for number in range(MOMENTS):
        what = ("apply", "rollback", "apply", "test", "rollback", "propose")[number % 6]
        copy = scenes[what].copy(f"moment{number}")
        killer.run(copy, what, after_s=chosen.uniform(0.02, until_s[what] * 1.1), group=number % 2 == 0)
        outcomes.append(check(copy, what))
        # The machine may be quicker or slower by now than when it was timed, and both ends have to be seen.
        until_s[what] *= 1.25 if outcomes[-1] == "old" else 0.8
    assert set(outcomes) == {"old", "new"}
