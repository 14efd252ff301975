"""PINs: what they look like, and how many wrong ones are borne."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from timmy_core.errors import PinError
from timmy_core.events.log import EventLog
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock
from timmy_core.upgrades.approval import Approvals
from timmy_core.upgrades.pin import LOCK_S, TRIES, check_form

from .approving_house import OTHER, PIN


@pytest.fixture
def approvals(tmp_path: Path, store: Store, log: EventLog, clock: FakeClock) -> Approvals:
    return Approvals(tmp_path / "home", UpgradeSettings(), store, log, clock)


def types(log: EventLog) -> list[str]:
    return [event.type for event in log.list(family="upgrade", order="asc")]


@pytest.mark.parametrize("pin", ["", "12345", "111111", "123456", "654321", "abcdef", "121212", "x" * 129, "12345\n7"])
def test_a_pin_that_anybody_would_try_is_refused(approvals: Approvals, pin: str) -> None:
    with pytest.raises(PinError, match="choose another"):
        approvals.set_pin(pin, by="ann")


def test_a_refusal_never_names_the_pin() -> None:
    with pytest.raises(PinError) as caught:
        check_form("123456")
    assert "123456" not in str(caught.value)


def test_the_right_pin_opens_and_a_wrong_one_does_not(approvals: Approvals, log: EventLog) -> None:
    approvals.set_pin(PIN, by="Ann")
    approvals.check_pin(PIN, by="ANN")
    with pytest.raises(PinError, match="4 more tries"):
        approvals.check_pin(OTHER, by="ann")
    assert types(log) == ["upgrade.pin_set", "upgrade.pin_refused"]


def test_five_wrong_pins_lock_even_the_right_one_out_for_a_while(
    approvals: Approvals, log: EventLog, clock: FakeClock
) -> None:
    approvals.set_pin(PIN, by="ann")
    for _ in range(TRIES):
        with pytest.raises(PinError):
            approvals.check_pin(OTHER, by="ann")
    with pytest.raises(PinError, match="locked for 15 minutes"):
        approvals.check_pin(PIN, by="ann")
    assert types(log)[-1] == "upgrade.pin_locked"
    clock.advance(LOCK_S + 1)
    approvals.check_pin(PIN, by="ann")


def test_each_further_lock_takes_twice_as_long(approvals: Approvals, clock: FakeClock) -> None:
    approvals.set_pin(PIN, by="ann")
    for minutes in (15, 30, 60):
        for _ in range(TRIES):
            with pytest.raises(PinError):
                approvals.check_pin(OTHER, by="ann")
        with pytest.raises(PinError, match=f"locked for {minutes} minutes"):
            approvals.check_pin(PIN, by="ann")
        clock.advance(minutes * 60 + 1)


def test_tries_are_counted_over_restarts_and_before_the_pin_is_looked_at(
    approvals: Approvals, tmp_path: Path, store: Store, log: EventLog, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    approvals.set_pin(PIN, by="ann")

    def killed(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("timmy_core.upgrades.pin.Stretch.key", killed)
        for _ in range(TRIES):
            with pytest.raises(KeyboardInterrupt):
                approvals.check_pin(PIN, by="ann")
    again = Approvals(tmp_path / "home", UpgradeSettings(), store, log, clock)
    with pytest.raises(PinError, match="locked"):
        again.check_pin(PIN, by="ann")


def test_tries_at_once_from_many_threads_are_all_counted(approvals: Approvals) -> None:
    approvals.set_pin(PIN, by="ann")
    said: list[str] = []

    def attempt() -> None:
        try:
            approvals.check_pin(OTHER, by="ann")
        except PinError as error:
            said.append(str(error))

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 8
    assert sum("more t" in words for words in said) == TRIES - 1
    with pytest.raises(PinError, match="locked"):
        approvals.check_pin(PIN, by="ann")


def test_a_name_that_nobody_has_is_not_told_from_a_wrong_pin(approvals: Approvals, log: EventLog) -> None:
    approvals.set_pin(PIN, by="ann")
    with pytest.raises(PinError, match="the name or the PIN is wrong"):
        approvals.check_pin(PIN, by="bob")
    assert log.list(type="upgrade.pin_refused")[0].data == {"by": None}


def test_the_first_person_comes_by_themselves_and_the_next_is_let_in(approvals: Approvals) -> None:
    approvals.set_pin(PIN, by="ann")
    with pytest.raises(PinError, match="let bob in"):
        approvals.set_pin(OTHER, by="bob")
    with pytest.raises(PinError, match="let bob in"):
        approvals.set_pin(OTHER, by="bob", admitted_by="bob", admitting=OTHER)
    with pytest.raises(PinError, match="wrong"):
        approvals.set_pin(OTHER, by="bob", admitted_by="ann", admitting=OTHER)
    approvals.set_pin(OTHER, by="bob", admitted_by="ann", admitting=PIN)
    assert approvals.people() == ("ann", "bob")


def test_a_new_pin_needs_the_old_one(approvals: Approvals) -> None:
    approvals.set_pin(PIN, by="ann")
    with pytest.raises(PinError):
        approvals.set_pin(OTHER, by="ann")
    approvals.set_pin(OTHER, by="ann", old=PIN)
    approvals.check_pin(OTHER, by="ann")
    with pytest.raises(PinError):
        approvals.check_pin(PIN, by="ann")


def test_whoever_is_removed_may_not_decide_and_does_not_come_back_alone(approvals: Approvals) -> None:
    approvals.set_pin(PIN, by="ann")
    approvals.set_pin(OTHER, by="bob", admitted_by="ann", admitting=PIN)
    approvals.remove("bob", by="ann", pin=PIN)
    assert approvals.people() == ("ann",)
    with pytest.raises(PinError):
        approvals.check_pin(OTHER, by="bob")
    with pytest.raises(PinError, match="let bob in"):
        approvals.set_pin(OTHER, by="bob")


@pytest.mark.parametrize("name", ["timmy", "Timmy", "", "../../etc/passwd", "a/b", "-x", "ann\n", "x" * 65])
def test_agents_and_names_that_lead_elsewhere_get_no_pin(approvals: Approvals, name: str) -> None:
    if name == "ann\n":
        approvals.set_pin(PIN, by=name)
        assert approvals.people() == ("ann",)
        return
    with pytest.raises(PinError):
        approvals.set_pin(PIN, by=name)


def test_no_pin_and_no_key_is_to_be_read_in_files_or_events(
    approvals: Approvals, tmp_path: Path, log: EventLog
) -> None:
    approvals.set_pin(PIN, by="ann")
    with pytest.raises(PinError):
        approvals.check_pin(OTHER, by="ann")
    files = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        assert PIN.encode() not in path.read_bytes()
    assert (tmp_path / "home" / "keys").stat().st_mode & 0o077 == 0
    said = "".join(str(event.as_dict()) for event in log.list(family="upgrade"))
    assert PIN not in said
    assert OTHER not in said


def test_a_damaged_file_is_an_error_that_says_which(approvals: Approvals, tmp_path: Path) -> None:
    approvals.set_pin(PIN, by="ann")
    path = tmp_path / "home" / "keys" / "ann.person.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(PinError, match="damaged"):
        approvals.check_pin(PIN, by="ann")
