"""Signed heads and proofs: what holds is accepted, and every changed byte is found and named."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from timmy_core.errors import EventError, EventNotFoundError
from timmy_core.events import archive, heads
from timmy_core.events.events import Events
from timmy_core.events.proof import check_proof
from timmy_core.store.engine import Connection, Store
from timmy_core.testing import FakeClock

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def events(store: Store, clock: FakeClock) -> Iterator[Events]:
    opened = Events(store, clock)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def _small_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "MAX_TREE", 7)


def fill(events: Events, clock: FakeClock, count: int = 20) -> None:
    for number in range(count):
        events.append("task.created", source="test", task_id="t", data={"n": number, "text": "Grüße"})
        clock.advance(1)


# Heads -----------------------------------------------------------------------------------------------------------


def test_a_head_is_signed_when_there_is_something_new(events: Events, clock: FakeClock) -> None:
    assert events.sign_head() is None
    assert not events.heads.path.exists()
    fill(events, clock, 5)
    first = events.sign_head()
    assert first is not None
    assert (first.n, first.seq, first.tree_from, first.hash) == (1, 5, 1, events.head()[1])
    assert events.sign_head() == first
    fill(events, clock, 20)
    last = events.sign_head()
    assert last is not None
    # At most MAX_TREE events a head, so that a proof stays small.
    assert [(head.n, head.tree_from, head.seq) for head in map(heads.parse, events.heads.lines()) if head] == [
        (1, 1, 5), (2, 6, 12), (3, 13, 19), (4, 20, 25),
    ]  # fmt: skip
    assert events.verify().ok
    assert events.heads.check() == []


def test_the_key_is_private_and_made_once(events: Events, clock: FakeClock) -> None:
    fill(events, clock, 1)
    events.sign_head()
    assert events.heads.key_path.stat().st_mode & 0o777 == 0o600
    assert re.fullmatch("[0-9a-f]{64}", events.heads.public_key())
    key = events.heads.key_path.read_bytes()
    fill(events, clock, 1)
    events.sign_head()
    assert events.heads.key_path.read_bytes() == key


def test_a_torn_last_line_is_tolerated_and_mended(events: Events, clock: FakeClock) -> None:
    fill(events, clock, 3)
    events.sign_head()
    fill(events, clock, 3)
    events.sign_head()
    whole = events.heads.path.read_bytes()
    for size in range(whole.index(b"\n") + 1, len(whole)):
        events.heads.path.write_bytes(whole[:size])
        assert events.heads.check() == []
        head = events.sign_head()
        assert head is not None
        assert head.n == 2
        assert events.heads.path.read_bytes().count(b"\n") == 2
        assert events.heads.check() == []
    events.heads.path.write_bytes(whole[:100])  # the very first line is torn
    assert events.sign_head() is not None
    assert events.heads.check() == []


def tamper(store: Store, *statements: str) -> None:
    def run(connection: Connection) -> None:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            connection.execute(statement)

    store.write(run)


def test_a_cut_log_is_found_and_not_signed_over(events: Events, store: Store, clock: FakeClock) -> None:
    fill(events, clock, 10)
    events.sign_head()
    tamper(store, "DELETE FROM events WHERE seq > 8")
    (finding,) = events.heads.check()
    assert (finding.kind, finding.seq) == ("cut", 9)
    assert "it ends at 8, and head 2" in finding.message
    found = events.verify()
    assert not found.ok
    assert "was cut" in found.problem
    with pytest.raises(EventError, match="ends at 8"):
        events.sign_head()
    fill(events, clock, 5)
    assert [finding.kind for finding in events.heads.check()] == ["rewritten"]
    with pytest.raises(EventError, match="is not the one that head 2 signed"):
        events.sign_head()


def test_a_log_that_was_computed_anew_is_found(events: Events, store: Store, clock: FakeClock) -> None:
    fill(events, clock, 10)
    events.sign_head()
    tamper(store, "DELETE FROM events")
    fill(events, clock, 20)
    finding = events.heads.check()[0]
    assert (finding.kind, finding.seq) == ("rewritten", 7)
    assert "rewritten" in events.verify().problem


def test_heads_of_another_log_are_told(events: Events, store: Store, clock: FakeClock) -> None:
    fill(events, clock, 3)
    events.sign_head()
    tamper(store, "UPDATE meta SET value = 'other' WHERE key = 'epoch'")
    other = Events(store, clock)
    assert [finding.kind for finding in other.heads.check()] == ["rewritten"]
    with pytest.raises(EventError, match="belongs to another log"):
        other.sign_head()
    other.close()


def test_every_changed_byte_of_the_file_is_found(events: Events, clock: FakeClock) -> None:
    """One byte of each field, of each sign between them, and of each line's end, in every line."""
    for _ in range(3):
        fill(events, clock, 3)
        events.sign_head()
    whole = events.heads.path.read_bytes()
    line_length = whole.index(b"\n") + 1
    for place in range(0, len(whole) - 1, 5):
        changed = bytes([whole[place] ^ 1])
        events.heads.path.write_bytes(whole[:place] + changed + whole[place + 1 :])
        kinds = {finding.kind for finding in events.heads.check()}
        assert kinds & {"head_altered", "key_changed"}, f"byte {place} of line {place // line_length + 1}"
    events.heads.path.write_bytes(whole)
    assert events.heads.check() == []


