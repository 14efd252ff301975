"""A proof that one event stands in a log whose end was signed: checked by anybody, without the log.

It is JSON: the event as it was hashed, its data and salt (null once redacted), the hash before it, the path through
the Merkle tree of the head that covers it, that head with its signature, and the public key.
`docs/how-to/check-a-proof.md` has the procedure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from timmy_core.errors import EventError, EventNotFoundError
from timmy_core.events import merkle
from timmy_core.events.chain import GENESIS, hash_data, hash_event
from timmy_core.events.heads import Heads, Rows, head_problem, signature_problem

FORMAT: Final = "timmy proof 1"

_TEXTS: Final = ("id", "type", "source", "task_id", "agent_id", "trace_id")
_NUMBERS: Final = {"seq": 1 << 64, "ts_us": 1 << 64, "v": 1 << 32}  # each has to be less
_KEYS: Final = {
    "format", "event", "data", "salt", "data_hash", "previous", "hash", "path", "head", "public_key",
}  # fmt: skip
_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*\Z")


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of a proof found; `problem` is empty where it holds."""

    problem: str
    redacted: bool = False

    @property
    def ok(self) -> bool:
        """Whether the proof holds."""
        return not self.problem


def prove(rows: Rows, heads: Heads, seq: int) -> dict[str, Any]:
    """Return the proof of an event as JSON can carry it; a head is signed first where none covers the event yet.

    Raises:
        EventNotFoundError: there is no such event.
        EventError: the log does not fit its heads.
    """
    row = rows.raw(seq)
    if row is None:
        message = f"no event has the seq {seq}; the log ends at seq {rows.head()[0]}"
        raise EventNotFoundError(message)
    head = heads.covering(seq)
    if head is None:
        heads.sign()
        head = heads.covering(seq)
    hashes = rows.hashes(head.tree_from, head.seq) if head else []
    if head is None or merkle.root(hashes).hex() != head.tree_root:
        message = f"event {seq} cannot be proven: the log is not what its head signed; `timmy events verify` says more"
        raise EventError(message)
    before = rows.hashes(seq - 1, seq - 1)[0] if seq > 1 else GENESIS
    texts = dict(zip(_TEXTS, row[1:7], strict=True))
    return {
        "format": FORMAT,
        "event": {"seq": seq, **texts, "ts_us": row[8], "v": row[9]},
        "data": row[7],
        "salt": None if row[7] is None else row[11].hex(),
        "data_hash": row[12].hex(),
        "previous": before.hex(),
        "hash": row[10].hex(),
        "path": [neighbour.hex() for neighbour in merkle.path(hashes, seq - head.tree_from)],
        "head": head.as_dict(),
        "public_key": head.key,
    }


def check_proof(proof: Mapping[str, Any] | str, public_key: str) -> Checked:
    """Check a proof, without any log or file.

    Args:
        proof: what `prove` returned, or its JSON text.
        public_key: the key (64 hex digits) that the log's owner gave you on another way than the proof.
    """
    if isinstance(proof, str):
        try:
            proof = json.loads(proof)
        except (ValueError, RecursionError):
            return Checked("the proof is not JSON")
    if not isinstance(proof, Mapping):
        return Checked("the proof is not an object of JSON")
    problem = _form_problem(proof) or _hash_problem(proof) or _head_problem(proof, public_key.strip().lower())
    return Checked(problem, redacted=not problem and proof["data"] is None)


def _form_problem(proof: Mapping[str, Any]) -> str:  # noqa: PLR0911 - one line a fault
    """Say what is wrong with the form of a proof, so that the rest may rely on it."""
    if proof.get("format") != FORMAT or set(proof) != _KEYS:
        return f"this is not a proof of the format {FORMAT!r}"
    event = proof["event"]
    if not isinstance(event, dict) or set(event) != {*_TEXTS, *_NUMBERS}:
        return "the event has not the fields of an event"
    if not all(event[name] is None or isinstance(event[name], str) for name in _TEXTS):
        return "a field of the event is not text"
    if not all(type(event[name]) is int and 0 <= event[name] < end for name, end in _NUMBERS.items()):
        return "a number of the event is out of range"
    if not isinstance(proof["path"], list) or len(proof["path"]) > 64:  # noqa: PLR2004 - more than any tree is high
        return "the path is not a list of hashes"
    if not all(_is_hash(value) for value in (proof["data_hash"], proof["previous"], proof["hash"], *proof["path"])):
        return "a hash is not 64 hex digits"
    if (proof["data"] is None) != (proof["salt"] is None):
        return "of data and salt one is missing"
    if proof["data"] is not None and not (isinstance(proof["data"], str) and _is_hex(proof["salt"], 16)):
        return "the data is not text, or the salt is not 32 hex digits"
    return head_problem(proof["head"])


def _hash_problem(proof: Mapping[str, Any]) -> str:
    """Check the event against its own hash."""
    event = proof["event"]
    data_hash = bytes.fromhex(proof["data_hash"])
    try:
        if proof["data"] is not None and hash_data(bytes.fromhex(proof["salt"]), proof["data"]) != data_hash:
            return "the data is not what was hashed"
        texts = tuple(event[name] for name in _TEXTS)
        made = hash_event(bytes.fromhex(proof["previous"]), event["seq"], event["ts_us"], event["v"], texts, data_hash)
    except UnicodeEncodeError:
        return "the event holds half a surrogate pair, which is not text"
    return "" if made.hex() == proof["hash"] else "the event is not what was hashed"


def _head_problem(proof: Mapping[str, Any], public_key: str) -> str:
    """Check the event's place below the head, and the head under the key."""
    head, seq = proof["head"], proof["event"]["seq"]
    if not head["tree_from"] <= seq <= head["seq"]:
        return "the head is not about this event"
    path = [bytes.fromhex(neighbour) for neighbour in proof["path"]]
    size = head["seq"] - head["tree_from"] + 1
    top = merkle.root_from_path(bytes.fromhex(proof["hash"]), seq - head["tree_from"], size, path)
    if top is None or top.hex() != head["tree_root"]:
        return "the path does not lead from the event to the head"
    if seq == head["seq"] and proof["hash"] != head["hash"]:
        return "the head names another hash for this event"
    if head["key"] != public_key or proof["public_key"] != public_key:
        return "the head was signed with another key than the one expected"
    return signature_problem(head)


def _is_hash(value: object) -> bool:
    return _is_hex(value, 32)


def _is_hex(value: object, size: int) -> bool:
    return isinstance(value, str) and len(value) == 2 * size and _HEX.match(value) is not None
