"""What a process can take from itself for good: room, system calls, folders, and who it is.

It runs inside the wall, so it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_SECCOMP, _PR_SET_SUBREAPER, _PR_NO_NEW_PRIVS = 4, 24, 22, 36, 38
_SECCOMP_FILTER: Final = 2
_LAST_CAPABILITY: Final = 63

# BPF: a load of the call's number, jumps, and a verdict.
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _VERDICT = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_NUMBER, _ARCH, _FIRST_ARGUMENT = 0, 4, 16
_EPERM, _ENOSYS, _EACCES = 1, 38, 13
_NEW_SPACES: Final = 0x7E020080  # every CLONE_NEW…
_X32: Final = 0x40000000
_LOCAL_SOCKET: Final = 1

# Calls that reach round the wall, or that hold memory which nobody counts. The same names, each machine's numbers.
_CALLS: Final[Mapping[str, tuple[int, Mapping[str, int]]]] = {
    "x86_64": (
        0xC000003E,
        {
            "ptrace": 101, "pivot_root": 155, "mount": 165, "umount2": 166, "swapon": 167, "reboot": 169,
            "init_module": 175, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
            "shmget": 29, "perf_event_open": 298, "name_to_handle_at": 303, "open_by_handle_at": 304, "setns": 308,
            "process_vm_readv": 310, "process_vm_writev": 311, "finit_module": 313, "memfd_create": 319, "bpf": 321,
            "userfaultfd": 323, "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430,
            "fsmount": 432, "pidfd_getfd": 438, "mount_setattr": 442, "memfd_secret": 447,
            "clone": 56, "clone3": 435, "socket": 41,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "ptrace": 117, "pivot_root": 41, "mount": 40, "umount2": 39, "swapon": 224, "reboot": 142,
            "init_module": 105, "kexec_load": 104, "add_key": 217, "request_key": 218, "keyctl": 219, "unshare": 97,
            "shmget": 194, "perf_event_open": 241, "name_to_handle_at": 264, "open_by_handle_at": 265, "setns": 268,
            "process_vm_readv": 270, "process_vm_writev": 271, "finit_module": 273, "memfd_create": 279, "bpf": 280,
            "userfaultfd": 282, "io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430,
            "fsmount": 432, "pidfd_getfd": 438, "mount_setattr": 442, "memfd_secret": 447,
            "clone": 220, "clone3": 435, "socket": 198,
        },
    ),
}  # fmt: skip
_LOOKED_AT: Final = ("clone", "clone3", "socket")  # these are refused for some of their arguments, or otherwise

# Landlock, by the same numbers on every machine.
_RULESET, _RULE, _RESTRICT = 444, 445, 446
_READING: Final = 0b1101  # run, read a file, read a folder
_OF_FILES: Final = 0b1100_0000_0000_0111
_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}  # how many rights to files there are since which version
_TCP_SINCE, _SCOPES_SINCE = 4, 6


def prctl(option: int, value: int, *, what: str) -> None:
    """Set an attribute of this process.

    Raises:
        OSError: the kernel refused.
    """
    if _LIBC.prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), what)


def hide() -> None:
    """Keep processes of the same user out of this one's memory and files, and adopt what they leave behind."""
    prctl(_PR_SET_DUMPABLE, 0, what="this process cannot be closed to others")
    prctl(_PR_SET_SUBREAPER, 1, what="orphans cannot be adopted")


def bound(most: Mapping[str, int]) -> None:
    """Take only so much of the machine from here on; `most` names limits as `resource` does."""
    for name, wanted in most.items():
        kind = getattr(resource, name, None)
        if kind is None:
            continue
        _, allowed = resource.getrlimit(kind)
        least = wanted if allowed == resource.RLIM_INFINITY else min(wanted, allowed)
        resource.setrlimit(kind, (least, least))
    with contextlib.suppress(OSError):
        os.nice(5)
    with contextlib.suppress(OSError):
        # A system that runs out of memory ends this process before any other.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def become(uid: int | None, gid: int | None) -> None:
    """Become another user for good, if one is given, and give up every privilege in any case.

    Raises:
        OSError: the kernel refused.
    """
    for capability in range(_LAST_CAPABILITY + 1):
        # Refused where there is no such capability, or none to drop any.
        _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0)
    if uid is not None and gid is not None:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    prctl(_PR_NO_NEW_PRIVS, 1, what="privileges cannot be given up")


