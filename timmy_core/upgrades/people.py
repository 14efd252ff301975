"""Who may decide: each person's sealed key and count of wrong PINs, in files of the home that only its owner reads."""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from timmy_core.errors import PinError
from timmy_core.events.files import make_folder, write_whole
from timmy_core.upgrades.pin import Stretch, Tries

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_ENDING: Final = ".person.json"


@dataclass(frozen=True, slots=True)
class Person:
    """One person.

    Args:
        name: in lower-case letters.
        stretch: how their PIN becomes the key that opens `sealed`.
        sealed: the signing key, encrypted; empty once the person may not decide any more.
        public: every public key they had, the present one last: what was signed with an older one still holds.
        tries: their wrong PINs.
    """

    name: str
    stretch: Stretch
    sealed: str
    public: tuple[str, ...]
    tries: Tries


def known_name(name: str) -> str:
    """Return a name as it is written here.

    Raises:
        PinError: it cannot be one.
    """
    written = name.strip().casefold()
    if not _NAME.fullmatch(written):
        message = (
            "a name has 1 to 64 letters, digits, '.', '_', '@' or '-', and begins with a letter or digit; "
            "give the name that the PIN was set for"
        )
        raise PinError(message)
    return written


class People:
    """The files of all people; safe to use from several threads and processes inside `changing`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Be the only one who reads and writes meanwhile, over all processes."""
        make_folder(self.folder)
        fd = os.open(self.folder / "people.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def get(self, name: str) -> Person | None:
        """Return a person; None where nobody has that name.

        Raises:
            PinError: the file is damaged.
        """
        path = self._path(name)
        try:
            said = json.loads(path.read_bytes())
            return Person(
                said["name"],
                Stretch(**said["stretch"]),
                said["sealed"],
                tuple(said["public"]),
                Tries(**said["tries"]),
            )
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            message = f"{path} is damaged, so {name} cannot decide; bring it back from a backup"
            raise PinError(message) from error

    def put(self, person: Person) -> None:
        """Write a person, durably."""
        write_whole(self._path(person.name), json.dumps(asdict(person), indent=1).encode())

    def names(self) -> tuple[str, ...]:
        """Return who may decide."""
        found = sorted(path.name.removesuffix(_ENDING) for path in self.folder.glob(f"*{_ENDING}"))
        return tuple(name for name in found if (person := self.get(name)) is not None and person.sealed)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{_ENDING}"
