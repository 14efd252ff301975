"""Signed heads: every few minutes the end of the log is signed into a file outside the database.

`heads.jsonl` holds one head a line, as JSON with sorted keys and without spaces:

    n          its number, from 1             seq, hash    the event that it signs, and that event's hash (hex)
    epoch      the log's epoch                tree_from    the first event since the head before
    ts         when it was signed, in UTC     tree_root    RFC 6962 root over the events' hashes, tree_from to seq (hex)
    key        the public key (hex)           previous     SHA-256 of the line before (hex); zeros for the first
    signature  Ed25519 over `SIGNED` and the line's JSON without the signature (hex)

Whoever cuts or rewrites the log cannot make these lines fit again without the key, and whoever has the key as well
cannot change what somebody else keeps a copy of.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from timmy_core.clock import Clock, SystemClock, iso
from timmy_core.errors import EventError
from timmy_core.events import merkle
from timmy_core.events.files import write_whole, writing
from timmy_core.events.findings import Finding

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SIGNED: Final = b"timmy head 1\n"
FIRST: Final = "0" * 64
# Also the number of hashes that a proof has to read.
MAX_TREE: Final = 16_384

# An event as it stands in the store: seq, id, type, source, task, agent, trace, data, ts, v, hash, salt, data_hash.
RawRow: TypeAlias = Sequence[Any]


class Rows(Protocol):
    """What heads and proofs read of a log; events that left the store come from the archive."""

    @property
    def epoch(self) -> str:
        """The log's epoch."""
        ...

    def head(self) -> tuple[int, str]:
        """Return the last seq and its hash in hex."""
        ...

    def raw(self, seq: int) -> RawRow | None:
        """Return an event as it is stored, or None where there is none."""
        ...

    def hashes(self, first: int, last: int) -> list[bytes]:
        """Return the hashes of events `first` to `last`, in order."""
        ...

    def hashes_at(self, seqs: Sequence[int]) -> dict[int, bytes]:
        """Return the hashes of single events by seq; what is not there is left out."""
        ...


@dataclass(frozen=True, slots=True)
class Head:
    """One line of `heads.jsonl`."""

    n: int
    epoch: str
    seq: int
    hash: str
    tree_from: int
    tree_root: str
    ts: str
    previous: str
    key: str
    signature: str

    def as_dict(self) -> dict[str, Any]:
        """Return the head as JSON can carry it."""
        return asdict(self)

    def line(self) -> bytes:
        """Return the one way to write it, without the line's end."""
        return canonical(asdict(self))


_KINDS: Final = {field.name: int if field.name in ("n", "seq", "tree_from") else str for field in fields(Head)}