def test_removed_exchanged_and_foreign_lines_are_found(events: Events, clock: FakeClock) -> None:
    for _ in range(4):
        fill(events, clock, 2)
        events.sign_head()
    lines = events.heads.path.read_bytes().splitlines(keepends=True)

    def problems(*kept: int) -> str:
        events.heads.path.write_bytes(b"".join(lines[number] for number in kept))
        return " ".join(finding.message for finding in events.heads.check())

    assert problems(0, 1, 2, 3) == ""
    assert "removed or exchanged" in problems(0, 2, 3)
    assert "first line" in problems(1, 2, 3)
    assert "removed or exchanged" in problems(0, 2, 1, 3)
    assert "removed or exchanged" in problems(0, 1, 1, 2, 3)
    events.heads.path.unlink()
    assert "heads.jsonl is gone" in events.heads.check()[0].message
    events.heads.path.write_bytes(b"[" * 100_000 + b"\n")
    assert events.heads.check()[0].kind == "head_altered"
    with pytest.raises(EventError):
        events.sign_head()


def test_another_key_is_found_and_not_used(events: Events, store: Store, clock: FakeClock) -> None:
    fill(events, clock, 3)
    events.sign_head()
    mine = events.heads.key_path.read_bytes(), events.heads.public_path.read_bytes()
    events.heads.key_path.unlink()
    fill(events, clock, 1)
    with pytest.raises(EventError, match="bring it back from a backup"):
        events.sign_head()
    lines = events.heads.path.read_bytes()
    events.heads.path.unlink()
    events.heads.public_path.unlink()
    events.sign_head()  # a forger's key, and a head of the whole log signed with it
    assert events.heads.check() == []
    events.heads.public_path.write_bytes(mine[1])
    assert {finding.kind for finding in events.heads.check()} == {"key_changed"}
    events.heads.path.write_bytes(lines)
    with pytest.raises(EventError, match="do not fit each other"):
        events.sign_head()
    events.heads.public_path.unlink()
    assert "key_changed" in {finding.kind for finding in events.heads.check()}
    events.heads.key_path.write_bytes(b"nonsense")
    with pytest.raises(EventError, match="is not a key"):
        events.sign_head()


