"""Signatures: one way to write a decision, keys that only a PIN opens, and keys of OpenSSH."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timmy_core.errors import ApprovalError
from timmy_core.events.log import EventLog
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock
from timmy_core.upgrades import signing
from timmy_core.upgrades.approval import Approvals

from .approving_house import PIN, decision

needs_ssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH is not installed")
CLOCK = FakeClock()


def new_ssh_key(folder: Path, name: str = "key") -> Path:
    path = folder / name
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path), "-C", "ann"], check=True)
    return path


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_no_two_decisions_are_written_alike(one: str, two: str, three: str, four: str) -> None:
    first, second = decision(CLOCK, reason=one, nonce=two), decision(CLOCK, reason=three, nonce=four)
    assert (signing.statement(first) == signing.statement(second)) == (first == second)


def test_a_key_opens_with_the_right_pin_alone() -> None:
    key = bytes(32)
    sealed, public = signing.make(key)
    private = signing.unseal(key, sealed)
    assert private is not None
    assert signing.unseal(b"x" * 32, sealed) is None
    assert signing.unseal(key, sealed[:-2] + "00") is None
    assert signing.holds(public, decision(CLOCK), signing.sign(private, decision(CLOCK)))
    assert not signing.holds(public, decision(CLOCK, nonce="x"), signing.sign(private, decision(CLOCK)))


@pytest.mark.parametrize("signature", ["", "00", "zz", "00" * 64])
def test_what_is_no_signature_does_not_hold(signature: str) -> None:
    _, public = signing.make(bytes(32))
    assert not signing.holds(public, decision(CLOCK), signature)
    assert not signing.holds("", decision(CLOCK), signature)


@needs_ssh
def test_a_key_of_openssh_signs_the_same_statement(tmp_path: Path) -> None:
    key, other = new_ssh_key(tmp_path), new_ssh_key(tmp_path, "other")
    signature = signing.ssh_sign(key, None, decision(CLOCK))
    public = key.with_suffix(".pub").read_text(encoding="utf-8")
    assert signing.ssh_holds(public, decision(CLOCK), signature)
    assert not signing.ssh_holds(public, decision(CLOCK, tree="x"), signature)
    assert not signing.ssh_holds(other.with_suffix(".pub").read_text(encoding="utf-8"), decision(CLOCK), signature)
    assert not signing.ssh_holds(public, decision(CLOCK), "zz")


@needs_ssh
def test_a_signature_for_another_purpose_does_not_hold(tmp_path: Path) -> None:
    key = new_ssh_key(tmp_path)
    words = ["ssh-keygen", "-Y", "sign", "-q", "-n", "git", "-f", str(key)]
    done = subprocess.run(words, input=signing.statement(decision(CLOCK)), capture_output=True, check=True)
    public = key.with_suffix(".pub").read_text(encoding="utf-8")
    assert not signing.ssh_holds(public, decision(CLOCK), done.stdout.hex())


@needs_ssh
def test_with_a_key_of_openssh_both_it_and_the_pin_are_needed(
    tmp_path: Path, store: Store, log: EventLog, clock: FakeClock
) -> None:
    key = new_ssh_key(tmp_path)
    home = tmp_path / "home"
    plain = Approvals(home, UpgradeSettings(), store, log, clock)
    plain.set_pin(PIN, by="ann")
    by_pin = plain.seal(decision(clock), pin=PIN)
    approvals = Approvals(home, UpgradeSettings(ssh_key=key), store, log, clock)
    by_key = approvals.seal(decision(clock), pin=PIN)
    assert approvals.verify(by_key)
    assert not approvals.verify(by_pin)


@needs_ssh
def test_another_key_put_in_its_place_later_does_not_count(
    tmp_path: Path, store: Store, log: EventLog, clock: FakeClock
) -> None:
    key = new_ssh_key(tmp_path)
    approvals = Approvals(tmp_path / "home", UpgradeSettings(ssh_key=key), store, log, clock)
    approvals.set_pin(PIN, by="ann")
    assert approvals.verify(approvals.seal(decision(clock), pin=PIN))
    for path in (key, key.with_suffix(".pub")):
        path.unlink()
    new_ssh_key(tmp_path)
    with pytest.raises(ApprovalError, match="not of the key"):
        approvals.seal(decision(clock), pin=PIN)


@needs_ssh
def test_a_key_that_is_not_there_is_an_error_that_says_so(
    tmp_path: Path, store: Store, log: EventLog, clock: FakeClock
) -> None:
    approvals = Approvals(tmp_path / "home", UpgradeSettings(ssh_key=tmp_path / "none"), store, log, clock)
    approvals.set_pin(PIN, by="ann")
    with pytest.raises(ApprovalError, match="did not sign"):
        approvals.seal(decision(clock), pin=PIN)
