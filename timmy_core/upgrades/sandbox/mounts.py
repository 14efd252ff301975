"""A root of its own for a process that is alone in a namespace of mounts: what it may see, and nothing else.

It runs inside the wall, so it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_READ_ONLY, _NO_SUID, _NO_DEVICES = 1, 2, 4  # attributes of a mount, as mount_setattr counts them
_RECURSIVE: Final = 0x8000
_HERE: Final = -100
_DETACH: Final = 2
_MOUNT_SETATTR: Final = 442
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_UP, _SET_FLAGS = 1, 0x8914
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS: Final = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
                 "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}  # fmt: skip


def enter(view: Mapping[str, Any]) -> None:
    """Build the root and go into it; what was there before is out of reach.

    Raises:
        OSError: the kernel refused.
    """
    root = Path(view["root"])
    _mount(None, "/", None, _REC | _PRIVATE)
    _mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "size=16m,mode=755")
    _make_dev(root / "dev", view["bytes"])
    _tmpfs(root / "tmp", view["bytes"])
    (root / "proc").mkdir()
    _mount("proc", root / "proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    # After the folders that begin empty, for what is shown may lie in one of them.
    for outside, inside in view["read"]:
        _bind(outside, root / inside.lstrip("/"), _READ_ONLY | _NO_SUID | _NO_DEVICES)
    for target, inside in view["links"]:
        place = root / inside.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
    os.chdir(root)
    _checked(_LIBC.syscall(_PIVOT_ROOT[platform.machine()], b".", b"."))
    _checked(_LIBC.umount2(b".", _DETACH))
    os.chdir("/")
    for path in ("/dev", "/"):
        _set(path, _READ_ONLY, deep=False)
    with contextlib.suppress(OSError):
        _loopback()  # a kernel without it leaves no network at all


def _make_dev(dev: Path, size: int) -> None:
    dev.mkdir()
    _mount("tmpfs", dev, "tmpfs", _NOSUID, "size=64k,mode=755")
    for name in _DEVICES:
        if Path("/dev", name).exists():
            _bind(f"/dev/{name}", dev / name, _NO_SUID)
    for name, target in _LINKS.items():
        (dev / name).symlink_to(target)
    (dev / "pts").mkdir()
    _mount("devpts", dev / "pts", "devpts", _NOSUID | _NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    _tmpfs(dev / "shm", size)


def _tmpfs(path: Path, size: int) -> None:
    path.mkdir()
    _mount("tmpfs", path, "tmpfs", _NOSUID | _NODEV, f"size={size},mode=1777,nr_inodes=200000")


def _bind(outside: str, place: Path, attributes: int) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if Path(outside).is_dir():
        place.mkdir(exist_ok=True)
    else:
        place.touch()
    _mount(outside, place, None, _BIND | _REC)
    _set(place, attributes, deep=True)


def _set(path: str | Path, attributes: int, *, deep: bool) -> None:
    wanted = struct.pack("QQQQ", attributes, 0, 0, 0)
    flags = _RECURSIVE if deep else 0
    _checked(
        _LIBC.syscall(
            _MOUNT_SETATTR, _HERE, os.fsencode(path), flags, ctypes.c_char_p(wanted), ctypes.c_size_t(len(wanted))
        )
    )


def _mount(source: str | None, place: str | Path, kind: str | None, flags: int, options: str = "") -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, place, kind)]
    _checked(_LIBC.mount(*texts, ctypes.c_ulong(flags), os.fsencode(options) or None))


def _loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        fcntl.ioctl(asked, _SET_FLAGS, struct.pack("16sH14x", b"lo", _UP))


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"the kernel refused a root of its own: {os.strerror(number)}")
