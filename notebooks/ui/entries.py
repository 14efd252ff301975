"""Every invoice and payment: found by filters that stand in the address, listed as one scrolls, one of them in full."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from timmy_core.ledger.model import Entry, Invoice, Page
from ui import addressed, parts, sats
from ui import entry as whole
from ui.icons import family_icon
from ui.joined import joined
from ui.sought import Sought

if TYPE_CHECKING:
    from timmy_core import Timmy

PAGE = 50
KEYS = ("text", "direction", "status", "agent", "task", "source", "node", "since", "until", "entry")
_NAMES = {"agent": "agent_id", "task": "task_id", "source": "source", "node": "node", "text": "text"}
_KNOWN = {"direction": ("in", "out"), "status": ("pending", "settled", "failed", "expired")}


class Entries(Sought):
    """Holds `query` as it stands in the address, and sends the entries that it finds.

    Args:
        timmy: whose ledger it is.
        query: what the address asks for at first.
    """

    _esm = joined("dom.js", "brushing.js", "sought.js", "entries.js")
    _css = joined("finding.css", "entries.css")

    def __init__(self, timmy: Timmy, *, query: Mapping[str, str]) -> None:
        super().__init__(partial(found, timmy), partial(opened, timmy), query=dict(query))


def from_address(address: Mapping[str, Any]) -> dict[str, str]:
    """Return what a page's address asks for; what it cannot mean is left out."""
    return addressed.asked(address, KEYS, _KNOWN)


def opened(timmy: Timmy, key: str) -> dict[str, Any]:
    """Return one entry in full."""
    return {"kind": "detail", "id": key, "html": whole.detail(timmy, key)}


def found(timmy: Timmy, query: Mapping[str, Any], cursor: str | None = None) -> dict[str, Any]:
    """Return the entries for a query, newest first, with the words above them."""
    page = timmy.ledger.list(limit=PAGE, cursor=cursor, **wanted(query))
    filtered = any(query.get(key) for key in KEYS if key != "entry")
    return {
        "rows": [row(one) for one in page.entries],
        "cursor": page.cursor,
        "words": said(page, filtered=filtered) if cursor is None else "",
    }


def wanted(query: Mapping[str, Any]) -> dict[str, Any]:
    """Return a query as `Ledger.list` takes it."""
    chosen: dict[str, Any] = {_NAMES.get(key, key): str(query[key]) for key in (*_NAMES, *_KNOWN) if query.get(key)}
    bounds = {key: addressed.moment(str(query.get(key) or "")) for key in ("since", "until")}
    return chosen | {key: moment for key, moment in bounds.items() if moment is not None}


def said(page: Page, *, filtered: bool) -> str:
    """Return what was found, in words; sums only where all of it is at hand."""
    if not page.entries:
        return "Nothing with these filters." if filtered else ""
    if page.cursor is not None:
        return "Newest first, with these filters" if filtered else "Newest first"
    came = sum(_settled(one) for one in page.entries if isinstance(one, Invoice))
    went = sum(_settled(one) for one in page.entries if not isinstance(one, Invoice))
    sums = [f"{sats.words(amount)} {word}" for amount, word in ((came, "came in"), (went, "went out")) if amount]
    number = parts.plural(len(page.entries), "entry", "entries")
    return ": ".join([f"{number}{' with these filters' if filtered else ''}", *([", ".join(sums)] if sums else [])])


def _settled(one: Entry) -> int:
    if one.shown != "settled":
        return 0
    return whole.amount(one) + (0 if isinstance(one, Invoice) else one.fee_msat or 0)


def row(one: Entry) -> dict[str, Any]:
    """Return an entry as the browser takes it."""
    incoming = isinstance(one, Invoice)
    amount = whole.amount(one)
    fee = "" if isinstance(one, Invoice) or not one.fee_msat else sats.plain(one.fee_msat)
    who = one.agent_id or (one.source if isinstance(one, Invoice) else "")
    return {
        "id": one.id,
        "direction": one.direction,
        "at": one.created_at.isoformat(),
        "what": whole.title(one),
        "title": one.memo or one.payment_hash,
        "who": who,
        "agent": " · ".join(part for part in (one.agent_id, one.task_id and f"task {one.task_id}") if part),
        "pill": whole.pill(one),
        "fee": fee,
        "amount": "any" if incoming and not amount else sats.signed(amount if incoming else -amount),
        "tone": one.shown,
        "icon": family_icon("invoice" if incoming else "payment", size=15),
    }
