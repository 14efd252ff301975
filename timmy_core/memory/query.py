"""What a person typed, as words to look for: folded, without those that say nothing; no character is a command."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from timmy_core.store.stems import Stems

MAX_CHARS: Final = 100_000  # of a query; what follows is not read
MAX_TERMS: Final = 32
_LONGEST: Final = 64  # characters of one word; FTS5 shortens none that is longer

_WORD: Final = re.compile(r"[^\W_]+")
# Scripts that put no space between words: Thai, Lao, Burmese, Khmer, Chinese and Japanese.
_UNSPACED: Final = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003134f]+"
)
# Korean hangs its particles onto the word, so a word there is the beginning of one.
_HANGUL: Final = re.compile("[\uac00-\ud7af]")
_MARKED: Final = re.compile("([a-z])[\u0300-\u036f]+")
_SCOPE: Final = re.compile(r"scope[0-9a-f]+")

_ANYWHERE: Final = "{own previous next about} : "

# English words that are in every second question and say nothing of what is asked for.
STOP_WORDS: Final = frozenset(
    """
    a about above after again against all am an and any are aren as at be because been before being below between both
    but by can could couldn d did didn do does doesn doing don down during each few for from further had hadn has hasn
    have haven having he her here hers herself him himself his how i if in into is isn it its itself just ll m me more
    most my myself no nor not now o of off on once only or other our ours ourselves out over own re s same she should
    shouldn so some such t than that the their theirs them themselves then there these they this those through to too
    under until up ve very was wasn we were weren what when where which while who whom why will with won would wouldn
    you your yours yourself yourselves
    """.split()  # noqa: SIM905 - a hundred quotes more would say no more
)


@dataclass(frozen=True, slots=True)
class Term:
    """One thing to look for.

    Args:
        text: as it was typed, folded.
        stem: what FTS5 keeps of it; of a piece, the piece.
        match: the question to FTS5, with every character quoted; "" for a piece.
        prefix: whether it stands for every word that begins so.
    """

    text: str
    stem: str
    match: str
    prefix: bool = False

    @property
    def piece(self) -> bool:
        """Whether it is looked for inside running text, because its script has no spaces."""
        return not self.match

    @property
    def own(self) -> str:
        """The question for the entry itself, without the turns beside it."""
        return f"{{own about}} : {self.match.removeprefix(_ANYWHERE)}"


@dataclass(frozen=True, slots=True)
class Query:
    """A question as terms, and what about it has to be told."""

    text: str
    terms: tuple[Term, ...]
    note: str = ""

    @property
    def pieces(self) -> tuple[Term, ...]:
        """The terms that FTS5 cannot find."""
        return tuple(term for term in self.terms if term.piece)


def fold(text: str) -> str:
    """Return a text in the form in which words are compared, as FTS5 does it.

    Case counts nowhere, accents not on Latin letters; in other scripts a mark makes another letter.
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", _MARKED.sub(r"\1", unicodedata.normalize("NFD", text).lower()))


def parse(text: str, stems: Stems) -> Query:
    """Return the terms of a question; at most `MAX_TERMS`, the longest words of a very long one."""
    # Half a surrogate pair is no text, and SQLite refuses it.
    asked = text[:MAX_CHARS].encode(errors="replace").decode().strip()
    folded = fold(asked)
    pieces = [piece for run in _UNSPACED.findall(folded) for piece in _pairs(run)]
    words = list(dict.fromkeys(_WORD.findall(_UNSPACED.sub(" ", folded))))
    telling = [word for word in words if word not in STOP_WORDS] or words
    note = ""
    found = [*telling, *dict.fromkeys(pieces)]
    if len(found) > MAX_TERMS:
        note = f"only the {MAX_TERMS} longest of {len(found):,} words were looked for"
        kept = set(sorted(found, key=lambda word: (-len(word), word))[:MAX_TERMS])
        found = [word for word in found if word in kept]
    if not found and asked:
        pieces = [folded[:_LONGEST]]
        found = pieces
    literal = set(pieces)
    words = [word for word in found if word not in literal]
    shortened = stems.of(words)
    terms = [Term(word, word, "") if word in literal else _term(word, shortened[word]) for word in found]
    # Two forms of one word are one term.
    return Query(asked, tuple({(term.stem, term.piece): term for term in reversed(terms)}.values())[::-1], note)


def _pairs(run: str) -> list[str]:
    """Return a run of a script without spaces as overlapping pairs, which is about what its words are."""
    return [run] if len(run) <= 2 else [run[place : place + 2] for place in range(len(run) - 1)]  # noqa: PLR2004 - pairs


def _term(word: str, stem: str) -> Term:
    prefix = bool(_HANGUL.search(word))
    match = f'"{word[:_LONGEST]}"' + ("*" if prefix or len(word) > _LONGEST else "")
    if _SCOPE.match(word):
        match = _ANYWHERE + match  # else it would ask for a scope
    return Term(word, word if prefix else stem or word, match, prefix)


def begins(term: Term) -> Term:
    """Return the term that stands for every word which begins like this one: somebody is still typing it."""
    return Term(term.text, term.text, f"{term.match.rstrip('*')}*", prefix=True)
