"""`timmy upgrades`, as a person types it: PINs, proposing, looking, testing, deciding, applying, rolling back."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.upgrades.queue_house import git
from tests.upgrades.quick_repo import PIN, make_quick_repo, quick_toml

from .running import here

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
run = partial(here, "upgrades")
ANN = ("--by", "ann", "--pin-file", "-")


@pytest.fixture
def house(home: Path, tmp_path: Path) -> Path:
    """A home over a scratch repository, in which ann may decide; returns the home."""
    (home / "timmy.toml").write_text(quick_toml(make_quick_repo(tmp_path / "repo")), encoding="utf-8")
    assert run("pin", *ANN, home=home, text=f"{PIN}\n").returncode == 0
    return home


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return tmp_path / "repo"


def propose(home: Path, *words: str, text: str = "") -> dict[str, Any]:
    done = run("propose", "Better words", *words, "--by", "timmy", "--json", home=home, text=text)
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def listed(home: Path, *words: str) -> list[dict[str, Any]]:
    done = run("list", *words, "--json", home=home)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_diff_is_proposed_tested_approved_applied_and_rolled_back(house: Path, repo: Path) -> None:
    (repo / "words.txt").write_text("greener\n", encoding="utf-8")
    diff = git(repo, "diff")
    git(repo, "checkout", "-q", ".")
    made = propose(house, "--diff", "-", text=diff)
    tested = run("test", made["id"], home=house)
    assert (tested.returncode, "awaiting approval" in tested.stdout) == (0, True)
    done = run("approve", made["id"][-8:], *ANN, "--yes", "--consent", "--apply", home=house, text=f"{PIN}\n")
    assert "applied as" in done.stdout, done.stderr
    assert (repo / "words.txt").read_text(encoding="utf-8") == "greener\n"
    shown = run("show", made["id"], home=house).stdout
    assert "Better words" in shown
    assert "+greener" in shown
    back = run("rollback", made["id"], *ANN, "--yes", home=house, text=f"{PIN}\n")
    assert "taken back by" in back.stdout
    assert (repo / "words.txt").read_text(encoding="utf-8") == "green\n"
    assert [one["state"] for one in listed(house, "--all")] == ["rolled_back"]


def test_a_branch_and_whole_files_are_proposed(house: Path, repo: Path, tmp_path: Path) -> None:
    git(repo, "branch", "topic")
    git(repo, "switch", "-q", "topic")
    (repo / "more.txt").write_text("more\n", encoding="utf-8")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "more")
    git(repo, "switch", "-q", "main")
    assert [file["path"] for file in propose(house, "--branch", "topic")["files"]] == ["more.txt"]
    place = tmp_path / "new.txt"
    place.write_text("new\n", encoding="utf-8")
    made = propose(house, "--file", f"docs/new.txt={place}", "--remove", "README.md")
    assert {file["path"]: file["status"] for file in made["files"]} == {"README.md": "removed", "docs/new.txt": "added"}
    assert len(listed(house)) == 2


def test_red_tests_end_with_status_1_and_cannot_be_approved(house: Path, tmp_path: Path) -> None:
    place = tmp_path / "red.txt"
    place.write_text("RED\n", encoding="utf-8")
    made = propose(house, "--file", f"words.txt={place}")
    tested = run("test", made["id"], home=house)
    assert (tested.returncode, "words::test_words" in tested.stdout) == (1, True)
    refused = run("approve", made["id"], *ANN, "--yes", "--consent", home=house, text=f"{PIN}\n")
    assert (refused.returncode, "red" in refused.stderr) == (1, True)


def test_a_rejection_needs_the_right_pin(house: Path, tmp_path: Path) -> None:
    place = tmp_path / "new.txt"
    place.write_text("new\n", encoding="utf-8")
    made = propose(house, "--file", f"new.txt={place}")
    wrong = run("reject", made["id"], "Not now.", *ANN, home=house, text="not-the-pin\n")
    assert (wrong.returncode, "wrong" in wrong.stderr) == (1, True)
    assert "rejected" in run("reject", made["id"], "Not now.", *ANN, home=house, text=f"{PIN}\n").stdout
    assert listed(house) == []
    assert [one["state"] for one in listed(house, "--state", "rejected")] == ["rejected"]


def test_saying_no_to_the_question_changes_nothing(house: Path, tmp_path: Path) -> None:
    place = tmp_path / "new.txt"
    place.write_text("new\n", encoding="utf-8")
    made = propose(house, "--file", f"new.txt={place}")
    run("test", made["id"], home=house)
    done = run("approve", made["id"], "--by", "ann", home=house, text="n\n")
    assert (done.returncode, "nothing was changed" in done.stderr) == (1, True)


def test_people_are_listed_let_in_and_removed(house: Path, tmp_path: Path) -> None:
    for name, pin in (("ben", "red-kite-77"), ("ann", PIN)):
        (tmp_path / name).write_text(f"{pin}\n", encoding="utf-8")
    files = ("--pin-file", str(tmp_path / "ben"), "--admitting-file", str(tmp_path / "ann"))
    assert run("pin", "--by", "ben", *files, home=house).returncode == 1
    assert run("pin", "--by", "ben", *files, "--admitted-by", "ann", home=house).returncode == 0
    assert run("people", home=house).stdout.split() == ["ann", "ben"]
    assert run("people", "--remove", "ben", *ANN, home=house, text=f"{PIN}\n").stdout.split() == ["ann"]


def test_recovering_without_a_crash_says_so(house: Path) -> None:
    assert "nothing to mend" in run("recover", home=house).stdout


def test_without_a_repository_it_says_what_to_do(home: Path) -> None:
    done = run("list", home=home)
    assert (done.returncode, "name one as `repo`" in done.stderr) == (1, True)


def test_an_id_that_fits_none_is_said(house: Path) -> None:
    assert "no proposal's id begins or ends with 'zz'" in run("show", "zz", home=house).stderr
