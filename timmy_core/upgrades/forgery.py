"""Keeps a change from grading itself: its source is also tested with the tests and the configuration of the base.

What decides how tests run is taken from the base as a whole: what the change adds there is left out, and what it
removes there is brought back.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Final

_PIECE: Final = 1 << 20


def plain_files(folder: Path) -> Iterator[str]:
    """Yield the paths of the files below a folder, in order; links count as files."""
    for place, names, files in os.walk(folder):
        linked = [name for name in names if Path(place, name).is_symlink()]
        names[:] = sorted(set(names) - set(linked))
        for name in sorted([*files, *linked]):
            yield Path(place, name).relative_to(folder).as_posix()


def grades_itself(candidate: Path, base: Path, tests: Container[str]) -> list[str]:
    """Return the paths of tests and configuration in which the candidate differs from the base."""
    ours = {path for path in plain_files(candidate) if path in tests}
    theirs = {path for path in plain_files(base) if path in tests}
    both = ours & theirs
    changed = {path for path in both if _content(candidate / path) != _content(base / path)}
    return sorted((ours ^ theirs) | changed)


def with_base_tests(candidate: Path, base: Path, changed: list[str], into: Path) -> None:
    """Make a tree of the candidate's source with the base's tests and configuration.

    Args:
        candidate: the change as it would land.
        base: the branch as it is.
        changed: what `grades_itself` found.
        into: a folder that is not there yet.
    """
    shutil.copytree(candidate, into, symlinks=True)
    for path in changed:
        place = into / path
        # First the way to it: a link in it would lead out of the tree.
        _clear_way(place.parent, into)
        if place.is_symlink() or place.exists():
            _remove(place)
        source = base / path
        if source.is_symlink() or source.exists():
            shutil.copy2(source, place, follow_symlinks=False)


def _clear_way(folder: Path, root: Path) -> None:
    """Make a folder, also where the change put a file in its place."""
    for part in [*reversed(folder.relative_to(root).parents), folder.relative_to(root)]:
        place = root / part
        if place.is_symlink() or place.is_file():
            place.unlink()
    folder.mkdir(parents=True, exist_ok=True)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink()


def _content(path: Path) -> bytes:
    """Return a digest of one file's kind, mode and content."""
    if path.is_symlink():
        return b"link" + hashlib.sha256(os.fsencode(path.readlink())).digest()
    kept = hashlib.sha256()
    with path.open("rb") as file:
        kind = b"run!" if os.fstat(file.fileno()).st_mode & 0o100 else b"file"
        while piece := file.read(_PIECE):
            kept.update(piece)
    return kind + kept.digest()
