"""What no proposal may do to a repository, whoever made it and however it was handed in."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from timmy_core.errors import ProposalError
from timmy_core.upgrades.model import FileChange

MAX_LINES: Final = 10_000  # added and removed together
MAX_FILES: Final = 1_000
MAX_FILE_BYTES: Final = 1024 * 1024
MAX_DIFF_BYTES: Final = 8 * 1024 * 1024
MAX_PATH_BYTES: Final = 1024
MAX_PART_BYTES: Final = 255

_FILE: Final = "100644"
_EXECUTABLE: Final = "100755"
_KINDS: Final = {"120000": "a symbolic link", "160000": "a submodule", "040000": "a folder"}
# Cc control, Cf invisible (zero width, direction), Cs surrogates, Co private, Cn unassigned, Zl and Zp line ends.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_GIT_NAMES: Final = frozenset({".git", "git~1", ".gitmodules"})
# In these, the marks that some file systems take away before they look a name up are letters all the same.
_TRIMMED: Final = " ."


def check_path(path: str) -> None:
    """Check one path of a proposal.

    Raises:
        ProposalError: it could reach outside the tree, into git's own files, or look like something it is not.
    """
    problem = _path_problem(path)
    if problem:
        message = f"the path {path[:120]!r} {problem}; name a plain file inside the repository, such as 'src/app.py'"
        raise ProposalError(message)


def _path_problem(path: str) -> str | None:
    if not path or len(path.encode(errors="surrogatepass")) > MAX_PATH_BYTES:
        return f"is empty or longer than {MAX_PATH_BYTES:,} bytes"
    if any(unicodedata.category(letter) in _UNSEEN for letter in path):
        return "has control characters, invisible characters or bytes that are not text"
    if "\\" in path or ":" in path:
        return "has a backslash or a colon, which some systems take for a folder or a stream"
    for part in path.split("/"):
        problem = _part_problem(part)
        if problem:
            return problem
    return None


def _part_problem(part: str) -> str | None:
    if part in {"", ".", ".."}:
        return "leaves its folder, or has an empty part"
    if len(part.encode()) > MAX_PART_BYTES:
        return f"has a part longer than {MAX_PART_BYTES} bytes"
    if part.startswith("-"):
        return "has a part that begins with '-', which programs take for an option"
    if folded(part).rstrip(_TRIMMED) in _GIT_NAMES or folded(part).startswith(("git~", ".git~")):
        return "names git's own files"
    if part != part.strip() or part.endswith("."):
        return "has a part with a blank at an end, or a dot at its end"
    return None


def folded(path: str) -> str:
    """Return a path as a file system that ignores case and composition sees it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKC", path).casefold())


def check_files(files: Sequence[FileChange]) -> None:
    """Check what a proposal changes, file by file.

    Raises:
        ProposalError: it is empty, too large, or has a kind of file that may not be proposed.
    """
    if not files:
        message = "the proposal changes nothing; it has to differ from the branch in at least one file"
        raise ProposalError(message)
    if len(files) > MAX_FILES:
        message = f"the proposal touches {len(files):,} files; at most {MAX_FILES:,} can be read by anybody: split it"
        raise ProposalError(message)
    lines = sum(change.added + change.removed for change in files)
    if lines > MAX_LINES:
        message = f"the proposal changes {lines:,} lines; at most {MAX_LINES:,} can be read by anybody: split it"
        raise ProposalError(message)
    for change in files:
        check_path(change.path)
        _check_modes(change)


def _check_modes(change: FileChange) -> None:
    for mode in (change.old_mode, change.new_mode):
        kind = _KINDS.get(mode)
        if kind:
            message = f"{change.path} is {kind}; a proposal may add, change and remove plain files only"
            raise ProposalError(message)
    if change.new_mode == _EXECUTABLE and change.old_mode != _EXECUTABLE:
        message = f"{change.path} would become executable; leave its mode at {_FILE} and let a person set the bit"
        raise ProposalError(message)


def check_sizes(sizes: Iterable[tuple[str, int]]) -> None:
    """Check how large the proposed files are.

    Raises:
        ProposalError: one is too large.
    """
    for path, size in sizes:
        if size > MAX_FILE_BYTES:
            message = f"{path} would be {size:,} bytes; at most {MAX_FILE_BYTES:,} a file may be proposed"
            raise ProposalError(message)


def check_twins(added: Iterable[str], present: Iterable[str]) -> None:
    """Check that no added path, or folder of it, differs from another by letter case or composition alone.

    Raises:
        ProposalError: one does; on some file systems the two are the same file.
    """
    known: dict[str, str] = {}
    for path in present:
        for name in _with_folders(path):
            known.setdefault(folded(name), name)
    for path in added:
        for name in _with_folders(path):
            other = known.setdefault(folded(name), name)
            if other != name:
                message = f"{path} differs from {other!r} by letter case alone; use the name that is there already"
                raise ProposalError(message)


def _with_folders(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
