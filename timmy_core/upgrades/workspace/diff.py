"""What lies between two commits: the files with their counts, an id of the patch, and the lines for people to read."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from timmy_core.errors import ProposalError
from timmy_core.upgrades.model import Change, Diff, FileChange, FileDiff, FileStatus, Hunk, Line
from timmy_core.upgrades.workspace.git import Git, sha

MAX_SHOWN_LINES: Final = 20_000
MAX_FILE_LINES: Final = 5_000
MAX_LINE_CHARS: Final = 2_000
CONTEXT: Final = 3
MAX_TEXT: Final = 400_000  # bytes; what is longer is shown by its hunks alone

_STATUS: Final[dict[str, FileStatus]] = {"A": "added", "D": "removed", "M": "changed", "T": "changed"}
_HUNK: Final = re.compile(rb"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)")
_PLAIN: Final = ("--no-renames", "--no-ext-diff", "--no-textconv", "--no-color", "--full-index", "--no-relative")
_NO_MODE: Final = "000000"


@dataclass(frozen=True, slots=True)
class Entry:
    """One path that differs between two trees, as git names it."""

    path: str
    status: FileStatus
    old_mode: str
    new_mode: str
    old: str
    new: str


def entries(git: Git, old: str, new: str) -> list[Entry]:
    """Return the paths that differ between two commits or trees.

    Raises:
        ProposalError: a path is not text.
    """
    raw = git.run("diff-tree", "-r", "-z", "--raw", "--abbrev=40", "--no-renames", sha(old), sha(new)).items
    found = []
    for head, path in zip(raw[::2], raw[1::2], strict=True):
        old_mode, new_mode, before, after, status = head[1:].decode().split()
        found.append(Entry(_text(path), _STATUS[status[0]], old_mode, new_mode, before, after))
    return found


def _text(path: bytes) -> str:
    try:
        return path.decode()
    except UnicodeDecodeError:
        message = f"the path {path!r} is not text in UTF-8; rename the file"
        raise ProposalError(message) from None


def change(git: Git, old: str, new: str, found: Sequence[Entry] | None = None) -> Change:
    """Return what lies between two commits or trees, with an id that the same patch has on any base.

    Args:
        git: the repository.
        old: the one.
        new: the other.
        found: what `entries` says of them, where that is known already.
    """
    found = entries(git, old, new) if found is None else found
    counts = _counts(git, old, new)
    patches = dict(_patches(_by_file(git, old, new, found)))
    files = []
    whole = hashlib.sha256()
    for entry in found:
        added, removed = counts.get(entry.path, (0, 0)) or (0, 0)
        binary = counts.get(entry.path, (0, 0)) is None
        modes = tuple("" if mode == _NO_MODE else mode for mode in (entry.old_mode, entry.new_mode))
        files.append(FileChange(entry.path, entry.status, added, removed, binary, *modes))
        patch = f"{entry.old}{entry.new}" if binary else patches.get(entry.path, "")
        for part in (entry.path, *modes, patch):
            whole.update(f"{len(part.encode())}:{part}".encode())
    return Change(
        tuple(files), sum(each.added for each in files), sum(each.removed for each in files), whole.hexdigest()
    )


def _counts(git: Git, old: str, new: str) -> dict[str, tuple[int, int] | None]:
    """Return the lines added and removed of each path, None for one that is not text."""
    counts: dict[str, tuple[int, int] | None] = {}
    for item in git.run("diff-tree", "-r", "-z", "--numstat", *_PLAIN, sha(old), sha(new)).items:
        added, removed, path = item.split(b"\t", 2)
        counts[_text(path)] = None if added == b"-" else (int(added), int(removed))
    return counts


def _patches(files: Iterable[tuple[str, Sequence[bytes]]]) -> Iterator[tuple[str, str]]:
    """Yield each path with a digest of its lines, exact to the blank, without their places in the file."""
    for path, lines in files:
        digest = hashlib.sha256()
        inside = False
        for line in lines:
            inside = inside or line.startswith(b"@@")
            if inside:
                digest.update(b"@@\n" if line.startswith(b"@@") else line + b"\n")
        yield path, digest.hexdigest()


def _by_file(git: Git, old: str, new: str, found: Sequence[Entry]) -> Iterator[tuple[str, Sequence[bytes]]]:
    """Yield each path with the lines of its patch, in the order of `entries`."""
    names = [entry.path for entry in found]
    out = git.run("diff-tree", "-r", "-p", f"-U{CONTEXT}", *_PLAIN, sha(old), sha(new)).stdout
    # A line inside a hunk begins with a blank, + or -, so only a header can begin like this.
    blocks: list[list[bytes]] = []
    for line in out.split(b"\n"):
        if line.startswith(b"diff --git "):
            blocks.append([])
        if blocks:
            blocks[-1].append(line)
    yield from zip(names, blocks, strict=True)


def diff(git: Git, proposal_id: str, old: str, new: str) -> Diff:
    """Return the lines that people read, cut where there are more than anybody would."""
    found = entries(git, old, new)
    listed = change(git, old, new, found).files
    left = MAX_SHOWN_LINES
    files: list[FileDiff] = []
    for each, (_, lines) in zip(listed, _by_file(git, old, new, found), strict=True):
        room = min(left, MAX_FILE_LINES)
        hunks, used = _hunks(lines, room)
        left -= used
        files.append(FileDiff(each, tuple(hunks), used > room))
    return Diff(proposal_id, old, new, tuple(files), any(file.cut for file in files))


def paths(git: Git, commit: str) -> list[str]:
    """Return every path of a commit, those that are no text in UTF-8 with marks in them."""
    listed = git.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", sha(commit)).items
    return [path.decode(errors="replace") for path in listed]


def text(git: Git, commit: str, path: str) -> str | None:
    """Return a file as it is in a commit; None where it is not there, is no text, or is too long to be shown whole."""
    out = git.run("cat-file", "blob", f"{sha(commit)}:{path}", ok=(0, 128))
    if out.code or len(out.stdout) > MAX_TEXT or b"\0" in out.stdout:
        return None
    return out.stdout.decode(errors="replace")


def _hunks(lines: Sequence[bytes], room: int) -> tuple[list[Hunk], int]:
    """Return the hunks of one file with at most `room` lines, and how many lines there are in all."""
    hunks: list[tuple[int, int, str, list[Line]]] = []
    used = old = new = 0
    for raw in lines:
        match = _HUNK.match(raw)
        if match:
            old, new = int(match[1]), int(match[3])
            hunks.append((old, new, _shown(match[5]), []))
        elif hunks and raw[:1] in {b" ", b"+", b"-"}:
            if used < room:
                hunks[-1][3].append(_line(raw, old, new))
            used += 1
            old += raw[:1] != b"+"
            new += raw[:1] != b"-"
    return [Hunk(was, now, heading, tuple(kept)) for was, now, heading, kept in hunks if kept], used


def _line(raw: bytes, old: int, new: int) -> Line:
    sign: Literal[" ", "+", "-"] = "+" if raw[:1] == b"+" else "-" if raw[:1] == b"-" else " "
    return Line(sign, _shown(raw[1:]), None if sign == "+" else old, None if sign == "-" else new)


def _shown(raw: bytes) -> str:
    text = raw.decode(errors="replace")
    return text if len(text) <= MAX_LINE_CHARS else text[:MAX_LINE_CHARS] + "…"
