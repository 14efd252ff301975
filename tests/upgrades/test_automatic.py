"""Approval without a person: after a delivered notice and a day of silence, and for nothing but low risk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from timmy_core.errors import ApprovalError, PinError, UpgradeStateError
from timmy_core.events.log import EventLog
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock
from timmy_core.upgrades.approval import Approvals
from timmy_core.upgrades.automatic import Automatic
from timmy_core.upgrades.model import Approval, Candidate, Page, Proposal, State
from timmy_core.upgrades.notices import Notices
from timmy_core.upgrades.policy import UpgradePolicy

from .approving_house import PIN, decision, proposal

ON = UpgradeSettings(auto_approve=True, notice_command=("true",), expiry_h=100)
HOURS_24 = 24 * 3600


@dataclass
class Waiting:
    """A queue of proposals that wait, and what was taken."""

    proposals: Sequence[Proposal]
    taken: list[Approval] = field(default_factory=list)
    refused: bool = False

    def list(self, *, state: State, limit: int) -> Page:
        return Page(tuple(one for one in self.proposals if one.state == state)[:limit], None)

    def take(self, approval: Approval) -> Proposal:
        if self.refused:
            message = "decided meanwhile"
            raise UpgradeStateError(message)
        self.taken.append(approval)
        return self.proposals[0]


@dataclass
class House:
    approvals: Approvals
    notices: Notices
    automatic: Automatic


def house(home: Path, store: Store, log: EventLog, clock: FakeClock, settings: UpgradeSettings = ON) -> House:
    approvals = Approvals(home, settings, store, log, clock)
    notices = Notices(settings, store, log, clock)
    return House(approvals, notices, Automatic(settings, approvals, UpgradePolicy(settings), notices, clock))


def waiting(clock: FakeClock, **more: object) -> Proposal:
    made = Candidate("c" * 40, "t" * 40, "b" * 40, clock.now())
    return proposal(clock, candidate=made, **more)


def test_silence_after_a_delivered_notice_is_a_signed_yes(
    tmp_path: Path, store: Store, log: EventLog, clock: FakeClock
) -> None:
    parts, queue = house(tmp_path, store, log, clock), Waiting([waiting(clock)])
    parts.notices.send(queue.proposals[0])
    clock.advance(HOURS_24 - 1)
    assert not parts.automatic.approve_due(queue)
    clock.advance(1)
    assert parts.automatic.approve_due(queue)
    (approval,) = queue.taken
    assert (approval.by, approval.tree, approval.base) == ("policy", "t" * 40, "b" * 40)
    assert "nobody objected since 2026" in approval.reason
    assert parts.approvals.verify(approval)
    assert not parts.approvals.verify(replace(approval, tree="x"))


def test_what_nobody_was_told_of_waits_for_ever(tmp_path: Path, store: Store, log: EventLog, clock: FakeClock) -> None:
    parts, queue = house(tmp_path, store, log, clock), Waiting([waiting(clock)])
    clock.advance(3 * HOURS_24)
    assert not parts.automatic.approve_due(queue)


@pytest.mark.parametrize("more", [{"risk": "normal"}, {"quarantined": True}, {"state": "conflict"}])
def test_anything_but_low_risk_waits_for_a_person(
    tmp_path: Path, store: Store, log: EventLog, clock: FakeClock, more: dict[str, object]
) -> None:
    parts, queue = house(tmp_path, store, log, clock), Waiting([waiting(clock, **more)])
    parts.notices.send(queue.proposals[0])
    clock.advance(2 * HOURS_24)
    assert not parts.automatic.approve_due(queue)


def test_what_was_decided_meanwhile_is_left_alone(
    tmp_path: Path, store: Store, log: EventLog, clock: FakeClock
) -> None:
    parts, queue = house(tmp_path, store, log, clock), Waiting([waiting(clock)], refused=True)
    parts.notices.send(queue.proposals[0])
    clock.advance(2 * HOURS_24)
    assert not parts.automatic.approve_due(queue)


def test_once_it_is_switched_off_it_signs_nothing_and_what_it_signed_does_not_hold(
    tmp_path: Path, store: Store, log: EventLog, clock: FakeClock
) -> None:
    approval = house(tmp_path, store, log, clock).approvals.seal_automatic(decision(clock))
    off = house(tmp_path, store, log, clock, UpgradeSettings())
    assert not off.approvals.verify(approval)
    assert not off.automatic.approve_due(Waiting([waiting(clock)]))
    with pytest.raises(ApprovalError, match="auto_approve"):
        off.approvals.seal_automatic(decision(clock))


def test_it_never_signs_in_a_hurry_nor_a_no(tmp_path: Path, store: Store, log: EventLog, clock: FakeClock) -> None:
    approvals = house(tmp_path, store, log, clock).approvals
    for wrong in (decision(clock, urgent=True), decision(clock, decision="reject", reason="no")):
        with pytest.raises(ApprovalError):
            approvals.seal_automatic(wrong)


def test_no_person_can_take_its_name(tmp_path: Path, store: Store, log: EventLog, clock: FakeClock) -> None:
    with pytest.raises(PinError, match="agent"):
        house(tmp_path, store, log, clock).approvals.set_pin(PIN, by="Policy")


def test_an_approval_of_its_own_in_a_persons_name_does_not_hold(
    tmp_path: Path, store: Store, log: EventLog, clock: FakeClock
) -> None:
    approvals = house(tmp_path, store, log, clock).approvals
    approvals.set_pin(PIN, by="ann")
    automatic, persons = approvals.seal_automatic(decision(clock)), approvals.seal(decision(clock), pin=PIN)
    assert approvals.verify(persons)
    assert not approvals.verify(replace(automatic, by="ann"))
    assert not approvals.verify(replace(persons, by="policy"))
    assert approvals.verify(replace(automatic, expires_at=automatic.expires_at + timedelta(0)))
