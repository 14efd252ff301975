"""Books that tests make up, with every kind of transfer between every kind of account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from timmy_core.ledger.model import Entry, Invoice, Payment, Transfer, TransferKind

BEGAN = datetime(2026, 10, 30, 22, 0, tzinfo=UTC)
NODES = ("Assets:LN:play", "Assets:LN:Play", "Assets:LN:my node.2")
OTHERS = (
    "Income:LN:web", "Income:LN:web-2", "Income:LN:%3Dx", "Income:LN:unassigned", "Equity:Opening", "Equity:Suspense",
    "Expenses:LN:Payments:echo", "Expenses:LN:Payments:a@b_c", "Expenses:LN:RoutingFees:echo",
)  # fmt: skip
BUDGETS = ("Budget:echo:day:2026-10-30", "Budget")
NASTY = (
    "=1+1",
    "+1",
    "-1",
    "@x",
    "\t=1",
    "'=1",
    '"quoted", \\ and; more',
    "two\nlines\r\n",
    "",
    "; (x) [y]",
    "ナ 1杯",
    "^",
)


@dataclass
class MadeBook:
    """A book in memory."""

    made: list[Transfer] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)

    def transfers(self, after: int = 0, limit: int = 2000) -> list[Transfer]:
        return self.made[after : after + min(limit, 7)]

    def get(self, entry_id: str) -> Entry:
        return self.entries[entry_id]

    def book(
        self, debit: str, credit: str, amount_msat: int, *, kind: TransferKind = "single", entry: Entry | None = None,
        after_s: float = 0, memo: str = "", same: bool = False,
    ) -> None:  # fmt: skip
        """Append one transfer, `same` to the same event as the one before."""
        seq = len(self.made) + 1
        at = (self.made[-1].at if self.made else BEGAN) + timedelta(seconds=after_s)
        event_seq = self.made[-1].event_seq if same and self.made else seq * 10
        if entry:
            self.entries[entry.id] = entry
        resolves = 1 if kind in ("post", "void") else None
        node, payment_hash = debit.rpartition(":")[2], entry.payment_hash if entry else None
        made = Transfer(
            seq, f"t{seq}", kind, resolves, debit, credit, amount_msat, at, node, entry.id if entry else None,
            payment_hash, event_seq, memo, "",
        )  # fmt: skip
        self.made.append(made)

    def balances(self, until: datetime | None = None) -> dict[str, int]:
        """Return what each account has, debits positive, counted the plain way."""
        found: dict[str, int] = {}
        for each in self.made:
            if each.kind in ("single", "post") and "Budget" not in each.debit and (until is None or each.at < until):
                found[each.debit] = found.get(each.debit, 0) + each.amount_msat
                found[each.credit] = found.get(each.credit, 0) - each.amount_msat
        return {code: total for code, total in found.items() if total}


def invoice(number: int, memo: str) -> Invoice:
    return Invoice(
        f"in{number}", "play", f"{number:064x}", "lnbc1", 1, 1, memo, "settled", "=web", "task, 1", "echo", "ab" * 16,
        BEGAN, BEGAN, BEGAN, None, late=False,
    )  # fmt: skip


def payment(number: int, memo: str) -> Payment:
    return Payment(
        f"out{number}", "play", f"{number:064x}", "lnbc1", 1, 1, 0, memo, None, "settled", None, "00" * 32, None,
        "a;b|c", None, BEGAN, BEGAN, None, 1, compensated=False,
    )  # fmt: skip


MEMOS = st.one_of(st.sampled_from(NASTY), st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
AMOUNTS = st.one_of(st.integers(1, 5000), st.integers(1, 21_000_000 * 10**11))


@st.composite
def books(draw: st.DrawFn, accounts: Sequence[str] = (*NODES, *OTHERS), most: int = 25) -> MadeBook:
    """Draw a book."""
    made = MadeBook()
    for number in range(draw(st.integers(0, most))):
        kind: TransferKind = draw(st.sampled_from(["single", "single", "post", "post", "pending", "void"]))
        budget = draw(st.integers(0, 9)) == 0
        debit, credit = BUDGETS if budget else draw(st.permutations(accounts))[:2]
        memo = draw(MEMOS)
        entry = draw(st.sampled_from([None, invoice(number, memo), payment(number, memo)]))
        # A part of what was set aside may be made real, and that may be nothing.
        amount = 0 if kind == "void" or (kind == "post" and draw(st.integers(0, 5)) == 0) else draw(AMOUNTS)
        after_s = draw(st.sampled_from([0, 0, 1, 5000, 86_400]))
        made.book(debit, credit, amount, kind=kind, entry=entry, after_s=after_s, memo=memo, same=draw(st.booleans()))
    return made
