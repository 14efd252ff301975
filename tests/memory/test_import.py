"""Files come into memory whole, once, and with progress; what was exported comes back as it was."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timmy_core.errors import EntryError
from timmy_core.events.log import EventLog
from timmy_core.memory.exporting import export_lines
from timmy_core.memory.import_formats import File, pieces
from timmy_core.memory.importing import BATCH, Importer, Progress
from timmy_core.memory.memory import Memory
from timmy_core.memory.model import Entry
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock

WRITTEN = datetime(2026, 3, 4, tzinfo=UTC)
NOTES = """---
title: Garden notes
---
Before any heading.

# Garden
Roses need sun.

## Tools ##

```sh
# no heading
```

### Empty

Spades
------
Two of them.
"""


@pytest.fixture
def memory(store: Store, log: EventLog, clock: FakeClock) -> Memory:
    return Memory(store, log, clock)


@pytest.fixture
def importer(memory: Memory, store: Store, clock: FakeClock) -> Importer:
    return Importer(memory, store, clock)


def done(steps: Any) -> Progress:
    *_, last = steps
    assert isinstance(last, Progress)
    return last


def entries(memory: Memory, **filters: Any) -> list[Entry]:
    return list(memory.list(limit=10_000, **filters))[::-1]


def file(name: str, text: str | bytes) -> File:
    return File(name, text if isinstance(text, bytes) else text.encode(), WRITTEN)


def counts(progress: Progress) -> tuple[int, int, int]:
    return progress.added, progress.known, progress.refused


# Markdown and text -------------------------------------------------------------------------------------------


def test_markdown_becomes_a_document_a_section_with_its_path_as_title(importer: Importer, memory: Memory) -> None:
    last = done(importer.run([file("notes.md", NOTES)]))
    assert counts(last) == (4, 0, 0)
    found = [(entry.metadata["title"], entry.text.splitlines()[-1]) for entry in entries(memory)]
    assert found == [
        ("Garden notes", "Before any heading."),
        ("Garden", "Roses need sun."),
        ("Garden > Tools", "```"),
        ("Garden > Spades", "Two of them."),
    ]
    assert {(entry.kind, entry.scope, entry.source, entry.created_at) for entry in entries(memory)} == {
        ("document", "shared", "import", WRITTEN)
    }
    assert {entry.metadata["file"] for entry in entries(memory)} == {"notes.md"}


@given(st.text(st.sampled_from("#=-` \nab*"), max_size=60).filter(lambda text: not text.startswith("---\n")))
def test_no_line_of_markdown_is_lost_but_a_heading_with_nothing_under_it(text: str) -> None:
    found = [piece.entry.text for piece in pieces(file("a.md", text), "markdown") if piece.entry]
    lines = text.split("\n")
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        underlined = bool(following.strip()) and not following.strip().strip("=-")
        heading = line.lstrip().startswith("#") or underlined
        if not heading and line.strip(" #=-`*"):
            assert any(line.strip() in one for one in found)


def test_text_is_one_document(importer: Importer, memory: Memory) -> None:
    done(importer.run([file("plan.txt", "\ufeffFirst\r\nsecond\n")]))
    (entry,) = entries(memory)
    assert (entry.text, entry.metadata) == ("First\nsecond", {"title": "plan", "file": "plan.txt"})


def test_a_folder_is_read_but_for_hidden_files_links_and_other_kinds(
    importer: Importer, memory: Memory, tmp_path: Path
) -> None:
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("a.md", "deep/b.txt", ".hidden.md", ".git/c.md", "d.png"):
        (folder / name).write_text(f"in {name}")
    (folder / "link.md").symlink_to(folder / "a.md")
    done(importer.run([folder]))
    assert [entry.text for entry in entries(memory)] == ["in a.md", "in deep/b.txt"]


def test_the_same_file_again_adds_nothing_and_a_changed_one_what_is_new(importer: Importer, memory: Memory) -> None:
    assert counts(done(importer.run([file("notes.md", NOTES)]))) == (4, 0, 0)
    before = entries(memory)
    assert counts(done(importer.run([file("notes.md", NOTES)]))) == (0, 4, 0)
    assert entries(memory) == before
    assert counts(done(importer.run([file("other.md", NOTES + "\n# New\nmore\n")]))) == (1, 4, 0)


def test_what_was_edited_after_an_import_stays_so(importer: Importer, memory: Memory) -> None:
    done(importer.run([file("a.txt", "the old words")]))
    (entry,) = entries(memory)
    memory.edit(entry.id, text="my own words", by="test")
    assert counts(done(importer.run([file("a.txt", "the old words")]))) == (0, 1, 0)
    assert [one.text for one in entries(memory)] == ["my own words"]


def test_the_scope_can_be_chosen(importer: Importer, memory: Memory) -> None:
    done(importer.run([file("a.txt", "one")], scope="session:s1"))
    done(importer.run([file("b.txt", "two")], agent_id="echo"))
    assert [(entry.text, entry.scope) for entry in entries(memory)] == [("one", "session:s1"), ("two", "agent:echo")]


# ChatGPT -----------------------------------------------------------------------------------------------------


def message(
    role: str, *parts: Any, at: float | None = 1_700_000_000.5, kind: str = "text", hidden: bool = False
) -> Any:
    metadata = {"is_visually_hidden_from_conversation": True} if hidden else {}
    content = {"content_type": kind, "parts": list(parts)}
    return {"author": {"role": role}, "create_time": at, "content": content, "metadata": metadata}


def conversation(**changes: Any) -> dict[str, Any]:
    mapping = {
        "root": {"message": None, "parent": None, "children": ["sys"]},
        "sys": {"message": message("system", "", hidden=True), "parent": "root", "children": ["q"]},
        "q": {"message": message("user", "How tall is Ben Nevis?"), "parent": "sys", "children": ["old", "new"]},
        "old": {"message": message("assistant", "A first try."), "parent": "q", "children": []},
        "new": {"message": message("assistant", "1,345 m."), "parent": "q", "children": ["pic"]},
        "pic": {
            "message": message("user", {"asset": "x"}, "And this?", kind="multimodal_text", at=None),
            "parent": "new", "children": ["tool"],
        },
        "tool": {"message": message("tool", "output"), "parent": "pic", "children": []},
    }  # fmt: skip
    return {
        "title": "Mountains", "conversation_id": "c-1", "create_time": 1_600_000_000, "mapping": mapping,
        "current_node": "tool",
    } | changes  # fmt: skip


def test_chatgpts_conversations_become_turns_of_the_branch_that_was_shown(importer: Importer, memory: Memory) -> None:
    last = done(importer.run([file("conversations.json", json.dumps([conversation()]))]))
    assert counts(last) == (3, 0, 0)
    found = entries(memory)
    assert [(entry.speaker, entry.text) for entry in found] == [
        ("user", "How tall is Ben Nevis?"), ("chatgpt", "1,345 m."), ("user", "And this?"),
    ]  # fmt: skip
    assert {(entry.session, entry.scope, entry.kind) for entry in found} == {("chatgpt:c-1", "shared", "conversation")}
    assert [entry.created_at.year for entry in found] == [2023, 2023, 2020]
    assert found[0].metadata["title"] == "Mountains"
    assert counts(done(importer.run([file("conversations.json", json.dumps([conversation()]))]))) == (0, 3, 0)


def test_the_archive_that_chatgpt_sends_is_read_as_it_is(importer: Importer, memory: Memory, tmp_path: Path) -> None:
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("user.json", "{}")
        archive.writestr("conversations-000.json", json.dumps([conversation()]))
    assert counts(done(importer.run([path]))) == (3, 0, 0)
    assert len(entries(memory)) == 3


def test_a_conversation_that_cannot_be_read_does_not_stop_the_others(importer: Importer, memory: Memory) -> None:
    broken = conversation(mapping={"a": {"message": {"author": 5}, "parent": None, "children": []}}, current_node="a")
    last = done(importer.run([file("conversations.json", json.dumps([broken, conversation()]))]))
    assert counts(last) == (3, 0, 1)
    assert last.problems[0].startswith("conversations.json, conversation 1: ")


# JSON lines --------------------------------------------------------------------------------------------------


def fill(memory: Memory, clock: FakeClock) -> None:
    memory.remember("lives in Graz", kind="fact", subject="home", metadata={"a": [1, None]}, importance=0.9)
    clock.advance(60)
    memory.remember("lives in Linz", kind="fact", subject="home")
    memory.remember("it was never so", kind="fact", subject="home", valid_from=clock.now() - timedelta(days=900))
    memory.remember("perhaps", kind="fact", proposed=True)
    memory.reject(memory.remember("surely not", kind="fact", proposed=True).id, by="test")
    memory.remember("hello", session="s1", agent_id="echo", task_id="t", trace_id="r", speaker="ann")
    memory.remember("hello", session="s1", agent_id="echo", speaker="ann")
    memory.remember("long " * 1000, kind="document", metadata={"title": "Long"})
    memory.remember("only for a while", kind="fact", valid_to=clock.now() + timedelta(days=1))


def plain(entry: Entry) -> dict[str, Any]:
    left_out = {"seq", "changed_at", "seen_at", "embedding"}
    return {name: value for name, value in dataclasses.asdict(entry).items() if name not in left_out}


def test_what_is_exported_comes_back_as_it_was(memory: Memory, store: Store, clock: FakeClock, tmp_path: Path) -> None:
    fill(memory, clock)
    lines = "".join(export_lines(store))
    assert len(lines.splitlines()) == memory.sizes().entries
    other_store = Store.open(tmp_path / "other" / "timmy.db")
    other = Memory(other_store, EventLog(other_store, clock), clock)
    try:
        again = Importer(other, other_store, clock)
        assert counts(done(again.run([file("all.jsonl", lines)]))) == (8, 0, 0)
        assert [plain(entry) for entry in entries(other)] == [plain(entry) for entry in entries(memory)]
        assert other.sizes().passages == memory.sizes().passages
        assert counts(done(again.run([file("all.jsonl", lines)]))) == (0, 8, 0)
        assert "".join(export_lines(other_store)).count("\n") == 8
    finally:
        other_store.close()


def test_an_export_can_be_chosen_by_filters(memory: Memory, store: Store, clock: FakeClock) -> None:
    fill(memory, clock)
    chosen = [json.loads(line) for line in export_lines(store, {"kind": "fact", "state": "proposed", "scope": None})]
    assert [entry["text"] for entry in chosen] == ["perhaps"]


def test_lines_of_other_programs_need_a_text_alone(importer: Importer, memory: Memory) -> None:
    done(importer.run([file("a.jsonl", '{"text": "hi", "kind": "fact", "unknown": 1}\n\n{"text": "ho"}\n')]))
    assert [(entry.text, entry.kind, entry.scope) for entry in entries(memory)] == [
        ("hi", "fact", "shared"), ("ho", "conversation", "shared"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "nonsense", "[]", '{"text": 5}', '{"text": ""}', '{"text": "x", "kind": "song"}',
        '{"text": "x", "metadata": []}',
        '{"text": "x", "created_at": "noon"}', '{"text": "x", "importance": 7}', '{"text": "x", "scope": "mars"}',
        '{"text": "x", "valid_from": "2026-02-01T00:00:00Z", "valid_to": 3}', '{"text": "x", "session": 5}',
        "[" * 100_000, '{"text": "x", "kind": []}', '{"text": "x", "id": ["a"]}', '{"text": "x", "state": []}',
        '{"text": "x", "importance": true, "speaker": {}}',
    ],
)  # fmt: skip
def test_a_wrong_line_is_named_and_the_others_are_kept(importer: Importer, memory: Memory, line: str) -> None:
    last = done(importer.run([file("a.jsonl", f'{{"text": "before"}}\n{line}\n{{"text": "after"}}\n')]))
    assert counts(last) == (2, 0, 1)
    assert last.problems[0].startswith("a.jsonl")
    assert [entry.text for entry in entries(memory)] == ["before", "after"]


# Progress and refusals ---------------------------------------------------------------------------------------


def test_progress_grows_to_the_whole(importer: Importer) -> None:
    lines = "".join(json.dumps({"text": f"number {n}"}) + "\n" for n in range(2 * BATCH + 1))
    steps = list(importer.run([file("a.jsonl", lines), file("b.txt", "text")]))
    done_bytes = [step.done_bytes for step in steps]
    assert done_bytes == sorted(done_bytes)
    assert len(set(done_bytes)) >= 4
    assert steps[-1].done_bytes == steps[-1].total_bytes == len(lines) + 4
    assert steps[-1].added == 2 * BATCH + 2


def test_an_import_that_was_stopped_goes_on(importer: Importer, memory: Memory) -> None:
    lines = "".join(json.dumps({"text": f"number {n}"}) + "\n" for n in range(3 * BATCH))
    steps = importer.run([file("a.jsonl", lines)])
    next(steps)
    del steps
    assert memory.count() == BATCH
    assert counts(done(importer.run([file("a.jsonl", lines)]))) == (2 * BATCH, BATCH, 0)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.png", b"x", "the format of 'a.png' is not clear"),
        ("a.txt", b"\xff\xfe", "is not UTF-8"),
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"[1]", "is no export of ChatGPT"),
        ("a.json", b"[" * 100_000, "is not JSON"),
        ("a.json", b"PK\x05\x06" + bytes(18), "holds no conversations.json"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(importer: Importer, name: str, data: bytes, said: str) -> None:
    with pytest.raises(EntryError, match=said):
        done(importer.run([file(name, data)]))


@pytest.mark.parametrize("make", [lambda path: path / "none.md", lambda path: path / "none" / "deeper.txt"])
def test_a_file_that_is_not_there_is_named(importer: Importer, tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(EntryError, match="cannot be read: No such file"):
        done(importer.run([make(tmp_path)]))


def test_a_file_that_is_too_large_is_refused_before_it_is_read(importer: Importer, tmp_path: Path) -> None:
    path = tmp_path / "huge.txt"
    path.touch()
    os.truncate(path, 1 << 40)
    with pytest.raises(EntryError, match="split it"):
        done(importer.run([path]))
