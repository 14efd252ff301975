"""Everything that is made in git's object store alone: a proposal's commit, the merge that would land, its undoing."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from timmy_core.clock import Clock, to_us
from timmy_core.errors import GitError, MergeConflictError, ProposalError
from timmy_core.upgrades.model import Candidate, Change, Head
from timmy_core.upgrades.workspace import checks
from timmy_core.upgrades.workspace.diff import Entry, change, entries
from timmy_core.upgrades.workspace.git import ZERO, Git, sha

REFS: Final = "refs/upgrades/"
_FILE: Final = "100644"
_MAX_NAMED: Final = 5
# Making many small files waits for the disk more than it works, so several of git's own workers do it.
_SIDE_BY_SIDE: Final = ("-c", "checkout.workers=2", "-c", "checkout.thresholdForParallelism=100")


class Objects:
    """Makes commits with a private index; no work tree, no branch and no index of anybody is touched."""

    def __init__(self, git: Git, branch: str, clock: Clock) -> None:
        self._git = git
        self._clock = clock
        self.ref = f"refs/heads/{branch}"

    def tip(self) -> str:
        """Return the commit that the branch is at."""
        return self._git.resolve(self.ref)

    # Proposals -----------------------------------------------------------------------------------------------

    def head_of_diff(self, proposal_id: str, diff: str, message: str) -> Head:
        """Make a proposal's commit of a diff.

        Raises:
            ProposalError: it is too large, does not fit the branch, or does what no proposal may.
        """
        raw = diff.encode(errors="surrogateescape")
        if len(raw) > checks.MAX_DIFF_BYTES:
            text = f"the diff is {len(raw):,} bytes; at most {checks.MAX_DIFF_BYTES:,} can be read by anybody: split it"
            raise ProposalError(text)
        base = self.tip()
        with self._index(base) as env:
            asked = ("apply", "--cached", "--whitespace=nowarn", "-p1", "-")
            out = self._git.run(*asked, stdin=raw if raw.endswith(b"\n") else raw + b"\n", env=env, ok=(0, 1, 128))
            if out.code:
                text = (
                    f"the diff does not fit {self.ref} at {base[:12]}: {out.stderr.strip()[-400:]}; "
                    "make it with `git diff` against that commit"
                )
                raise ProposalError(text)
            tree = self._git.run("write-tree", env=env).text
        return self._commit(proposal_id, base, tree, message)

    def head_of_files(self, proposal_id: str, files: Mapping[str, str | bytes | None], message: str) -> Head:
        """Make a proposal's commit of whole files; None removes one.

        Raises:
            ProposalError: a path or a size is not allowed, or a file to remove is not there.
        """
        for path, content in files.items():
            checks.check_path(path)
            checks.check_sizes([(path, len(_bytes(content)))])
        if len(files) > checks.MAX_FILES:
            text = f"the proposal touches {len(files):,} files; at most {checks.MAX_FILES:,} fit: split it"
            raise ProposalError(text)
        base = self.tip()
        lines = self._index_lines(base, files)
        with self._index(base) as env:
            self._git.run("update-index", "-z", "--add", "--replace", "--index-info", stdin=lines, env=env)
            tree = self._git.run("write-tree", env=env).text
        return self._commit(proposal_id, base, tree, message)

    def _index_lines(self, base: str, files: Mapping[str, str | bytes | None]) -> bytes:
        modes = self._modes(base, list(files))
        lines: list[bytes] = []
        blobs = iter(self._write_blobs([_bytes(content) for content in files.values() if content is not None]))
        for path, content in files.items():
            if content is None and path not in modes:
                text = f"{path} is to be removed and is not in {self.ref} at {base[:12]}; leave it out"
                raise ProposalError(text)
            mode, blob = ("0", ZERO) if content is None else (modes.get(path, _FILE), next(blobs))
            lines.append(f"{mode} {blob}\t{path}\0".encode())
        # What goes away comes first, so that a file may take the place of a folder.
        return b"".join(
            [line for line in lines if line.startswith(b"0 ")] + [line for line in lines if line[:2] != b"0 "]
        )

    def _modes(self, base: str, paths: list[str]) -> dict[str, str]:
        """Return the modes that files have on the branch; a change keeps them."""
        found = {}
        for item in self._git.run("ls-tree", "-r", "-z", "--full-tree", base).items:
            mode, path = item[:6].decode(), item.partition(b"\t")[2]
            found[path.decode(errors="surrogateescape")] = mode
        return {path: found[path] for path in paths if path in found}

    def _write_blobs(self, contents: list[bytes]) -> list[str]:
        if not contents:
            return []
        with tempfile.TemporaryDirectory(dir=self._git.own, prefix="blobs-") as folder:
            names = []
            for number, content in enumerate(contents):
                name = Path(folder) / str(number)
                name.write_bytes(content)
                names.append(str(name))
            asked = ("hash-object", "-w", "--no-filters", "--stdin-paths")
            return self._git.run(*asked, stdin="\n".join(names).encode() + b"\n").text.split()

    def head_of_branch(self, proposal_id: str, branch: str, message: str) -> Head:
        """Take what a branch holds now as one commit; the branch itself may move on and is never touched.

        Raises:
            ProposalError: there is no such branch, or it shares no commit with the one that proposals land on.
        """
        ref = f"refs/heads/{branch}"
        if self._git.run("check-ref-format", ref, ok=(0, 1, 128, 129)).code or not self._git.has_ref(ref):
            text = f"there is no branch {branch[:80]!r} in {self._git.repo}; `git branch` lists those there are"
            raise ProposalError(text)
        theirs, tip = self._git.resolve(ref), self.tip()
        base = self._git.run("merge-base", tip, theirs, ok=(0, 1)).text.split("\n")[0]
        if not base:
            text = f"the branch {branch} shares no commit with {self.ref}; propose its files instead"
            raise ProposalError(text)
        return self._commit(proposal_id, base, self._git.tree(theirs), message)

    def _commit(self, proposal_id: str, base: str, tree: str, message: str) -> Head:
        found = self.checked(base, tree)
        seconds = to_us(self._clock.now()) // 1_000_000
        head = self._made(tree, (base,), message, seconds)
        self.keep("head", {proposal_id: head})
        return Head(base, head, found)

    def checked(self, base: str, tree: str) -> Change:
        """Return what lies between a commit and a tree, after all that is refused was looked for.

        Raises:
            ProposalError: says what is not allowed.
        """
        raw = entries(self._git, base, tree)
        # The cheap look comes first: a million files are refused before their lines are counted.
        for entry in raw[: checks.MAX_FILES + 1]:
            checks.check_path(entry.path)
        found = change(self._git, base, tree, raw) if len(raw) <= checks.MAX_FILES else None
        if found is None:
            text = f"the proposal touches {len(raw):,} files; at most {checks.MAX_FILES:,} can be read: split it"
            raise ProposalError(text)
        checks.check_files(found.files)
        checks.check_sizes(self._sizes(raw))
        present = [item.decode(errors="surrogateescape") for item in self._names(base)]
        gone = {entry.path for entry in raw if entry.status == "removed"}
        added = [entry.path for entry in raw if entry.status == "added"]
        checks.check_twins(added, [path for path in present if path not in gone])
        return found

    def _names(self, commit: str) -> list[bytes]:
        return self._git.run("ls-tree", "-r", "-z", "--full-tree", "--name-only", sha(commit)).items

    def _sizes(self, raw: list[Entry]) -> Iterator[tuple[str, int]]:
        wanted = [entry for entry in raw if entry.status != "removed"]
        if not wanted:
            return
        asked = "".join(f"{entry.new}\n" for entry in wanted).encode()
        out = self._git.run("cat-file", "--batch-check=%(objectsize)", stdin=asked)
        for entry, size in zip(wanted, out.stdout.split(b"\n"), strict=False):
            yield entry.path, int(size)

    # Merges --------------------------------------------------------------------------------------------------

    def candidate(self, base: str, head: str, message: str) -> Candidate:
        """Make the merge that would land; the same inputs give the same commit, to the last bit.

        Raises:
            MergeConflictError: both sides touch the same lines.
        """
        tree = self._merged(base, head)
        made = self._made(tree, (base, head), message, self._seconds(base, head))
        return Candidate(made, tree, base, self._clock.now())

    def undo(self, landed: str, onto: str, message: str) -> Candidate:
        """Make the commit on `onto` that takes back what the merge `landed` brought.

        Raises:
            MergeConflictError: later changes touch the same lines.
        """
        before = self._git.resolve(f"{sha(landed)}^1")
        old_tree = self._git.tree(before)
        if onto == landed:
            tree = old_tree
        else:
            # A commit that nobody keeps: it stands on what landed and has the tree of before.
            back = self._made(old_tree, (landed,), "taken back", self._seconds(landed))
            tree = self._merged(onto, back)
        if tree == self._git.tree(onto):
            text = f"nothing of {landed[:12]} is left in {self.ref}; there is nothing to take back"
            raise MergeConflictError(text)
        made = self._made(tree, (onto,), message, self._seconds(onto))
        return Candidate(made, tree, onto, self._clock.now())

    def _merged(self, ours: str, theirs: str) -> str:
        out = self._git.run(
            "merge-tree",
            "--write-tree",
            "-z",
            "--name-only",
            "--no-messages",
            sha(ours),
            sha(theirs),
            ok=(0, 1),
        )
        tree, *rest = out.stdout.split(b"\0")
        if out.code:
            names = list(dict.fromkeys(name.decode(errors="replace") for name in rest if name))
            shown = ", ".join(names[:_MAX_NAMED]) + (f" and {len(names) - _MAX_NAMED} more" if names[5:] else "")
            text = f"the change and {ours[:12]} touch the same lines of {shown or 'a file'}; propose it anew"
            raise MergeConflictError(text)
        return sha(tree.decode().strip())

    def _seconds(self, *commits: str) -> int:
        out = self._git.run("show", "-s", "--no-show-signature", "--format=%ct", *(sha(commit) for commit in commits))
        return max(int(line) for line in out.text.split())

    def _made(self, tree: str, parents: tuple[str, ...], message: str, seconds: int) -> str:
        when = f"{seconds} +0000"
        asked = [part for parent in parents for part in ("-p", sha(parent))]
        env = {"GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
        out = self._git.run("commit-tree", sha(tree), *asked, "-F", "-", stdin=message.encode() + b"\n", env=env)
        return sha(out.text)

    # Keeping and looking -------------------------------------------------------------------------------------

    def keep(self, name: str, commits: Mapping[str, str]) -> None:
        """Keep each proposal's commit from being collected, under a ref of ours; all of them or none."""
        lines = "".join(f"update {REFS}{proposal_id}/{name} {sha(commit)}\n" for proposal_id, commit in commits.items())
        self._git.run("update-ref", "--stdin", stdin=lines.encode())

    def kept(self) -> set[str]:
        """Return the ids of all proposals that have refs."""
        names = self._git.run("for-each-ref", "--format=%(refname)", REFS).text.split()
        return {name.removeprefix(REFS).partition("/")[0] for name in names}

    def forget(self, proposal_id: str) -> None:
        """Give up the refs of one proposal, and nothing else."""
        prefix = f"{REFS}{proposal_id}/"
        names = self._git.run("for-each-ref", "--format=%(refname)", prefix).text.split()
        lines = "".join(f"delete {name}\n" for name in names if name.startswith(prefix))
        if lines:
            self._git.run("update-ref", "--stdin", stdin=lines.encode())

    @contextlib.contextmanager
    def _index(self, commit: str) -> Iterator[dict[str, str]]:
        """Yield the environment for an index of our own that holds a commit."""
        folder = Path(tempfile.mkdtemp(dir=self._git.own, prefix="index-"))
        env = {"GIT_INDEX_FILE": str(folder / "index")}
        try:
            self._git.run("read-tree", sha(commit), env=env)
            yield env
        except GitError as error:
            if "invalid path" not in str(error).lower():
                raise
            text = f"a path was refused by git itself: {error}"
            raise ProposalError(text) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _bytes(content: str | bytes | None) -> bytes:
    return content.encode(errors="surrogateescape") if isinstance(content, str) else content or b""


def put_tree(git: Git, commit: str, folder: Path) -> None:
    """Put a commit's plain files into an empty folder; `git archive` would let attributes leave files out."""
    folder.mkdir(parents=True)
    index = folder.with_name(folder.name + ".index")
    try:
        git.run_in(
            folder, "-c", "core.sparseCheckout=false", "-c", "core.autocrlf=false", *_SIDE_BY_SIDE,
            "read-tree", "--reset", "-u", sha(commit), env={"GIT_INDEX_FILE": str(index)}, umask=0o022,
        )  # fmt: skip
    finally:
        for name in (index, index.with_name(index.name + ".lock")):
            name.unlink(missing_ok=True)
    folder.chmod(0o755)  # the tests run as somebody else, who has to read it
