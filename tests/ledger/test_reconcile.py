"""Reconciling: what ledger and node do not agree on is found, mended where it can be, and never silently."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from timmy_core.errors import EntryUnknownError, LedgerError, NodeError
from timmy_core.ledger.bolt11 import decode
from timmy_core.ledger.findings import FINDING_KINDS, Finding
from timmy_core.ledger.judge import UNKNOWN
from timmy_core.ledger.model import Payment
from timmy_core.ledger.nodes.play import play_fee_msat
from timmy_core.ledger.progress import INVOICES, Progress
from timmy_core.ledger.reconcile import LEASE_S, Report
from timmy_core.testing import FakeClock

from .lightning import House

DAY_S = 24 * 3600


@pytest.fixture
def house(tmp_path: Path, clock: FakeClock) -> Iterator[House]:
    with House(tmp_path, clock, names=("fake", "other")) as opened:
        yield opened


def mend(house: House, node: str = "fake") -> Report:
    """Show first, then apply; what was shown is what is done, and a third run finds nothing to do."""
    head = house.events.head()
    shown = house.payments.reconcile(node)
    assert house.events.head() == head, "a dry run writes nothing"
    done = house.payments.reconcile(node, dry_run=False, by="test")
    if shown.opened:
        assert [(one.kind, one.payment_hash) for one in done.findings] == [
            (one.kind, one.payment_hash) for one in shown.findings
        ]
        assert (done.balance_ledger_msat, done.residue_msat) == (shown.balance_ledger_msat, shown.residue_msat)
    again = house.payments.reconcile(node, dry_run=False, by="test")
    assert again.applied == 0
    assert not [one for one in again.findings if one.mends]
    assert house.ledger.verify().ok
    return done


def kinds(report: Report) -> list[str]:
    return sorted(one.kind for one in report.findings if not one.routine)


def only(report: Report) -> Finding:
    (found,) = [one for one in report.findings if not one.routine]
    return found


def test_where_all_agree_nothing_is_found(house: House) -> None:
    house.made()
    house.payments.pay(house.asked())
    report = mend(house)
    assert (report.findings, report.residue_msat, report.applied) == ((), 0, 0)
    assert report.looked == 2


def test_a_dry_run_of_an_unknown_node_says_with_what_its_book_would_begin(house: House) -> None:
    report = house.payments.reconcile()
    assert (report.opened, report.residue_msat) == (False, 10_000_000)
    assert "begin" in only(report).action
    done = house.payments.reconcile(dry_run=False)
    assert (done.residue_msat, done.findings) == (0, ())
    assert house.ledger.balance("fake").posted_msat == 10_000_000


def test_what_the_node_knows_by_now_is_booked_and_is_no_trouble(house: House) -> None:
    made = house.made()
    paid = house.held_payment(house.asked())
    house.do(house.node.neighbour_pays(made.payment_hash))
    house.do(house.node.release(paid.payment_hash))
    report = mend(house)
    assert [one.routine for one in report.findings] == [True, True]
    assert (house.invoice(made.payment_hash).status, house.ledger.get(paid.id).status) == ("settled", "settled")
    assert house.payments.findings(open=None) == []
    assert house.ledger.balance("fake").posted_msat == house.held_msat()


def test_an_invoice_that_somebody_made_at_the_node_is_adopted(house: House, clock: FakeClock) -> None:
    house.made()
    foreign = house.do(house.node.create_invoice(amount_msat=9_000, memo="else", expiry_s=3600))
    house.do(house.node.neighbour_pays(foreign.payment_hash))
    (early,) = house.payments.reconcile(dry_run=False).findings
    assert (early.kind, early.mends, early.open) == ("residue", False, False), "its maker may be about to record it"
    assert "about to be recorded" in early.action
    clock.advance(300)
    found = only(mend(house))
    assert (found.kind, found.direction, found.mends) == ("missing_in_ledger", "in", True)
    adopted = house.invoice(foreign.payment_hash)
    assert (adopted.status, adopted.source, adopted.memo) == ("settled", "node", "else")
    assert house.ledger.balance("fake").posted_msat == house.held_msat()


def test_a_payment_that_somebody_made_from_the_node_is_adopted(house: House, clock: FakeClock) -> None:
    house.made()
    asked = house.asked(40_000)
    house.do(house.node.pay(asked, amount_msat=None, fee_limit_msat=9_000, timeout_s=1))
    clock.advance(300)
    assert only(mend(house)).kind == "missing_in_ledger"
    adopted = house.payment(asked)
    assert (adopted.status, adopted.fee_msat) == ("settled", play_fee_msat(40_000))
    assert house.ledger.balance("fake").posted_msat == house.held_msat()


def test_what_ended_before_the_book_began_is_part_of_its_beginning(house: House, clock: FakeClock) -> None:
    before = house.do(house.node.create_invoice(amount_msat=9_000, memo="", expiry_s=3600))
    house.do(house.node.neighbour_pays(before.payment_hash))
    clock.advance(300)
    house.made()
    assert mend(house).findings == ()
    assert house.ledger.find_invoice("fake", before.payment_hash) is None


def test_an_open_invoice_from_before_the_book_began_is_adopted(house: House, clock: FakeClock) -> None:
    before = house.do(house.node.create_invoice(amount_msat=9_000, memo="", expiry_s=3600))
    clock.advance(300)
    house.made()
    assert only(mend(house)).kind == "missing_in_ledger"
    house.do(house.node.neighbour_pays(before.payment_hash))
    mend(house)
    assert house.ledger.balance("fake").posted_msat == house.held_msat()


def test_a_lost_invoice_is_told_first_and_expired_only_a_day_after_its_expiry(house: House, clock: FakeClock) -> None:
    made = house.made(expiry_s=3600)
    house.do(house.node.forget(made.payment_hash))
    clock.advance(700)
    waiting = only(house.payments.reconcile(dry_run=False))
    assert (waiting.kind, waiting.mends) == ("missing_on_node", False)
    assert house.payments.open_findings() == 1
    clock.advance(3600 + DAY_S)
    assert only(house.payments.reconcile(dry_run=False)).mends
    assert house.invoice(made.payment_hash).status == "expired"
    assert house.payments.open_findings() == 0


def test_a_payment_that_the_node_never_got_is_given_up_only_a_day_after_its_invoice_expired(
    house: House, clock: FakeClock
) -> None:
    paid = house.lost_payment(house.asked(expiry_s=3600))
    clock.advance(3600 + DAY_S - 60)
    assert not only(house.payments.reconcile(dry_run=False)).mends
    assert house.ledger.get(paid.id).shown == "pending"
    clock.advance(120)
    house.node.stop()
    with pytest.raises(NodeError):
        house.payments.reconcile(dry_run=False)
    assert house.ledger.get(paid.id).shown == "pending", "a node that is not well proves nothing"
    house.node.start()
    mend(house)
    failed = house.ledger.get(paid.id)
    assert isinstance(failed, Payment)
    assert (failed.status, failed.failure) == ("failed", UNKNOWN)
    assert house.ledger.balance("fake").pending_outgoing_msat == 0


def test_a_payment_that_was_booked_as_failed_and_was_paid_is_compensated_with_an_alert(house: House) -> None:
    asked = house.asked()
    paid = house.held_payment(asked)
    house.ledger.fail_payment("fake", paid.payment_hash, reason="somebody said so", sure=True)
    house.do(house.node.release(paid.payment_hash))
    found = only(mend(house))
    assert (found.kind, found.mends) == ("status", True)
    settled = house.payment(asked)
    assert (settled.status, settled.compensated) == ("settled", True)
    assert house.ledger.balance("fake").posted_msat == house.held_msat()
    assert "ledger.finding" in house.types("ledger")


def test_a_payment_that_cost_more_than_was_set_aside_is_booked_and_told(house: House, clock: FakeClock) -> None:
    house.made()
    asked = house.asked(100_000)
    house.lost_payment(asked, fee_limit_msat=1)
    house.do(house.node.pay(asked, amount_msat=None, fee_limit_msat=9_000, timeout_s=1))
    found = only(mend(house))
    assert (found.kind, found.mends) == ("fee", True)
    assert house.payment(asked).fee_msat == play_fee_msat(100_000)
    assert house.ledger.balance("fake").posted_msat == house.held_msat()


def test_a_payment_begun_and_never_sent_is_given_up(house: House, clock: FakeClock) -> None:
    house.made()
    asked = house.asked()
    house.ledger.begin_payment("fake", decode(asked), None, 5_000)
    mend(house)
    assert house.payment(asked).status == "initiated", "who began it may be about to send it"
    clock.advance(130)
    mend(house)
    assert house.payment(asked).status == "failed"
    assert "pay" not in house.node.calls


def test_an_intent_that_came_to_nothing_is_given_up(house: House, clock: FakeClock) -> None:
    house.node.misbehave("create_invoice", "lost_request")
    with pytest.raises(NodeError):
        house.made()
    clock.advance(600)
    mend(house)
    assert house.ledger.open_intents() == []


def test_sats_that_nothing_explains_go_to_suspense_under_a_name(house: House) -> None:
    house.made()
    house.do(house.node.adjust(-1_234))
    report = mend(house)
    found = only(report)
    assert (found.kind, found.mends, report.residue_msat) == ("residue", True, -1_234)
    assert "1.234 sat less" in found.words
    assert house.ledger.balance("fake").posted_msat == house.held_msat()
    suspense = [one for one in house.ledger.accounts() if one.code == "Equity:Suspense"]
    assert abs(suspense[0].balance_msat) == 1_234


def test_no_difference_is_booked_while_payments_are_under_way(house: House) -> None:
    house.held_payment(house.asked())
    house.do(house.node.adjust(5_000))
    report = house.payments.reconcile(dry_run=False)
    (found,) = report.findings
    assert (found.kind, found.mends, found.open, report.residue_msat) == ("residue", False, False, 5_000)
    assert report.applied == 0
    assert house.payments.findings() == []


def test_a_hash_that_was_paid_from_two_nodes_is_told(house: House, clock: FakeClock) -> None:
    made = house.made(20_000)
    preimage = house.payments.pay(made.bolt11).preimage or ""
    house.payments.reconcile("other", dry_run=False)
    # The ledger itself would not pay it twice; another program at the other node did.
    house.ledger.adopt_payment(
        node="other", payment_hash=made.payment_hash, bolt11=made.bolt11, amount_msat=20_000, fee_msat=0,
        preimage=preimage, proof="made up",
    )  # fmt: skip
    found = [one for one in house.payments.reconcile().findings if one.kind == "duplicate"]
    assert [one.words for one in found] == ["it was paid from fake and from other"]


def test_a_settled_invoice_that_the_node_lost_waits_for_a_person(house: House) -> None:
    made = house.made()
    house.do(house.node.neighbour_pays(made.payment_hash))
    house.payments.check(made)
    house.do(house.node.forget(made.payment_hash))
    report = house.payments.reconcile(dry_run=False)
    assert only(report).kind == "missing_on_node"
    (row,) = house.payments.findings()
    assert (row.open, row.at_node, row.payment_hash) == (True, "fake", made.payment_hash)
    # Again the same is the same row, and no new event.
    told = house.types("ledger").count("ledger.finding")
    house.payments.reconcile(dry_run=False)
    assert [one.id for one in house.payments.findings()] == [row.id]
    assert house.types("ledger").count("ledger.finding") == told
    resolved = house.payments.resolve(row.id or "", by="ann")
    assert (resolved.resolved_by, resolved.open) == ("ann", False)
    assert house.payments.findings() == []
    assert "ledger.resolved" in house.types("ledger")


def test_what_is_no_longer_found_is_resolved_by_itself(house: House, clock: FakeClock) -> None:
    made = house.made()
    house.do(house.node.forget(made.payment_hash))
    clock.advance(700)
    house.payments.reconcile(dry_run=False)
    assert house.payments.open_findings() == 1
    clock.advance(1)
    house.ledger.cancel_invoice("fake", made.payment_hash)
    house.payments.reconcile(dry_run=False)
    assert house.payments.open_findings() == 0


def test_a_finding_that_there_is_not_cannot_be_resolved(house: House) -> None:
    with pytest.raises(EntryUnknownError):
        house.payments.resolve("nothing", by="ann")


def test_only_one_reconciles_a_node_and_a_dead_one_is_followed_by_the_next(house: House, clock: FakeClock) -> None:
    progress = Progress(house.store, clock)
    assert progress.take("fake", "somebody", LEASE_S)
    with pytest.raises(LedgerError, match="somebody else"):
        house.payments.reconcile(dry_run=False)
    house.payments.reconcile("other", dry_run=False)
    clock.advance(LEASE_S + 1)
    house.payments.reconcile(dry_run=False)
    assert progress.take("fake", "next", LEASE_S), "the lease was given back"


def test_the_next_run_goes_on_where_the_last_one_ended_with_an_overlap(house: House, clock: FakeClock) -> None:
    for _ in range(3):
        house.made()
    house.payments.reconcile(dry_run=False)
    mark = Progress(house.store, clock).moment("fake", INVOICES)
    assert mark == clock.now()
    clock.advance(10 * DAY_S)
    house.payments.reconcile(dry_run=False)
    report = house.payments.reconcile(dry_run=False)
    assert report.looked == 0, "what ended long ago is not compared for ever"


def test_a_run_that_was_cut_off_is_simply_done_again(house: House) -> None:
    made = [house.made(1_000 + number) for number in range(5)]
    for one in made:
        house.do(house.node.neighbour_pays(one.payment_hash))
    house.node.misbehave("list_payments", "unreachable")
    with pytest.raises(NodeError):
        house.payments.reconcile(dry_run=False)
    mend(house)
    assert all(house.invoice(one.payment_hash).status == "settled" for one in made)
    assert house.types("invoice").count("invoice.settled") == 5


def test_the_schedule_tells_only_of_what_changed(house: House) -> None:
    (job,) = house.room.jobs()
    assert (job.name, job.every.total_seconds()) == ("reconcile", 900)
    job.run()
    assert job.run() == ""
    before = house.types("ledger").count("ledger.reconciled")
    house.do(house.node.adjust(7_000))
    assert job.run() == "fake: 1 changed, 0 to look at"
    assert house.types("ledger").count("ledger.reconciled") == before + 1


def test_a_node_that_is_not_well_does_not_keep_the_others(house: House) -> None:
    (job,) = house.room.jobs()
    house.node.stop()
    with pytest.raises(LedgerError, match="fake"):
        job.run()
    assert house.ledger.balance("other").posted_msat == 10_000_000


def test_every_kind_of_finding_is_described() -> None:
    assert all(meaning[0].islower() and not meaning.endswith(".") for meaning in FINDING_KINDS.values())
