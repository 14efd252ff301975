"""Making a proposal: from files, from a diff, from a branch; and that nothing but git objects comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from timmy_core.errors import ProposalError
from timmy_core.upgrades.propose import MAX_PENDING

from .queue_house import House, git, is_exactly


def test_files_a_diff_and_a_branch_make_the_same_patch(house: House, repo: Path) -> None:
    tip = house.workspace.tip()
    files = house.queue.propose(
        description="d", files={"src/part0/f0.py": "x\n", "src/part1/f1.py": None}, proposed_by="t"
    )
    git(repo, "switch", "-q", "-c", "topic")
    (repo / "src/part0/f0.py").write_text("x\n", encoding="utf-8")
    (repo / "src/part1/f1.py").unlink()
    patch = git(repo, "diff")
    git(repo, "commit", "-qam", "topic")
    git(repo, "switch", "-q", "main")
    diff = house.queue.propose(description="d", diff=patch, proposed_by="t")
    branch = house.queue.propose(description="d", branch="topic", proposed_by="t")
    assert {each.patch_id for each in (files, diff, branch)} == {files.patch_id}
    assert {each.base for each in (files, diff, branch)} == {tip}
    assert [each.kind for each in (files, diff, branch)] == ["files", "diff", "branch"]
    assert is_exactly(repo, tip)


def test_a_branch_that_moves_on_does_not_move_its_proposal(house: House, repo: Path) -> None:
    git(repo, "switch", "-q", "-c", "topic")
    (repo / "a.txt").write_text("a\n", encoding="utf-8")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "a")
    made = house.queue.propose(description="d", branch="topic", proposed_by="t")
    (repo / "evil.txt").write_text("added after the approval\n", encoding="utf-8")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "evil")
    git(repo, "switch", "-q", "main")
    shown = house.queue.test(made.id)
    house.queue.approve(made.id, by="ann", pin="2468-1357", seen=shown.seen)
    assert house.queue.apply(made.id).state == "applied"
    assert not (repo / "evil.txt").exists()


def test_a_proposal_says_its_files_and_lines(house: House) -> None:
    made = house.queue.propose(
        description="d", files={"src/part0/f0.py": "x\n", "new.bin": b"\0\1", "src/part1/f1.py": None}, proposed_by="t"
    )
    assert [(each.path, each.status, each.added, each.removed, each.binary) for each in made.files] == [
        ("new.bin", "added", 0, 0, True),
        ("src/part0/f0.py", "changed", 1, 12, False),
        ("src/part1/f1.py", "removed", 0, 12, False),
    ]
    assert (made.added, made.removed, made.shown) == (1, 24, "proposed")


def test_a_file_keeps_its_mode(house: House, repo: Path) -> None:
    (repo / "run.sh").write_text("echo 1\n", encoding="utf-8")
    (repo / "run.sh").chmod(0o755)
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "script")
    house.applied("run.sh", "echo 2\n")
    assert (repo / "run.sh").stat().st_mode & 0o111


def test_a_file_may_take_the_place_of_a_folder(house: House, repo: Path) -> None:
    made = house.queue.propose(description="d", files={"src/part0": "flat\n", "src/part0/f0.py": None}, proposed_by="t")
    house.queue.test(made.id)
    house.queue.approve(made.id, by="ann", pin="2468-1357")
    assert house.queue.apply(made.id).state == "applied"
    assert is_exactly(repo, house.workspace.tip())


def test_the_diff_that_people_read(house: House) -> None:
    made = house.propose("src/part0/f0.py", "line 0 of 0\nother\n")
    diff = house.queue.diff(made.id)
    lines = [(line.sign, line.text, line.old, line.new) for line in diff.files[0].hunks[0].lines]
    assert lines[:2] == [(" ", "line 0 of 0", 1, 1), ("-", "line 1 of 0", 2, None)]
    assert lines[-1] == ("+", "other", None, 2)
    assert not diff.cut


def test_a_long_diff_is_cut_and_says_so(house: House) -> None:
    made = house.propose("src/long.py", "x\n" * 6000)
    diff = house.queue.diff(made.id)
    assert diff.cut
    assert sum(len(hunk.lines) for hunk in diff.files[0].hunks) == 5000


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "exactly one"),
        ({"diff": "x", "branch": "y"}, "exactly one"),
        ({"diff": "not a diff at all\n"}, "does not fit"),
        ({"diff": " "}, "not empty"),
        ({"files": {}}, "changes nothing"),
        ({"files": {"README.md": "# a scratch repository\n"}}, "changes nothing"),
        ({"files": {"gone.py": None}}, "is to be removed"),
        ({"branch": "nowhere"}, "no branch"),
    ],
)
def test_what_is_no_change_is_refused(house: House, repo: Path, given: dict[str, object], words: str) -> None:
    with pytest.raises(ProposalError, match=words):
        house.queue.propose(description="d", proposed_by="t", **given)  # type: ignore[arg-type]
    assert house.queue.list().proposals == ()
    assert git(repo, "for-each-ref", "refs/upgrades") == ""


@pytest.mark.parametrize("description", ["", "   ", "x" * 4001, "bell\a", "right\u202eto left"])
def test_a_description_that_cannot_be_read_is_refused(house: House, description: str) -> None:
    with pytest.raises(ProposalError, match="description"):
        house.queue.propose(description=description, files={"a": "b"}, proposed_by="t")


def test_a_proposer_who_runs_wild_is_stopped(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_PENDING == 1000
    monkeypatch.setattr("timmy_core.upgrades.propose.MAX_PENDING", 2)
    house.propose("a.py")
    house.propose("b.py")
    with pytest.raises(ProposalError, match="wait for a decision"):
        house.propose("c.py")


def test_proposing_goes_on_beside_a_dirty_tree(house: House, repo: Path) -> None:
    (repo / "README.md").write_text("mine\n", encoding="utf-8")
    git(repo, "add", "-A")
    before = git(repo, "status", "--porcelain")
    house.propose("src/part0/f0.py", "x\n")
    assert git(repo, "status", "--porcelain") == before
