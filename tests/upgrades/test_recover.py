"""What a crash left, case by case; the kills themselves are in test_kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from timmy_core.errors import GitError, RecoveryError
from timmy_core.testing import FakeClock
from timmy_core.upgrades.workspace.git import Git
from timmy_core.upgrades.workspace.worktree import WorkTree

from .queue_house import PIN, House, git, is_exactly

Opening = Callable[..., House]


def stopped(house: House, proposal_id: str, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Apply, and stop as a full disk would, before the files are written or before the index is."""

    def stop(*_args: object, **_more: object) -> None:
        message = "the disk is full"
        raise GitError(message)

    with monkeypatch.context() as patched:
        patched.setattr(WorkTree, where, stop)
        with pytest.raises(GitError):
            house.queue.apply(proposal_id)


def test_nothing_to_recover_is_nothing_done(house: House) -> None:
    house.applied()
    assert house.queue.recover() == []


@pytest.mark.parametrize("where", ["write", "_settle"])
def test_what_was_behind_the_commit_point_is_finished(
    house: House, repo: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    ready = house.approved("src/part0/f0.py", "new\n")
    stopped(house, ready.id, monkeypatch, where)
    found = house.queue.recover()
    assert [(finding.proposal_id, finding.done) for finding in found] == [(ready.id, True)]
    assert house.queue.get(ready.id).state == "applied"
    assert is_exactly(repo, house.workspace.tip())
    assert house.queue.recover() == []


def test_a_file_that_a_person_edited_since_is_never_written_over(
    house: House, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = house.approved("src/part0/f0.py", "new\n")
    stopped(house, ready.id, monkeypatch, "write")
    (repo / "src/part0/f0.py").write_text("a person's rescue\n", encoding="utf-8")
    found = house.queue.recover()
    assert [finding.done for finding in found] == [False]
    assert "edited it since the crash" in found[0].message
    assert (repo / "src/part0/f0.py").read_text(encoding="utf-8") == "a person's rescue\n"
    with pytest.raises(RecoveryError, match="edited it since"):
        house.queue.work()
    (repo / "src/part0/f0.py").unlink()
    assert all(finding.done for finding in house.queue.recover())
    assert is_exactly(repo, house.workspace.tip())


def test_an_edit_after_a_landing_that_was_only_not_told_of_stays(
    house: House, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = house.approved("src/part0/f0.py", "new\n")
    with monkeypatch.context() as patched:
        patched.setattr(house.queue._rows, "end", lambda *_args: (_ for _ in ()).throw(GitError("cut")))
        with pytest.raises(GitError):
            house.queue.apply(ready.id)
    (repo / "src/part0/f0.py").write_text("a person's next work\n", encoding="utf-8")
    assert all(finding.done for finding in house.queue.recover())
    assert house.queue.get(ready.id).state == "applied"
    assert (repo / "src/part0/f0.py").read_text(encoding="utf-8") == "a person's next work\n"


def test_a_lock_that_a_person_removed_does_not_hide_what_is_missing(
    house: House, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = house.approved("src/part0/f0.py", "new\n")
    stopped(house, ready.id, monkeypatch, "write")
    (repo / ".git/index.lock").unlink()
    house.queue.recover()
    assert is_exactly(repo, house.workspace.tip())


def test_somebody_elses_lock_is_left_alone(house: House, repo: Path) -> None:
    (repo / ".git/index.lock").write_bytes(b"DIRC")
    assert house.queue.recover() == []
    assert (repo / ".git/index.lock").read_bytes() == b"DIRC"


def test_a_ref_lock_that_a_killed_git_left_is_removed(house: House, repo: Path) -> None:
    made = house.propose()
    (repo / ".git/refs/heads/main.lock").touch()
    (repo / f".git/refs/upgrades/{made.id}/head.lock").touch()
    assert len(house.queue.recover()) == 2
    assert house.queue.recover() == []
    assert not list((repo / ".git/refs").rglob("*.lock"))


def test_tests_that_were_cut_off_can_run_again(opened: Opening) -> None:
    house = opened()
    made = house.propose()
    house.queue._rows.move(made.id, ("proposed",), "testing", "upgrade.tests_started", {})
    assert [finding.proposal_id for finding in house.queue.recover()] == [made.id]
    assert house.queue.test(made.id).state == "awaiting_approval"


def test_tests_that_still_run_are_left_alone(house: House) -> None:
    made = house.propose()
    house.queue._rows.move(made.id, ("proposed",), "testing", "upgrade.tests_started", {})
    with house.workspace.testing(made.id):
        assert house.queue.recover() == []
    assert house.queue.get(made.id).state == "testing"


def test_an_export_that_is_in_use_is_left_alone(house: House, opened: Opening) -> None:
    with house.workspace.export(house.workspace.tip()) as folder:
        assert opened().queue.recover() == []
        assert folder.is_dir()


def test_refs_that_were_never_written_down_are_given_up_after_an_hour(house: House, clock: FakeClock) -> None:
    lost = f"{1:012x}{'a' * 20}"
    house.workspace.keep("head", {lost: house.workspace.tip()})
    young = f"{int(clock.now().timestamp() * 1000):012x}{'b' * 20}"
    house.workspace.keep("head", {young: house.workspace.tip()})
    assert [finding.proposal_id for finding in house.queue.recover()] == [lost]
    assert house.workspace.kept() == {young}


def test_a_rollback_that_was_cut_off_is_finished(house: House, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = house.applied("src/part0/f0.py", "new\n")
    real = Git.run_in

    def run_in(self: Git, work_tree: Path, *args: str, **more: object) -> object:
        if args[:2] == ("read-tree", "-m"):
            message = "cut"
            raise GitError(message)
        return real(self, work_tree, *args, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Git, "run_in", run_in)
        with pytest.raises(GitError):
            house.queue.rollback(done.id, by="ann", pin=PIN)
    assert house.queue.get(done.id).state == "applied"
    house.queue.recover()
    assert house.queue.get(done.id).state == "rolled_back"
    assert is_exactly(repo, house.workspace.tip())
    assert git(repo, "diff", "--stat", "main~2", "main") == ""
