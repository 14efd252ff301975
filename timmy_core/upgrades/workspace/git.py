"""Git as a child process that inherits nothing of ours: no key, no hook, no configuration but the repository's."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from timmy_core.errors import GitError, UpgradeBusyError
from timmy_core.store.lock import flocked

TIMEOUT_S: Final = 300.0  # no command of git may take longer; the repository is on this machine
ZERO: Final = "0" * 40
_SHA: Final = re.compile(r"[0-9a-f]{40}")
_ENV: Final = "/usr/bin/env"

# What git gets to know, whatever this process was started with.
_ENVIRONMENT: Final[dict[str, str]] = {
    "PATH": os.defpath,
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_AUTHOR_NAME": "Timmy Workbench",
    "GIT_AUTHOR_EMAIL": "timmy@localhost",
    "GIT_COMMITTER_NAME": "Timmy Workbench",
    "GIT_COMMITTER_EMAIL": "timmy@localhost",
}
# These win over the repository's own configuration.
_CONFIG: Final = (
    "core.hooksPath=/dev/null", "core.fsync=all", "core.fsmonitor=false", "core.untrackedCache=false",
    "core.attributesFile=/dev/null", "core.excludesFile=/dev/null", "core.protectHFS=true", "core.protectNTFS=true",
    "core.quotePath=false", "gc.auto=0", "maintenance.auto=false", "protocol.allow=never", "submodule.recurse=false",
    "merge.renames=false", "merge.directoryRenames=false",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Out:
    """What a command left."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """The output as one line."""
        return self.stdout.decode(errors="replace").strip()

    @property
    def items(self) -> list[bytes]:
        """The output of a command with `-z`."""
        return [item for item in self.stdout.split(b"\0") if item]


class Git:
    """One repository; every command is a list that we made, with 40-hex ids and full names of refs."""

    def __init__(self, repo: Path) -> None:
        self.repo = repo.resolve()
        self._program = shutil.which("git") or ""
        self._held = threading.local()
        if not self._program:
            message = "git was not found; install it (2.38 or newer), or leave out `repo` in [upgrades]"
            raise GitError(message)
        if not self.repo.is_dir():
            message = f"the repository {repo} is not there; name an existing one as `repo` in [upgrades]"
            raise GitError(message)
        self.bare = self._execute(["rev-parse", "--is-bare-repository"], cwd=self.repo).text == "true"
        asked = ["rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir"]
        found = self._execute([*asked, *([] if self.bare else ["--show-toplevel"])], cwd=self.repo).text.split("\n")
        self.dir, self.common = Path(found[0]), Path(found[1])
        self.top: Path | None = None if self.bare else Path(found[2])
        if self.top is not None and self.top.resolve() != self.repo:
            message = f"{repo} is a folder inside the repository {self.top}; name that one as `repo` in [upgrades]"
            raise GitError(message)
        self.own = self.common / "timmy-upgrades"  # what is ours: locks and private indexes
        self.own.mkdir(mode=0o700, exist_ok=True)

    def run(
        self,
        *args: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        ok: Sequence[int] = (0,),
    ) -> Out:
        """Run a command beside any work tree, so that no file lying about can change what it does.

        Raises:
            GitError: it ended with another code than those in `ok`, or took too long.
        """
        base = [f"--git-dir={self.dir}", "-c", "core.bare=true", "-c", "core.autocrlf=false"]
        return self._execute([*base, *args], cwd=self.dir, stdin=stdin, env=env, ok=ok)

    def run_in(
        self,
        work_tree: Path,
        *args: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        ok: Sequence[int] = (0,),
        umask: int = -1,
    ) -> Out:
        """Run a command on a work tree: the repository's own, or a folder that a commit is put into.

        Raises:
            GitError: as `run`.
        """
        base = [f"--git-dir={self.dir}", f"--work-tree={work_tree}", "-c", "core.bare=false"]
        return self._execute([*base, *args], cwd=work_tree, stdin=stdin, env=env, ok=ok, umask=umask)

    def _execute(
        self,
        args: Sequence[str],
        *,
        cwd: Path,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        ok: Sequence[int] = (0,),
        umask: int = -1,
    ) -> Out:
        # GitPython hands on this process's whole environment; `env -i` drops it, keys and all.
        given = [f"{name}={value}" for name, value in {**_ENVIRONMENT, **(env or {})}.items()]
        config = [part for key in _CONFIG for part in ("-c", key)]
        command = [_ENV, "-i", *given, self._program, *config, *args]
        with _input(stdin) as stream:
            code, out, problem = _git(cwd).execute(
                command,
                istream=stream,
                with_extended_output=True,
                with_exceptions=False,
                stdout_as_string=False,
                strip_newline_in_stdout=False,
                kill_after_timeout=TIMEOUT_S,
                pass_fds=getattr(self._held, "fds", ()),
                umask=umask,
            )
        if code not in ok:
            verb = next((arg for arg in args if not arg.startswith("-") and "=" not in arg), args[0])
            message = (
                f"git {verb} failed in {self.repo} (code {code}): {str(problem).strip()[-500:] or 'it said nothing'}"
            )
            raise GitError(message)
        return Out(int(code), bytes(out), str(problem))

    @contextlib.contextmanager
    def exclusive(self, patience_s: float) -> Iterator[None]:
        """Hold the place of whoever applies; git inherits it, so one that outlives a killed parent keeps it.

        Raises:
            UpgradeBusyError: somebody else held it all the time.
        """
        if getattr(self._held, "fds", ()):
            yield
            return
        with flocked(self.own / "apply.lock", patience_s) as fd:
            if fd is None:
                message = (
                    f"another process has been applying for more than {patience_s:g} s; "
                    "the proposal keeps its place, so ask again later"
                )
                raise UpgradeBusyError(message)
            self._held.fds = (fd,)
            try:
                yield
            finally:
                self._held.fds = ()

    def resolve(self, ref: str) -> str:
        """Return the commit that a full ref or an id names.

        Raises:
            GitError: it names none.
        """
        return self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").text

    def has_ref(self, ref: str) -> bool:
        """Whether a full ref is there."""
        return self.run("show-ref", "--verify", "--quiet", ref, ok=(0, 1)).code == 0

    def tree(self, commit: str) -> str:
        """Return a commit's tree."""
        return self.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{sha(commit)}^{{tree}}").text

    def has(self, ancestor: str, commit: str) -> bool:
        """Whether a commit stands on another, or is it."""
        return self.run("merge-base", "--is-ancestor", sha(ancestor), sha(commit), ok=(0, 1)).code == 0


def _git(cwd: Path) -> Any:
    # Imported where it is used: importing it runs git once.
    try:
        import git
    except ImportError as error:
        message = f"git cannot be run: {error}; install git 2.38 or newer"
        raise GitError(message) from error
    return git.Git(str(cwd))


@contextlib.contextmanager
def _input(content: bytes | None) -> Iterator[IO[bytes] | None]:
    if content is None:
        yield None
        return
    with tempfile.TemporaryFile() as stream:
        stream.write(content)
        stream.seek(0)
        yield stream


def sha(value: str) -> str:
    """Return the id of an object, or refuse anything else before it reaches a command line.

    Raises:
        GitError: it is no 40 hex digits.
    """
    if not _SHA.fullmatch(value):
        message = f"{value[:60]!r} is not the id of a git object; 40 hex digits were expected"
        raise GitError(message)
    return value
