"""What is said of payments and nodes is what the code does."""

from __future__ import annotations

import re

from timmy_core.ledger.findings import FINDING_KINDS
from timmy_core.ledger.payments import PaymentHandler

from .documents import reference, rows, section


def test_every_kind_of_finding_of_the_ledger_is_described_and_no_other_is() -> None:
    described = {kind: cells[0] for kind, cells in rows(section(reference("payments"), "Reconciling")).items()}
    assert described == FINDING_KINDS


def test_every_method_of_the_payment_handler_is_described() -> None:
    text = section(reference("payments"), "Methods")
    for name in vars(PaymentHandler):
        if not name.startswith("_"):
            assert re.search(rf"`{name}[(`]", text), f"{name} is not described"
