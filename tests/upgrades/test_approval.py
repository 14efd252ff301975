"""Approvals: a signature covers everything that was seen, and holds for nothing else."""

from __future__ import annotations

import dataclasses
import logging
from datetime import timedelta
from pathlib import Path

import pytest

from timmy_core.errors import ApprovalError, PinError
from timmy_core.events.log import EventLog
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock
from timmy_core.upgrades.approval import Approvals

from .approving_house import OTHER, PIN, decision


@pytest.fixture
def approvals(tmp_path: Path, store: Store, log: EventLog, clock: FakeClock) -> Approvals:
    made = Approvals(tmp_path / "home", UpgradeSettings(), store, log, clock, agents=("timmy", "echo"))
    made.set_pin(PIN, by="ann")
    return made


def test_a_sealed_decision_holds(approvals: Approvals, clock: FakeClock) -> None:
    approval = approvals.seal(decision(clock), pin=PIN)
    assert approvals.verify(approval)
    assert (approval.by, approval.decision, approval.at) == ("ann", "approve", clock.now())


@pytest.mark.parametrize(
    "field", ["proposal_id", "head", "base", "tree", "tests_digest", "policy_digest", "nonce", "reason", "signature"]
)
def test_it_holds_for_nothing_else_in_any_field(approvals: Approvals, clock: FakeClock, field: str) -> None:
    approval = approvals.seal(decision(clock), pin=PIN)
    changed = getattr(approval, field)[:-1] + "0"
    assert not approvals.verify(dataclasses.replace(approval, **{field: changed}))


def test_neither_verdict_nor_time_nor_person_nor_haste_can_be_exchanged(approvals: Approvals, clock: FakeClock) -> None:
    approvals.set_pin(OTHER, by="bob", admitted_by="ann", admitting=PIN)
    approval = approvals.seal(decision(clock), pin=PIN)
    for changed in (
        dataclasses.replace(approval, decision="reject"),
        dataclasses.replace(approval, expires_at=approval.expires_at + timedelta(days=1)),
        dataclasses.replace(approval, by="bob"),
        dataclasses.replace(approval, by="nobody-here"),
        dataclasses.replace(approval, by="../bob"),
        dataclasses.replace(approval, urgent=True),
        dataclasses.replace(approval, signature=""),
        dataclasses.replace(approval, signature="zz"),
    ):
        assert not approvals.verify(changed)


def test_a_wrong_pin_signs_nothing_and_counts(approvals: Approvals, clock: FakeClock) -> None:
    with pytest.raises(PinError, match="4 more tries"):
        approvals.seal(decision(clock), pin=OTHER)


def test_what_was_signed_before_a_new_pin_or_a_removal_still_holds(approvals: Approvals, clock: FakeClock) -> None:
    old = approvals.seal(decision(clock), pin=PIN)
    approvals.set_pin(OTHER, by="ann", old=PIN)
    new = approvals.seal(decision(clock, nonce="m"), pin=OTHER)
    assert approvals.verify(old)
    assert approvals.verify(new)
    approvals.set_pin(PIN, by="bob", admitted_by="ann", admitting=OTHER)
    approvals.remove("ann", by="bob", pin=PIN)
    assert approvals.verify(old)


def test_another_home_knows_none_of_it(
    approvals: Approvals, tmp_path: Path, store: Store, log: EventLog, clock: FakeClock
) -> None:
    approval = approvals.seal(decision(clock), pin=PIN)
    other = Approvals(tmp_path / "other", UpgradeSettings(), store, log, clock)
    other.set_pin(PIN, by="ann")
    assert not other.verify(approval)


def test_a_decision_whose_time_is_over_is_not_signed(approvals: Approvals, clock: FakeClock) -> None:
    made = decision(clock)
    clock.advance(3600)
    with pytest.raises(ApprovalError, match="over"):
        approvals.seal(made, pin=PIN)


def test_a_rejection_needs_a_reason(approvals: Approvals, clock: FakeClock) -> None:
    with pytest.raises(ApprovalError, match="reason"):
        approvals.seal(decision(clock, decision="reject", reason="  "), pin=PIN)
    assert approvals.verify(approvals.seal(decision(clock, decision="reject", reason="too much"), pin=PIN))


def test_an_agent_signs_nothing(approvals: Approvals, clock: FakeClock) -> None:
    with pytest.raises(PinError, match="agents decide nothing"):
        approvals.seal(decision(clock, by="Echo"), pin=PIN)


def test_an_urgent_decision_is_signed_as_one_and_logged_loudly(
    approvals: Approvals, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        approval = approvals.seal(decision(clock, urgent=True), pin=PIN)
    assert approval.urgent
    assert approvals.verify(approval)
    assert "URGENT: ann alone decides proposal p1" in caplog.text
    assert PIN not in caplog.text
