"""The hands of the ledger page: asks for sats, pays once the invoice was seen, compares, and says what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anywidget
import marimo as mo
import traitlets

from timmy_core import TimmyError
from timmy_core.ledger.model import Invoice
from timmy_core.ledger.money import MSAT_PER_SAT, Msat
from ui import billing, parts, sats, taking
from ui import entry as whole
from ui.joined import joined

if TYPE_CHECKING:
    from timmy_core import Timmy

Say = Callable[..., None]
Reply = dict[str, Any]
LINES = 200  # of a statement, the newest
WAIT_S = 25.0  # for a payment; after it the page says that it is under way


class Booking(anywidget.AnyWidget):
    """Listens to every button of the page that carries `data-book`; `done` rises with each change that was made.

    Args:
        timmy: whose ledger it is.
        by: who sits before the page.
    """

    _esm = joined("dom.js", "hands.js", "booking.js")
    _css = joined("hands.css", "booking.css")

    done = traitlets.Int(0).tag(sync=True)
    offers = traitlets.Dict().tag(sync=True)

    def __init__(self, timmy: Timmy, *, by: str) -> None:
        super().__init__(offers={"nodes": [], "agents": [], "formats": taking.formats()})
        self._timmy, self._by = timmy, by
        self.on_msg(self._asked)

    def offer(self, nodes: list[dict[str, Any]], agents: list[str]) -> None:
        """Offer these nodes, each with `name`, `words` and `play`, and these agents in the forms."""
        self.offers = {"nodes": nodes, "agents": agents, "formats": taking.formats()}

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        # On a thread of its own: a node may take its time.
        arguments = (self.send, self._timmy, dict(content), self._by)
        mo.Thread(target=carry_out, args=arguments, daemon=True).start()


def carry_out(send: Say, timmy: Timmy, order: Mapping[str, Any], by: str) -> None:
    """Do what was asked, and send what came of it."""
    number = order.get("number", 0)

    def reply(message: Reply, buffers: list[bytes] | None = None) -> None:
        send({"number": number, **message}, buffers)

    action = str(order.get("action"))
    try:
        if action == "export":
            taking.take_out(reply, timmy, str(order.get("format")))
        elif action in _DOES:
            reply(_DOES[action](timmy, order, by))
    except TimmyError as error:
        reply({"kind": "said", "state": "bad", "words": parts.sentence(str(error))})


# Asking for sats ---------------------------------------------------------------------------------------------


def _invoice(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    del by
    made = timmy.payments.create_invoice(
        amount_msat=_msat(order["amount"]) or 0,
        memo=str(order.get("memo", "")).strip(),
        expiry_s=int(order["expiry_s"]),
        source=_text(order, "source") or "page",
        agent_id=_text(order, "agent"),
        task_id=_text(order, "task"),
        node=_text(order, "node"),
        idempotency_key=_text(order, "key"),
    )
    return billing.bill(timmy, made) | {"changed": True}


def _show(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    del by
    one = timmy.ledger.get(str(order["id"]))
    if not isinstance(one, Invoice):
        return {"kind": "said", "state": "bad", "words": "Only an invoice of yours has a code to be paid by."}
    return billing.bill(timmy, one)


def _look(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    """Say anew how an invoice stands as soon as it is not open any more; the book is read, the node is not asked."""
    del by
    one = timmy.ledger.get(str(order["id"]))
    if isinstance(one, Invoice) and one.shown == "pending":
        return {"kind": "still"}
    return billing.bill(timmy, one) | {"changed": True}


def _check(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    del by
    before = timmy.ledger.get(str(order["id"]))
    now = timmy.payments.check(before.id)
    words = f"It is {now.shown}." if now.status != before.status else f"The node says the same: it is {now.shown}."
    return {"kind": "said", "state": "wait" if now.shown == "pending" else "good", "words": words, "changed": True}


def _neighbour_pays(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    """Have the neighbour of a play node pay; the book hears of it from the node, as of any other payer."""
    del by
    one = timmy.ledger.get(str(order["id"]))
    timmy.payments.playing.pay(one.payment_hash, node=one.node)
    now = timmy.payments.check(one.id)
    return {
        "kind": "said",
        "state": "good",
        "words": f"The neighbour paid {sats.words(whole.amount(now))}.",
        "changed": True,
    }


def _neighbour_asks(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    del by
    memo = "an invoice of the neighbour, to try it"
    bolt11 = timmy.payments.playing.invoice(
        amount_msat=_msat(order.get("amount")), memo=memo, node=_text(order, "node")
    )
    return {"kind": "pasted", "bolt11": bolt11}


# Paying ------------------------------------------------------------------------------------------------------


def _decode(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    del by
    text, node = str(order["bolt11"]), _text(order, "node")
    found = timmy.payments.decode(text, node=node)
    if found.invoice.amount_msat is None:
        # How much is asked for in the next step; what else speaks against it is said now.
        found = timmy.payments.decode(text, node=node, amount_msat=MSAT_PER_SAT)
    return billing.to_pay(timmy, found)


def _pay(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    del by
    paid = timmy.payments.pay(
        str(order["bolt11"]),
        amount_msat=_msat(order.get("amount")),
        fee_limit_msat=_msat(order.get("fee_limit")),
        memo=str(order.get("memo", "")).strip(),
        agent_id=_text(order, "agent"),
        task_id=_text(order, "task"),
        node=_text(order, "node"),
        idempotency_key=_text(order, "key"),
        wait_s=WAIT_S,
    )
    return billing.paid(paid) | {"changed": True}


# Keeping the books true --------------------------------------------------------------------------------------


def _compare(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    return billing.report(timmy.payments.reconcile(str(order["node"]), dry_run=True, by=by))


def _reconcile(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    report = timmy.payments.reconcile(str(order["node"]), dry_run=False, by=by)
    return billing.report(report) | {"changed": True}


def _resolve(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    found = timmy.payments.resolve(str(order["id"]), by=by)
    words = f"Taken note of: {found.words}. A later comparison may find it anew."
    return {"kind": "said", "state": "good", "words": words, "changed": True}


def _verify(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    del order, by
    found = timmy.ledger.verify()
    if found.ok:
        lines = parts.plural(found.checked, "line")
        words = f"{lines} checked: debits are credits, the balances are those of a replay, the chain of hashes holds."
        return {"kind": "said", "state": "good", "words": words}
    return {
        "kind": "said",
        "state": "bad",
        "words": " ".join(parts.sentence(one.message) for one in found.problems[:3]),
    }


def _statement(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    del by
    since = timmy.clock.now() - timedelta(days=int(order["days"]))
    found = timmy.ledger.statement(str(order["account"]), since, None, limit=LINES)
    while found.cursor is not None:
        # The newest lines matter; the book gives them oldest first.
        more = timmy.ledger.statement(found.account, since, None, found.cursor, limit=LINES)
        found = replace(more, opening_msat=found.opening_msat, lines=(*found.lines, *more.lines)[-LINES:])
    return billing.statement(found)


def _budget(timmy: Timmy, order: Mapping[str, Any], by: str) -> Reply:
    agent, period = str(order["agent"]).strip(), str(order["period"])
    limit = _msat(order.get("limit"))
    known = {(one.agent_id, one.period): one.limit_msat for one in timmy.ledger.budgets()}
    before = known.get((agent, period))  # type: ignore[call-overload] # an unknown period is refused below
    timmy.ledger.set_budget(agent, period, limit, by=by)  # type: ignore[arg-type]
    words = (
        f"{agent} may spend {sats.words(limit)} a {period}."
        if limit is not None
        else f"{agent} has no limit a {period}."
    )
    back = "" if before is None else sats.typed(before)
    undo = {"action": "budget", "agent": agent, "period": period, "limit": back}
    return {"kind": "said", "state": "good", "words": words, "undo": undo, "changed": True, "close": True}


_DOES: dict[str, Callable[[Timmy, Mapping[str, Any], str], Reply]] = {
    "invoice": _invoice,
    "show": _show,
    "look": _look,
    "check": _check,
    "neighbour_pays": _neighbour_pays,
    "neighbour_asks": _neighbour_asks,
    "decode": _decode,
    "pay": _pay,
    "compare": _compare,
    "reconcile": _reconcile,
    "resolve": _resolve,
    "verify": _verify,
    "statement": _statement,
    "budget": _budget,
}


def _text(order: Mapping[str, Any], key: str) -> str | None:
    return str(order.get(key) or "").strip() or None


def _msat(text: Any) -> int | None:
    """Return an amount that was typed in sats, as people type it: with or without thousands apart; empty is none."""
    plain = str(text or "").replace(",", "").replace("\u00a0", "").replace(" ", "").strip()
    return int(Msat.from_sats(plain)) if plain else None
