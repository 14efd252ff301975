"""The walls themselves: for each level, the program that builds it and the plan for the launcher behind it."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from timmy_core.errors import SandboxError
from timmy_core.upgrades.model import Level
from timmy_core.upgrades.sandbox.job import Bounds, Job
from timmy_core.upgrades.sandbox.view import View

TREE: Final = "/trial/tree"
_SCRATCH: Final = "/tmp"  # noqa: S108 - a private one, inside the wall
_SHARED: Final = "/dev/shm"  # noqa: S108 - likewise
_NOBODY: Final = 65_534
_INSIDE: Final = ("sweep", "limits", "mounts", "launch")
# The launcher's own files are handed over as text: behind the wall they are not there to be read.
_BOOT: Final = (
    "import json, sys, types\n"
    "for name, text in json.loads(sys.argv.pop(2)):\n"
    "    made = sys.modules[name] = types.ModuleType(name)\n"
    "    parent, _, last = name.rpartition('.')\n"
    "    setattr(sys.modules.setdefault(parent, types.ModuleType(parent)), last, made)\n"
    "    exec(compile(text, name, 'exec'), made.__dict__)\n"
    "made.main()\n"
)
# Devices and what the kernel tells, where no root of its own leaves the rest out.
_PLAIN_READ: Final = ("/proc", "/sys/devices/system/cpu", "/dev/urandom", "/dev/random")
_PLAIN_WRITE: Final = ("/dev/null", "/dev/zero", "/dev/full", "/dev/tty")


@dataclass(frozen=True, slots=True)
class Room:
    """Where one run takes place outside the wall.

    Args:
        tree: the files to be tested.
        scratch: an empty folder of this run's own, which is removed afterwards.
        pipe: the descriptor that the launcher reports through.
    """

    tree: Path
    scratch: Path
    pipe: int


def program(level: Level, job: Job, bounds: Bounds, view: View, room: Room, *, python: Path) -> list[str]:
    """Return the program that runs a job behind the wall of a level.

    Raises:
        SandboxError: the program that builds the wall is not installed.
    """
    return _BUILDERS[level](job, bounds, view, room, python)


def nobody() -> tuple[int, int] | None:
    """Return the user and group that a root's tests become; None where this process is not root."""
    if os.geteuid():
        return None
    try:
        found = pwd.getpwnam("nobody")
    except KeyError:
        return _NOBODY, _NOBODY
    return found.pw_uid, found.pw_gid


def _bubblewrap(job: Job, bounds: Bounds, view: View, room: Room, python: Path) -> list[str]:
    disk = str(bounds.disk_bytes)
    words = [_tool("bwrap", "bubblewrap"), "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    words += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--hostname", "trial", "--cap-drop", "ALL"]
    if nobody() is None:
        words += ["--unshare-user"]
    else:
        # Enough to become nobody, and to end what nobody runs; the command itself gets none of it.
        words += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--cap-add", "CAP_KILL"]
        words += ["--cap-add", "CAP_SETPCAP", "--cap-add", "CAP_SYS_PTRACE"]
    words += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--size", disk, "--tmpfs", _SHARED]
    words += ["--remount-ro", "/dev", "--perms", "1777", "--size", disk, "--tmpfs", _SCRATCH]
    # After the folders that begin empty, for what is shown may lie in one of them.
    for folder in _parents([*view.read, Path(TREE)]):
        words += ["--dir", folder]  # what bubblewrap makes by itself, only its owner may pass through
    for path in view.read:
        words += ["--ro-bind", str(path), str(path)]
    for target, path in view.links:
        words += ["--symlink", target, str(path)]
    words += ["--ro-bind", str(room.tree), TREE, "--remount-ro", "/", "--chdir", "/"]
    return [*words, "--", *_launcher(python, _plan(job, bounds, room, TREE, _SCRATCH))]


def _parents(paths: Sequence[Path]) -> list[str]:
    """Return the folders above all of these, the highest first."""
    return sorted({str(parent) for path in paths for parent in path.parents} - {"/"})


