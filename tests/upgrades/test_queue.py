"""The queue from end to end: what each step leaves, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from timmy_core.errors import (
    ApprovalError,
    PinError,
    ProposalNotFoundError,
    UpgradeError,
    UpgradeStateError,
)
from timmy_core.testing import FakeClock
from timmy_core.upgrades.model import STATES
from timmy_core.upgrades.states import MOVES, SHOWN

from .queue_house import PIN, House, git, is_exactly

Opening = Callable[..., House]


def test_a_proposal_is_tested_approved_applied_and_told_of(house: House, repo: Path) -> None:
    done = house.applied("src/part0/f0.py", "new\n")
    assert (done.shown, done.applied_sha) == ("applied", house.workspace.tip())
    assert (repo / "src/part0/f0.py").read_text(encoding="utf-8") == "new\n"
    assert is_exactly(repo, house.workspace.tip())
    assert house.types(done) == [
        "proposed", "tests_started", "tests_passed", "approved", "queued", "applying", "applied",
    ]  # fmt: skip
    assert house.queue.pending() == 0


def test_what_landed_is_exactly_the_tree_that_was_tested(house: House) -> None:
    house.applied()
    assert house.workspace.tree(house.workspace.tip()) in house.trials.trees


def test_a_tree_that_was_tested_is_not_tested_again(house: House) -> None:
    house.applied()
    assert len(house.trials.trees) == 1


def test_every_state_has_moves_and_a_word_to_show() -> None:
    assert set(MOVES) == set(SHOWN) == set(STATES)
    assert all(after <= set(STATES) for after in MOVES.values())


def test_red_tests_cannot_be_approved(opened: Opening) -> None:
    house = opened(verdict=lambda _export: False)
    made = house.queue.test(house.propose().id)
    assert (made.state, made.shown) == ("test_failed", "failed")
    with pytest.raises(UpgradeStateError, match="red"):
        house.queue.approve(made.id, by="ann", pin=PIN)
    with pytest.raises(UpgradeStateError, match="cannot be applied"):
        house.queue.apply(made.id)


def test_whoever_proposed_may_not_approve(house: House) -> None:
    made = house.queue.test(house.propose(proposed_by="Ann").id)
    with pytest.raises(ApprovalError, match="may not approve"):
        house.queue.approve(made.id, by="ann", pin=PIN)


def test_a_wrong_pin_changes_nothing(house: House) -> None:
    made = house.queue.test(house.propose().id)
    with pytest.raises(PinError):
        house.queue.approve(made.id, by="ann", pin="0000")
    assert house.queue.get(made.id).approvals == ()


def test_what_changed_since_it_was_shown_cannot_be_approved(house: House, repo: Path) -> None:
    shown = house.queue.test(house.propose().id)
    (repo / "README.md").write_text("moved\n", encoding="utf-8")
    git(repo, "commit", "-qam", "moved")
    with pytest.raises(ApprovalError, match="the merge that would land"):
        house.queue.approve(shown.id, by="ann", pin=PIN, seen=shown.seen.replace(shown.candidate.tree, "0" * 40))  # type: ignore[union-attr]


def test_high_risk_needs_two_people(house: House) -> None:
    made = house.queue.test(house.propose("locked/ci.yml", "x\n").id)
    assert made.risk == "high"
    first = house.queue.approve(made.id, by="ann", pin=PIN)
    assert first.state == "awaiting_approval"
    with pytest.raises(ApprovalError, match="already"):
        house.queue.approve(made.id, by="ANN", pin=PIN)
    assert house.queue.approve(made.id, by="ben", pin=PIN).state == "approved"


def test_an_urgent_bypass_is_loud(house: House) -> None:
    made = house.queue.test(house.propose("locked/ci.yml", "x\n").id)
    assert house.queue.approve(made.id, by="ann", pin=PIN, urgent=True).state == "approved"
    assert "bypassed" in house.types(made)
    assert house.queue.apply(made.id).state == "applied"


def test_two_people_deciding_at_once_one_wins_and_the_other_is_told(house: House) -> None:
    made = house.queue.test(house.propose().id)
    house.queue.reject(made.id, by="ann", reason="not like this", pin=PIN)
    with pytest.raises(UpgradeStateError, match="rejected already"):
        house.queue.approve(made.id, by="ben", pin=PIN)


def test_rejecting_removes_its_refs_and_never_a_branch(house: House, repo: Path) -> None:
    git(repo, "branch", "topic")
    git(repo, "switch", "-q", "topic")
    (repo / "src/topic.py").write_text("t\n", encoding="utf-8")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "topic")
    git(repo, "switch", "-q", "main")
    made = house.queue.propose(description="topic", branch="topic", proposed_by="timmy")
    other = house.propose("src/other.py")
    branches = git(repo, "for-each-ref", "refs/heads")
    house.queue.reject(made.id, by="ann", reason="no", pin=PIN)
    assert git(repo, "for-each-ref", "refs/heads") == branches
    assert git(repo, "for-each-ref", "--format=%(refname)", "refs/upgrades").split() == [
        f"refs/upgrades/{other.id}/head"
    ]


def test_a_rejection_needs_a_reason(house: House) -> None:
    made = house.propose()
    with pytest.raises(UpgradeError, match="reason"):
        house.queue.reject(made.id, by="ann", reason="  ", pin=PIN)


def test_a_proposal_runs_out(house: House, clock: FakeClock) -> None:
    made = house.queue.test(house.propose().id)
    clock.advance(timedelta(hours=25).total_seconds())
    with pytest.raises(ApprovalError, match="ran out"):
        house.queue.approve(made.id, by="ann", pin=PIN)
    assert [each.id for each in house.queue.expire_due()] == [made.id]
    assert house.queue.expire_due() == []
    assert house.queue.get(made.id).shown == "expired"


def test_an_approval_runs_out_too(house: House, clock: FakeClock) -> None:
    done = house.approved()
    clock.advance(timedelta(hours=25).total_seconds())
    assert house.queue.apply(done.id).state == "stale"


def test_an_approval_under_another_policy_does_not_hold(opened: Opening) -> None:
    done = opened().approved()
    assert opened(low_lines=3).queue.apply(done.id).state == "stale"


def test_an_approval_whose_row_was_changed_does_not_hold(house: House) -> None:
    made = house.queue.test(house.propose("locked/x", "x\n").id)
    house.queue.approve(made.id, by="ann", pin=PIN)
    house.queue.approve(made.id, by="ben", pin=PIN)
    house.store.write(lambda connection: connection.execute("UPDATE upgrade_approvals SET by = 'eve' WHERE by = 'ben'"))
    assert house.queue.apply(made.id).state == "stale"


def test_proposals_come_in_pages_newest_first(house: House) -> None:
    made = [house.propose(f"src/n{number}.py").id for number in range(5)]
    first = house.queue.list(limit=3)
    assert [each.id for each in first.proposals] == made[:1:-1]
    rest = house.queue.list(limit=3, cursor=first.cursor)
    assert ([each.id for each in rest.proposals], rest.cursor) == (made[1::-1], None)
    assert house.queue.list(state="applied").proposals == ()
    with pytest.raises(UpgradeError, match="not known"):
        house.queue.list(state="gone")  # type: ignore[arg-type]


def test_an_unknown_id_is_said(house: House) -> None:
    with pytest.raises(ProposalNotFoundError, match="no proposal"):
        house.queue.get("0" * 32)


def test_old_history_is_pruned_and_its_events_stay(house: House, clock: FakeClock) -> None:
    made = house.propose()
    house.queue.reject(made.id, by="ann", reason="no", pin=PIN)
    clock.advance(timedelta(days=91).total_seconds())
    assert house.queue.prune() == 1
    assert house.queue.list().proposals == ()
    assert len(house.log.list(family="upgrade")) == 2


def test_progress_is_told(house: House) -> None:
    told: list[str] = []
    house.queue.test(house.propose().id, progress=lambda what, _done: told.append(what))
    assert told == ["merging it with the branch", "looking"]
