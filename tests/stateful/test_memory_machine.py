"""The memory against a plain list: whatever is remembered, edited, confirmed and forgotten, both tell the same."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from timmy_core.errors import EntryConflictError, EntryNotFoundError
from timmy_core.events.events import Events
from timmy_core.memory import forget
from timmy_core.memory.build import build_memory
from timmy_core.memory.model import NewEntry, scope_token
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock

WORDS = ("zeta", "kappa", "lambda", "omega", "sigma")
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
SCOPES = st.sampled_from(["shared", "agent:a", "agent:b", "session:s"])
SESSIONS = st.none() | st.sampled_from(["s", "t"])
KINDS = st.sampled_from(["conversation", "conversation", "fact", "document"])
SUBJECTS = st.none() | st.sampled_from(["home", "car"])


@dataclass(frozen=True)
class Known:
    """What the list knows of an entry."""

    id: str
    kind: str
    scope: str
    session: str | None
    text: str
    at: datetime
    state: str = "stored"
    subject: str | None = None
    ends: datetime | None = None
    seen: int = 1
    words: frozenset[str] = field(default_factory=frozenset)

    def same(self, kind: str, scope: str, session: str | None, text: str) -> bool:
        mine = self.session if kind == "conversation" else None
        return (self.kind, self.scope, mine, self.text) == (
            kind, scope, session if kind == "conversation" else None, text,
        )  # fmt: skip


class MemoryMachine(RuleBasedStateMachine):
    ids: Bundle[str] = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(forget, "CHUNK", 2)
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        self.model: list[Known] = []
        self.gone: set[str] = set()
        self._open()

    def _open(self) -> None:
        self.store = Store.open(self.folder / "timmy.db")
        self.events = Events(self.store, self.clock)
        self.memory = build_memory(store=self.store, events=self.events, clock=self.clock)

    # What the list does --------------------------------------------------------------------------------------

    def _put(self, one: Known) -> None:
        self.model = [one if known.id == one.id else known for known in self.model]

    def _settle(self, fact: Known) -> None:
        """End what the fact contradicts; times only go on here, so that it is always the newest."""
        if fact.subject is None or fact.kind != "fact":
            return
        for known in self.model:
            about = (known.kind, known.state, known.scope, known.subject)
            if about == ("fact", "stored", fact.scope, fact.subject) and known.id != fact.id and known.ends is None:
                if known.at <= fact.at:
                    self._put(replace(known, ends=fact.at))
                else:
                    self._put(replace(fact, ends=known.at))
                    return

    def _same(self, kind: str, scope: str, session: str | None, text: str) -> Known | None:
        same = (one for one in self.model[::-1] if one.same(kind, scope, session, text) and one.ends is None)
        return next(same, None)

    # What is done to both ------------------------------------------------------------------------------------

    @rule(target=ids, text=TEXTS, kind=KINDS, scope=SCOPES, session=SESSIONS, subject=SUBJECTS, proposed=st.booleans())
    def remember(
        self, text: str, kind: Any, scope: str, session: str | None, subject: str | None, proposed: bool
    ) -> str:
        self.clock.advance(1)
        subject, proposed = (subject, proposed) if kind == "fact" else (None, False)
        entry = self.memory.remember(text, kind=kind, scope=scope, session=session, subject=subject, proposed=proposed)
        self._remembered(entry.id, text, kind, scope, session, subject, proposed)
        return entry.id

    def _remembered(
        self, id_: str, text: str, kind: str, scope: str, session: str | None, subject: str | None, proposed: bool
    ) -> None:
        known = self._same(kind, scope, session, text)
        if known is None:
            assert id_ not in self.gone
            assert all(one.id != id_ for one in self.model)
            state = "proposed" if proposed else "stored"
            known = Known(id_, kind, scope, session, text, self.clock.now(), state, subject)
            self.model.append(known)
        else:
            assert id_ == known.id
            if proposed and known.state != "proposed":
                return
            state = known.state if proposed else "stored"
            known = replace(known, seen=known.seen + 1, state=state, subject=known.subject or subject)
            self._put(known)
        if known.state == "stored":
            self._settle(known)

    @rule(target=ids, texts=st.lists(TEXTS, max_size=4), scope=SCOPES, session=SESSIONS)
    def remember_many(self, texts: list[str], scope: str, session: str | None) -> Any:
        self.clock.advance(1)
        entries = self.memory.remember_many([NewEntry(text, scope=scope, session=session) for text in texts])
        for text, entry in zip(texts, entries, strict=True):
            self._remembered(entry.id, text, "conversation", scope, session, None, False)
        return multiple(*(entry.id for entry in entries))

    def _known(self, id_: str) -> Known | None:
        return next((one for one in self.model if one.id == id_), None)

    @rule(id_=ids, text=TEXTS)
    def edit(self, id_: str, text: str) -> None:
        known = self._known(id_)
        if known is None:
            with pytest.raises(EntryNotFoundError):
                self.memory.edit(id_, text=text, by="machine")
            return
        other = self._same(known.kind, known.scope, known.session, text)
        if known.ends is None and other is not None and other.id != id_:
            with pytest.raises(EntryConflictError):
                self.memory.edit(id_, text=text, by="machine")
            return
        self.memory.edit(id_, text=text, by="machine")
        self._put(replace(known, text=text))

    @rule(id_=ids, good=st.booleans())
    def decide(self, id_: str, good: bool) -> None:
        known = self._known(id_)
        if known is None or known.state != "proposed":
            return
        self.clock.advance(1)
        (self.memory.confirm if good else self.memory.reject)(id_, by="machine")
        known = replace(known, state="stored" if good else "rejected")
        self._put(known)
        if good:
            self._confirmed(known)

    def _confirmed(self, known: Known) -> None:
        """Let a candidate take its place in time, among facts that may be newer than it."""
        rivals = [
            one
            for one in self.model
            if known.subject is not None
            and (one.kind, one.state, one.scope, one.subject) == ("fact", "stored", known.scope, known.subject)
            and one.id != known.id
        ]
        later = [one.at for one in rivals if one.at > known.at]
        if later:
            self._put(replace(known, ends=min(later)))
        for one in rivals:
            if one.at <= known.at and (one.ends is None or one.ends > known.at):
                self._put(replace(one, ends=known.at))

    @rule(id_=consumes(ids))
    def forget_one(self, id_: str) -> None:
        if self._known(id_) is None:
            with pytest.raises(EntryNotFoundError):
                self.memory.forget(id_, by="machine")
            return
        assert self.memory.forget(id_, by="machine").entries == 1
        self._forgotten({id_})

    @rule(scope=SCOPES, session=st.none() | st.sampled_from(["s", "t"]))
    def forget_matching(self, scope: str, session: str | None) -> None:
        where = {"scope": scope} | ({"session": session} if session else {})
        chosen = {one.id for one in self.model if one.scope == scope and session in (None, one.session)}
        assert self.memory.forget(where=where, by="machine").entries == len(chosen)
        self._forgotten(chosen)

    def _forgotten(self, chosen: set[str]) -> None:
        self.model = [one for one in self.model if one.id not in chosen]
        self.gone |= chosen

    @rule()
    def reopen(self) -> None:
        self._close()
        self._open()

    def _close(self) -> None:
        self.events.close()
        self.store.close()

    # What both tell ------------------------------------------------------------------------------------------

    def _find(self, question: str) -> set[str]:
        with self.store.read() as connection:
            rows = connection.execute("SELECT rowid FROM memory_words WHERE memory_words MATCH ?", (question,))
            seqs = [row[0] for row in rows]
        return {entry.id for entry in self.memory.at(seqs)}

    @rule(word=st.sampled_from(WORDS), scope=SCOPES)
    def search(self, word: str, scope: str) -> None:
        stored = [one for one in self.model if one.state == "stored"]
        assert self._find(f"own : {word}") == {one.id for one in stored if word in one.text.split()}
        inside = f"(own : {word}) AND scope : {scope_token(scope)}"
        assert self._find(inside) == {one.id for one in stored if word in one.text.split() and one.scope == scope}

    @rule(word=st.sampled_from(WORDS))
    def search_beside(self, word: str) -> None:
        before, after = set(), set()
        turns = [one for one in self.model if one.kind == "conversation" and one.session is not None]
        for where in {(one.scope, one.session) for one in turns}:
            said = [one for one in turns if (one.scope, one.session) == where]
            for first, second in itertools.pairwise(said):
                before |= {second.id} if word in first.text.split() else set()
                after |= {first.id} if word in second.text.split() else set()
        assert (self._find(f"previous : {word}"), self._find(f"next : {word}")) == (before, after)

    @invariant()
    def the_memory_is_the_list(self) -> None:
        entries = self.memory.list(limit=10_000).entries[::-1]
        told = [
            (one.id, one.kind, one.scope, one.session, one.text, one.state, one.subject, one.valid_to, one.seen)
            for one in entries
        ]
        assert told == [
            (one.id, one.kind, one.scope, one.session, one.text, one.state, one.subject, one.ends, one.seen)
            for one in self.model
        ]

    @invariant()
    def the_words_are_those_of_the_entries(self) -> None:
        self.store.write(
            lambda c: c.execute("INSERT INTO memory_words (memory_words, rank) VALUES ('integrity-check', 1)")
        )

    @invariant()
    def the_log_tells_what_there_is(self) -> None:
        events = self.events.list(family="memory", limit=10_000)
        stored = {(event.data or {})["entry"] for event in events if event.type == "memory.stored"}
        gone = {id_ for event in events if event.type == "memory.forgotten" for id_ in (event.data or {})["entries"]}
        assert (stored - gone, gone) == ({one.id for one in self.model}, self.gone)

    def teardown(self) -> None:
        self._close()
        self.patch.undo()
        shutil.rmtree(self.folder)


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
