"""What needs a person's eye is said once, and taken back when it is over."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from timmy_core.alerts.alerts import Alerts
from timmy_core.clock import to_us
from timmy_core.errors import ProviderError
from timmy_core.events import archive
from timmy_core.ledger.bolt11 import decode
from timmy_core.ledger.findings import Finding
from timmy_core.settings_alerts import AlertSettings

from .alert_house import Build, House, break_chain


def test_an_empty_home_needs_nobody(build: Build) -> None:
    assert build().look() == []


def test_a_provider_that_fails_for_long_is_said_once_and_taken_back_when_it_is_well_for_long(build: Build) -> None:
    house = build(provider_open_s=60, settle_s=120)
    house.timmy.router.control_sync("first", "isolate", by="ann")
    assert house.look(3600) == []  # whoever took it out knows
    house.timmy.router.control_sync("first", "close", by="ann")
    trip(house)
    assert house.look() == []
    assert house.look(61) == ["provider_open"]
    assert house.look(10) == ["provider_open"]
    house.timmy.router.control_sync("first", "close", by="ann")
    assert house.look(10) == ["provider_open"]  # it may come and go
    trip(house)
    assert house.look(119) == ["provider_open"]
    house.timmy.router.control_sync("first", "close", by="ann")
    assert house.look(10) == ["provider_open"]
    assert house.look(121) == []
    assert house.types() == ["alert.raised", "alert.resolved"]


def trip(house: House) -> None:
    house.provider.then(ProviderError("server_error", "down"))
    for _ in range(5):
        house.timmy.ask_sync("hello")
    house.provider.then("ok")
    assert house.timmy.router.status()[0].circuit != "closed"


def test_a_budget_that_is_nearly_spent_is_said_and_the_next_day_is_another(build: Build) -> None:
    house = build(budget_percent=50, rules=("budget_near",))
    house.timmy.ledger.set_budget("echo", "day", 10_000_000, by="ann")
    assert house.look() == []
    house.timmy.ledger.set_budget("echo", "day", 1000, by="ann")
    spend(house, "echo", 900)
    assert house.look() == ["budget_near"]
    alert = house.alerts.open()[0]
    assert "echo spent 0.9 sat of 1 sat for this day" in alert.message
    assert house.look(86_400) == []


def spend(house: House, agent: str, amount_msat: int) -> None:
    """Book a payment of an agent as the desk does, without a node."""
    ledger = house.timmy.ledger
    ledger.opening("play", 1_000_000)
    invoice = decode(house.timmy.payments.playing.invoice(amount_msat=amount_msat))
    ledger.mark_in_flight(ledger.begin_payment("play", invoice, None, 0, agent_id=agent).id)


def test_a_payment_that_is_under_way_for_long_is_said(build: Build) -> None:
    house = build(payment_stuck_min=10)
    spend(house, "echo", 1000)
    assert house.look(599) == []
    assert house.look(2) == ["payment_stuck"]
    assert house.alerts.open()[0].path.startswith("/lightning/ledger?entry=")


def test_what_ledger_and_node_do_not_agree_on_is_one_alert_a_node(build: Build) -> None:
    house = build()
    found = [
        Finding(kind, None, None, "1 sat", "2 sat", f"they say different things of {kind}", "look", mends=False)
        for kind in ("amount", "residue")
    ]
    findings = house.timmy._lightning.findings
    findings.record("play", found)
    assert house.look() == ["reconcile_finding"]
    assert "2 things" in house.alerts.open()[0].message
    house.clock.advance(1)
    findings.record("play", found[:1])
    assert house.look(10) == ["reconcile_finding"]
    assert "one thing" in house.alerts.open()[0].message
    house.clock.advance(1)
    findings.record("play", [])
    assert house.look(10) == []
    assert house.types() == ["alert.raised", "alert.resolved"]


def test_a_proposal_that_waits_for_a_person_is_said_until_it_is_decided(build: Build) -> None:
    house = build(proposal_waiting_min=5)
    assert house.look() == []
    for number, state in enumerate(("awaiting_approval", "testing", "applied")):
        propose(house, f"p{number}", state)
    assert house.look(299) == []
    assert house.look(2) == ["proposal_waiting"]
    alert = house.alerts.open()[0]
    assert (alert.subject, alert.path) == ("p0", "/self-modify/queue?id=p0")
    house.timmy.store.write(lambda c: c.execute("UPDATE upgrade_proposals SET state = 'rejected' WHERE id = 'p0'"))
    assert house.look(10) == []


def propose(house: House, id_: str, state: str) -> None:
    now = to_us(house.clock.now())
    columns = {
        "id": id_, "description": f"mend {id_}", "proposed_by": "timmy", "kind": "diff", "repo": "r", "branch": "main",
        "base": "b", "head": "h", "patch_id": "p", "files": "[]", "added": 1, "removed": 0, "state": state,
        "risk": "normal", "risk_reasons": "[]", "created_at": now, "expires_at": now + 86_400_000_000,
        "changed_at": now, "trace_id": id_,
    }  # fmt: skip
    house.timmy.upgrading._rows.insert(columns, {})


def test_a_broken_chain_is_an_error_until_a_check_finds_it_whole(build: Build) -> None:
    house = build()
    break_chain(house)
    assert house.look() == ["chain_broken"]
    assert house.alerts.open()[0].severity == "error"
    assert "event 7" in house.alerts.open()[0].message
    break_chain(house, "")
    assert house.look() == []
    assert house.alerts.list()[0].resolved_at is not None


def test_the_chain_is_checked_as_often_as_the_settings_say_and_the_log_says_so(build: Build) -> None:
    house = build(verify_h=24)
    verify = next(job for job in house.alerts.jobs() if job.name == "verify")
    assert "hold" in verify.run()
    assert verify.run() == ""
    house.clock.advance(86_401)
    assert "hold" in verify.run()
    assert len(house.timmy.events.list(type="log.verified")) == 2
    assert build(verify_h=0).alerts.jobs() == ()


def test_a_check_that_cannot_read_an_archived_segment_is_an_alert(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "SEGMENT", 5)
    house = build()
    for _ in range(12):
        house.timmy.events.append("system.info", source="test")
    house.timmy.events.seal()
    house.clock.advance(1)
    assert house.timmy.events.prune(timedelta(0)).events
    house.timmy.events.sign_head()
    for path in house.timmy.events.archive.folder.glob("*.parquet"):
        path.unlink()
    next(job for job in house.alerts.jobs() if job.name == "verify").run()
    assert house.look() == ["chain_broken"]


def test_a_rule_that_is_switched_off_says_nothing_and_takes_back_what_it_said(build: Build) -> None:
    house = build()
    break_chain(house)
    assert house.look() == ["chain_broken"]
    house.alerts.settings = AlertSettings(rules=())
    assert house.look() == []


def test_two_processes_that_look_at_once_say_it_once(build: Build) -> None:
    house = build()
    break_chain(house)
    others = [Alerts(AlertSettings(), house.timmy, house.timmy._loop) for _ in range(4)]
    threads = [threading.Thread(target=other.check) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert house.types() == ["alert.raised"]


# Telling ----------------------------------------------------------------------------------------------------------


def test_what_is_over_for_long_is_forgotten(build: Build) -> None:
    house = build()
    break_chain(house)
    house.look()
    break_chain(house, "")
    house.look(1)
    house.clock.advance(timedelta(days=91).total_seconds())
    next(job for job in house.alerts.jobs() if job.name == "alerts").run()
    assert house.alerts.list() == []
