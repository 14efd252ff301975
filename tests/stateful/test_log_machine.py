"""The log against a plain list: whatever is done in whatever order, both tell the same."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from timmy_core.errors import EventConflictError, EventError
from timmy_core.events import archive, retention, segment
from timmy_core.events.events import Events
from timmy_core.events.model import NewEvent
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock

TYPES = st.sampled_from(["task.created", "task.failed", "llm.completed", "x.own.thing"])
IDS = st.sampled_from(["a", "b", "c"])
INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)
DATA = st.dictionaries(st.text(max_size=3) | st.just("model"), INTEGERS | st.text(max_size=5), max_size=2)
SEGMENT = 7


@dataclass(frozen=True)
class Entry:
    """What the list knows of an event; the log's own say nothing of their data here."""

    type: str
    task_id: str | None = None
    data: Any = None


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(archive, "SEGMENT", SEGMENT)
        self.patch.setattr(segment, "ROW_GROUP", 3)
        self.patch.setattr(retention, "CHUNK", 2)
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        self.model: list[Entry] = []
        self.ids: dict[str, int] = {}
        self.sealed = self.pruned = 0
        self.redacted: set[int] = set()
        self._open()

    def _open(self) -> None:
        self.store = Store.open(self.folder / "timmy.db")
        self.log = Events(self.store, self.clock)
        assert self.log.mend() == []

    @rule(kind=TYPES, task=st.none() | st.sampled_from(["t1", "t2"]), data=DATA)
    def append(self, kind: str, task: str | None, data: dict[str, object]) -> None:
        event = self.log.append(kind, source="machine", task_id=task, data=data)
        self.model.append(Entry(kind, task, data))
        self.clock.advance(1)
        assert event.seq == len(self.model)

    @rule(kind=TYPES, key=IDS, data=DATA)
    def append_with_id(self, kind: str, key: str, data: dict[str, object]) -> None:
        known = self.ids.get(key)
        if known is None:
            self.ids[key] = self.log.append(kind, source="machine", id=key, data=data).seq
            self.model.append(Entry(kind, None, data))
        elif self.model[known - 1] == Entry(kind, None, data) or (
            known in self.redacted and self.model[known - 1].type == kind
        ):
            assert self.log.append(kind, source="machine", id=key, data=data).seq == known
        else:
            with pytest.raises(EventConflictError):
                self.log.append(kind, source="machine", id=key, data=data)

    @rule(kinds=st.lists(TYPES, max_size=9), spoil=st.booleans())
    def append_many(self, kinds: list[str], spoil: bool) -> None:
        events = [NewEvent(kind, "machine", {"many": True}) for kind in kinds]
        if spoil:
            with pytest.raises(EventError):
                self.log.append_many([*events, NewEvent("not.declared", "machine")])
            return
        self.log.append_many(events)
        self.model += [Entry(kind, None, {"many": True}) for kind in kinds]
        self.clock.advance(1)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self._open()

    @rule()
    def seal(self) -> None:
        sealed = self.log.seal()
        while len(self.model) >= self.sealed + SEGMENT:
            self.model.append(Entry("log.sealed"))
            self.sealed += SEGMENT
        assert [one.last_seq for one in sealed] == list(
            range(self.sealed - SEGMENT * (len(sealed) - 1), self.sealed + 1, SEGMENT)
        )

    @rule()
    def prune(self) -> None:
        self.clock.advance(1)
        pruned = self.log.prune(timedelta(0))
        assert pruned.events == self.sealed - self.pruned
        self.model += [Entry("log.pruned")] * pruned.segments
        self.pruned = self.sealed

    @rule(data=st.data())
    def redact(self, data: st.DataObject) -> None:
        own = [number for number, entry in enumerate(self.model, 1) if not entry.type.startswith("log.")]
        if own:
            seq = data.draw(st.sampled_from(own))
            self._expect({seq}, self.log.redact(seq=seq, reason="r", by="machine").count)

    @rule(kind=TYPES, task=st.none() | st.sampled_from(["t1", "t2"]))
    def redact_matching(self, kind: str, task: str | None) -> None:
        chosen = {
            number for number, entry in enumerate(self.model, 1) if entry.type == kind and task in (None, entry.task_id)
        }
        if kind.startswith("x.") and not any(entry.type == kind for entry in self.model):
            return
        where = {"type": kind} | ({"task_id": task} if task else {})
        self._expect(chosen, self.log.redact(where=where, reason="r", by="machine").count)

    def _expect(self, chosen: set[int], count: int) -> None:
        new = chosen - self.redacted
        assert count == len(new)
        for seq in new:
            self.model[seq - 1] = replace(self.model[seq - 1], data=None)
        self.redacted |= new
        self.model += [Entry("log.redacted")] * bool(new)

    @rule(data=st.data())
    def lose_a_segment_whose_rows_are_there(self, data: st.DataObject) -> None:
        there = [one for one in self.log.archive.segments() if one.first_seq > self.pruned]
        if there:
            self.log.archive.path(data.draw(st.sampled_from(there))).unlink()
            assert not self.log.verify().ok
            assert self.log.mend() == []

    @rule(kind=TYPES, limit=st.integers(1, 20), order=st.sampled_from(["asc", "desc"]), task=st.none() | st.just("t1"))
    def list_by_type(self, kind: str, limit: int, order: Any, task: str | None) -> None:
        wanted = [n for n, entry in enumerate(self.model, 1) if entry.type == kind and task in (None, entry.task_id)]
        wanted = (wanted if order == "asc" else wanted[::-1])[:limit]
        if kind.startswith("x.") and not wanted:
            return
        assert [event.seq for event in self.log.list(type=kind, limit=limit, order=order, task_id=task)] == wanted

    @rule(after=st.integers(0, 60), limit=st.integers(1, 20))
    def read_on(self, after: int, limit: int) -> None:
        seqs = [event.seq for event in self.log.read_after(after, limit)]
        # A batch may end at the base, but it begins where it was asked to, and never leaves one out.
        assert seqs == list(range(after + 1, after + 1 + len(seqs)))
        assert bool(seqs) == (after < len(self.model))

    @invariant()
    def the_log_is_the_list(self) -> None:
        events = self.log.list(limit=10_000, order="asc")
        known = [(event.type, event.task_id, None if event.family == "log" else event.data) for event in events]
        assert known == [(entry.type, entry.task_id, entry.data) for entry in self.model]
        assert self.log.head()[0] == len(self.model)
        with self.store.read() as connection:
            kept = connection.execute("SELECT min(seq), count(*) FROM events").fetchone()
        assert kept == ((self.pruned + 1, len(self.model) - self.pruned) if self.model else (None, 0))
        assert all(self.log.get(key).seq == seq for key, seq in self.ids.items())

    @invariant()
    def the_chain_holds(self) -> None:
        found = self.log.verify()
        assert (found.problem, found.checked, found.redacted) == ("", len(self.model), len(self.redacted))

    def teardown(self) -> None:
        self.store.close()
        self.patch.undo()
        shutil.rmtree(self.folder)


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
