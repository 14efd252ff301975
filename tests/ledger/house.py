"""What the tests of the ledger share: a book with funds, invoices that need no node, and payments to be made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Invoice, Payment

NODE = "home"
START = datetime(2026, 1, 1, tzinfo=UTC)


def preimage(number: int) -> str:
    return hashlib.sha256(f"preimage {number}".encode()).hexdigest()


def payment_hash(number: int) -> str:
    return hashlib.sha256(bytes.fromhex(preimage(number))).hexdigest()


@dataclass(frozen=True)
class Bill:
    """What the ledger reads of somebody's decoded invoice."""

    number: int
    amount_msat: int | None = 10_000
    description: str | None = "a thing"
    expires_at: datetime = START + timedelta(hours=1)
    payee: bytes = b"\x02" * 33

    @property
    def text(self) -> str:
        return f"lnbcrt{self.number}"

    @property
    def payment_hash(self) -> bytes:
        return bytes.fromhex(payment_hash(self.number))


def record(ledger: Ledger, number: int, amount_msat: int = 21_000, **more: object) -> Invoice:
    given = {
        "node": NODE, "payment_hash": payment_hash(number), "bolt11": f"lnbcrt{number}", "amount_msat": amount_msat,
        "memo": "tea", "expires_at": START + timedelta(hours=1), "source": "cli", **more,
    }  # fmt: skip
    return ledger.record_invoice(**given)  # type: ignore[arg-type]


def settle_in(ledger: Ledger, number: int, received_msat: int = 21_000, *, node: str = NODE) -> Invoice:
    return ledger.settle_invoice(
        node, payment_hash(number), received_msat=received_msat, settled_at=START, preimage=preimage(number),
        proof="lookup",
    )  # fmt: skip


def begin(ledger: Ledger, number: int, amount_msat: int = 10_000, fee_limit_msat: int = 1_000, **more: str) -> Payment:
    return ledger.begin_payment(
        more.pop("node", NODE), Bill(number, amount_msat), None, fee_limit_msat, **{"agent_id": "echo", **more}
    )


def settle_out(ledger: Ledger, number: int, amount_msat: int = 10_000, fee_msat: int = 500, **more: bool) -> Payment:
    return ledger.settle_payment(
        NODE, payment_hash(number), amount_msat=amount_msat, fee_msat=fee_msat, preimage=preimage(number),
        proof="pay", **more,
    )  # fmt: skip


def check_whole(ledger: Ledger) -> None:
    """Debits equal credits, totals equal the replay, and nothing is overdrawn."""
    verification = ledger.verify()
    assert verification.ok, verification.problems
    accounts = ledger.accounts()
    assert sum(one.posted_debits_msat for one in accounts) == sum(one.posted_credits_msat for one in accounts)
    assert sum(one.pending_debits_msat for one in accounts) == sum(one.pending_credits_msat for one in accounts)
    balance = ledger.balance()
    assert balance.available_msat >= 0
    assert balance.net_msat == balance.incoming_total_msat - balance.outgoing_total_msat - balance.fees_paid_msat
