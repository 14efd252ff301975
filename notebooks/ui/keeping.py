"""The hands of the memory page: carries out what a button asked for, shows first what would go, and says what came of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import anywidget
import marimo as mo
import traitlets

from timmy_core import TimmyError
from timmy_core.memory.model import Entry, NewEntry
from timmy_core.memory.model_files import MINILM, Progress
from ui import filters, parts
from ui.joined import joined

if TYPE_CHECKING:
    from timmy_core import Timmy

Say = Callable[[Any], None]
Reply = dict[str, Any]
APART = "not_the_same"  # in an entry's metadata: the entries that a person told it from
_FIRST = 5
_SHOWN_CHARS = 160


class Keeping(anywidget.AnyWidget):
    """Listens to every button of the page that carries `data-keep`; `done` rises with each change that was made.

    Args:
        timmy: whose memory is changed.
        by: who sits before the page.
    """

    _esm = joined("dom.js", "hands.js", "keeping.js")
    _css = joined("hands.css", "keeping.css")

    done = traitlets.Int(0).tag(sync=True)

    def __init__(self, timmy: Timmy, *, by: str) -> None:
        super().__init__()
        self._timmy, self._by = timmy, by
        self._stop = threading.Event()
        self.on_msg(self._asked)

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        if content.get("action") == "stop":
            self._stop.set()
            return
        if content.get("action") == "install":
            self._stop = threading.Event()
        arguments = (self.send, self._timmy, dict(content), self._by, self._stop)
        mo.Thread(target=carry_out, args=arguments, daemon=True).start()

    def close(self) -> None:
        """End a download that is under way; the next one goes on from there."""
        self._stop.set()
        super().close()


def carry_out(send: Say, timmy: Timmy, order: Mapping[str, Any], by: str, stop: threading.Event) -> None:
    """Do what was asked, and send what came of it."""
    action = str(order.get("action"))
    try:
        if action == "preview":
            send({"kind": "preview", **preview(timmy, order)})
        elif action == "fetch":
            send({"kind": "fetched", "order": dict(order), "entry": _plain(timmy.memory.get(str(order["id"])))})
        elif action == "install":
            send({"kind": "said", "state": "good", "undo": None, **_installed(send, timmy, stop)})
        else:
            send({"kind": "said", "state": "good", "undo": None, **_DOES[action](timmy, order, by)})
    except TimmyError as error:
        send({"kind": "said", "state": "bad", "words": f"That did not work: {error}", "undo": None})


# Keeping -----------------------------------------------------------------------------------------------------


def _remember(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    subject = str(order.get("subject") or "").strip() or None
    new = NewEntry(text=str(order.get("text", "")), kind="fact", subject=subject, source="page", speaker=by)
    before = timmy.memory.facts(subject=subject, scope="shared") if subject else []
    (entry,) = timmy.memory.remember_many([new])
    ended = [fact for fact in before if timmy.memory.get(fact.id).valid_to is not None]
    more = f" “{_short(ended[0].text)}” ended with it." if ended else ""
    return {"words": f"{'Known already' if entry.seen > 1 else 'Remembered'}: “{_short(entry.text)}”{more}"}


def _edit(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    changes: dict[str, Any] = {"text": str(order["text"])} if "text" in order else {}
    if "subject" in order:
        changes["subject"] = str(order["subject"] or "").strip() or None
    entry = timmy.memory.edit(str(order["id"]), by=by, **changes)
    return {"words": f"It says now: “{_short(entry.text)}” Nothing of the former text is left."}


def _confirm(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    entry = timmy.memory.confirm(str(order["id"]), by=by)
    return {"words": f"Timmy knows now: “{_short(entry.text)}”"}


def _reject(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    entry = timmy.memory.reject(str(order["id"]), by=by)
    undo = {"action": "confirm", "id": entry.id, "word": "Confirm it after all"}
    return {"words": f"Turned down, and not proposed again: “{_short(entry.text)}”", "undo": undo}


def _end(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    newer = str(order["replaced_by"]) if order.get("replaced_by") else None
    entry = timmy.memory.close_fact(str(order["id"]), replaced_by=newer, by=by)
    words = f"It no longer holds, and stays on record: “{_short(entry.text)}”"
    return {"words": words, "undo": {"action": "hold", "id": entry.id}}


def _hold(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    entry = timmy.memory.edit(str(order["id"]), valid_to=None, by=by)
    return {"words": f"It holds again: “{_short(entry.text)}”"}


def _both(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    entry = timmy.memory.get(str(order["id"]))
    apart = sorted({*entry.metadata.get(APART, ()), str(order["other"])})
    timmy.memory.edit(entry.id, metadata={**entry.metadata, APART: apart}, by=by)
    return {"words": "Both stay as they are, and are not asked about again."}


def _forget(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    if order.get("id"):
        done = timmy.memory.forget(str(order["id"]), reason="asked for on the page", by=by)
    else:
        where = filters.wanted(order["where"], timmy.clock.now(), until=str(order["until"]))
        done = timmy.memory.forget(where=where, reason="asked for on the page", by=by)
    passages = f" with {parts.plural(done.passages, 'passage')}" if done.passages else ""
    left = "" if done.erased else " A reader still holds a copy; the next forgetting or start removes that too."
    return {"words": f"Forgotten: {entries(done.entries)}{passages}.{left}", "gone": True}


def _switch(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    put = timmy.switches.put(str(order["session"]), bool(order["enabled"]), by=by)
    if put.enabled:
        return {"words": "Memory is on: Timmy recalls before each answer, and remembers it."}
    return {"words": "Memory is off here: nothing is recalled, and nothing is remembered."}


_DOES: dict[str, Callable[[Timmy, Mapping[str, Any], str], Reply]] = {
    "remember": _remember,
    "edit": _edit,
    "confirm": _confirm,
    "reject": _reject,
    "end": _end,
    "hold": _hold,
    "both": _both,
    "forget": _forget,
    "switch": _switch,
}


def entries(number: int) -> str:
    """Return `1 entry` or `1,204 entries`."""
    return parts.plural(number, "entry", "entries")


# What would go -----------------------------------------------------------------------------------------------


def preview(timmy: Timmy, order: Mapping[str, Any]) -> Reply:
    """Return what a forgetting would remove, and the order that would do it."""
    if order.get("id"):
        return _preview_one(timmy, timmy.memory.get(str(order["id"])))
    now = timmy.clock.now()
    # What comes after the preview was not seen, so it does not go.
    until = now.isoformat()
    query = dict(order["where"])
    where = filters.wanted(query, now, until=until)
    number = timmy.memory.count(**where)
    some = list(timmy.memory.list(limit=_FIRST, **where)) if number else []
    more = f"<li class='tw-muted'>and {parts.count(number - len(some))} more</li>" if number > len(some) else ""
    kinds = [(kind, timmy.memory.count(**{**where, "kind": kind})) for kind in ("conversation", "fact", "document")]
    counts = ", ".join(f"{parts.count(n)} of kind {kind}" for kind, n in kinds if n)
    html = (
        f"<p>Everything with {escape(filters.described(query))}: {counts or 'nothing'}. {_GOES}</p>"
        f"<ul class='tw-going'>{''.join(_going(entry) for entry in some)}{more}</ul>"
    )
    go = {"action": "forget", "where": query, "until": until} if number else None
    return {"title": f"Forget {entries(number)}?", "html": html, "button": f"Forget {entries(number)}", "go": go}


_GOES = (
    "Text, words and vectors leave every file, also the turns of the conversation that hold the same words. "
    "It cannot be undone; what stays is one event that says so, without the text."
)


def _preview_one(timmy: Timmy, entry: Entry) -> Reply:
    also = []
    if entry.parts:
        also.append(parts.plural(entry.parts, "passage"))
    if entry.embedding:
        also.append("its vectors")
    if entry.trace_id:
        also.append("the turn of the conversation that it came from")
    with_it = f"<p>With it go {', '.join(also)}.</p>" if also else ""
    html = f"<ul class='tw-going'>{_going(entry)}</ul>{with_it}<p class='tw-muted'>{_GOES}</p>"
    go = {"action": "forget", "id": entry.id}
    return {"title": f"Forget this {entry.kind}?", "html": html, "button": f"Forget this {entry.kind}", "go": go}


def _going(entry: Entry) -> str:
    when = f"{entry.created_at:%d %b %Y}"
    return f"<li>{escape(_short(entry.text))} <span class='tw-muted'>{entry.kind}, {when}</span></li>"


# The model -----------------------------------------------------------------------------------------------------


def _installed(send: Say, timmy: Timmy, stop: threading.Event) -> Reply:
    words = {"fetching": "Fetching", "unpacking": "Unpacking", "checking": "Checking every byte of"}
    told = [-1]

    def tell(step: Progress) -> None:
        total = step.total_bytes or MINILM.size
        percent = min(100, 100 * step.done_bytes // max(total, 1))
        if step.step == "done" or percent == told[0]:
            return
        told[0] = percent
        amount = f"{parts.size(step.done_bytes)} of {parts.size(total)}"
        send({"kind": "progress", "words": f"{words[step.step]} {MINILM.name}: {amount}", "percent": percent})

    came_from = timmy.meaning.install(on_progress=tell, stop=stop.is_set)
    return {"words": f"{MINILM.name} is installed, from {came_from}; entries get their vectors in the background."}


def _plain(entry: Entry) -> dict[str, Any]:
    return {"id": entry.id, "kind": entry.kind, "text": entry.text, "subject": entry.subject or ""}


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _SHOWN_CHARS else words[: _SHOWN_CHARS - 1] + "…"
