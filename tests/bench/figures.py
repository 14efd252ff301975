"""What the benchmarks share: numbers over rounds, a Markdown table, the machine, and a folder to measure in."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sqlite3
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def options(about: str, **numbers: float) -> argparse.Namespace:
    """Read the command line: each named number with its default, and the folder to measure in."""
    parser = argparse.ArgumentParser(description=about)
    for name, default in numbers.items():
        text = f"default {default:g}"
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help=text)
    # Not the system's folder for temporary files: that is often kept in memory, where nothing is durable.
    parser.add_argument("--folder", type=Path, default=ROOT / "build", help="on the disk to measure; default build/")
    return parser.parse_args()


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Make an empty folder for one measurement and remove it afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="bench-", dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the nearest rank: a value that was really measured."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__int__() - 1)] if ordered else float("nan")


def number(value: float) -> str:
    """Return a number with as many digits as mean something."""
    if value != value:  # noqa: PLR0124 - only "not a number" differs from itself
        return "-"
    size = abs(value)
    if size >= 100 or isinstance(value, int):
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 0.1 else f"{value:.3f}"


def spread(values: Sequence[float], unit: str = "") -> str:
    """Return the median of the rounds, with the least and the greatest."""
    if not values:
        return "-"
    middle, least, most = statistics.median(values), min(values), max(values)
    shown = f"{number(middle)}{unit}"
    return shown if len(values) == 1 else f"{shown} ({number(least)}–{number(most)})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the ratio of each round: both were measured within the same seconds."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True) if other]


def differences(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Return the difference of each round."""
    return [mine - other for mine, other in zip(ours, theirs, strict=True)]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; the first column is words, the others are numbers."""
    line = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, line, *rows))


def verdict(what: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None) -> str:
    """Return one line that compares the median with its target."""
    bound, sign = (at_most, "at most") if at_most is not None else (at_least, "at least")
    assert bound is not None, "a target has a bound"
    met = value <= bound if at_most is not None else value >= bound
    return f"- {what}: **{number(value)}{unit}**, target {sign} {number(bound)}{unit}: {'met' if met else 'MISSED'}"


def machine(folder: Path) -> str:
    """Return what the figures were measured on, without names of hosts or folders."""
    return (
        f"{os.cpu_count()} cores ({_processor()}), {_memory_gib():.0f} GiB, {_disk(folder)}, "
        f"{platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}"
    )


def load() -> str:
    """Return how busy the machine is: processes that wanted a core over the last 1, 5 and 15 minutes."""
    return "load " + " ".join(f"{value:.2f}" for value in os.getloadavg())


def _processor() -> str:
    lines = _lines(Path("/proc/cpuinfo"))
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _disk(folder: Path) -> str:
    """The kind of file system and of disk under a folder, as far as the system says."""
    path = folder.resolve()
    best = ("", "unknown file system", "")
    for line in _lines(Path("/proc/mounts")):
        device, mount, kind = line.split()[:3]
        if path.is_relative_to(mount) and len(mount) >= len(best[0]):
            best = (mount, kind, Path(device).name)
    if best[2].startswith(("vd", "xvd")):
        return f"{best[1]} on a virtual disk"
    spins = _lines(Path(f"/sys/block/{best[2]}/queue/rotational"))
    return best[1] + ({"0": " on a solid-state disk", "1": " on a rotating disk"}.get(spins[0], "") if spins else "")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
