"""The hands of the upgrades page: test, approve, reject, apply, roll back and PINs, each once it was confirmed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import anywidget
import marimo as mo
import traitlets

from timmy_core import TimmyError
from timmy_core.errors import UpgradeStateError
from ui import parts
from ui.joined import joined

if TYPE_CHECKING:
    from timmy_core import Timmy
    from timmy_core.upgrades.model import Proposal

Reply = dict[str, Any]
_MOST_STEPS = 20


class Deciding(anywidget.AnyWidget):
    """Listens to every button of the page that carries `data-upgrade`; `done` rises with each change that was made.

    Args:
        timmy: whose queue it is.
        chosen: the proposal that the address names.
        by: who sits before the page, empty where nobody had to log in.
    """

    _esm = joined("dom.js", "hands.js", "deciding.js")
    _css = joined("hands.css", "deciding.css")

    done = traitlets.Int(0).tag(sync=True)
    chosen = traitlets.Unicode("").tag(sync=True)
    by = traitlets.Unicode("").tag(sync=True)
    people: Any = traitlets.List().tag(sync=True)

    def __init__(self, timmy: Timmy, *, chosen: str = "", by: str = "") -> None:
        super().__init__(chosen=chosen, by="" if by == "page" else by)
        self._timmy = timmy
        self.on_msg(self._asked)

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        # On a thread of its own: tests take minutes.
        mo.Thread(target=carry_out, args=(self.send, self._timmy, dict(content)), daemon=True).start()


def carry_out(send: Callable[[Any], None], timmy: Timmy, order: Mapping[str, Any]) -> None:
    """Do what was asked, and send what came of it."""
    action, number = str(order.get("action")), order.get("number", 0)
    if action == "steps":
        send({"kind": "steps", "steps": _steps(timmy, order)})
        return
    if action not in _DOES:
        return
    try:
        reply = _DOES[action](timmy, order)
    except UpgradeStateError as error:
        words = f"{parts.sentence(str(error))} {_who_was_first(timmy, order)}".strip()
        reply = {"state": "bad", "words": words, "changed": True}
    except TimmyError as error:
        # What was refused may be so because something changed: the page looks again either way.
        reply = {"state": "bad", "words": parts.sentence(str(error)), "changed": True}
    send({"kind": "said", "number": number, **reply})


def _steps(timmy: Timmy, order: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far the work on proposals is."""
    found = {}
    for id_ in list(order.get("ids") or ())[:_MOST_STEPS]:
        step = timmy.upgrading.following.of(str(id_))
        if step is not None:
            took_s = (timmy.clock.now() - step.since).total_seconds()
            found[str(id_)] = {
                "words": f"{parts.sentence(step.what)[:-1]}, {parts.duration(took_s)}",
                "done": step.done,
            }
    return found


def _who_was_first(timmy: Timmy, order: Mapping[str, Any]) -> str:
    """Say who decided meanwhile, if that is why it went wrong."""
    try:
        one = timmy.upgrades.get(str(order.get("id")))
    except TimmyError:
        return ""
    if not one.approvals:
        return ""
    last = one.approvals[-1]
    word = "rejected" if last.decision == "reject" else "approved"
    ago_s = (timmy.clock.now() - last.at).total_seconds()
    return f"{last.by} {word} it {parts.duration(ago_s)} ago{f': {last.reason}' if last.reason else ''}."


# What can be done --------------------------------------------------------------------------------------------


def _test(timmy: Timmy, order: Mapping[str, Any]) -> Reply:
    id_ = str(order["id"])
    with timmy.upgrading.following.told(id_) as progress:
        done = timmy.upgrades.test(id_, progress=progress, anew=True)
    if done.state == "awaiting_approval":
        return _good("Its tests are green.")
    return {"state": "bad", "words": parts.sentence(done.problem or "Its tests are red"), "changed": True}


def _approve(timmy: Timmy, order: Mapping[str, Any]) -> Reply:
    id_, by, pin = _signed(order)
    urgent = order.get("urgent") is True
    done = timmy.upgrades.approve(id_, by=by, pin=pin, seen=str(order["seen"]), urgent=urgent)
    if done.state != "approved":
        return _good("Approved by you; somebody else has to approve it, too.")
    if order.get("apply") is True:
        return _apply(timmy, order)
    return _good(f"Approved. Nothing has landed on {done.branch} yet.") | {
        "back": {"word": f"Apply to {done.branch}", "order": {"action": "apply", "id": id_}}
    }


def _reject(timmy: Timmy, order: Mapping[str, Any]) -> Reply:
    id_, by, pin = _signed(order)
    timmy.upgrades.reject(id_, by=by, reason=str(order.get("reason") or ""), pin=pin)
    return _good("Rejected. Its own refs are gone; no branch was touched.")


def _apply(timmy: Timmy, order: Mapping[str, Any]) -> Reply:
    id_ = str(order["id"])
    with timmy.upgrading.following.told(id_) as progress:
        return _landed(timmy.upgrades.apply(id_, progress=progress))


def _landed(done: Proposal) -> Reply:
    if done.shown == "applied":
        title = done.description.split("\n", 1)[0]
        order = {"action": "rollback", "id": done.id, "title": title, "branch": done.branch}
        words = f"Applied to {done.branch} as {(done.applied_sha or '')[:10]}."
        return _good(words) | {"back": {"word": "Roll back …", "order": order}}
    problem = done.problem or f"it is {done.state.replace('_', ' ')}"
    return {"state": "bad", "words": f"Not applied: {parts.sentence(problem)}", "changed": True}


def _rollback(timmy: Timmy, order: Mapping[str, Any]) -> Reply:
    id_, by, pin = _signed(order)
    with timmy.upgrading.following.told(id_) as progress:
        done = timmy.upgrades.rollback(id_, by=by, pin=pin, progress=progress, untested=order.get("untested") is True)
    return _good(f"Taken back by {(done.rolled_back_sha or '')[:10]}; the same change counts as high risk from now on.")


def _pin(timmy: Timmy, order: Mapping[str, Any]) -> Reply:
    name, pin = str(order.get("by") or "").strip(), str(order.get("pin") or "")
    timmy.upgrading.approvals.set_pin(
        pin,
        by=name,
        old=_text(order, "old"),
        admitted_by=_text(order, "admitted_by"),
        admitting=_text(order, "admitting"),
    )
    return _good(f"{name} may decide now.") | {"people": list(timmy.upgrading.approvals.people())}


def _good(words: str) -> Reply:
    return {"state": "good", "words": words, "changed": True}


def _signed(order: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(order["id"]), str(order.get("by") or "").strip(), str(order.get("pin") or "")


def _text(order: Mapping[str, Any], key: str) -> str | None:
    return str(order.get(key) or "").strip() or None


_DOES: dict[str, Callable[[Timmy, Mapping[str, Any]], Reply]] = {
    "test": _test,
    "approve": _approve,
    "reject": _reject,
    "apply": _apply,
    "rollback": _rollback,
    "pin": _pin,
}