def test_signing_with_nothing_new_is_cheap(events: Events, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(events, clock, 3)
    events.sign_head()
    monkeypatch.setattr(heads.Heads, "_exclusive", None)  # would fail if it were asked
    events.sign_head()


# Proofs ----------------------------------------------------------------------------------------------------------


def test_every_event_can_be_proven(events: Events, clock: FakeClock) -> None:
    fill(events, clock, 20)
    for seq in range(1, 21):
        proof = events.prove(seq)
        assert check_proof(json.dumps(proof), events.heads.public_key()).ok
        assert check_proof(proof, events.heads.public_key().upper() + "\n").ok
    assert len(events.heads.lines()) == 3
    with pytest.raises(EventNotFoundError, match="ends at seq 20"):
        events.prove(21)
    with pytest.raises(EventNotFoundError):
        events.prove(0)


def test_a_redacted_event_can_still_be_proven(events: Events, clock: FakeClock) -> None:
    fill(events, clock, 4)
    events.redact(seq=2, reason="asked for", by="ann")
    proof = events.prove(2)
    assert (proof["data"], proof["salt"]) == (None, None)
    checked = check_proof(proof, events.heads.public_key())
    assert (checked.ok, checked.redacted) == (True, True)


def test_pruned_events_can_be_proven(events: Events, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SEGMENT", 10)
    fill(events, clock, 25)
    events.seal()
    clock.advance(3600 * 24 * 40)
    assert events.prune(timedelta(days=30)).events
    for seq in (1, 10, 11, 20, 21):
        assert check_proof(events.prove(seq), events.heads.public_key()).ok
    assert events.heads.check() == []
    assert events.verify().ok


def test_a_log_that_does_not_fit_its_head_proves_nothing(events: Events, store: Store, clock: FakeClock) -> None:
    fill(events, clock, 5)
    events.sign_head()
    tamper(store, "UPDATE events SET hash = zeroblob(32) WHERE seq = 2")
    with pytest.raises(EventError, match="the log is not what its head signed"):
        events.prove(3)


def changes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield every single change of a proof: (where, what stands there then)."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from changes(inner, (*path, name))
        yield (*path, "extra"), 1
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from changes(inner, (*path, number))
    elif isinstance(value, str):
        yield from ((path, other) for other in (value + "0", value[:-1], "", None, 1, value[:-1] + "\ud800", [value]))
        digit = "1" if value[:1] == "0" else "0"
        yield path, digit + value[1:]
    elif isinstance(value, int):
        yield from ((path, other) for other in (value + 1, value - 1, -1, 1 << 70, str(value), None, True, 1.5))
    else:
        yield from ((path, other) for other in ("x", 0, {}))


def tampered(proof: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    for path, value in changes(proof):
        changed = copy.deepcopy(proof)
        place: Any = changed
        for step in path[:-1]:
            place = place[step]
        if path[-1] == "extra" or place[path[-1]] != value or type(place[path[-1]]) is not type(value):
            place[path[-1]] = value
            yield path, changed
    for name in proof:
        yield (name, "gone"), {key: value for key, value in proof.items() if key != name}


@pytest.mark.parametrize("seq", [1, 5, 8])
def test_every_change_of_a_proof_is_refused(events: Events, clock: FakeClock, seq: int) -> None:
    fill(events, clock, 8)
    proof = events.prove(seq)
    key = events.heads.public_key()
    assert check_proof(proof, key).ok
    count = 0
    for path, changed in tampered(proof):
        assert not check_proof(changed, key).ok, f"{path} was changed"
        count += 1
    assert count > 150
    for other in (key[:-1] + ("0" if key[-1] != "0" else "1"), "", "nonsense"):
        assert "another key" in check_proof(proof, other).problem


@pytest.mark.parametrize("proof", ["", "[]", "{", "null", "[" * 100_000, '{"format": 1}'])
def test_what_is_no_proof_is_refused(proof: str) -> None:
    assert not check_proof(proof, "0" * 64).ok


# The documented script -------------------------------------------------------------------------------------------


@pytest.fixture
def script(tmp_path: Path) -> Callable[[dict[str, Any], str], subprocess.CompletedProcess[str]]:
    document = (ROOT / "docs" / "how-to" / "check-a-proof.md").read_text(encoding="utf-8")
    found = re.search(r"^```python check\n(.*?)^```$", document, re.MULTILINE | re.DOTALL)
    assert found is not None
    assert "timmy_core" not in found[1]
    program = tmp_path / "check_proof.py"
    program.write_text(found[1], encoding="utf-8")

    def run(proof: dict[str, Any], key: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "proof.json"
        path.write_text(json.dumps(proof), encoding="utf-8")
        return subprocess.run([sys.executable, program, path, key], capture_output=True, text=True, check=False)

    return run


def test_the_documented_script_accepts_what_holds(
    events: Events, clock: FakeClock, script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    fill(events, clock, 9)
    events.redact(seq=2, reason="asked for", by="ann")
    for seq in (1, 2, 6, 9, 10):
        done = script(events.prove(seq), events.heads.public_key())
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"PROVEN: event {seq} (")
    assert "its data was redacted" in script(events.prove(2), events.heads.public_key()).stdout


def test_the_documented_script_refuses_what_does_not(
    events: Events, clock: FakeClock, script: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    fill(events, clock, 9)
    proof = events.prove(4)
    key = events.heads.public_key()

    def refused(path: tuple[Any, ...], value: Any) -> str:
        changed = copy.deepcopy(proof)
        place: Any = changed
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        done = script(changed, key)
        assert done.returncode == 1
        return done.stderr

    assert "the data is not" in refused(("data",), '{"n":4}')
    assert "the event is not" in refused(("event", "source"), "mallory")
    assert "the event is not" in refused(("event", "ts_us"), 1)
    assert "the event is not" in refused(("previous",), "00" * 32)
    assert "the path does not" in refused(("path", 0), "00" * 32)
    assert "the path" in refused(("path",), proof["path"][:-1])
    assert "signature" in refused(("head", "ts"), "2020-01-01T00:00:00.000000Z")
    assert "signature" in refused(("head", "signature"), "00" * 64)
    assert "another key" in script(proof, "00" * 32).stderr
