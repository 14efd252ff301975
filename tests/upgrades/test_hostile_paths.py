"""Proposals that try to reach further than plain files in the tree: each is refused, and nothing of it is kept."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timmy_core.errors import ProposalError
from timmy_core.upgrades.workspace.checks import check_path, folded

from .queue_house import House, git

PATHS = [
    "../outside.py", "src/../../outside.py", "/etc/passwd", "src//a.py", "./a.py", "src/./a.py", "",
    ".git/hooks/post-checkout", ".git/config", "src/.git/config", ".GIT/config", ".Git/hooks/x", "git~1/config",
    ".git /config", ".git./config", ".g\u200cit/config", ".gi\u0301t\u200d/config", "\uff0egit/config",
    ".gitmodules", "sub/.gitmodules", ".GITMODULES",
    "-f", "--force", "src/-rf", "--upload-pack=touch /tmp/x",
    "a\nb.py", "a\tb.py", "a\0b.py", "a\x1b[2Jb.py", "zero\u200bwidth.py", "right\u202eto-left.py", "bom\ufeff.py",
    "back\\slash.py", "C:/windows.py", "file.py:stream", "trailing ", " leading", "dot.", "x" * 300, "a/" * 600 + "b",
    "half\udc80surrogate.py",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=[ascii(path)[1:40] for path in PATHS])
def test_a_path_that_reaches_further_is_refused(house: House, repo: Path, path: str) -> None:
    config = (repo / ".git/config").read_bytes()
    with pytest.raises(ProposalError):
        house.propose(path, "x\n")
    assert house.queue.list().proposals == ()
    assert git(repo, "for-each-ref", "refs/upgrades") == ""
    assert (repo / ".git/config").read_bytes() == config


def diff_of(path: str, mode: str = "100644", content: str = "x") -> str:
    header = f"diff --git a/{path} b/{path}\nnew file mode {mode}\n--- /dev/null\n+++ b/{path}\n"
    return f"{header}@@ -0,0 +1 @@\n+{content}\n"


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        (diff_of("../outside.py"), "does not fit"),
        (diff_of("src/../../x"), "does not fit"),
        (diff_of(".git/hooks/post-checkout", "100755"), "does not fit|git's own"),
        (diff_of(".GIT/config"), "does not fit|git's own"),
        (diff_of("link", "120000", "/etc/passwd"), "symbolic link"),
        (diff_of("module", "160000", f"Subproject commit {'1' * 40}"), "submodule|does not fit"),
        (diff_of("run.sh", "100755"), "executable"),
        (diff_of("-x"), "option"),
        (diff_of(".gitmodules"), "git's own"),
        ("diff --git a/README.md b/README.md\nold mode 100644\nnew mode 100755\n", "executable"),
        ("x" * (8 * 1024 * 1024 + 1), "split it"),
    ],
)
def test_a_diff_that_reaches_further_is_refused(house: House, repo: Path, patch: str, words: str) -> None:
    with pytest.raises(ProposalError, match=words):
        house.queue.propose(description="d", diff=patch, proposed_by="t")
    assert not (repo.parent / "outside.py").exists()
    assert git(repo, "for-each-ref", "refs/upgrades") == ""


def commit_tree(repo: Path, entries: str) -> None:
    """Make a branch `topic` whose tree holds entries that no porcelain would write."""
    tree = git(repo, "mktree", stdin=git(repo, "ls-tree", "main") + entries).strip()
    commit = git(repo, "commit-tree", tree, "-p", "main", "-m", "hostile").strip()
    git(repo, "update-ref", "refs/heads/topic", commit)


@pytest.mark.parametrize(
    ("mode", "name", "words"),
    [
        ("120000", "link", "symbolic link"),
        ("100755", "run.sh", "executable"),
        ("100644", "--force", "option"),
        ("100644", ".gitmodules", "git's own"),
        ("100644", "readme.md", "letter case"),
        ("100644", "zero\u200bwidth", "invisible"),
    ],
)
def test_a_branch_that_reaches_further_is_refused(house: House, repo: Path, mode: str, name: str, words: str) -> None:
    blob = git(repo, "hash-object", "-w", "--stdin", stdin="/etc/passwd").strip()
    commit_tree(repo, f"{mode} blob {blob}\t{name}\n")
    with pytest.raises(ProposalError, match=words):
        house.queue.propose(description="d", branch="topic", proposed_by="t")


def test_a_submodule_on_a_branch_is_refused(house: House, repo: Path) -> None:
    commit_tree(repo, f"160000 commit {git(repo, 'rev-parse', 'main').strip()}\tmodule\n")
    with pytest.raises(ProposalError, match="submodule"):
        house.queue.propose(description="d", branch="topic", proposed_by="t")


def test_a_path_that_is_not_text_is_refused(house: House, repo: Path) -> None:
    name = os.fsdecode(b"src/\xff.py")
    (repo / name).write_text("x", encoding="utf-8")
    git(repo, "switch", "-q", "-c", "topic")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "topic")
    git(repo, "switch", "-q", "main")
    with pytest.raises(ProposalError, match="not text"):
        house.queue.propose(description="d", branch="topic", proposed_by="t")


@pytest.mark.parametrize(
    "name", ["-f", "--all", "main..topic", "@{-1}", "HEAD~1", "refs/heads/../../x", "a b", "$(touch x)", "main^{tree}"]
)
def test_a_branch_named_like_an_option_or_a_command_is_refused(house: House, name: str) -> None:
    with pytest.raises(ProposalError, match="no branch"):
        house.queue.propose(description="d", branch=name, proposed_by="t")


@pytest.mark.parametrize("twin", ["SRC/part0/new.py", "readme.MD", "src/part0/F0.py", "Src/other.py"])
def test_a_twin_by_letter_case_is_refused(house: House, twin: str) -> None:
    with pytest.raises(ProposalError, match="letter case"):
        house.propose(twin, "x\n")


def test_renaming_to_another_letter_case_is_no_twin(house: House) -> None:
    made = house.queue.propose(
        description="d", files={"README.md": None, "Readme.md": "# a scratch repository\n"}, proposed_by="t"
    )
    assert made.state == "proposed"


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"big.bin": b"\0" * (1024 * 1024 + 1)}, "1,048,576"),
        ({"long.txt": "x\n" * 10_001}, "10,001 lines"),
        ({f"many/f{number}.txt": "x\n" for number in range(1_001)}, "1,001 files"),
    ],
    ids=["bytes", "lines", "files"],
)
def test_what_nobody_could_read_is_refused(house: House, files: dict[str, str | bytes], words: str) -> None:
    with pytest.raises(ProposalError, match=words):
        house.queue.propose(description="d", files=files, proposed_by="t")


@given(st.text(min_size=1, max_size=12))
def test_no_accepted_path_is_one_of_gits_own_on_any_file_system(name: str) -> None:
    for path in (name, f"{name}/config", f".git{name}", f"{name}.git"):
        try:
            check_path(path)
        except ProposalError:
            continue
        assert path.isprintable()
        assert not path.startswith(("/", "-"))
        assert {".", "..", "", ".git"}.isdisjoint(folded(part).strip(" .") and folded(part) for part in path.split("/"))
