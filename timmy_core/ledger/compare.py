"""Comparing one node with the ledger: every entry that has not ended, and all that the node lists since last time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias, cast

from timmy_core.clock import Clock
from timmy_core.errors import LedgerError
from timmy_core.ledger.findings import Finding
from timmy_core.ledger.joining import LATE, match
from timmy_core.ledger.judge import YOUNG_S, Verdict
from timmy_core.ledger.ledger import Ledger
from timmy_core.ledger.model import Direction, Entry, Intent, Invoice, Payment
from timmy_core.ledger.money import words as sats
from timmy_core.ledger.node import Node, NodeInvoice, NodePayment
from timmy_core.ledger.observe import Apply, Observed, Observer
from timmy_core.ledger.progress import INVOICES, OPENED, PAYMENTS, Progress
from timmy_core.ledger.recover import look_up

OVERLAP: Final = timedelta(hours=48)  # what was listed before is listed again, for what changed since
MAX_LOOKS: Final = 1000  # single lookups in one run

Word: TypeAlias = NodeInvoice | NodePayment

_STREAM: Final[dict[Direction, str]] = {"in": INVOICES, "out": PAYMENTS}


@dataclass(slots=True)
class Comparison:
    """What a comparison found so far.

    Attributes:
        findings: what differs, and what was or would be done.
        changed: how many entries were changed.
        keys: which entries were compared.
        gains_msat: what the node's account gains by each step; for a dry run, which takes none of them.
        complete: everything was looked at.
        waiting: the node has something that is too new to be taken over, as its maker may be about to record it.
    """

    findings: list[Finding] = field(default_factory=list)
    changed: int = 0
    keys: set[tuple[Direction, str]] = field(default_factory=set)
    gains_msat: dict[tuple[Direction, str], int] = field(default_factory=dict)
    complete: bool = True
    waiting: bool = False

    @property
    def planned_msat(self) -> int:
        """What the node's account would gain by all steps together."""
        return sum(self.gains_msat.values())


