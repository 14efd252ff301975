"""Landing: batches, bisection, a branch that moves, and many appliers against a person."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from timmy_core.errors import GitError, UpgradeBusyError, UpgradeStateError
from timmy_core.upgrades.workspace.git import Git

from .queue_house import PIN, House, git, is_exactly

Opening = Callable[..., House]


def commit(repo: Path, path: str, content: str) -> str:
    """Commit one file as a person does."""
    (repo / path).parent.mkdir(parents=True, exist_ok=True)
    (repo / path).write_text(content, encoding="utf-8")
    git(repo, "add", "--", path)
    git(repo, "commit", "-q", "-m", f"a person changes {path}")
    return git(repo, "rev-parse", "HEAD").strip()


def queued(house: House, paths: list[str], content: str = "x\n") -> list[str]:
    ready = [house.approved(path, content).id for path in paths]
    for each in ready:
        house.queue.enqueue(each)
    return ready


def test_five_land_as_one_tested_tree(house: House, repo: Path) -> None:
    ready = queued(house, [f"src/n{number}.py" for number in range(5)])
    before = len(house.trials.trees)
    done = house.queue.work()
    assert [(each.id, each.state) for each in done] == [(each, "applied") for each in ready]
    assert len(house.trials.trees) == before + 1
    assert house.trials.trees[-1] == house.workspace.tree(house.workspace.tip())
    assert is_exactly(repo, house.workspace.tip())
    assert len({each.applied_sha for each in done}) == 5


def test_a_red_batch_is_halved_until_the_one_to_blame_is_found(opened: Opening, repo: Path) -> None:
    def verdict(export: Path) -> bool:
        # Either alone is green; with what landed before, the third is not.
        return not ((export / "src/n2.py").exists() and (export / "src/n0.py").exists())

    house = opened(verdict=verdict)
    ready = queued(house, [f"src/n{number}.py" for number in range(5)])
    house.queue.work()
    assert [house.queue.get(each).state for each in ready] == ["applied", "applied", "failed", "applied", "applied"]
    assert "on the branch as it is now" in str(house.queue.get(ready[2]).problem)
    assert is_exactly(repo, house.workspace.tip())
    assert verdict(repo)


def test_proposals_to_the_same_file_do_not_land_on_one_approval(house: House) -> None:
    first, second = queued(house, ["src/a.py", "src/part0/f0.py"])
    third = house.approved("src/part0/f0.py", "other\n").id
    house.queue.apply(third)
    states = [house.queue.get(each).state for each in (first, second, third)]
    assert states == ["applied", "applied", "stale"]
    assert "src/part0/f0.py" in str(house.queue.get(third).problem)


def test_a_stale_proposal_can_be_tested_and_approved_anew(house: House, repo: Path) -> None:
    ready = house.approved("src/part0/f0.py", (repo / "src/part0/f0.py").read_text().replace("line 11", "LINE 11"))
    commit(repo, "src/part0/f0.py", (repo / "src/part0/f0.py").read_text().replace("line 0 ", "LINE 0 "))
    assert house.queue.apply(ready.id).state == "stale"
    shown = house.queue.test(ready.id)
    assert (shown.state, len(shown.approvals)) == ("awaiting_approval", 1)
    with pytest.raises(UpgradeStateError):
        house.queue.apply(ready.id)
    assert house.queue.approve(ready.id, by="ann", pin=PIN, seen=shown.seen).state == "approved"
    assert house.queue.apply(ready.id).state == "applied"
    text = (repo / "src/part0/f0.py").read_text()
    assert "LINE 0 " in text
    assert "LINE 11" in text


def test_a_moved_base_is_built_and_tested_anew_under_the_same_approval(house: House, repo: Path) -> None:
    ready = house.approved("src/part0/f0.py", "new\n")
    commit(repo, "src/part1/f1.py", "a person's\n")
    done = house.queue.apply(ready.id)
    assert done.state == "applied"
    assert done.candidate is not None
    assert done.applied_sha != done.candidate.sha
    assert house.workspace.tree(house.workspace.tip()) == house.trials.trees[-1]
    assert len(house.trials.trees) == 2


def test_a_change_of_a_protected_path_below_makes_an_approval_stale(house: House, repo: Path) -> None:
    ready = house.approved("src/part0/f0.py", "new\n")
    commit(repo, "locked/ci.yml", "other tests\n")
    done = house.queue.apply(ready.id)
    assert (done.state, done.shown) == ("stale", "proposed")
    assert "protected" in str(done.problem)


def test_a_rewound_branch_makes_an_approval_stale(house: House, repo: Path) -> None:
    commit(repo, "src/more.py", "more\n")
    ready = house.approved("src/part0/f0.py", "new\n")
    git(repo, "reset", "-q", "--hard", "HEAD~1")
    assert house.queue.apply(ready.id).state == "stale"


def test_a_conflict_is_said_with_the_file(house: House, repo: Path) -> None:
    made = house.propose("src/part0/f0.py", "theirs\n")
    commit(repo, "src/part0/f0.py", "ours\n")
    done = house.queue.test(made.id)
    assert (done.state, done.shown) == ("conflict", "failed")
    assert "src/part0/f0.py" in str(done.problem)


def test_a_branch_that_moves_while_it_lands_is_tried_again(
    house: House, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = house.approved("src/part0/f0.py", "new\n")
    real = Git.run
    pushed: list[str] = []

    def run(self: Git, *args: str, **more: object) -> object:
        if args[0] == "update-ref" and "refs/heads/main" in args and not pushed:
            # Somebody pushes in the very moment before the branch moves.
            tree = git(repo, "rev-parse", "main^{tree}").strip()
            pushed.append(git(repo, "commit-tree", tree, "-p", "main", "-m", "pushed").strip())
            git(repo, "update-ref", "refs/heads/main", pushed[0])
        return real(self, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Git, "run", run)
    assert house.queue.apply(ready.id).state == "applied"
    assert house.workspace.has(pushed[0], house.workspace.tip())
    assert is_exactly(repo, house.workspace.tip())


def test_only_one_process_applies_at_a_time(house: House, opened: Opening) -> None:
    ready = house.approved()
    other = opened()
    with other.workspace.exclusive(0.0):
        done: list[BaseException] = []

        def apply() -> None:
            try:
                house.queue.apply(ready.id, patience_s=0.05)
            except UpgradeBusyError as error:
                done.append(error)

        thread = threading.Thread(target=apply)
        thread.start()
        thread.join()
    assert "keeps its place" in str(done[0])
    assert house.queue.get(ready.id).state == "queued"
    assert [each.state for each in other.queue.work()] == ["applied"]


def test_applying_twice_does_it_once(house: House) -> None:
    done = house.applied()
    tip = house.workspace.tip()
    assert house.queue.apply(done.id).applied_sha == done.applied_sha
    assert house.workspace.tip() == tip


def test_an_error_of_git_in_the_middle_is_mended_by_the_next_try(
    house: House, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = house.approved("src/part0/f0.py", "new\n")
    real = Git.run_in

    def run_in(self: Git, work_tree: Path, *args: str, **more: object) -> object:
        if args[:2] == ("read-tree", "-m"):
            message = "no space left on the device"
            raise GitError(message)
        return real(self, work_tree, *args, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Git, "run_in", run_in)
        with pytest.raises(GitError):
            house.queue.apply(ready.id)
    assert house.queue.get(ready.id).state == "applying"
    assert house.queue.work() == []
    assert house.queue.get(ready.id).state == "applied"
    assert is_exactly(repo, house.workspace.tip())


def test_eight_appliers_against_a_person_who_commits(tmp_path: Path, house: House, repo: Path) -> None:
    appliers, each, commits = 8, 5, 12
    tested = tmp_path / "tested"
    script = Path(__file__).with_name("applier.py")
    home = house.store.path.parent
    running = [
        subprocess.Popen([sys.executable, str(script), str(home), str(repo), str(number), str(each), str(tested)])
        for number in range(appliers)
    ]
    mine = []
    for number in range(commits):
        time.sleep(1.0)
        mine.append(insist(repo, f"mine/{number}.txt", f"kept {number}\n"))
    codes = [process.wait(timeout=300) for process in running]
    assert codes == [0] * appliers
    check_all_landed(house, repo, appliers * each, mine, set(tested.read_text(encoding="utf-8").split()))


def insist(repo: Path, path: str, content: str) -> str:
    """Commit a file, again as long as git is at work, as a person would."""
    place = repo / path
    place.parent.mkdir(exist_ok=True)
    place.write_text(content, encoding="utf-8")
    for words in (("add", "--", path), ("commit", "-q", "-m", path, "--", path)):
        until = time.monotonic() + 60
        while True:
            try:
                git(repo, *words)
                break
            except AssertionError as error:
                if "lock" not in str(error) or time.monotonic() > until:
                    raise
                time.sleep(0.02)
    return git(repo, "log", "-1", "--format=%H", "--", path).strip()


def check_all_landed(house: House, repo: Path, count: int, mine: list[str], tested: set[str]) -> None:
    page = house.queue.list(state="applied", limit=500).proposals
    assert len(page) == count
    tip = house.workspace.tip()
    assert is_exactly(repo, tip)
    for commit_ in [*mine, *(str(proposal.applied_sha) for proposal in page)]:
        assert house.workspace.has(commit_, tip)
    for number in range(len(mine)):
        assert (repo / f"mine/{number}.txt").read_text(encoding="utf-8") == f"kept {number}\n"
    moves = [line.split(" ", 1) for line in git(repo, "log", "-g", "--format=%T %gs", "main").splitlines()]
    landed = [tree for tree, why in moves if why.startswith("upgrade ")]
    assert landed
    assert set(landed) <= tested
