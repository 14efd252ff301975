"""What memory puts before a question: facts first, then what was said, with dates and sources, within a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from timmy_core.memory.listing import Listing
from timmy_core.memory.model import Context, Entry, Match
from timmy_core.memory.query import fold
from timmy_core.store.engine import Store

Tokens: TypeAlias = Callable[[str], int]

_FACTS: Final = "Known facts:"
_REST: Final = "From earlier conversations and documents:"
_FACTS_SHARE: Final = 0.5  # of the budget, while there is anything else to say
_FIRST_SHARE: Final = 0.75  # of the budget, before neighbours come in
_LONGEST_SHARE: Final = 0.4  # of the budget, for one entry while others wait
_WORTH: Final = 24  # tokens; less of an entry than this is not worth its place
_FACT_SCORE: Final = 0.3  # of the best score; a fact below this only happens to share a word


@dataclass(frozen=True, slots=True)
class _Line:
    """One entry as it stands in the context."""

    entry: Entry
    text: str
    tokens: int
    score: float | None


class Builder:
    """Builds contexts.

    Args:
        store: where the turns beside a match are read.
        tokens: how many tokens a text has, for the model that will read it.
    """

    MATCHES: Final = 40  # how many matches are looked at

    def __init__(self, store: Store, tokens: Tokens) -> None:
        self._listing = Listing(store)
        self._tokens = tokens

    def build(self, matches: Sequence[Match], max_tokens: int, without_traces: frozenset[str] = frozenset()) -> Context:
        """Return the context of some matches, best first; empty where there are none or no room for one."""
        draft = _Draft(self._tokens, max_tokens)
        best = max((match.score for match in matches), default=0.0)
        facts = [match for match in matches if match.entry.kind == "fact" and match.score >= _FACT_SCORE * best]
        rest = [match for match in matches if match.entry.kind != "fact"]
        for match in facts:
            draft.add(match, _FACTS_SHARE if rest else 1.0)
        for match in rest:
            draft.add(match, _FIRST_SHARE)
        for match, beside in self._beside(rest, draft, without_traces):
            draft.add_beside(beside, match)
        for match in [*facts, *rest]:
            draft.add(match, 1.0)
        return draft.context()

    def _beside(
        self, matches: Sequence[Match], draft: _Draft, without_traces: frozenset[str]
    ) -> Iterator[tuple[Match, Entry]]:
        """Yield the turns beside the turns that stand in the draft, as long as there is room."""
        for match in matches:
            if match.entry.kind != "conversation" or match.entry.id not in draft or draft.room() < _WORTH:
                continue
            for turn in self._listing.around(match.entry.seq, 1, 1):
                if turn.trace_id not in without_traces or turn.trace_id is None:
                    yield match, turn


class _Draft:
    """The lines so far, and the room that is left."""

    def __init__(self, tokens: Tokens, max_tokens: int) -> None:
        self._tokens = tokens
        self._max = max_tokens
        self._lines: dict[str, _Line] = {}
        self._said: set[str] = set()
        # Both headings, and the line ends, which join lines and may become tokens of their own.
        self._used = tokens(f"{_FACTS}\n\n{_REST}\n")

    def __contains__(self, entry_id: str) -> bool:
        return entry_id in self._lines

    def room(self) -> int:
        """Return how many tokens are left."""
        return self._max - self._used

    def add(self, match: Match, share: float) -> None:
        """Add a match, up to a share of the budget; one that is too long is cut around what was found in it."""
        entry, passage = match.entry, match.why.passage
        text = passage.text if passage is not None else entry.text
        if not self._new(entry, text):
            return
        room = min(self.room(), int(share * self._max) - self._used)
        line = self._line(entry, text, match.score)
        if line.tokens > room or line.tokens > max(_WORTH, _LONGEST_SHARE * self._max):
            most = min(room, max(_WORTH, int(_LONGEST_SHARE * self._max)))
            cut = self._cut(entry, text, match, most)
            if cut is None:
                return
            line = cut
        self._put(line, text)

    def add_beside(self, turn: Entry, match: Match) -> None:
        """Add a turn beside a match, if it fits."""
        del match
        if not self._new(turn, turn.text):
            return
        line = self._line(turn, turn.text, None)
        if line.tokens <= min(self.room(), int(_LONGEST_SHARE * self._max)):
            self._put(line, turn.text)

    def _new(self, entry: Entry, text: str) -> bool:
        return entry.id not in self._lines and _same(text) not in self._said

    def _put(self, line: _Line, text: str) -> None:
        self._lines[line.entry.id] = line
        self._said.add(_same(text))
        self._used += line.tokens

    def _line(self, entry: Entry, text: str, score: float | None) -> _Line:
        shown = f"- {_head(entry)} {' '.join(text.split())}\n"
        return _Line(entry, shown, self._tokens(shown) + 1, score)

    def _cut(self, entry: Entry, text: str, match: Match, most: int) -> _Line | None:
        """Return the largest piece around the first word that was found, of at most so many tokens."""
        if most < _WORTH:
            return None
        said = " ".join(text.split())
        low, high = 0, len(said)
        folded = fold(said)
        middle = min((place for word in match.why.words if (place := folded.find(word)) >= 0), default=0)
        best = None
        # The size is searched for by halves, since only the tokenizer knows what a text costs.
        while low < high:
            size = (low + high + 1) // 2
            line = self._line(entry, _piece(said, middle, size), match.score)
            if line.tokens <= most:
                low, best = size, line
            else:
                high = size - 1
        return best if low >= _WORTH else None

    def context(self) -> Context:
        """Return the whole; in the end what counts is what the tokenizer says of the whole text."""
        lines = list(self._lines.values())
        while lines:
            ordered = _ordered(lines)
            text = _text(ordered)
            tokens = self._tokens(text)
            if tokens <= self._max:
                return Context(
                    text, tuple(line.entry for line in ordered), tokens, tuple(line.score for line in ordered)
                )
            lines.pop()
        return Context("", (), 0)


def _same(text: str) -> str:
    return " ".join(fold(text).split())


def _head(entry: Entry) -> str:
    """Say when and by whom: a fact since when it holds, a turn who said it, a document its title."""
    day = (entry.valid_from if entry.kind == "fact" else entry.created_at).date().isoformat()
    title = entry.metadata.get("title")
    where = title if entry.kind == "document" and isinstance(title, str) else entry.source
    said = f"{entry.speaker}:" if entry.speaker else ""
    return f"[{day}, {where[:80]}] {said}".rstrip()


def _piece(said: str, middle: int, size: int) -> str:
    """Return so many characters of a text around a place, with dots where something was left out."""
    start = max(0, min(middle - size // 3, len(said) - size))
    end = min(len(said), start + size)
    return f"{'…' if start else ''}{said[start:end].strip()}{'…' if end < len(said) else ''}"


def _ordered(lines: Sequence[_Line]) -> list[_Line]:
    """Put facts first; the rest by session, the one with the best match first, and turns in the order of speech."""
    facts = [line for line in lines if line.entry.kind == "fact"]
    groups: dict[tuple[str, str], list[_Line]] = {}
    for line in lines:
        if line.entry.kind != "fact":
            entry = line.entry
            told = entry.kind == "conversation" and entry.session is not None
            groups.setdefault((entry.scope, str(entry.session)) if told else ("", entry.id), []).append(line)
    best = {key: max(line.score or 0.0 for line in group) for key, group in groups.items()}
    rest = [
        line
        for key in sorted(groups, key=lambda key: -best[key])
        for line in sorted(groups[key], key=lambda line: line.entry.seq)
    ]
    return [*facts, *rest]


def _text(lines: Sequence[_Line]) -> str:
    facts = "".join(line.text for line in lines if line.entry.kind == "fact")
    rest = "".join(line.text for line in lines if line.entry.kind != "fact")
    parts = [f"{_FACTS}\n{facts}" if facts else "", f"{_REST}\n{rest}" if rest else ""]
    return "\n".join(part for part in parts if part).rstrip("\n")