class Comparer:
    """Compares one node with the ledger, once.

    Args:
        node: the node.
        ledger: the book.
        observer: takes the node's word.
        progress: how far the node was read last time.
        clock: the time.
        dry_run: change nothing, and only say what would be done.
        on_page: called before each page that is read; it may raise to end the run.
    """

    def __init__(
        self, node: Node, ledger: Ledger, observer: Observer, progress: Progress, clock: Clock, *, dry_run: bool,
        on_page: Callable[[], None],
    ) -> None:  # fmt: skip
        self._node = node
        self._ledger = ledger
        self._observer = observer
        self._progress = progress
        self._clock = clock
        self._dry_run = dry_run
        self._on_page = on_page
        self._opened: datetime | None = None
        self._seen: dict[tuple[Direction, str], Word] = {}
        self._doubled: set[tuple[Direction, str]] = set()
        self.result = Comparison()

    async def run(self) -> Comparison:
        """Compare everything, invoices first, so that what came in is there before what went out.

        Raises:
            NodeError: the node could not be asked; what was done until then stays.
        """
        self._opened = await asyncio.to_thread(self._progress.moment, self._node.name, OPENED)
        intents = await asyncio.to_thread(self._ledger.open_intents, self._node.name)
        for direction in ("in", "out"):
            await self._listed(direction, intents)
        await self._by_themselves()
        await asyncio.to_thread(self._abandon, intents)
        return self.result

    async def again(self) -> int:
        """Look once more at what has not ended and at what is new; return how many entries changed."""
        before = self.result.changed
        for direction in ("in", "out"):
            await self._listed(direction, [], since=self._clock.now() - LATE)
        await self._by_themselves()
        return self.result.changed - before

    # What the node lists -------------------------------------------------------------------------------------

    async def _listed(self, direction: Direction, intents: list[Intent], since: datetime | None = None) -> None:
        began = self._clock.now()
        stream, saved = _STREAM[direction], since is None
        if since is None:
            mark = await asyncio.to_thread(self._progress.moment, self._node.name, stream)
            since = None if mark is None else mark - OVERLAP
        async for words in self._pages(direction, since):
            await asyncio.to_thread(self._take, words, intents)
            if saved and words and not self._dry_run:
                # Cut off here, the next run goes on from this page.
                await asyncio.to_thread(self._advance, stream, min(began, words[-1].created_at))
        if saved and not self._dry_run:
            await asyncio.to_thread(self._advance, stream, began)

    async def _pages(self, direction: Direction, since: datetime | None) -> AsyncGenerator[Sequence[Word], None]:
        cursor: str | None = None
        while True:
            await asyncio.to_thread(self._on_page)
            listing = self._node.list_invoices if direction == "in" else self._node.list_payments
            page = await listing(since, cursor)
            yield page.items
            if page.cursor is None or page.cursor == cursor:
                return
            cursor = page.cursor

    def _advance(self, stream: str, moment: datetime) -> None:
        before = self._progress.moment(self._node.name, stream)
        if before is None or moment > before:
            self._progress.save(self._node.name, stream, moment)

    def _take(self, words: Sequence[Word], intents: list[Intent]) -> None:
        for word in words:
            direction: Direction = "in" if isinstance(word, NodeInvoice) else "out"
            first = self._seen.setdefault((direction, word.payment_hash), word)
            if first is not word and _settled_apart(first, word):
                self._double(direction, word.payment_hash, "the node lists it twice, settled at different times")
            self._compare(direction, word.payment_hash, word, intents)
            if direction == "out" and word.state == "settled":
                self._elsewhere(word.payment_hash)

    def _elsewhere(self, payment_hash: str) -> None:
        entries = self._ledger.get_by_hash(payment_hash)
        paid = sorted(entry.node for entry in entries if isinstance(entry, Payment) and entry.status == "settled")
        if len(paid) > 1:
            self._double("out", payment_hash, f"it was paid from {' and from '.join(paid)}")

    def _double(self, direction: Direction, payment_hash: str, words: str) -> None:
        if (direction, payment_hash) not in self._doubled:
            self._doubled.add((direction, payment_hash))
            action = "ask who was paid for the second sum back; nothing is changed here"
            self._add(Finding("duplicate", direction, payment_hash, "", "", words, action, mends=False))

    # What the ledger has -------------------------------------------------------------------------------------

    async def _by_themselves(self) -> None:
        """Look up by itself each entry that has not ended, and each recent one that the node did not list."""
        entries = await asyncio.to_thread(self._unlisted)
        if len(entries) > MAX_LOOKS:
            self.result.complete = False
        for seen in await look_up(self._node, entries[:MAX_LOOKS]):
            self._on_page()
            entry = seen.entry
            await asyncio.to_thread(self._compare, entry.direction, entry.payment_hash, seen.word, [])

    def _unlisted(self) -> Sequence[Entry]:
        name, since = self._node.name, self._clock.now() - OVERLAP
        found = {(entry.direction, entry.payment_hash): entry for entry in self._ledger.pending(name)}
        cursor: str | None = None
        while True:
            page = self._ledger.list(node=name, since=since, cursor=cursor, limit=500)
            for entry in page.entries:
                key = (entry.direction, entry.payment_hash)
                if key not in self._seen:
                    found.setdefault(key, entry)
            cursor = page.cursor
            if cursor is None:
                return [*found.values()]

    def _abandon(self, intents: Sequence[Intent]) -> None:
        """Give up the intents of which the node, listed completely, has no invoice."""
        late = self._clock.now() - LATE - timedelta(seconds=YOUNG_S)
        for intent in intents:
            if intent.created_at > late or not self.result.complete:
                continue
            words = f"an invoice of {sats(intent.amount_msat)} was to be made, and the node has none"
            action = "note that none was made"
            self._add(Finding("intent", "in", None, "wanted", "none", words, action, mends=True, routine=True))
            if not self._dry_run:
                self._ledger.abandon_intent(intent.id, "the node has no invoice for it")
                self.result.changed += 1

    # One entry -----------------------------------------------------------------------------------------------

    def _compare(self, direction: Direction, payment_hash: str, word: Word | None, intents: list[Intent]) -> None:
        self.result.keys.add((direction, payment_hash))
        if word is not None and self._is_of_before(direction, word):
            return
        wanted = match(intents, word) if isinstance(word, NodeInvoice) else None
        try:
            observed = self._observe(direction, payment_hash, word, wanted)
        except LedgerError as error:
            said, words = "" if word is None else word.state, f"what the node says could not be booked: {error}"
            self._add(Finding("status", direction, payment_hash, "", said, words, "look at both sides", mends=False))
            return
        verdict = observed.verdict
        if verdict.kind is None:
            moves = word is not None and word.state in {"settled", "in_flight"}
            self.result.waiting |= moves and observed.entry is None
            return
        if wanted is not None and verdict.step == "adopt":
            intents.remove(wanted)
        if verdict.step != "none":
            self.result.changed += observed.done
            self.result.gains_msat[direction, payment_hash] = _gain(verdict, word)
        self._add(_finding(direction, payment_hash, observed, word, dry_run=self._dry_run))

    def _observe(self, direction: Direction, payment_hash: str, word: Word | None, wanted: Intent | None) -> Observed:
        name: str = self._node.name
        apply: Apply = "nothing" if self._dry_run else "all"
        if direction == "in":
            return self._observer.invoice(
                name, payment_hash, cast("NodeInvoice | None", word), proof=f"{name}: reconcile", apply=apply,
                intent_id=None if wanted is None else wanted.id,
            )  # fmt: skip
        return self._observer.payment(
            name, payment_hash, cast("NodePayment | None", word), proof=f"{name}: reconcile", apply=apply
        )

    def _is_of_before(self, direction: Direction, word: Word) -> bool:
        """Whether it ended before the book began, and is part of what the node held then."""
        if self._opened is None or word.state not in {"settled", "failed", "canceled", "expired"}:
            return False
        ended = word.settled_at or word.created_at
        find = self._ledger.find_invoice if direction == "in" else self._ledger.find_payment
        return ended < self._opened and find(self._node.name, word.payment_hash) is None

    def _add(self, finding: Finding) -> None:
        key = (finding.kind, finding.direction, finding.payment_hash)
        if finding.payment_hash is not None:
            # A second look tells the newer thing of the same entry.
            others = [one for one in self.result.findings if (one.kind, one.direction, one.payment_hash) != key]
            self.result.findings = others
        self.result.findings.append(finding)


