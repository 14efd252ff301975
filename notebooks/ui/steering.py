"""The hands of the router page: carries out what a button asked for, says what came of it, and offers the way back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import marimo as mo
import traitlets

from timmy_core import TimmyError
from ui import now, parts
from ui.joined import joined

if TYPE_CHECKING:
    from timmy_core.router.router import Router

_HERE = Path(__file__).parent
ACTIONS = ("enable", "disable", "isolate", "close")
_DONE = {
    "enable": "{name} is switched on",
    "disable": "{name} is switched off",
    "isolate": "{name} is isolated",
    "close": "{name} is closed and may be asked again",
}
_BACK = {"enable": "disable", "disable": "enable", "isolate": "close"}


class Steering(anywidget.AnyWidget):
    """Listens to every button of the page that carries `data-steer`; `done` rises with each change that was made.

    Args:
        router: what is steered.
        by: who sits before the page.
    """

    _esm = joined("dom.js", "hands.js", "steering.js")
    _css = _HERE / "hands.css"

    done = traitlets.Int(0).tag(sync=True)

    def __init__(self, router: Router, *, by: str) -> None:
        super().__init__()
        self._router, self._by = router, by
        self.on_msg(self._asked)

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        # On a thread of its own: a health check may take seconds.
        arguments = (self.send, self._router, dict(content), self._by)
        mo.Thread(target=carry_out, args=arguments, daemon=True).start()


def who() -> str:
    """Return who sits before the page: the login, or `page` where nobody had to log in."""
    request = mo.app_meta().request
    user = getattr(request, "user", None)
    name = user.get("username") if isinstance(user, Mapping) else getattr(user, "username", None)
    return str(name) if name else "page"


def carry_out(send: Callable[[Any], None], router: Router, order: Mapping[str, Any], by: str) -> None:
    """Do what was asked, and send what came of it."""
    try:
        send({"kind": "said", "state": "good", **_carried_out(router, order, by)})
    except TimmyError as error:
        send({"kind": "said", "state": "bad", "words": f"That did not work: {error}", "undo": None})


def _carried_out(router: Router, order: Mapping[str, Any], by: str) -> dict[str, Any]:
    name, action = str(order.get("name")), str(order.get("action"))
    if action == "check":
        return _checked(router, name)
    if action == "priority":
        return _moved(router, name, order.get("values") or {}, by)
    router.control_sync(name, action, by=by)
    # A name keeps its own first letter.
    words = f"{_DONE[action].format(name=name)}; {_who_answers(router)}."
    back = _BACK.get(action)
    return {"words": words, "undo": {"name": name, "action": back} if back else None}


def _moved(router: Router, name: str, values: Mapping[str, int], by: str) -> dict[str, Any]:
    before = {provider.name: provider.priority for provider in router.providers()}
    for one, value in values.items():
        router.control_sync(str(one), "priority", by=by, value=value)
    undo = {"name": name, "action": "priority", "values": {one: before[one] for one in values if one in before}}
    order = ", ".join(provider.name for provider in router.providers())
    return {"words": f"Asked in this order now: {order}.", "undo": undo}


def _checked(router: Router, name: str) -> dict[str, Any]:
    ((_, health),) = router.test_sync(name)
    took = f" It said so after {parts.latency(health.latency_ms)}." if health.ok else ""
    words = f"{name}: {parts.sentence(health.message)}{took} {parts.sentence(health.advice)}".strip()
    return {"words": words, "undo": None, "state": "good" if health.ok else "bad"}


def _who_answers(router: Router) -> str:
    return now.who_then([provider for provider in router.status() if provider.kind != "offline"])
