"""Work trees that are not as git has them: an upgrade is refused with what to do, and no byte is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from timmy_core.errors import UpgradeBusyError
from timmy_core.upgrades.workspace import worktree

from .queue_house import House, git, snapshot

Mess = Callable[[Path], object]
TARGET = "src/part0/f0.py"


def edited(repo: Path) -> None:
    (repo / TARGET).write_text("a person's work\n", encoding="utf-8")


def edited_elsewhere(repo: Path) -> None:
    (repo / "README.md").write_text("a person's work\n", encoding="utf-8")


def staged(repo: Path) -> None:
    edited(repo)
    git(repo, "add", "-A")


def staged_then_edited_back(repo: Path) -> None:
    before = (repo / TARGET).read_bytes()
    staged(repo)
    (repo / TARGET).write_bytes(before)


def staged_new_file(repo: Path) -> None:
    (repo / "src/mine.py").write_text("mine\n", encoding="utf-8")
    git(repo, "add", "src/mine.py")


def intended_to_add(repo: Path) -> None:
    (repo / "src/mine.py").write_text("mine\n", encoding="utf-8")
    git(repo, "add", "-N", "src/mine.py")


def removed(repo: Path) -> None:
    (repo / TARGET).unlink()


def made_executable(repo: Path) -> None:
    (repo / TARGET).chmod(0o755)


def edited_without_a_trace(repo: Path) -> None:
    """Edit a file so that size and time stay: only its content tells."""
    place = repo / TARGET
    before = place.stat()
    place.write_bytes(place.read_bytes().replace(b"line 1 of", b"LINE 1 of"))
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))


def edited_and_assumed_unchanged(repo: Path) -> None:
    git(repo, "update-index", "--assume-unchanged", TARGET)
    edited(repo)


def edited_and_skipped(repo: Path) -> None:
    git(repo, "update-index", "--skip-worktree", TARGET)
    edited(repo)


def untracked_in_the_way(repo: Path) -> None:
    (repo / "src/new.py").write_text("mine\n", encoding="utf-8")


def ignored_in_the_way(repo: Path) -> None:
    (repo / ".git/info/exclude").write_text("new.py\n", encoding="utf-8")
    untracked_in_the_way(repo)


def folder_in_the_way(repo: Path) -> None:
    (repo / "src/new.py").mkdir()
    (repo / "src/new.py/mine.txt").write_text("mine\n", encoding="utf-8")


def link_in_the_way(repo: Path) -> None:
    (repo / "elsewhere").mkdir()
    (repo / "elsewhere/mine.txt").write_text("mine\n", encoding="utf-8")
    (repo / "fresh").symlink_to("elsewhere", target_is_directory=True)


def turned_into_a_link(repo: Path) -> None:
    (repo / "kept.txt").write_bytes((repo / TARGET).read_bytes())
    (repo / TARGET).unlink()
    (repo / TARGET).symlink_to("../../kept.txt")


def other_branch(repo: Path) -> None:
    git(repo, "switch", "-q", "-c", "work")


def detached(repo: Path) -> None:
    git(repo, "switch", "-q", "--detach")


def merge_under_way(repo: Path) -> None:
    git(repo, "switch", "-q", "-c", "side")
    (repo / "side.txt").write_text("side\n", encoding="utf-8")
    git(repo, "add", "-A")
    git(repo, "commit", "-q", "-m", "side")
    git(repo, "switch", "-q", "main")
    git(repo, "merge", "-q", "--no-ff", "--no-commit", "side")


def conflict_under_way(repo: Path) -> None:
    for branch, words in (("side", "theirs\n"), ("main", "ours\n")):
        git(repo, "switch", "-q", *(["-c"] if branch == "side" else []), branch)
        (repo / TARGET).write_text(words, encoding="utf-8")
        git(repo, "commit", "-qam", branch)
    git(repo, "merge", "-q", "side", check=False)


def bisecting(repo: Path) -> None:
    git(repo, "bisect", "start")


def checked_out_elsewhere(repo: Path) -> None:
    git(repo, "switch", "-q", "-c", "work")
    git(repo, "worktree", "add", "-q", str(repo.parent / "second"), "main")
    (repo.parent / "second" / TARGET).write_text("a person's work\n", encoding="utf-8")


REFUSED: list[tuple[Mess, str]] = [
    (edited, "not committed"),
    (edited_elsewhere, "not committed"),
    (staged, "not committed"),
    (staged_then_edited_back, "not committed"),
    (staged_new_file, "not committed"),
    (intended_to_add, "not committed"),
    (removed, "not committed"),
    (made_executable, "not committed"),
    (edited_without_a_trace, "not "),
    (edited_and_assumed_unchanged, "not to look"),
    (edited_and_skipped, "not to look"),
    (untracked_in_the_way, "in the way"),
    (ignored_in_the_way, "in the way"),
    (folder_in_the_way, "in the way"),
    (link_in_the_way, "in the way"),
    (turned_into_a_link, "not committed"),
    (other_branch, "git switch main"),
    (detached, "git switch main"),
    (merge_under_way, "merge is under way"),
    (bisecting, "bisect is under way"),
    (checked_out_elsewhere, "second too"),
]


def everything(repo: Path) -> tuple[dict[str, bytes], dict[str, str], dict[str, bytes]]:
    """Return every byte of the work tree, every link, and of the second work tree too."""
    links = {str(path.relative_to(repo)): str(path.readlink()) for path in repo.rglob("*") if path.is_symlink()}
    second = repo.parent / "second"
    return snapshot(repo), links, snapshot(second) if second.is_dir() else {}


def proposed(house: House) -> str:
    """Propose, test and approve a change that adds, changes and removes."""
    files = {TARGET: "upgraded\n", "src/new.py": "new\n", "fresh/file.py": "f\n", "src/part2/f2.py": None}
    made = house.queue.test(house.queue.propose(description="mixed", files=files, proposed_by="timmy").id)
    return house.queue.approve(made.id, by="ann", pin="2468-1357").id


@pytest.mark.parametrize(("mess", "words"), REFUSED, ids=[mess.__name__ for mess, _ in REFUSED])
def test_a_tree_that_is_not_as_git_has_it_is_left_as_it_is(house: House, repo: Path, mess: Mess, words: str) -> None:
    ready = proposed(house)
    mess(repo)
    before, index, head = everything(repo), git(repo, "ls-files", "-s", "-v"), git(repo, "rev-parse", "main", "HEAD")
    done = house.queue.apply(ready)
    assert done.state == "blocked_dirty"
    assert done.problem is not None
    assert words in done.problem
    assert everything(repo) == before
    assert git(repo, "ls-files", "-s", "-v") == index
    assert git(repo, "rev-parse", "main", "HEAD") == head
    assert not (repo / ".git/index.lock").exists()


def test_a_conflict_under_way_is_left_as_it_is(house: House, repo: Path) -> None:
    ready = house.approved("src/new.py", "new\n").id
    conflict_under_way(repo)
    before = everything(repo)
    assert house.queue.apply(ready).state == "blocked_dirty"
    assert everything(repo) == before


def test_untracked_and_ignored_files_elsewhere_do_not_matter(house: House, repo: Path) -> None:
    ready = proposed(house)
    (repo / "notes.txt").write_text("mine\n", encoding="utf-8")
    (repo / "src/part2/trace.log").write_text("mine\n", encoding="utf-8")
    assert house.queue.apply(ready).state == "applied"
    assert (repo / "notes.txt").read_text(encoding="utf-8") == "mine\n"
    assert (repo / "src/part2/trace.log").read_text(encoding="utf-8") == "mine\n"


def test_a_file_that_was_only_touched_is_no_edit(house: House, repo: Path) -> None:
    ready = proposed(house)
    os.utime(repo / TARGET, ns=(1, 1))
    assert house.queue.apply(ready).state == "applied"


def test_once_it_is_clean_again_it_lands(house: House, repo: Path) -> None:
    ready = proposed(house)
    edited(repo)
    assert house.queue.apply(ready).state == "blocked_dirty"
    git(repo, "checkout", "-q", "--", TARGET)
    assert house.queue.apply(ready).state == "applied"


def test_an_edit_between_the_look_and_the_write_is_kept_and_the_branch_given_back(
    house: House, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = proposed(house)
    tip = git(repo, "rev-parse", "main")
    real = worktree.WorkTree.check

    def check(self: worktree.WorkTree, old: str, new: str) -> None:
        real(self, old, new)
        edited(repo)

    monkeypatch.setattr(worktree.WorkTree, "check", check)
    assert house.queue.apply(ready).state == "blocked_dirty"
    assert git(repo, "rev-parse", "main") == tip
    assert (repo / TARGET).read_text(encoding="utf-8") == "a person's work\n"
    assert git(repo, "status", "--porcelain") == f" M {TARGET}\n"


def test_git_at_work_is_waited_for_and_then_said(house: House, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = proposed(house)
    monkeypatch.setattr(worktree, "LOCK_PATIENCE_S", 0.1)
    (repo / ".git/index.lock").write_bytes(b"")
    with pytest.raises(UpgradeBusyError, match="git itself is at work"):
        house.queue.apply(ready)
    assert house.queue.get(ready).state == "queued"
    (repo / ".git/index.lock").unlink()
    assert house.queue.apply(ready).state == "applied"


def test_a_dirty_tree_keeps_an_upgrade_from_being_taken_back(house: House, repo: Path) -> None:
    done = house.applied(TARGET, "upgraded\n")
    edited(repo)
    before = everything(repo)
    with pytest.raises(Exception, match="not committed"):
        house.queue.rollback(done.id, by="ann", pin="2468-1357")
    assert everything(repo) == before
    assert house.queue.get(done.id).state == "applied"
