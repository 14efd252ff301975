"""Approvals: people prove who they are with a PIN, and a signature binds what they decided to what they saw."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from timmy_core.clock import Clock, new_id, to_us
from timmy_core.errors import ApprovalError, PinError
from timmy_core.events.files import write_whole
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.settings_upgrades import UpgradeSettings
from timmy_core.store.engine import Store
from timmy_core.upgrades import signing
from timmy_core.upgrades.model import Approval, Decision
from timmy_core.upgrades.people import People, Person, known_name
from timmy_core.upgrades.pin import TRIES, Tries, check_form, fresh

SAME_USER: Final = (
    "Timmy and this queue run as the same user of this machine. The PIN seals the key that signs, and tests are shut "
    "in, but a program that this user runs outside the sandbox could read the sealed key and guess short PINs, or "
    "change the repository without asking here. Choose a long PIN, or a key on a token with ssh_key."
)
POLICY: Final = "policy"  # who approved what nobody objected to
_POLICY_KEY: Final = "policy.key"
_WRONG: Final = "the name or the PIN is wrong"

_log = logging.getLogger(__name__)


class Approvals:
    """Checks PINs, signs decisions and checks signatures; safe to use from any thread and process.

    Args:
        home: its folder `keys` holds what belongs to people.
        settings: the section `[upgrades]`.
        store: where the events are.
        events: told of every PIN that is set, refused or locked; never the PIN.
        clock: stamps approvals and ends locks.
        agents: names that no person may have.
    """

    def __init__(
        self,
        home: Path,
        settings: UpgradeSettings,
        store: Store,
        events: EventLog,
        clock: Clock,
        *,
        agents: Iterable[str] = ("timmy",),
    ) -> None:
        self._settings = settings
        self._store = store
        self._events = events
        self._clock = clock
        self._agents = frozenset({POLICY, *(name.casefold() for name in agents)})
        self._people = People(home / "keys")

    # People --------------------------------------------------------------------------------------------------

    def people(self) -> tuple[str, ...]:
        """Return who may decide."""
        return self._people.names()

    def set_pin(
        self, pin: str, *, by: str, old: str | None = None, admitted_by: str | None = None, admitting: str | None = None
    ) -> None:
        """Set a person's PIN.

        The first person needs nothing more. Whoever has a PIN needs it for the next one; anybody else is let in by a
        person who has one.

        Args:
            pin: the new one.
            by: the person.
            old: the PIN that they have.
            admitted_by: who lets a new person in.
            admitting: that person's PIN.

        Raises:
            PinError: a PIN is wrong, missing, or one that anybody would guess.
        """
        name = self._checked_name(by)
        check_form(pin)
        # Looked at apart, because a wrong one has to count even though nothing is set.
        known = self._people.get(name)
        if known is not None and known.sealed:
            self.check_pin(old or "", by=name)
        elif self.people():
            if admitted_by is None or known_name(admitted_by) == name:
                message = f"{name} is not known here; somebody who has a PIN has to let {name} in, with it"
                raise PinError(message)
            self.check_pin(admitting or "", by=admitted_by)
        stretch = fresh()
        sealed, public = signing.make(stretch.key(pin))
        with self._people.changing():
            now = self._people.get(name)
            if _keys(now) != _keys(known) or (not _keys(known)[1] and admitted_by is None and self.people()):
                message = f"somebody else set a PIN at the same time; look who is known, and set {name}'s again"
                raise PinError(message)
            self._people.put(Person(name, stretch, sealed, (*_keys(known)[0], public), Tries()))
        self._tell("upgrade.pin_set", {"by": name, "admitted_by": admitted_by and known_name(admitted_by)})

    def remove(self, name: str, *, by: str, pin: str) -> None:
        """Take from a person the right to decide; what they signed still holds.

        Raises:
            PinError: the PIN of whoever asks is wrong, or nobody has that name.
        """
        self.check_pin(pin, by=by)
        gone = known_name(name)
        with self._people.changing():
            person = self._people.get(gone)
            if person is None or not person.sealed:
                message = f"nobody named {gone} may decide here; those who may: {', '.join(self.people())}"
                raise PinError(message)
            self._people.put(replace(person, sealed=""))
        self._tell("upgrade.pin_removed", {"by": known_name(by), "name": gone})

    def check_pin(self, pin: str, *, by: str) -> None:
        """Check a PIN; five wrong ones in a row lock it for a while, each time for longer.

        Raises:
            PinError: it is wrong, not set, or locked; says for how long.
        """
        self._open(pin, by)

    def _open(self, pin: str, by: str) -> bytes:
        """Return the private key that a PIN opens."""
        name = known_name(by)
        with self._people.changing():
            person = self._people.get(name)
            private, tries = self._try(person, pin)
        if private is not None:
            return private
        if person is None or not person.sealed:
            self._tell("upgrade.pin_refused", {"by": None})
            message = f"{_WRONG}; PINs are set with `timmy upgrades pin`"
            raise PinError(message)
        left_s = tries.left_s(to_us(self._clock.now()))
        self._tell("upgrade.pin_locked" if left_s else "upgrade.pin_refused", {"by": name, "locked_s": round(left_s)})
        if left_s:
            message = f"{_WRONG}, and {name}'s is locked for {_minutes(left_s)}, because {TRIES} in a row were wrong"
        else:
            left = TRIES - tries.wrong
            message = f"{_WRONG}; {left} more {'try' if left == 1 else 'tries'} before it is locked for a while"
        raise PinError(message)

    def _try(self, person: Person | None, pin: str) -> tuple[bytes | None, Tries]:
        if person is None or not person.sealed:
            fresh().key(pin)  # takes as long as a real one, so that the time does not tell who is known
            return None, Tries()
        now_us = to_us(self._clock.now())
        left_s = person.tries.left_s(now_us)
        if left_s:
            message = f"{person.name}'s PIN is locked for {_minutes(left_s)}, because {TRIES} in a row were wrong; wait"
            raise PinError(message)
        counted = replace(person, tries=person.tries.one_more(now_us))
        self._people.put(counted)
        private = signing.unseal(person.stretch.key(pin), person.sealed)
        if private is not None:
            self._people.put(replace(person, tries=Tries()))
        return private, counted.tries

    def _checked_name(self, by: str) -> str:
        name = known_name(by)
        if name in self._agents:
            message = f"{name} is an agent, and agents decide nothing; give a person's name"
            raise PinError(message)
        return name

    # Decisions -----------------------------------------------------------------------------------------------

    def seal(self, decision: Decision, *, pin: str) -> Approval:
        """Check the PIN and sign a decision.

        Raises:
            PinError: the PIN is wrong, not set or locked.
            ApprovalError: the decision is not one that can be signed.
        """
        decision = replace(decision, by=self._checked_name(decision.by))
        now = self._clock.now()
        if decision.expires_at <= now:
            message = "the time to decide this is over; propose it again"
            raise ApprovalError(message)
        if decision.decision == "reject" and not decision.reason.strip():
            message = "a rejection needs a reason; say why, so that the next proposal can be better"
            raise ApprovalError(message)
        private = self._open(pin, decision.by)
        signature = self._signed(private, decision)
        if decision.urgent:
            # Loudly: the queue's event says it too.
            _log.warning("URGENT: %s alone decides proposal %s, past the quorum", decision.by, decision.proposal_id)
        return Approval(id=new_id(), signature=signature, at=now, **asdict(decision))

    def seal_automatic(self, decision: Decision) -> Approval:
        """Sign what the policy approves because nobody objected; whether it may is for the caller to know.

        Raises:
            ApprovalError: the settings do not allow it.
        """
        if not self._settings.auto_approve or decision.decision != "approve" or decision.urgent:
            message = "nothing is approved by itself here; a person has to decide, or auto_approve be set in [upgrades]"
            raise ApprovalError(message)
        decision = replace(decision, by=POLICY)
        with self._people.changing():
            private = self._policy_key() or self._new_policy_key()
        return Approval(
            id=new_id(), signature=signing.sign(private, decision), at=self._clock.now(), **asdict(decision)
        )

    def _policy_key(self) -> bytes | None:
        try:
            return bytes.fromhex((self._people.folder / _POLICY_KEY).read_text(encoding="ascii"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            message = f"{self._people.folder / _POLICY_KEY} is damaged; remove it, and what it signed counts no more"
            raise ApprovalError(message) from error

    def _new_policy_key(self) -> bytes:
        private = secrets.token_bytes(signing.KEY_BYTES)
        write_whole(self._people.folder / _POLICY_KEY, private.hex().encode())
        return private

    def _verify_automatic(self, approval: Approval) -> bool:
        """Whether the policy signed it, and still may."""
        private = self._policy_key() if self._settings.auto_approve and not approval.urgent else None
        return private is not None and signing.holds(signing.public(private), approval.decided, approval.signature)

    def verify(self, approval: Approval) -> bool:
        """Whether the signature is of a key of that person here, and covers every field."""
        if approval.by == POLICY:
            return self._verify_automatic(approval)
        try:
            person = self._people.get(known_name(approval.by))
        except PinError:
            return False
        if person is None:
            return False
        if len(approval.signature) == 2 * signing.SIGNATURE_BYTES:
            # With a token asked for, a signature without it is not enough.
            key = self._settings.ssh_key is None
            return key and any(signing.holds(one, approval.decided, approval.signature) for one in person.public)
        public = self._ssh_public()
        return bool(public) and signing.ssh_holds(public, approval.decided, approval.signature)

    def _signed(self, private: bytes, decision: Decision) -> str:
        if self._settings.ssh_key is None:
            return signing.sign(private, decision)
        signature = signing.ssh_sign(self._settings.ssh_key.expanduser(), self._settings.ssh_agent, decision)
        if not signing.ssh_holds(self._ssh_public(), decision, signature):
            message = f"what ssh-keygen signed is not of the key {self._settings.ssh_key}; mend ssh_key in [upgrades]"
            raise ApprovalError(message)
        return signature

    def _ssh_public(self) -> str:
        """Return OpenSSH's public key, as it was when it was used first: another one later is not taken for it."""
        kept = self._people.folder / "ssh.pub"
        try:
            return kept.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            if self._settings.ssh_key is None:
                return ""
        path = self._settings.ssh_key.expanduser()
        path = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
        try:
            content = path.read_bytes()
        except OSError as error:
            message = f"the public key {path} cannot be read: {error.strerror}; name the key with ssh_key in [upgrades]"
            raise ApprovalError(message) from error
        write_whole(kept, content)
        return content.decode(errors="replace").strip()

    def _tell(self, kind: str, data: dict[str, Any]) -> None:
        event = NewEvent(kind, "upgrades", data, ts=self._clock.now())
        self._store.write(lambda connection: self._events.append_in(connection, event))


def _keys(person: Person | None) -> tuple[tuple[str, ...], str]:
    """Return what changes when a PIN is set, and not when one is tried."""
    return (person.public, person.sealed) if person else ((), "")


def _minutes(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    return f"{minutes} {'minute' if minutes == 1 else 'minutes'}"