def _finding(
    direction: Direction, payment_hash: str, observed: Observed, word: Word | None, *, dry_run: bool
) -> Finding:
    verdict, entry = observed.verdict, observed.entry
    ledger = _says(entry, observed)
    return Finding(
        kind=verdict.kind or "status", direction=direction, payment_hash=payment_hash, ledger=ledger,
        node="unknown" if word is None else word.state, words=verdict.words, action=verdict.action,
        mends=verdict.step != "none" and (dry_run or observed.done), routine=verdict.routine,
    )  # fmt: skip


def _says(entry: Invoice | Payment | None, observed: Observed) -> str:
    """Return the ledger's word from before the step."""
    if entry is None or observed.verdict.step == "adopt":
        return "unknown"
    return observed.before or entry.status


def _gain(verdict: Verdict, word: Word | None) -> int:
    """Return what the node's account gains by a step."""
    if word is None or word.state != "settled" or verdict.step not in _MOVING:
        return 0
    if isinstance(word, NodeInvoice):
        return word.amount_msat if word.received_msat is None else word.received_msat
    return -(word.amount_msat + (word.fee_msat or 0))


_MOVING: Final = frozenset({"adopt", "settle", "settle_beyond", "compensate"})


def _settled_apart(first: Word, second: Word) -> bool:
    settled = first.state == second.state == "settled"
    return settled and first.settled_at is not None and second.settled_at not in (None, first.settled_at)
