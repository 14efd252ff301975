"""Lines of code as HTML: coloured by what they are, and with the words marked that changed."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pygments.token import _TokenType

Span = tuple[int, int]
Piece = tuple[str, str]  # a text and its class

_WORDS = re.compile(r"\w+|\s+|[^\w\s]")
_LIKE_ENOUGH = 0.4  # two lines that share less are two lines, and no change of one
_MOST_MARKED = 400  # characters; longer lines are compared as wholes

# The classes that the style sheet knows, by the beginning of a token's name.
_CLASSES = (
    ("Token.Comment", "c"),
    ("Token.Literal.String", "s"),
    ("Token.Literal.Number", "m"),
    ("Token.Keyword", "k"),
    ("Token.Operator.Word", "k"),
    ("Token.Name.Function", "f"),
    ("Token.Name.Class", "f"),
    ("Token.Name.Decorator", "d"),
    ("Token.Name.Tag", "k"),
    ("Token.Name.Attribute", "f"),
    ("Token.Name.Builtin", "b"),
    ("Token.Name.Exception", "b"),
    ("Token.Generic.Heading", "f"),
    ("Token.Generic.Subheading", "f"),
)


@lru_cache(maxsize=128)
def colored(path: str, text: str) -> tuple[tuple[Piece, ...], ...]:
    """Return each line of a file as pieces with classes."""
    from pygments import lex
    from pygments.lexers import get_lexer_for_filename
    from pygments.util import ClassNotFound

    try:
        lexer: Any = get_lexer_for_filename(path, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return tuple(((line, ""),) for line in text.split("\n"))
    lines: list[list[Piece]] = [[]]
    for kind, value in lex(text, lexer):
        first, *others = value.split("\n")
        css = _class_of(kind)
        lines[-1].append((first, css))
        lines += [[(other, css)] for other in others]
    return tuple(tuple(piece for piece in line if piece[0]) for line in lines)


@lru_cache(maxsize=512)
def _class_of(kind: _TokenType) -> str:
    name = str(kind)
    return next((css for begin, css in _CLASSES if name.startswith(begin)), "")


def html(pieces: Sequence[Piece], marks: Sequence[Span] = ()) -> str:
    """Return one line as HTML, with what stands in `marks` marked."""
    out, at = [], 0
    for text, css in pieces:
        for part, marked in _cut(text, at, marks):
            inner = f"<mark>{escape(part)}</mark>" if marked else escape(part)
            out.append(f'<span class="{css}">{inner}</span>' if css else inner)
        at += len(text)
    return "".join(out)


def _cut(text: str, at: int, marks: Sequence[Span]) -> list[tuple[str, bool]]:
    """Cut a piece that begins at `at` where marks begin and end in it."""
    ends = sorted({at, at + len(text), *(place for span in marks for place in span if at < place < at + len(text))})
    return [
        (text[begin - at : end - at], any(first <= begin < last for first, last in marks))
        for begin, end in itertools.pairwise(ends)
    ]


def changed_words(old: str, new: str) -> tuple[list[Span], list[Span]]:
    """Return what differs between two lines, word by word; nothing where they have too little in common."""
    if max(len(old), len(new)) > _MOST_MARKED:
        return [], []
    before, after = _WORDS.findall(old), _WORDS.findall(new)
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    if matcher.ratio() < _LIKE_ENOUGH:
        return [], []
    was, now = _starts(before), _starts(after)
    gone: list[Span] = []
    come: list[Span] = []
    for tag, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        if tag != "equal":
            gone += [(was[old_from], was[old_to])] if old_to > old_from else []
            come += [(now[new_from], now[new_to])] if new_to > new_from else []
    return gone, come


def _starts(words: Sequence[str]) -> list[int]:
    found = [0]
    for word in words:
        found.append(found[-1] + len(word))
    return found
