"""What the sandbox is asked for and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from timmy_core.upgrades.model import Level

Ended = Literal["exited", "time", "memory", "processes", "disk", "output", "cancelled", "lost"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of the machine one run may take."""

    time_s: float = 600.0
    memory_bytes: int = 2 << 30
    processes: int = 256
    open_files: int = 1024
    disk_bytes: int = 1 << 30
    output_bytes: int = 64 << 20  # what it may write to its terminal before it is ended
    tail_bytes: int = 16 << 10  # how much of that is kept, from the end
    report_bytes: int = 32 << 20


@dataclass(frozen=True, slots=True)
class Job:
    """One command over one tree of plain files.

    Args:
        command: program and arguments; `{report}` is where a report may be left, `{tree}` where the files are.
        tree: the files; the command cannot change them.
        copied: run in a copy that it may change.
        environment: variables beside the few that every run has.
    """

    command: tuple[str, ...]
    tree: Path
    copied: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended.

    Args:
        ended: `exited` by itself, or what it was ended for; `lost` where the sandbox itself was ended from inside.
        exit: its exit code, negative for a signal; None where it did not end by itself.
        output: the end of what it wrote to its terminal.
        report: what it left at `{report}`.
        took_s: how long it ran.
        level: how well it was shut in.
        held: which further guards of the kernel held, such as `seccomp`.
    """

    ended: Ended
    exit: int | None
    output: str
    report: bytes
    took_s: float
    level: Level
    held: tuple[str, ...] = ()
