"""Joining: which intent an invoice came of that a node made and nobody wrote down."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from timmy_core.ledger.model import Intent
from timmy_core.ledger.node import NodeInvoice

EARLY: Final = timedelta(minutes=2)  # by how much the node's clock may be behind
LATE: Final = timedelta(minutes=5)  # how long after the intent a node may have made it


def match(intents: Iterable[Intent], seen: NodeInvoice) -> Intent | None:
    """Return the oldest open intent that wanted this very invoice, or None.

    An invoice carries no sign of its intent, since its payer would see it: amount, memo and time have to agree. Two
    intents that agree in all of these want the same, so that either may have it.
    """
    for intent in sorted(intents, key=lambda one: (one.created_at, one.id)):
        in_time = intent.created_at - EARLY <= seen.created_at <= intent.created_at + LATE
        same = intent.amount_msat == seen.amount_msat and intent.memo == seen.memo
        if intent.payment_hash is None and same and in_time:
            return intent
    return None
