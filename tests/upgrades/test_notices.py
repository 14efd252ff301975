"""Notices: only what was delivered, about the proposal as it stands, counts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from timmy_core.events.log import EventLog
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock
from timmy_core.upgrades.notices import Notices

from .approving_house import proposal


def notices(store: Store, log: EventLog, clock: FakeClock, *command: str, notice_s: float = 20.0) -> Notices:
    return Notices(UpgradeSettings(notice_command=command, notice_s=notice_s), store, log, clock)


def test_a_delivered_notice_is_remembered_with_its_time(
    tmp_path: Path, store: Store, log: EventLog, clock: FakeClock
) -> None:
    heard = tmp_path / "heard"
    told = notices(
        store, log, clock, sys.executable, "-c", f"import sys; open({str(heard)!r}, 'w').write(sys.stdin.read())"
    )
    assert told.delivered_at(proposal(clock)) is None
    assert told.send(proposal(clock))
    assert told.delivered_at(proposal(clock)) == clock.now()
    assert json.loads(heard.read_text(encoding="utf-8"))["description"] == "a better text"


def test_the_first_delivery_counts(store: Store, log: EventLog, clock: FakeClock) -> None:
    told = notices(store, log, clock, "true")
    first = clock.now()
    made = proposal(clock)
    for _ in range(2):
        told.send(made)
        clock.advance(60)
    assert told.delivered_at(made) == first


def test_a_notice_of_what_it_was_before_does_not_count(store: Store, log: EventLog, clock: FakeClock) -> None:
    told = notices(store, log, clock, "true")
    told.send(proposal(clock))
    assert told.delivered_at(proposal(clock, head="0" * 40)) is None
    assert told.delivered_at(proposal(clock, risk="normal")) is None


@pytest.mark.parametrize(
    ("command", "words"),
    [(("false",), "ended with 1"), (("/no/such/program",), "cannot be run"), (("sleep", "30"), "did not end within")],
)
def test_what_did_not_arrive_does_not_count_and_the_log_says_why(
    store: Store, log: EventLog, clock: FakeClock, command: tuple[str, ...], words: str
) -> None:
    told = notices(store, log, clock, *command, notice_s=0.5)
    assert not told.send(proposal(clock))
    assert told.delivered_at(proposal(clock)) is None
    data = log.list(type="upgrade.notice_failed")[0].data
    assert data is not None
    assert words in data["problem"]


def test_without_a_command_nobody_is_told_and_nothing_is_written(store: Store, log: EventLog, clock: FakeClock) -> None:
    assert not notices(store, log, clock).send(proposal(clock))
    assert log.list(family="upgrade") == []