class Heads:
    """The signed heads of one log, in the log's home; safe to use from several threads and processes."""

    def __init__(self, rows: Rows, folder: Path, clock: Clock | None = None) -> None:
        self._rows = rows
        self._clock = clock or SystemClock()
        self.path = folder / "heads.jsonl"
        self.key_path = folder / "heads.key"
        self.public_path = folder / "heads.pub"

    # Signing -------------------------------------------------------------------------------------------------

    def sign(self) -> Head | None:
        """Sign the end of the log and return the newest head; None for an empty log. Nothing new signs nothing.

        Raises:
            EventError: the log does not hold what was signed before, or the key is gone.
        """
        seq, _ = self._rows.head()
        last = self._last()
        if last is not None and last.seq == seq and last.epoch == self._rows.epoch:
            return last
        if not seq and last is None:
            return None
        with self._exclusive() as file:
            last = self._repair(file)
            seq = self._rows.head()[0]
            self._check_follows(last, seq)
            key = self._key(fresh=last is None)
            lines = []
            while last is None or last.seq < seq:
                last = self._next(last, min(seq, (last.seq if last else 0) + MAX_TREE), key)
                lines.append(last.line() + b"\n")
            _append(file, b"".join(lines), self.path)
        return last

    def _next(self, last: Head | None, seq: int, key: Ed25519PrivateKey) -> Head:
        first = last.seq + 1 if last else 1
        hashes = self._rows.hashes(first, seq)
        if len(hashes) != seq - first + 1:
            message = (
                f"events {first} to {seq} cannot all be read, so no head is signed; `timmy events verify` says why"
            )
            raise EventError(message)
        unsigned: dict[str, Any] = {
            "n": last.n + 1 if last else 1,
            "epoch": self._rows.epoch,
            "seq": seq,
            "hash": hashes[-1].hex(),
            "tree_from": first,
            "tree_root": merkle.root(hashes).hex(),
            "ts": iso(self._clock.now()),
            "previous": line_hash(last.line()) if last else FIRST,
            "key": key.public_key().public_bytes_raw().hex(),
        }
        return Head(**unsigned, signature=key.sign(SIGNED + canonical(unsigned)).hex())

    def _check_follows(self, last: Head | None, seq: int) -> None:
        """Refuse to sign over a log that is not the one signed before: the old heads are what shows it."""
        if last is None:
            return
        advice = "; `timmy events verify` says more. If this is a restored copy, move heads.jsonl away first"
        if last.epoch != self._rows.epoch:
            message = f"{self.path} belongs to another log{advice}"
        elif seq < last.seq:
            message = f"the log ends at {seq}, but its head {last.n} signed event {last.seq}{advice}"
        elif self._rows.hashes_at([last.seq]).get(last.seq, b"").hex() != last.hash:
            message = f"event {last.seq} is not the one that head {last.n} signed{advice}"
        else:
            return
        raise EventError(message)

    def _last(self) -> Head | None:
        """Return the last whole line's head, from the end of the file alone."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 4096))
                whole = file.read().rpartition(b"\n")[0]
        except FileNotFoundError:
            return None
        return parse(whole.rpartition(b"\n")[2]) if whole else None

    def _repair(self, file: int) -> Head | None:
        """Cut off what a crash left half written, and return the last head."""
        size = os.fstat(file).st_size
        tail = os.pread(file, 4096, max(0, size - 4096))
        torn = len(tail) - (tail.rfind(b"\n") + 1)
        if torn == len(tail) < size:
            message = f"{self.path} does not end with heads, so none is added; `timmy events verify` says more"
            raise EventError(message)
        if torn:
            os.ftruncate(file, size - torn)
            tail = tail[: len(tail) - torn]
        if not tail:
            return None
        last = parse(tail[:-1].rpartition(b"\n")[2])
        if last is None:
            message = f"the last line of {self.path} is not a head, so none is added; `timmy events verify` says more"
            raise EventError(message)
        return last

    @contextmanager
    def _exclusive(self) -> Iterator[int]:
        file = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(file)

    # Keys ----------------------------------------------------------------------------------------------------

    def public_key(self) -> str:
        """Return the public key as 64 hex digits; an empty text before the first head."""
        try:
            return self.public_path.read_text(encoding="ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            return ""

    def _key(self, *, fresh: bool) -> Ed25519PrivateKey:
        """Return the signing key; it is made with the first head, and never again beside older heads."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(self.key_path.read_bytes(), password=None)
        except FileNotFoundError:
            if not fresh:
                message = (
                    f"{self.key_path} is missing, so no head can follow those in {self.path.name}: "
                    "bring it back from a backup, or move heads.jsonl and heads.pub away to begin anew"
                )
                raise EventError(message) from None
            key = Ed25519PrivateKey.generate()
            write_whole(self.key_path, _pem(key))
        except ValueError as error:
            message = f"{self.key_path} is not a key: {error}; bring it back from a backup"
            raise EventError(message) from None
        if not isinstance(key, Ed25519PrivateKey):
            message = f"{self.key_path} holds another kind of key than Ed25519; bring the right one back from a backup"
            raise EventError(message)
        public = key.public_key().public_bytes_raw().hex()
        if self.public_key() != public:
            if not fresh:
                message = f"{self.key_path} and {self.public_path} do not fit each other; bring them back from a backup"
                raise EventError(message)
            write_whole(self.public_path, public.encode() + b"\n")
        return key

    # Reading -------------------------------------------------------------------------------------------------

    def lines(self) -> list[bytes]:
        """Return the whole lines of the file; what a crash left half written at the end is not one."""
        try:
            return self.path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []

    def covering(self, seq: int) -> Head | None:
        """Return the head in whose tree an event is; None where no head signed it yet.

        Raises:
            EventError: the file was altered there.
        """
        lines = self.lines()
        low, high = 0, len(lines)
        while low < high:
            middle = (low + high) // 2
            head = parse(lines[middle])
            if head is None:
                message = f"line {middle + 1} of {self.path} is not a head; `timmy events verify` says more"
                raise EventError(message)
            if head.seq < seq:
                low = middle + 1
            else:
                high = middle
        return parse(lines[low]) if low < len(lines) else None

    def check(self) -> list[Finding]:
        """Compare the file with itself, with its key and with the log; an empty list where all fits."""
        # The file first: a head that is signed meanwhile is about events that are there already.
        lines = self.lines()
        public = self.public_key()
        if not lines:
            gone = public and not self.path.exists()
            return [Finding("head_altered", 0, "heads.jsonl is gone, but its key is there")] if gone else []
        heads = [parse(line) for line in lines]
        found = [*_check_lines(lines, heads), *_check_keys(heads, public)]
        return found + self._check_log([head for head in heads if head is not None])

    def _check_log(self, heads: Sequence[Head]) -> list[Finding]:
        end = self._rows.head()[0]
        stored = self._rows.hashes_at([head.seq for head in heads if head.seq <= end])
        for head in heads:
            if head.epoch != self._rows.epoch:
                message = f"head {head.n} belongs to another log: the log was replaced"
                return [Finding("rewritten", head.seq, message)]
            if head.seq > end:
                message = f"the log was cut: it ends at {end}, and head {head.n} of {head.ts} signed event {head.seq}"
                return [Finding("cut", end + 1, message)]
            if stored.get(head.seq, b"").hex() != head.hash:
                message = (
                    f"the log was rewritten: event {head.seq} is not the one that head {head.n} of {head.ts} signed"
                )
                return [Finding("rewritten", head.seq, message)]
        return []


