"""What Timmy knows about its owner, what contradicts itself, and what was recalled for which answer; as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from ui import parts
from ui.keeping import APART
from ui.markup import act, seek
from ui.remembered import SHOWN

if TYPE_CHECKING:
    from timmy_core import Event, Timmy
    from timmy_core.memory.model import Entry, Pair
    from ui.remembered import Held

PAIRS = 6
LOOKED_AT = 50
RECALLS = 8
_QUOTED = 5
_CHARS = 220


def facts(held: Held) -> str:
    """Return what was proposed and waits, then the newest facts, each to be changed; HTML."""
    waiting = "".join(_proposed(entry) for entry in held.proposed)
    known = "".join(_fact(entry) for entry in held.facts)
    add = act("Remember a fact …", {"action": "remember"}, style="safe")
    body = f'<ul class="tw-facts-of">{waiting}{known}</ul>' if waiting or known else _none(held)
    more = seek({"kind": "fact"}, f"all {parts.plural(held.holding, 'fact')}") if held.holding > SHOWN else ""
    foot = f'<div class="tw-foot">{add}<span class="tw-muted">{more}</span></div>'
    return parts.section("What Timmy knows about you", body + foot, note=_counts(held))


def _counts(held: Held) -> str:
    words = [parts.plural(held.holding, "fact")] if held.holding else []
    words += [f"{parts.count(held.ended)} ended"] if held.ended else []
    return " · ".join(words)


def _none(held: Held) -> str:
    how = (
        "A model proposes facts after each answer, and you confirm them here."
        if held.extract
        else "With <code>extract = true</code> in <code>[memory]</code> a model proposes some after each answer."
    )
    return parts.empty("No fact yet.", then=f"Note one yourself, such as “My sister Ann lives in Graz.” {how}")


def _proposed(entry: Entry) -> str:
    acts = [
        act("Confirm", {"action": "confirm", "id": entry.id}, style="safe", title="Timmy uses it from now on"),
        act("Edit …", {"action": "edit", "id": entry.id}),
        act("Turn down", {"action": "reject", "id": entry.id}, title="it is not proposed again"),
    ]
    return (
        f'<li class="tw-fact tw-waiting" data-entry="{escape(entry.id, quote=True)}">{parts.pill("wait", "proposed")}'
        f'<p>{escape(entry.text)}</p><span class="tw-from">{_from(entry)}</span><span class="tw-acts">{"".join(acts)}</span></li>'
    )


def _fact(entry: Entry) -> str:
    acts = [
        act("Edit …", {"action": "edit", "id": entry.id}),
        act("No longer true", {"action": "end", "id": entry.id}, title="it stays on record with the date, and is not recalled"),
        act("Forget …", {"action": "forget", "id": entry.id}, style="danger", title="shows first what would go"),
    ]  # fmt: skip
    about = f'<b class="tw-about">{escape(entry.subject)}</b>' if entry.subject else ""
    return (
        f'<li class="tw-fact" data-entry="{escape(entry.id, quote=True)}">{about}<p>{escape(entry.text)}</p>'
        f'<span class="tw-from">{_from(entry)}</span><span class="tw-acts">{"".join(acts)}</span></li>'
    )


def _from(entry: Entry) -> str:
    """Say where a fact comes from, with the turn that it was drawn from."""
    turn = entry.metadata.get("turn") or entry.metadata.get("from")
    words = {"page": "noted here", "extraction": "drawn from a conversation", "cli": "noted in a terminal"}
    source = escape(words.get(entry.source, f"from {entry.source}"))
    if isinstance(turn, str) and turn:
        source = seek({"entry": turn}, words.get(entry.source, f"from {entry.source}"))
    elif entry.trace_id:
        source = f'<a href="/swarm/events?trace={escape(entry.trace_id, quote=True)}">{source}</a>'
    return f"{source} {parts.ago(entry.created_at)}"


# To be resolved ------------------------------------------------------------------------------------------------


def open_pairs(pairs: Iterable[Pair]) -> list[Pair]:
    """Return the pairs that nobody has told apart yet."""
    return [pair for pair in pairs if pair.older.id not in pair.newer.metadata.get(APART, ())]


def resolving(contradictions: Sequence[Pair], duplicates: Sequence[Pair]) -> str:
    """Return what contradicts itself and what stands there twice, each with its ways out; nothing where all is well."""
    held = {(pair.older.id, pair.newer.id) for pair in contradictions}
    twice = [pair for pair in duplicates if (pair.older.id, pair.newer.id) not in held]
    cards = [_pair(pair, "contradicts") for pair in contradictions[:PAIRS]] + [
        _pair(pair, "twice") for pair in twice[:PAIRS]
    ]
    if not cards:
        return ""
    words = [parts.plural(len(contradictions), "contradiction")] if contradictions else []
    words += [parts.plural(len(twice), "duplicate")] if twice else []
    return parts.section("To be resolved", f'<ul class="tw-pairs">{"".join(cards)}</ul>', note=" · ".join(words))


def _pair(pair: Pair, how: str) -> str:
    older, newer = pair.older, pair.newer
    if how == "twice":
        head = parts.pill("info", "twice", title=pair.reason)
        acts = [
            act("Keep the newer", {"action": "end", "id": older.id, "replaced_by": newer.id}, style="safe"),
            act("Forget the older …", {"action": "forget", "id": older.id}, style="danger"),
        ]
    else:
        head = parts.pill("wait", "contradicts", title=pair.reason)
        acts = [
            act("The newer holds", {"action": "end", "id": older.id, "replaced_by": newer.id}, style="safe"),
            act("The older holds", {"action": "end", "id": newer.id}),
        ]
    acts.append(
        act("Both hold", {"action": "both", "id": newer.id, "other": older.id}, title="they are not asked about again")
    )
    sides = "".join(
        f'<div><span class="tw-from">{word}, {parts.day(entry.created_at)}</span><p>{escape(entry.text)}</p></div>'
        for word, entry in (("older", older), ("newer", newer))
    )
    return (
        f'<li data-pair="{escape(newer.id, quote=True)}">{head}<span class="tw-muted tw-reason">{escape(pair.reason)}</span>'
        f'<div class="tw-sides">{sides}</div><span class="tw-acts">{"".join(acts)}</span></li>'
    )


# Recalled ------------------------------------------------------------------------------------------------------


def recalled(timmy: Timmy) -> str:
    """Return the latest answers with what was recalled for each, newest first. HTML."""
    events = timmy.events.list(type="memory.recalled", limit=RECALLS)
    link = '<a href="/swarm/events?type=memory.recalled">all recalls →</a>'
    if not events:
        nothing = parts.empty(
            "Nothing was recalled yet.", then="Before each answer Timmy looks for what it remembers about the question."
        )
        return parts.section("Recalled for an answer", nothing, note=link)
    wanted = list(dict.fromkeys(key for event in events for key in _ids(event)))
    held = {one.id: one for one in timmy.memory.list(id=wanted, limit=len(wanted))} if wanted else {}
    traces = [event.trace_id for event in events if event.trace_id]
    asked = timmy.memory.list(trace_id=traces, speaker="user", limit=4 * RECALLS) if traces else ()
    questions = {entry.trace_id: entry.text for entry in asked}
    rows = "".join(_recall(event, held, questions.get(event.trace_id)) for event in events)
    return parts.section("Recalled for an answer", f'<ul class="tw-recalls">{rows}</ul>', note=link)


def _ids(event: Event) -> list[str]:
    return [str(key) for key in (event.data or {}).get("entries", ())][:_QUOTED]


def _recall(event: Event, held: dict[str, Entry], question: str | None) -> str:
    data = event.data or {}
    ids, number = _ids(event), len(data.get("entries", ()))
    lines = "".join(_quoted(held.get(key), key) for key in ids)
    more = f'<li class="tw-muted">and {parts.count(number - len(ids))} more</li>' if number > len(ids) else ""
    words = escape(short(question)) if question else f"a question in session {escape(str(data.get('session', '')))}"
    trace = f'<a href="/swarm/events?trace={escape(event.trace_id, quote=True)}">trace →</a>' if event.trace_id else ""
    took = f"{parts.latency(data.get('took_ms'))} · {parts.plural(int(data.get('tokens') or 0), 'token')}"
    found = parts.plural(number, "memory", "memories") if number else "nothing fitted"
    return (
        f'<li><details><summary><b>{words}</b><span class="tw-muted">{found}</span></summary><ul>{lines}{more}</ul></details>'
        f'<span class="tw-muted tw-took">{took} · {parts.ago(event.ts)} {trace}</span></li>'
    )


def _quoted(entry: Entry | None, key: str) -> str:
    if entry is None:
        return f'<li class="tw-muted">forgotten since {parts.ident(key)}</li>'
    return f"<li>{quoted(entry)}</li>"


def quoted(entry: Entry) -> str:
    """Return an entry in one line, which leads to the whole of it."""
    return f"{seek({'entry': entry.id}, short(entry.text))} <span class='tw-muted'>{escape(entry.kind)}, {parts.day(entry.created_at)}</span>"


def short(text: str) -> str:
    """Return a text in one line that is not too long."""
    words = " ".join(text.split())
    return words if len(words) <= _CHARS else words[: _CHARS - 1] + "…"
