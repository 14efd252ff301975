"""The candidate: the same inputs give the same commit, and nothing lying about changes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from timmy_core.errors import SandboxError, UpgradeStateError
from timmy_core.testing import FakeClock

from .queue_house import PIN, House, git

Opening = Callable[..., House]


def test_the_same_inputs_give_the_same_commit(house: House, clock: FakeClock) -> None:
    made = house.propose()
    tip = house.workspace.tip()
    first = house.workspace.candidate(tip, made.head, "words")
    clock.advance(5000)
    assert house.workspace.candidate(tip, made.head, "words").sha == first.sha


def test_attributes_in_the_work_tree_do_not_change_the_merge(house: House, repo: Path) -> None:
    text = (repo / "src/part0/f0.py").read_text(encoding="utf-8")
    made = house.propose("src/part0/f0.py", text.replace("line 11", "theirs 11"))
    (repo / "src/part0/f0.py").write_text(text.replace("line 11", "ours 11"), encoding="utf-8")
    git(repo, "commit", "-qam", "ours")
    (repo / ".gitattributes").write_text("* merge=union\n", encoding="utf-8")
    assert house.queue.test(made.id).state == "conflict"


def test_attributes_do_not_leave_files_out_of_what_is_tested(house: House, repo: Path) -> None:
    (repo / ".gitattributes").write_text("src/** export-ignore\nREADME.md export-subst\n", encoding="utf-8")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "attributes")
    with house.workspace.export(house.workspace.tip()) as folder:
        assert (folder / "src/part0/f0.py").is_file()
        assert not (folder / ".git").exists()
    assert not folder.exists()


def test_hooks_filters_and_monitors_of_the_repository_do_not_run(house: House, repo: Path, tmp_path: Path) -> None:
    trap = tmp_path / "ran"
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "post-merge", "pre-commit"):
        place = repo / ".git/hooks" / hook
        place.write_text(f"#!/bin/sh\necho {hook} >> {trap}\n", encoding="utf-8")
        place.chmod(0o755)
    git(repo, "config", "core.fsmonitor", f"echo monitor >> {trap}; false")
    house.applied("src/part0/f0.py", "new\n")
    assert not trap.exists()


def test_git_learns_nothing_of_this_process(house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "made-up-key-7")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "/bin/false")
    found = tmp_path / "environment"
    spy = tmp_path / "git"
    spy.write_text(f'#!/bin/sh\nenv >> {found}\nexec /usr/bin/git "$@"\n', encoding="utf-8")
    spy.chmod(0o755)
    monkeypatch.setattr(house.workspace._git, "_program", str(spy))
    house.applied()
    said = found.read_text(encoding="utf-8")
    assert "made-up-key-7" not in said
    assert "/nowhere" not in said
    assert "GIT_EXTERNAL_DIFF" not in said


def test_every_command_of_git_is_durable_and_runs_no_program_of_the_repository(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = tmp_path / "commands"
    spy = tmp_path / "git"
    spy.write_text(
        f'#!/bin/sh\necho "$GIT_CONFIG_NOSYSTEM $GIT_CONFIG_GLOBAL $GIT_NO_REPLACE_OBJECTS $*" >> {found}\n'
        'exec /usr/bin/git "$@"\n',
        encoding="utf-8",
    )
    spy.chmod(0o755)
    monkeypatch.setattr(house.workspace._git, "_program", str(spy))
    done = house.applied()
    house.queue.diff(done.id)
    house.queue.rollback(done.id, by="ann", pin=PIN)
    house.queue.recover()
    commands = found.read_text(encoding="utf-8").splitlines()
    assert len(commands) > 50
    for wanted in ("core.hooksPath=/dev/null", "core.fsync=all", "gc.auto=0", "core.fsmonitor=false"):
        assert [line for line in commands if f"-c {wanted} " not in line] == []
    assert [line for line in commands if not line.startswith("1 /dev/null 1 ")] == []


def test_green_results_are_remembered_and_red_ones_are_not(opened: Opening) -> None:
    house = opened(verdict=lambda _export: len(house.trials.trees) > 1)
    made = house.propose()
    assert house.queue.test(made.id).state == "test_failed"
    assert house.queue.test(made.id).state == "awaiting_approval"
    assert len(house.trials.trees) == 2


def test_two_cannot_test_the_same_proposal_at_once(house: House) -> None:
    made = house.propose()
    with house.workspace.testing(made.id) as mine:
        assert mine
        with pytest.raises(UpgradeStateError, match="running"):
            house.queue.test(made.id)


def test_tests_that_cannot_run_leave_a_proposal_failed_with_the_reason(opened: Opening) -> None:
    def broken(_export: Path) -> bool:
        message = "there is no sandbox here; install bubblewrap"
        raise SandboxError(message)

    house = opened(verdict=broken)
    made = house.propose()
    with pytest.raises(SandboxError):
        house.queue.test(made.id)
    assert (house.queue.get(made.id).state, house.queue.get(made.id).problem) == (
        "failed", "there is no sandbox here; install bubblewrap",
    )  # fmt: skip


def test_tests_that_are_stopped_leave_a_proposal_as_it_was(opened: Opening) -> None:
    def stopped(_export: Path) -> bool:
        raise KeyboardInterrupt

    house = opened(verdict=stopped)
    made = house.propose()
    with pytest.raises(KeyboardInterrupt):
        house.queue.test(made.id)
    assert house.queue.get(made.id).state == "proposed"