def _namespaces(job: Job, bounds: Bounds, view: View, room: Room, python: Path) -> list[str]:
    words = [_tool("unshare", "util-linux"), "--mount", "--ipc", "--pid", "--net", "--uts", "--fork"]
    words += ["--kill-child=KILL"]
    if nobody() is None:
        words += ["--user", "--map-root-user"]
    read = [(str(path), str(path)) for path in view.read]
    seen = {
        "root": str(room.scratch),
        "read": [*read, (str(room.tree), TREE)],
        "links": [(target, str(path)) for target, path in view.links],
        "bytes": bounds.disk_bytes,
    }
    return [*words, "--", *_launcher(python, _plan(job, bounds, room, TREE, _SCRATCH) | {"view": seen})]


def _limits(job: Job, bounds: Bounds, view: View, room: Room, python: Path) -> list[str]:
    links = [str(path) for _, path in view.links]
    read = [*map(str, view.read), *links, str(room.tree), *_PLAIN_READ]
    plan = _plan(job, bounds, room, str(room.tree), str(room.scratch)) | {
        "inside": {"read": read, "write": [str(room.scratch), *_PLAIN_WRITE]},
        "network": False,
    }
    return _launcher(python, plan)


_BUILDERS: Final = {"bubblewrap": _bubblewrap, "namespaces": _namespaces, "limits": _limits}


def _tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        message = f"the program {name} is not installed; install the package {package}"
        raise SandboxError(message)
    return found


def _plan(job: Job, bounds: Bounds, room: Room, tree: str, scratch: str) -> dict[str, Any]:
    """Return what the launcher is told."""
    user = nobody()
    report = f"{scratch}/report.xml"
    folder = f"{scratch}/tree" if job.copied else tree
    return {
        "command": [word.replace("{report}", report).replace("{tree}", folder) for word in job.command],
        "environment": _environment(job.environment, folder, scratch),
        "folders": [f"{scratch}/home", f"{scratch}/own"],
        "tree": tree,
        "copy_to": folder if job.copied else None,
        "uid": user[0] if user else None,
        "gid": user[1] if user else None,
        "rlimits": _rlimits(bounds, shared=user is None),
        "report": report,
        "report_bytes": bounds.report_bytes,
        "pipe": room.pipe,
        "view": None,
        "inside": None,
        "network": True,
    }


def _environment(further: Mapping[str, str], folder: str, scratch: str) -> dict[str, str]:
    """Return a run's variables: nothing of this process's own, keys least of all."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": f"{scratch}/home",
        "TMPDIR": f"{scratch}/own",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": folder,
        "PYTHONSAFEPATH": "1",
        **further,
    }


def _rlimits(bounds: Bounds, *, shared: bool) -> dict[str, int]:
    """Return the bounds of each process; a user's other processes count too, so they are added where it is shared."""
    others = _tasks_of(os.getuid()) if shared else 0
    return {
        "RLIMIT_DATA": bounds.memory_bytes,
        "RLIMIT_FSIZE": bounds.disk_bytes,
        "RLIMIT_NPROC": bounds.processes + others,
        "RLIMIT_NOFILE": bounds.open_files,
        "RLIMIT_CPU": int(bounds.time_s) + 5,
        "RLIMIT_CORE": 0,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_MEMLOCK": 1 << 20,
    }


def _tasks_of(uid: int) -> int:
    total = 0
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                if path.stat().st_uid == uid:
                    total += sum(1 for _ in (path / "task").iterdir())
    return total


def _launcher(python: Path, plan: Mapping[str, Any]) -> list[str]:
    package = Path(__file__).parent
    names = [(f"{__package__}.{name}", (package / f"{name}.py").read_text(encoding="utf-8")) for name in _INSIDE]
    return [str(python), "-I", "-S", "-c", _BOOT, json.dumps(plan), json.dumps(names)]


def this_python() -> Path:
    """Return the interpreter that runs this process."""
    return Path(sys.executable)
