"""A PIN: what it may look like, how it is stretched, and how many wrong ones are borne."""

from __future__ import annotations

import hashlib
import itertools
import secrets
from dataclasses import dataclass, replace
from typing import Final

from timmy_core.errors import PinError

MIN_PIN: Final = 6
MAX_PIN: Final = 128
TRIES: Final = 5
LOCK_S: Final = 15 * 60  # for the first lock; each further one takes twice as long
MAX_LOCK_S: Final = 24 * 60 * 60
SALT_BYTES: Final = 16
KEY_BYTES: Final = 32
_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Stretch:
    """How a PIN becomes a key: scrypt with these costs. 32 MiB and about a tenth of a second for each guess."""

    salt: str
    n: int = 1 << 15
    r: int = 8
    p: int = 1

    def key(self, pin: str) -> bytes:
        """Return the key that a PIN opens."""
        return hashlib.scrypt(
            pin.encode(),
            salt=bytes.fromhex(self.salt),
            n=self.n,
            r=self.r,
            p=self.p,
            maxmem=256 * self.n * self.r,
            dklen=KEY_BYTES,
        )


def fresh() -> Stretch:
    """Return costs with a salt of their own."""
    return Stretch(secrets.token_hex(SALT_BYTES))


@dataclass(frozen=True, slots=True)
class Tries:
    """How many wrong PINs in a row there were, and until when none is looked at; times in microseconds since 1970."""

    wrong: int = 0
    locks: int = 0
    locked_until: int = 0

    def left_s(self, now_us: int) -> float:
        """Return for how long no PIN is looked at."""
        return max(0, self.locked_until - now_us) / _US

    def one_more(self, now_us: int) -> Tries:
        """Count a try before it is looked at, so that whoever pulls the plug has used it up."""
        wrong = self.wrong + 1
        if wrong < TRIES:
            return replace(self, wrong=wrong)
        lock_s = min(LOCK_S << min(self.locks, 20), MAX_LOCK_S)
        return Tries(0, self.locks + 1, now_us + lock_s * _US)


def check_form(pin: str) -> None:
    """Refuse a PIN that anybody would guess.

    Raises:
        PinError: says what it has to look like; never the PIN.
    """
    steps = {ord(after) - ord(before) for before, after in itertools.pairwise(pin)}
    problem = ""
    if not MIN_PIN <= len(pin) <= MAX_PIN:
        problem = f"a PIN has {MIN_PIN} to {MAX_PIN} characters"
    elif not pin.isprintable():
        problem = "a PIN has printable characters only"
    elif len(set(pin)) < MIN_PIN // 2 or (len(steps) == 1 and steps <= {1, -1}):
        problem = "this PIN is one that anybody tries first"
    if problem:
        message = f"{problem}; choose another, of {MIN_PIN} digits or letters at least"
        raise PinError(message)
