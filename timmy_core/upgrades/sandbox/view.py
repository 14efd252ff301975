"""What a test command may see of this machine: the system's programs, the interpreter, and what was named for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from timmy_core.errors import SandboxError

_SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store")
# Of /etc what programs need to start and to name users and hosts; the rest may hold passwords.
_ETC: Final = (
    "alternatives", "ca-certificates.conf", "fonts", "group", "host.conf", "hosts", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "localtime", "mime.types", "nsswitch.conf", "passwd", "pki/tls/certs", "protocols", "services",
    "ssl/certs", "ssl/openssl.cnf", "timezone",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """Paths that are shown as they are, and links that are made anew: (where it points, where it lies)."""

    read: tuple[Path, ...]
    links: tuple[tuple[str, Path], ...]


def view_of(python: Path, further: Sequence[Path], hidden: Sequence[Path]) -> View:
    """Return what may be seen.

    Args:
        python: the interpreter of the test command.
        further: what the settings name beside it.
        hidden: what must not be seen, such as the home with its keys.

    Raises:
        SandboxError: one of the paths would show what is hidden, or is not there.
    """
    read: list[Path] = []
    links: list[tuple[str, Path]] = []
    for path in map(Path, _SYSTEM):
        if path.is_symlink():
            links.append((str(path.readlink()), path))
        elif path.is_dir():
            read.append(path)
    read.extend(path for path in (Path("/etc", name) for name in _ETC) if path.exists())
    wanted = [*_interpreter(python), *(path.expanduser().absolute() for path in further)]
    for path in wanted:
        if not path.exists():
            message = f"tests are to see {path}, which is not there; mend `readable` or `python` under [upgrades]"
            raise SandboxError(message)
    read.extend(_outermost(path for path in wanted if not any(path.is_relative_to(shown) for shown in read)))
    _check_hidden(read, hidden)
    return View(tuple(read), tuple(links))


def _interpreter(python: Path) -> Iterator[Path]:
    """Yield the folders that an interpreter needs: its own environment's and those its links lead to."""
    if python == Path(sys.executable):
        yield from map(Path, dict.fromkeys((sys.prefix, sys.base_prefix)))
        return
    place = python
    for _ in range(20):
        yield place.parent.parent
        if not place.is_symlink():
            return
        place = place.parent / place.readlink()
    message = f"the links of the interpreter {python} lead in a circle; name another with `python` under [upgrades]"
    raise SandboxError(message)


def _outermost(paths: Iterator[Path]) -> list[Path]:
    found: list[Path] = []
    for path in sorted({Path(os.path.normpath(path)) for path in paths}):
        if not any(path.is_relative_to(other) for other in found):
            found.append(path)
    return found


def _check_hidden(read: Sequence[Path], hidden: Sequence[Path]) -> None:
    for secret in (path.resolve() for path in hidden):
        shown = next((path for path in read if secret.is_relative_to(path.resolve())), None)
        if shown is not None:
            message = (
                f"tests may read {shown}, in which {secret} lies, so they would see its keys; "
                "move the home, or name less under `readable` in [upgrades]"
            )
            raise SandboxError(message)
