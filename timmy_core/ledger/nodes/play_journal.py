"""The file of a play node: a line a change, from which all that the node knows is read again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from timmy_core.clock import from_us
from timmy_core.ledger.node import NodeError, NodeEvent, NodeInvoice, NodePayment

Record = Mapping[str, Any]

# What other people learn of: the record's name, and the kind of event that it makes.
_TOLD: Final[Mapping[str, str]] = {
    "accepted": "invoice",
    "received": "invoice",
    "canceled": "invoice",
    "paid": "payment",
    "failed": "payment",
}


@dataclass(slots=True)
class PlayState:
    """What the lines of the file add up to."""

    key: bytes = b""
    balance_msat: int = 0
    held_msat: dict[str, int] = field(default_factory=dict)
    invoices: dict[str, NodeInvoice] = field(default_factory=dict)
    payments: dict[str, NodePayment] = field(default_factory=dict)
    preimages: dict[str, str] = field(default_factory=dict)  # of its own invoices, paid or not
    others: dict[str, str] = field(default_factory=dict)  # of those that its one neighbour made

    @property
    def spendable_msat(self) -> int:
        """What is not under way."""
        return self.balance_msat - sum(self.held_msat.values())

    def apply(self, record: Record) -> None:
        """Take one record in."""
        getattr(self, f"_{record['op']}")(record)

    def _opened(self, record: Record) -> None:
        self.key, self.balance_msat = bytes.fromhex(record["key"]), record["balance_msat"]

    def _adjusted(self, record: Record) -> None:
        self.balance_msat += record["amount_msat"]

    def _asked(self, record: Record) -> None:
        self.others[record["hash"]] = record["preimage"]

    def _invoiced(self, record: Record) -> None:
        name = record["hash"]
        self.preimages[name] = record["preimage"]
        self.invoices[name] = NodeInvoice(
            name, record["bolt11"], record["amount_msat"], "open", record["memo"],
            from_us(record["at"]), from_us(record["expires_at"]),
        )  # fmt: skip

    def _accepted(self, record: Record) -> None:
        self.invoices[record["hash"]] = replace(
            self.invoices[record["hash"]], state="accepted", received_msat=record["amount_msat"]
        )

    def _received(self, record: Record) -> None:
        name = record["hash"]
        self.balance_msat += record["amount_msat"]
        self.invoices[name] = replace(
            self.invoices[name],
            state="settled",
            received_msat=record["amount_msat"],
            settled_at=from_us(record["at"]),
            preimage=self.preimages[name],
        )

    def _canceled(self, record: Record) -> None:
        self.invoices[record["hash"]] = replace(self.invoices[record["hash"]], state="canceled", received_msat=None)

    def _forgotten(self, record: Record) -> None:
        for rows in (self.invoices, self.payments, self.preimages):
            rows.pop(record["hash"], None)

    def _begun(self, record: Record) -> None:
        name = record["hash"]
        self.payments.pop(name, None)  # a second try stands where it began
        self.held_msat[name] = record["amount_msat"] + record["fee_msat"]
        self.payments[name] = NodePayment(
            name, "in_flight", record["amount_msat"], None, None, None, from_us(record["at"])
        )

    def _paid(self, record: Record) -> None:
        name = record["hash"]
        self.balance_msat -= self.held_msat.pop(name)
        self.payments[name] = replace(
            self.payments[name],
            state="settled",
            fee_msat=record["fee_msat"],
            preimage=record["preimage"],
            settled_at=from_us(record["at"]),
        )

    def _failed(self, record: Record) -> None:
        name = record["hash"]
        self.held_msat.pop(name)
        self.payments[name] = replace(self.payments[name], state="failed", failure=record["reason"])


class PlayJournal:
    """The file and what it says; several processes may use it at once, and a kill loses no line that was written.

    Args:
        path: the file; it is made with its first line.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._state = PlayState()
        self._offset = 0

    @contextlib.contextmanager
    def open(self) -> Iterator[PlayChange]:
        """Hold the file alone: what others wrote is read first, and what is written here is on the disk.

        Raises:
            NodeError: the file cannot be read or written, or is damaged.
        """
        try:
            with self._lock, self._locked() as descriptor:
                self._catch_up(descriptor)
                try:
                    yield PlayChange(descriptor, self._state)
                finally:
                    # What was written is in the state already, also where the work went wrong after it.
                    self._offset = os.fstat(descriptor).st_size
        except OSError as error:
            self._start_again()
            text = f"the play node's file {self._path} cannot be used: {error.strerror}; mend that and try again"
            raise NodeError(kind="unreachable", message=text, sure=False) from error

    def events(self, after: int) -> list[NodeEvent]:
        """Return what was told since an offset in the file."""
        return self.told(after)[0]

    def told(self, after: int) -> tuple[list[NodeEvent], int]:
        """Return what was told since an offset in the file, and up to where the file was read for it."""
        with self.open() as change:
            end = self._offset
            data = os.pread(change.descriptor, max(0, end - after), after)
        return list(_events_in(data, after)), max(after, end)

    def size(self) -> int:
        """Return the length of the file, which is where the next event will stand."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _catch_up(self, descriptor: int) -> None:
        """Read the lines that others wrote; a last one without its end was cut by a kill, and goes."""
        size = os.fstat(descriptor).st_size
        if size < self._offset:
            self._start_again()
        data = os.pread(descriptor, size - self._offset, self._offset)
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(descriptor, self._offset + whole)
        for line in data[:whole].splitlines():
            try:
                for record in json.loads(line):
                    self._state.apply(record)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._start_again()
                text = f"the play node's file {self._path} is damaged; move it away, and a new node begins"
                raise NodeError(kind="misconfigured", message=text, sure=True) from error
        self._offset += whole

    def _start_again(self) -> None:
        self._state, self._offset = PlayState(), 0


@dataclass(frozen=True, slots=True)
class PlayChange:
    """What may be done while the file is held."""

    descriptor: int
    state: PlayState

    def write(self, *records: Record) -> None:
        """Append records as one line, so that a kill leaves all of them or none; on the disk when it returns."""
        line = json.dumps(list(records), separators=(",", ":")).encode() + b"\n"
        size = os.fstat(self.descriptor).st_size
        try:
            _write_all(self.descriptor, line)
            os.fsync(self.descriptor)
        except OSError:
            os.ftruncate(self.descriptor, size)
            raise
        for record in records:
            self.state.apply(record)


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _events_in(data: bytes, after: int) -> Iterator[NodeEvent]:
    """Yield what the lines tell that begin at an offset in the file."""
    for line in data.splitlines(keepends=True):
        start, after = after, after + len(line)
        told = [record for record in json.loads(line) if record["op"] in _TOLD]
        for number, record in enumerate(told, 1):
            # Who stops within a line is told all of it again.
            cursor = after if number == len(told) else start
            kind = _TOLD[record["op"]]
            yield NodeEvent("invoice" if kind == "invoice" else "payment", record["hash"], str(cursor))
