"""What a check of the log can find, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Every kind with what it means; `redacted` is no fault.
KINDS: Final[dict[str, str]] = {
    "altered": "an event's fields, data or hash were changed",
    "cut": "events are missing",
    "reordered": "events stand in another order",
    "rewritten": "the chain holds, but it is not the one that was sealed or signed",
    "redacted": "data was removed on purpose",
    "erased": "data was removed, and nobody asked for it",
    "segment_missing": "an archive file is gone",
    "segment_altered": "an archive file is not the one that was sealed",
    "head_altered": "the file of signed heads was changed",
    "key_changed": "a head was signed with another key",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found: its kind, the event it begins at (0 for none), and a sentence."""

    kind: str
    seq: int
    message: str

    @property
    def fault(self) -> bool:
        """Whether it says that something is wrong."""
        return self.kind != "redacted"


@dataclass(frozen=True, slots=True)
class Verification:
    """What a check of the whole chain found: how many events hold, and the hash (hex) of the last of them.

    `problem` names the first thing that does not hold, and is empty where all does; `checked` counts the events
    before it, and `findings` explains everything that was found, up to a bound.
    """

    problem: str
    checked: int
    redacted: int
    head_hash: str
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the whole chain holds."""
        return not self.problem
