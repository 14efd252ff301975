"""What of an entry gets a vector: the whole, its sentences, and the turn together with the one before it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

WHOLE: Final = 0
WINDOW: Final = -1
MAX_SENTENCES: Final = 64  # of one entry; a passage of a document has far fewer
_SHORT: Final = 12  # bytes, since scripts differ; "Yes." says nothing by itself and goes with what follows
_TURN: Final = 2000  # characters of the turn before, as many as the words see of it

# An end mark, also with a closing quote, before a space; those of Chinese and Japanese need none; or a line's end.
_ENDS: Final = re.compile("(?<=[.!?…][\"'\u201d\u2019)\\]])\\s+|(?<=[.!?…])\\s+|(?<=[\u3002\uff01\uff1f])|\\s*\\n+\\s*")


@dataclass(frozen=True, slots=True)
class Turn:
    """A text and who said it."""

    speaker: str | None
    text: str

    def said(self) -> str:
        """The text with the name of who said it before it."""
        return f"{self.speaker}: {self.text}" if self.speaker else self.text


def parts_of(turn: Turn, previous: Turn | None) -> list[tuple[int, str]]:
    """Return the texts to embed, each with the number of its part."""
    found = [(WHOLE, turn.said())]
    single = sentences(turn.text)
    if len(single) > 1:
        found += enumerate((Turn(turn.speaker, text).said() for text in single), 1)
    if previous is not None:
        window = f"{Turn(previous.speaker, previous.text[:_TURN]).said()}\n{turn.said()}"
        found.append((WINDOW, window))
    return found


def sentences(text: str) -> list[str]:
    """Split a text into at most `MAX_SENTENCES` sentences; the last one holds the rest."""
    found: list[str] = []
    held = ""
    for piece in _ENDS.split(text):
        held = f"{held} {piece}".strip()
        if len(held.encode(errors="replace")) >= _SHORT:
            found.append(held)
            held = ""
    if held and found:
        found[-1] = f"{found[-1]} {held}"
    elif held:
        found.append(held)
    return [*found[: MAX_SENTENCES - 1], " ".join(found[MAX_SENTENCES - 1 :])] if len(found) > MAX_SENTENCES else found
