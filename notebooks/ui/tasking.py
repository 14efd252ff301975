"""The tasks above the live feed: posted, listed with their bids, one of them in full, canceled once that was confirmed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import anywidget
import marimo as mo
import traitlets

from timmy_core import TimmyError
from timmy_core.errors import SwarmError
from ui import parts, tasks
from ui.joined import joined

if TYPE_CHECKING:
    from timmy_core import Timmy

Reply = dict[str, Any]
FEW, PAGE = 4, 50
_OPEN = ("bidding", "assigned", "working")


class Tasking(anywidget.AnyWidget):
    """Shows the newest tasks, and the one that the address names; `beat` rises when something about them changed.

    The live feed of the same page says when to look again, so this needs no connection of its own.

    Args:
        timmy: whose swarm it is.
        by: who sits before the page.
    """

    _esm = joined("dom.js", "hands.js", "tasking.js")
    _css = joined("hands.css", "tasking.css")

    beat = traitlets.Int(0).tag(sync=True)

    def __init__(self, timmy: Timmy, *, by: str) -> None:
        super().__init__()
        self._timmy, self._by = timmy, by
        self.on_msg(self._asked)

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        if content.get("kind") in _DOES:
            arguments = (self.send, self._timmy, dict(content), self._by)
            mo.Thread(target=carry_out, args=arguments, daemon=True).start()


def carry_out(send: Callable[[Any], None], timmy: Timmy, order: Mapping[str, Any], by: str) -> None:
    """Do what was asked, and send what came of it."""
    kind = str(order["kind"])
    try:
        send({"kind": kind, "number": order.get("number", 0), **_DOES[kind](timmy, order, by)})
    except TimmyError as error:
        problem = parts.sentence(str(error))
        send({"kind": kind, "number": order.get("number", 0), "id": order.get("id"), "problem": problem})


def _list(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    del by
    swarm = timmy.swarm
    page = swarm.tasks(
        limit=PAGE if order.get("all") else FEW,
        state=_OPEN if order.get("open") else None,
        cursor=order.get("cursor"),
    )
    return {
        "rows": [tasks.row(task) for task in page],
        "more": page.cursor,
        "cursor": order.get("cursor"),
        "count": swarm.count(),
        "open": swarm.count(*_OPEN),
        "offers": tasks.offers(timmy),
    }


def _task(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    del by
    task = timmy.swarm.task(str(order["id"]))
    return {"id": task.id, "html": tasks.detail(task), "unpaid": task.pay_state in ("due", "paying")}


def _post(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    posted = timmy.swarm.post_task(
        str(order.get("text", "")),
        budget_sats=_amount(order.get("budget")),
        needs=[word for word in str(order.get("needs", "")).replace(",", " ").split() if word],
        bidding_s=_seconds(order.get("bidding_s")),
        deadline_s=_seconds(order.get("deadline_s")),
        local_only=bool(order.get("local_only")),
        posted_by=by,
        id=str(order["key"]),
    )
    return {"id": posted.id, "words": f"Posted “{posted.title}”; agents bid for {posted.bidding_s:g} s."}


def _cancel(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    over = timmy.swarm.cancel(str(order["id"]), by=by, reason=str(order.get("reason", "")).strip())
    return {"id": over.id, "words": f"Canceled “{over.title}”."}


def _amount(text: object) -> float:
    """Return an amount of sats as it was typed.

    Raises:
        SwarmError: it is no number.
    """
    typed = str(text or "0").replace(",", "").replace(" ", "")
    try:
        return float(typed)
    except ValueError:
        message = f"{typed[:40]!r} is no amount; give a number of sats, such as 500 or 0.5"
        raise SwarmError(message) from None


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and value else None


_DOES: dict[str, Callable[[Any, Mapping[str, Any], str], Reply]] = {
    "list": _list,
    "task": _task,
    "post": _post,
    "cancel": _cancel,
}
