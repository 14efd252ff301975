"""Releases side by side: one rename makes the new one run, and one that is not well is left again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from timmy_core.errors import UpgradeError
from timmy_core.testing import FakeClock
from timmy_core.upgrades.model import Boot
from timmy_core.upgrades.workspace.releases import Releases, healthy
from timmy_core.upgrades.workspace.repository import Repository

from .queue_house import PIN, House, git, is_exactly

Opening = Callable[..., House]
CHECK = (sys.executable, "-c", "import pathlib, sys; sys.exit(pathlib.Path('src/bad.py').exists())")


def releases(house: House) -> Releases:
    assert house.workspace.releases is not None
    return house.workspace.releases


def test_a_landing_makes_a_release_and_moves_current(opened: Opening, repo: Path) -> None:
    house = opened(mode="releases")
    first = house.applied("src/a.py", "a\n")
    current = releases(house).current
    assert current.readlink() == Path(house.workspace.tip())
    assert (current / "src/a.py").read_text(encoding="utf-8") == "a\n"
    assert not (current / ".git").exists()
    assert is_exactly(repo, house.workspace.tip())
    house.applied("src/b.py", "b\n")
    boot = releases(house).state()
    assert (boot.previous, boot.current) == (first.applied_sha, house.workspace.tip())
    assert (current / "src/b.py").exists()


def test_a_service_needs_no_branch_checked_out(opened: Opening, repo: Path) -> None:
    house = opened(mode="releases")
    ready = house.approved("src/a.py", "a\n")
    git(repo, "switch", "-q", "-c", "work")
    (repo / "README.md").write_text("a person's work\n", encoding="utf-8")
    assert house.queue.apply(ready.id).state == "applied"
    assert (releases(house).current / "src/a.py").exists()
    assert not (repo / "src/a.py").exists()
    assert (repo / "README.md").read_text(encoding="utf-8") == "a person's work\n"


def test_a_bare_repository_will_do(tmp_path: Path, repo: Path, clock: FakeClock) -> None:
    bare = tmp_path / "bare.git"
    git(repo, "clone", "-q", "--bare", str(repo), str(bare))
    home = tmp_path / "bare-home"
    home.mkdir()
    house = House(home, bare, clock=clock, mode="releases")
    house.applied("src/a.py", "a\n")
    assert (releases(house).current / "src/a.py").read_text(encoding="utf-8") == "a\n"
    house.close()


def test_a_healthy_release_is_confirmed(opened: Opening) -> None:
    house = opened(mode="releases", health=CHECK)
    done = house.queue.apply(house.approved("src/good.py").id)
    assert (done.state, done.shown) == ("confirmed", "applied")
    assert releases(house).state().confirmed


def test_a_release_that_is_not_well_is_left_and_taken_back(opened: Opening, repo: Path) -> None:
    house = opened(mode="releases", health=CHECK)
    good = house.queue.apply(house.approved("src/good.py").id)
    bad = house.queue.apply(house.approved("src/bad.py").id)
    assert bad.state == "rolled_back"
    assert (releases(house).current / "src/good.py").exists()
    assert not (releases(house).current / "src/bad.py").exists()
    assert house.queue.get(good.id).state == "confirmed"
    assert is_exactly(repo, house.workspace.tip())
    event = house.queue.history(bad.id)[-1]
    assert event.data is not None
    assert (event.data["by"], "health check ended with 1" in event.data["reason"]) == ("health check", True)


def test_in_place_a_change_that_is_not_well_is_taken_back_too(opened: Opening, repo: Path) -> None:
    house = opened(health=CHECK)
    assert house.queue.apply(house.approved("src/bad.py").id).state == "rolled_back"
    assert not (repo / "src/bad.py").exists()
    assert is_exactly(repo, house.workspace.tip())


def test_a_release_that_does_not_start_is_left_after_some_boots(opened: Opening) -> None:
    house = opened(mode="releases")
    first = house.applied("src/a.py")
    house.applied("src/b.py")
    at = releases(house)
    assert [at.boot().boots for _ in range(3)] == list(range(1, 3 + 1))
    assert at.boot().current == first.applied_sha
    assert at.current.readlink() == Path(str(first.applied_sha))


def test_what_a_release_brought_that_never_starts_is_taken_back(opened: Opening, repo: Path) -> None:
    house = opened(mode="releases", max_boots=2)
    first = house.applied("src/a.py")
    second = house.applied("src/b.py")
    house.queue.confirm(second.id)
    third = house.applied("src/c.py")
    for boots in (1, 2):
        house.queue.begin()  # and there it ends, before `started`
        assert house.workspace.release().boots == boots
    house.queue.begin()
    house.queue.recover()
    assert [found.proposal_id for found in house.queue.started()] == [third.id]
    assert house.queue.get(third.id).state == "rolled_back"
    assert [house.queue.get(each.id).state for each in (first, second)] == ["applied", "confirmed"]
    assert not (repo / "src/c.py").exists()
    assert releases(house).current.readlink() == Path(house.workspace.tip())
    event = house.queue.history(third.id)[-1]
    assert event.data is not None
    assert "did not start well" in event.data["reason"]
    # The release without it is one more that has to prove itself.
    assert "started well" in house.queue.started()[0].message
    assert house.queue.started() == []


def test_a_start_asks_the_health_check(opened: Opening) -> None:
    house = opened(mode="releases")
    house.applied("src/a.py")
    good, bad = house.applied("src/good.py"), house.applied("src/bad.py")
    checked = opened(mode="releases", health=CHECK)
    checked.queue.begin()
    assert [found.proposal_id for found in checked.queue.started()] == [bad.id]
    assert house.queue.get(bad.id).state == "rolled_back"
    assert "started well" in checked.queue.started()[0].message
    assert house.queue.get(good.id).state == "confirmed"


def test_a_start_that_is_not_well_and_has_nothing_before_it_says_so(opened: Opening) -> None:
    house = opened(mode="releases", health=CHECK)
    house.queue.apply(house.approved("src/a.py").id)
    at = releases(house)
    at._remember(Boot(at.state().current, confirmed=False))
    (at.current / "src/bad.py").write_text("bad\n", encoding="utf-8")
    (found,) = house.queue.started()
    assert not found.done
    assert "no release before" in found.message


def test_in_place_a_start_counts_nothing(house: House) -> None:
    house.applied()
    house.queue.begin()
    assert house.queue.started() == []


def test_confirming_ends_the_counting(opened: Opening) -> None:
    house = opened(mode="releases")
    house.applied("src/a.py")
    done = house.applied("src/b.py")
    house.queue.confirm(done.id)
    at = releases(house)
    assert [at.boot().boots for _ in range(5)] == [0] * 5
    assert house.queue.get(done.id).state == "confirmed"


def test_going_back_needs_a_release_to_go_back_to(opened: Opening) -> None:
    house = opened(mode="releases")
    house.applied("src/a.py")
    with pytest.raises(UpgradeError, match="no release before"):
        releases(house).revert()


def test_taking_back_makes_a_release_too(opened: Opening) -> None:
    house = opened(mode="releases")
    done = house.applied("src/a.py")
    house.queue.rollback(done.id, by="ann", pin=PIN)
    assert not (releases(house).current / "src/a.py").exists()


def test_what_a_kill_left_half_made_is_swept(opened: Opening) -> None:
    house = opened(mode="releases")
    house.applied("src/a.py")
    half = releases(house).folder / f".{'1' * 40}.part"
    half.mkdir()
    assert any("half of a release" in finding.message for finding in house.queue.recover())
    assert not half.exists()
    assert house.queue.recover() == []


def test_a_kill_between_the_file_and_the_link_is_seen(opened: Opening) -> None:
    house = opened(mode="releases")
    first = house.applied("src/a.py")
    second = house.applied("src/b.py")
    at = releases(house)
    link = at.folder / "again"
    link.symlink_to(str(first.applied_sha))
    link.replace(at.current)
    assert at.state().current == first.applied_sha
    at.install(str(second.applied_sha))
    assert at.state().current == second.applied_sha
    assert at.state().previous == first.applied_sha


def test_old_releases_go_and_the_two_that_count_stay(opened: Opening) -> None:
    house = opened(mode="releases", release_keep=3)
    for number in range(8):
        house.queue.confirm(house.applied(f"src/n{number}.py").id)
    at = releases(house)
    kept = {path.name for path in at.folder.iterdir() if path.is_dir() and not path.is_symlink()}
    assert len(kept) == 3
    assert {at.state().current, at.state().previous} <= kept


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ((sys.executable, "-c", "import sys; sys.exit('not well')"), "not well"),
        ((sys.executable, "-c", "import time; time.sleep(60)"), "did not end"),
        (("/nowhere/check",), "could not be started"),
    ],
)
def test_a_health_check_says_what_is_wrong(tmp_path: Path, command: tuple[str, ...], words: str) -> None:
    assert words in str(healthy(command, tmp_path, 1.0))


def test_the_health_check_learns_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "made-up-key-7")
    asked = "import os, sys; sys.exit('made-up' in str(os.environ))"
    assert healthy((sys.executable, "-c", asked), tmp_path, 30.0) is None


def test_the_branch_checked_out_elsewhere_is_not_left_behind(opened: Opening, repo: Path, tmp_path: Path) -> None:
    house = opened(mode="releases")
    ready = house.approved("src/a.py")
    git(repo, "switch", "-q", "-c", "work")
    git(repo, "worktree", "add", "-q", str(tmp_path / "second"), "main")
    assert house.queue.apply(ready.id).state == "blocked_dirty"


def test_a_linked_work_tree_is_a_repository_too(repo: Path, tmp_path: Path, clock: FakeClock) -> None:
    git(repo, "switch", "-q", "-c", "work")
    second = tmp_path / "second"
    git(repo, "worktree", "add", "-q", str(second), "main")
    home = tmp_path / "second-home"
    home.mkdir()
    house = House(home, second, clock=clock)
    assert isinstance(house.workspace, Repository)
    house.applied("src/a.py", "a\n")
    assert (second / "src/a.py").exists()
    assert not (repo / "src/a.py").exists()
    assert git(second, "status", "--porcelain") == ""
    house.close()