def _check_lines(lines: Sequence[bytes], heads: Sequence[Head | None]) -> Iterator[Finding]:
    """Walk the lines from the last: a line that the next one names by its hash needs no signature of its own."""
    expected = None
    for number in range(len(lines), 0, -1):
        line, head = lines[number - 1], heads[number - 1]
        trusted = expected is not None and line_hash(line) == expected
        if head is None or not (trusted or signature_problem(head.as_dict()) == ""):
            yield Finding("head_altered", head.seq if head else 0, f"line {number} of heads.jsonl was altered")
            expected = None
            continue
        if expected is not None and not trusted:
            message = f"line {number} of heads.jsonl is not the one that was there: lines were removed or exchanged"
            yield Finding("head_altered", head.seq, message)
        expected = head.previous
        if number == 1 and head.previous != FIRST:
            yield Finding("head_altered", head.seq, "the first line of heads.jsonl was removed")


def _check_keys(heads: Sequence[Head | None], public: str) -> Iterator[Finding]:
    if not public:
        yield Finding("key_changed", 0, "heads.pub is missing or not a key")
    known = public
    for head in reversed(heads):
        if head is not None and head.key != known:
            known = head.key
            yield Finding("key_changed", head.seq, f"head {head.n} was signed with another key ({head.key[:16]}…)")


# The format ------------------------------------------------------------------------------------------------------


def canonical(content: dict[str, Any]) -> bytes:
    """Return the one way to write a head as JSON."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def line_hash(line: bytes) -> str:
    """Return the hash by which a line is named in the next one."""
    return hashlib.sha256(line).hexdigest()


def parse(line: bytes) -> Head | None:
    """Return the head of a line; None where the line is not exactly what a head is written as."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return None if head_problem(content) or canonical(content) != line else Head(**content)


def head_problem(content: Any) -> str:
    """Say what is wrong with the form of a head, or nothing."""
    if not isinstance(content, dict) or content.keys() != _KINDS.keys():
        return "the head has not the fields of a head"
    wrong = next((name for name, kind in _KINDS.items() if type(content[name]) is not kind), None)
    return f"the head's {wrong} is of the wrong kind" if wrong else ""


def signature_problem(head: dict[str, Any]) -> str:
    """Say why a head's signature does not hold under the key that it names, or nothing."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    unsigned = {name: value for name, value in head.items() if name != "signature"}
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(head["key"]))
        key.verify(bytes.fromhex(head["signature"]), SIGNED + canonical(unsigned))
    except (InvalidSignature, ValueError):
        return "the head's signature does not hold"
    return ""


def _pem(key: Ed25519PrivateKey) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _append(file: int, content: bytes, path: Path) -> None:
    """Add whole lines, on the disk before this returns; where that fails the file stays as it was."""
    before = os.fstat(file).st_size
    with writing(path):
        try:
            written = os.write(file, content)
            while written < len(content):
                written += os.write(file, content[written:])
            os.fsync(file)
        except OSError:
            os.ftruncate(file, before)
            raise
