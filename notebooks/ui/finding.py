"""Search as one types: the newest entries, or those that fit the words best, each with where its score comes from."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import traitlets

from timmy_core.memory import overview
from timmy_core.memory.model import KINDS, Entry, Match, Why
from ui import filters, palette
from ui.addressed import RANGES
from ui.joined import joined
from ui.sought import Sought

if TYPE_CHECKING:
    from timmy_core import Timmy

PAGE = 20
FEW = 6  # of the newest, where nothing is asked: the rest of the page matters more
FOUND = 15
TEXT_CHARS = 1_500
BESIDE = 2


class Finding(Sought):
    """Holds `query` as it stands in the address, and sends what memory holds about it.

    Args:
        timmy: whose memory is searched.
        query: what the address asks for at first.
    """

    _esm = joined("dom.js", "brushing.js", "sought.js", "finding.js")
    _css = joined("finding.css")

    kinds = traitlets.Dict().tag(sync=True)
    ranges: Any = traitlets.List().tag(sync=True)

    def __init__(self, timmy: Timmy, *, query: Mapping[str, str]) -> None:
        ranges = [[key, RANGES[key][0]] for key in filters.OFFERED]
        kinds = {kind: palette.KINDS[kind] for kind in KINDS}
        super().__init__(partial(found, timmy), partial(opened, timmy), query=dict(query), kinds=kinds, ranges=ranges)


def found(timmy: Timmy, query: Mapping[str, Any], cursor: int | None = None) -> dict[str, Any]:
    """Return the entries for a query: the best with words in it, the newest without."""
    began = time.monotonic()
    words = str(query.get("text") or "").strip()
    where = filters.wanted(query, timmy.clock.now())
    if query.get("entry"):
        where = {"id": str(query["entry"])}
        words = ""
    if not words:
        limit = PAGE if where or cursor is not None else FEW
        page = timmy.memory.list(limit=limit, cursor=cursor, state="stored", **where)
        total = timmy.memory.count(state="stored", **where) if cursor is None else None
        rows = [row(entry) for entry in page]
        return {"rows": rows, "cursor": page.cursor, "total": total, "note": "", "took_ms": None}
    # The owner looks everywhere: an agent or a session only filters here, and is no border.
    scopes = overview.scopes(timmy.store) if {"agent_id", "session"} & set(where) else None
    matches = timmy.memory.search(words, limit=FOUND, scopes=scopes, **where)
    note = next((match.why.note for match in matches if match.why.note), "")
    took_ms = 1000 * (time.monotonic() - began)
    rows = [row(match.entry, match) for match in matches]
    return {"rows": rows, "cursor": None, "total": len(rows), "note": note, "took_ms": took_ms}


def row(entry: Entry, match: Match | None = None) -> dict[str, Any]:
    """Return an entry as the browser takes it; a long text in part, and the passage that matched instead of its document."""
    passage = match.why.passage if match is not None else None
    text = passage.text if passage is not None else entry.text
    return {
        "id": entry.id,
        "kind": entry.kind,
        "text": text[:TEXT_CHARS],
        "cut": passage is not None or len(text) > TEXT_CHARS,
        "passage": passage.place + 1 if passage is not None else None,
        "parts": entry.parts,
        "speaker": entry.speaker,
        "subject": entry.subject,
        "title": str(entry.metadata.get("title") or entry.metadata.get("file") or ""),
        "session": entry.session,
        "agent": entry.agent_id,
        "source": entry.source,
        "ts": entry.created_at.isoformat(),
        "ended": entry.valid_to.isoformat() if entry.valid_to else None,
        "score": match.score if match is not None else None,
        "why": reasons(match.why) if match is not None else None,
        "words": list(match.why.words) if match is not None else [],
        "beside": list(match.why.neighbours) if match is not None else [],
    }


def reasons(why: Why) -> list[dict[str, Any]]:
    """Return where a score comes from: for each part that had a say a word, a number, and what it means."""
    parts: list[tuple[str, float | None, str]] = [
        ("words", why.keyword, "words of the question, in the entry and beside it"),
        ("likeness", why.similarity, "how near the best sentence is in meaning; 1 is the same"),
        ("with the turn before", why.window, "how near the entry and the turn before it are together"),
        ("newer", why.recency, "what it gets for being recent"),
        ("importance", why.importance, "what it gets for being important"),
    ]
    return [{"name": name, "value": round(value, 3), "title": title} for name, value, title in parts if value]


def opened(timmy: Timmy, key: str) -> dict[str, Any]:
    """Return the whole of one entry, and the turns beside it."""
    entry = timmy.memory.get(key)
    beside: Sequence[Entry] = timmy.memory.around(key, before=BESIDE, after=BESIDE)
    facts = [
        ["id", entry.id],
        ["scope", entry.scope],
        ["source", entry.source],
        ["importance", f"{entry.importance:g}"],
        ["seen", f"{entry.seen} times"] if entry.seen > 1 else None,
        ["found by meaning", "yes, with " + ", ".join(entry.embedding) if entry.embedding else ""],
        ["replaced by", entry.closed_by or ""],
    ]
    plain = {name: value for name, value in entry.metadata.items() if isinstance(value, str | int | float)}
    return {
        "row": row(entry) | {"text": entry.text, "cut": False},
        "trace": entry.trace_id,
        "facts": [fact for fact in [*facts, *[[k, str(v)] for k, v in plain.items()]] if fact and fact[1]],
        "before": [row(turn) for turn in beside if turn.seq < entry.seq],
        "after": [row(turn) for turn in beside if turn.seq > entry.seq],
    }