def refuse_calls(*, network: bool) -> bool:
    """Have the kernel refuse calls that reach round the wall; False on a machine whose numbers are not known here."""
    known = _CALLS.get(platform.machine())
    if known is None:
        return False
    program = b"".join(_program(known[0], known[1], network=network))
    filled = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(filled))
    return not int(_LIBC.prctl(_PR_SET_SECCOMP, _SECCOMP_FILTER, ctypes.c_char_p(header), 0, 0))


def _program(arch: int, numbers: Mapping[str, int], *, network: bool) -> list[bytes]:
    refuse, unknown, shut = _verdict(_REFUSE | _EPERM), _verdict(_REFUSE | _ENOSYS), _verdict(_REFUSE | _EACCES)
    steps = [_load(_ARCH), _jump(_EQUAL, arch, yes=1), refuse, _load(_NUMBER)]
    if platform.machine() == "x86_64":
        steps += [_jump(_AT_LEAST, _X32, no=1), refuse]
    for name, number in numbers.items():
        if name not in _LOOKED_AT:
            steps += [_jump(_EQUAL, number, no=1), refuse]
    # The C library takes "not known" for an old kernel, and calls clone, whose flags can be looked at.
    steps += [_jump(_EQUAL, numbers["clone3"], no=1), unknown]
    steps += [_jump(_EQUAL, numbers["clone"], no=4), _load(_FIRST_ARGUMENT), _jump(_ANY_BIT, _NEW_SPACES, no=1)]
    steps += [refuse, _verdict(_ALLOW)]
    if not network:
        steps += [_jump(_EQUAL, numbers["socket"], no=4), _load(_FIRST_ARGUMENT)]
        steps += [_jump(_EQUAL, _LOCAL_SOCKET, yes=1), shut, _verdict(_ALLOW)]
    return [*steps, _verdict(_ALLOW)]


def _load(offset: int) -> bytes:
    return struct.pack("HBBI", _LOAD, 0, 0, offset)


def _jump(kind: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("HBBI", kind, yes, no, value)


def _verdict(value: int) -> bytes:
    return struct.pack("HBBI", _VERDICT, 0, 0, value)


def landlock_version() -> int:
    """Return which version of Landlock the kernel has; 0 for none."""
    return max(0, int(_LIBC.syscall(_RULESET, None, 0, 1)))


def stay_in(readable: Sequence[str], writable: Sequence[str]) -> int:
    """Leave this process nothing but these files and folders; returns Landlock's version, 0 where there is none.

    Raises:
        OSError: the kernel has Landlock, and refused.
    """
    version = landlock_version()
    if not version:
        return 0
    every = (1 << next(count for since, count in sorted(_RIGHTS.items(), reverse=True) if version >= since)) - 1
    wanted = struct.pack("QQQ", every, 3 if version >= _TCP_SINCE else 0, 3 if version >= _SCOPES_SINCE else 0)
    size = 24 if version >= _SCOPES_SINCE else 16 if version >= _TCP_SINCE else 8
    rules = _checked(_LIBC.syscall(_RULESET, ctypes.c_char_p(wanted), ctypes.c_size_t(size), 0))
    try:
        for path, rights in [*((path, _READING) for path in readable), *((path, every) for path in writable)]:
            _allow(rules, path, rights)
        prctl(_PR_NO_NEW_PRIVS, 1, what="privileges cannot be given up")
        _checked(_LIBC.syscall(_RESTRICT, rules, 0))
    finally:
        os.close(rules)
    return version


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        allowed = rights if Path(path).is_dir() else rights & _OF_FILES
        _checked(_LIBC.syscall(_RULE, rules, 1, ctypes.c_char_p(struct.pack("=Qi", allowed, fd)), 0))
    finally:
        os.close(fd)


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), "the kernel refused to shut the process in")
    return result


def standing(plan: Mapping[str, Any]) -> list[str]:
    """Shut this process in as the plan says, and return the names of what held."""
    held = []
    bound(plan["rlimits"])
    become(plan["uid"], plan["gid"])
    inside = plan["inside"]
    if inside is not None and stay_in(inside["read"], inside["write"]):
        held.append("landlock")
    if refuse_calls(network=plan["network"]):
        held.append("seccomp")
    return held
