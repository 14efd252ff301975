"""The log against a plain list: whatever is done in whatever order, both tell the same."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from timmy_core.errors import EventConflictError, EventError
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.store.engine import Store

TYPES = st.sampled_from(["task.created", "task.failed", "llm.completed", "x.own.thing"])
IDS = st.sampled_from(["a", "b", "c"])
DATA = st.dictionaries(st.text(max_size=3), st.integers() | st.text(max_size=5), max_size=2)


class LogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.model: list[tuple[str, str | None, dict[str, object]]] = []
        self.ids: dict[str, int] = {}
        self._open()

    def _open(self) -> None:
        self.store = Store.open(self.folder / "timmy.db")
        self.log = EventLog(self.store)

    @rule(kind=TYPES, task=st.none() | st.sampled_from(["t1", "t2"]), data=DATA)
    def append(self, kind: str, task: str | None, data: dict[str, object]) -> None:
        event = self.log.append(kind, source="machine", task_id=task, data=data)
        self.model.append((kind, task, data))
        assert event.seq == len(self.model)

    @rule(kind=TYPES, key=IDS, data=DATA)
    def append_with_id(self, kind: str, key: str, data: dict[str, object]) -> None:
        known = self.ids.get(key)
        if known is None:
            self.ids[key] = self.log.append(kind, source="machine", id=key, data=data).seq
            self.model.append((kind, None, data))
        elif self.model[known - 1] == (kind, None, data):
            assert self.log.append(kind, source="machine", id=key, data=data).seq == known
        else:
            with pytest.raises(EventConflictError):
                self.log.append(kind, source="machine", id=key, data=data)

    @rule(kinds=st.lists(TYPES, max_size=5), spoil=st.booleans())
    def append_many(self, kinds: list[str], spoil: bool) -> None:
        events = [NewEvent(kind, "machine", {"many": True}) for kind in kinds]
        if spoil:
            with pytest.raises(EventError):
                self.log.append_many([*events, NewEvent("not.declared", "machine")])
            return
        self.log.append_many(events)
        self.model += [(kind, None, {"many": True}) for kind in kinds]

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self._open()

    @rule(kind=TYPES, limit=st.integers(1, 20), order=st.sampled_from(["asc", "desc"]))
    def list_by_type(self, kind: str, limit: int, order: str) -> None:
        wanted = [number for number, entry in enumerate(self.model, 1) if entry[0] == kind]
        wanted = (wanted if order == "asc" else wanted[::-1])[:limit]
        if kind.startswith("x.") and not wanted:
            return
        assert [event.seq for event in self.log.list(type=kind, limit=limit, order=order)] == wanted  # type: ignore[arg-type]

    @invariant()
    def the_log_is_the_list(self) -> None:
        events = self.log.list(limit=10_000, order="asc")
        assert [(event.type, event.task_id, event.data) for event in events] == self.model
        found = self.log.verify()
        assert (found.ok, found.checked) == (True, len(self.model))

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.folder)


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
