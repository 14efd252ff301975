"""Taking back: a new commit, tested where it is a new tree, and a patch that is watched from then on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from timmy_core.errors import MergeConflictError, PinError, UpgradeStateError
from timmy_core.testing import FakeClock

from .queue_house import PIN, House, git, is_exactly

Opening = Callable[..., House]


def test_taking_back_is_a_new_commit_with_the_tree_of_before(house: House, repo: Path) -> None:
    before = house.workspace.tree(house.workspace.tip())
    done = house.applied("src/part0/f0.py", "new\n")
    back = house.queue.rollback(done.id, by="ann", pin=PIN)
    assert (back.state, back.shown, back.rolled_back_sha) == ("rolled_back", "failed", house.workspace.tip())
    assert house.workspace.tree(house.workspace.tip()) == before
    assert house.workspace.has(str(done.applied_sha), house.workspace.tip())
    assert is_exactly(repo, house.workspace.tip())
    assert house.types(back)[-1] == "rolled_back"


def test_one_of_a_batch_is_taken_back_alone(house: House, repo: Path) -> None:
    ready = [house.approved(f"src/n{number}.py").id for number in range(3)]
    for each in ready:
        house.queue.enqueue(each)
    house.queue.work()
    house.queue.rollback(ready[1], by="ann", pin=PIN)
    assert [(repo / f"src/n{number}.py").exists() for number in range(3)] == [True, False, True]
    assert is_exactly(repo, house.workspace.tip())
    assert house.workspace.tree(house.workspace.tip()) == house.trials.trees[-1]


def test_a_persons_later_commits_stay(house: House, repo: Path) -> None:
    done = house.applied("src/part0/f0.py", "new\n")
    (repo / "README.md").write_text("mine\n", encoding="utf-8")
    git(repo, "commit", "-qam", "mine")
    house.queue.rollback(done.id, by="ann", pin=PIN)
    assert (repo / "README.md").read_text(encoding="utf-8") == "mine\n"
    assert "line 0 of 0" in (repo / "src/part0/f0.py").read_text(encoding="utf-8")


def test_what_later_changes_stand_on_is_not_taken_back(house: House, repo: Path) -> None:
    done = house.applied("src/part0/f0.py", "new\n")
    (repo / "src/part0/f0.py").write_text("newer\n", encoding="utf-8")
    git(repo, "commit", "-qam", "newer")
    tip = house.workspace.tip()
    with pytest.raises(MergeConflictError, match=r"f0\.py"):
        house.queue.rollback(done.id, by="ann", pin=PIN)
    assert (house.workspace.tip(), house.queue.get(done.id).state) == (tip, "applied")


def test_a_branch_that_is_red_without_it_is_not_left_so(opened: Opening) -> None:
    house = opened(verdict=lambda export: (export / "src/a.py").exists() or not (export / "src/b.py").exists())
    first = house.applied("src/a.py")
    house.applied("src/b.py")
    with pytest.raises(UpgradeStateError, match="may need it"):
        house.queue.rollback(first.id, by="ann", pin=PIN)
    assert house.queue.rollback(first.id, by="ann", pin=PIN, untested=True).state == "rolled_back"


def test_its_patch_is_quarantined_and_never_low_risk_again(house: House) -> None:
    done = house.applied("docs/a.md", "words\n")
    assert (done.risk, done.quarantined) == ("low", False)
    house.queue.rollback(done.id, by="ann", pin=PIN)
    again = house.propose("docs/a.md", "words\n")
    assert again.quarantined
    assert again.risk != "low"


def test_the_quarantine_outlives_the_history(house: House, clock: FakeClock) -> None:
    done = house.applied("docs/a.md", "words\n")
    house.queue.rollback(done.id, by="ann", pin=PIN)
    clock.advance(timedelta(days=91).total_seconds())
    assert house.queue.prune() == 1
    assert house.propose("docs/a.md", "words\n").quarantined


def test_taking_back_twice_does_it_once(house: House) -> None:
    done = house.applied()
    house.queue.rollback(done.id, by="ann", pin=PIN)
    tip = house.workspace.tip()
    assert house.queue.rollback(done.id, by="ann", pin=PIN).state == "rolled_back"
    assert house.workspace.tip() == tip


def test_only_what_was_applied_can_be_taken_back(house: House) -> None:
    with pytest.raises(UpgradeStateError, match="only what landed"):
        house.queue.rollback(house.propose().id, by="ann", pin=PIN)


def test_taking_back_asks_for_the_pin(house: House) -> None:
    done = house.applied()
    with pytest.raises(PinError):
        house.queue.rollback(done.id, by="ann", pin="wrong")
    assert house.queue.get(done.id).state == "applied"


def test_what_was_taken_back_can_be_proposed_and_applied_again(house: House, repo: Path) -> None:
    done = house.applied("src/part0/f0.py", "new\n")
    house.queue.rollback(done.id, by="ann", pin=PIN)
    made = house.queue.test(house.propose("src/part0/f0.py", "new\n").id)
    for name in ("ann", "ben"):
        if made.state == "awaiting_approval":
            made = house.queue.approve(made.id, by=name, pin=PIN)
    assert house.queue.apply(made.id).state == "applied"
    assert (repo / "src/part0/f0.py").read_text(encoding="utf-8") == "new\n"
