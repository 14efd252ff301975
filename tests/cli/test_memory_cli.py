"""`timmy memory`, as a person types it: remembering, finding, deciding, forgetting, switching and moving."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from timmy_core import open_timmy

from .running import here, lines

run = partial(here, "memory")


@pytest.fixture
def filled(home: Path) -> Path:
    with open_timmy(home) as timmy:
        timmy.memory.remember("the dog is called Rex", kind="fact", subject="dog")
        timmy.memory.remember("we walked to the lake", session="s1", speaker="user")
        timmy.memory.remember("a fine walk", session="s1", speaker="timmy")
        timmy.memory.remember("likes tea", kind="fact", proposed=True, metadata={"turn": "t-1"})
    return home


# Remembering and finding -------------------------------------------------------------------------------------


def test_remember_keeps_a_text_once_and_reads_the_input(home: Path) -> None:
    assert run("remember", "the cat is Tom", home=home).returncode == 0
    (entry,) = lines(run("remember", "-", "--subject", "Cat", "--json", home=home, text="the cat is Tim\n"))
    assert (entry["kind"], entry["scope"], entry["source"], entry["subject"]) == ("fact", "shared", "cli", "cat")
    assert lines(run("remember", "the cat is Tom", "--json", home=home))[0]["seq"] == 1
    assert [one["seq"] for one in lines(run("list", "--json", home=home))] == [2, 1]


def test_search_finds_and_says_why(filled: Path) -> None:
    found = lines(run("search", "what is the dog called?", "--json", home=filled))
    assert found[0]["entry"]["text"] == "the dog is called Rex"
    assert "dog" in found[0]["why"]["words"]
    shown = run("search", "dog", "--why", home=filled).stdout
    assert "the dog is called Rex" in shown
    assert "words dog" in shown
    none = run("search", "xylophone", home=filled)
    assert none.returncode == 1
    assert "nothing that is remembered fits 'xylophone'" in none.stderr


def test_search_keeps_to_its_filters(filled: Path) -> None:
    assert run("search", "dog", "--kind", "document", home=filled).returncode == 1
    assert run("search", "dog", "--scope", "session:s1", home=filled).returncode == 1
    assert run("search", "lake", "--scope", "session:s1", "--scope", "shared", home=filled).returncode == 0


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--session", "s1"), [3, 2]),
        (("--kind", "fact"), [4, 1]),
        (("--scope", "shared", "--limit", "1"), [4]),
        (("--since", "1h"), [4, 3, 2, 1]),
        (("--until", "1h"), []),
    ],
)
def test_list_takes_every_filter(filled: Path, words: tuple[str, ...], found: list[int]) -> None:
    assert [entry["seq"] for entry in lines(run("list", "--json", *words, home=filled))] == found


def test_list_says_what_it_left_out(filled: Path) -> None:
    assert "3 older ones are left out" in run("list", "--limit", "1", home=filled).stderr


def test_show_prints_an_entry_with_the_turns_beside_it(filled: Path) -> None:
    shown = run("show", "2", home=filled).stdout
    assert "we walked to the lake" in shown
    assert "a fine walk" in shown.partition("beside it")[2]
    assert lines(run("show", "2", "--json", home=filled))[0]["speaker"] == "user"


def test_status_counts_and_says_how_it_is_found(filled: Path) -> None:
    shown = run("status", home=filled).stdout
    assert "4 entries" in shown
    assert "fact 2" in shown
    assert "memory is on" in shown
    assert json.loads(run("status", "--json", home=filled).stdout)["kinds"] == {"conversation": 2, "fact": 2}


# Deciding ----------------------------------------------------------------------------------------------------


def test_facts_are_listed_confirmed_rejected_edited_and_closed(filled: Path) -> None:
    assert [fact["seq"] for fact in lines(run("facts", "--json", home=filled))] == [1]
    waiting = run("facts", "--candidates", home=filled).stdout
    assert "likes tea" in waiting
    assert "from the turn t-1" in waiting
    assert run("confirm", "4", "--by", "ann", home=filled).returncode == 0
    assert [fact["seq"] for fact in lines(run("facts", "--json", home=filled))] == [4, 1]
    assert run("edit", "4", "likes green tea", "--subject", "", home=filled).returncode == 0
    assert run("close", "1", home=filled).returncode == 0
    assert [fact["text"] for fact in lines(run("facts", "--json", home=filled))] == ["likes green tea"]
    assert [fact["seq"] for fact in lines(run("facts", "--all", "--json", home=filled))] == [4, 1]
    refused = run("reject", "4", home=filled)
    assert refused.returncode == 1
    assert "it was confirmed" in refused.stderr
    with open_timmy(filled) as timmy:
        (confirmed,) = timmy.events.list(type="memory.confirmed")
        assert (confirmed.data or {})["by"] == "ann"


def test_a_candidate_can_be_turned_down(filled: Path) -> None:
    assert "rejected" in run("reject", "4", home=filled).stdout
    assert "no candidate waits" in run("facts", "--candidates", home=filled).stderr


# Forgetting --------------------------------------------------------------------------------------------------


def test_forget_shows_what_goes_and_asks_first(filled: Path) -> None:
    asked = run("forget", "--session", "s1", home=filled, text="n\n")
    assert asked.returncode == 1
    assert "we walked to the lake" in asked.stdout
    assert "Forget 2 entries for good?" in asked.stderr
    assert "nothing was changed" in asked.stderr
    assert run("forget", "--session", "s1", "--preview", home=filled).returncode == 0
    assert len(lines(run("list", "--json", home=filled))) == 4
    done = run("forget", "--session", "s1", "--yes", "--reason", "private", "--by", "ann", home=filled)
    assert "2 entries were forgotten" in done.stdout
    assert "lake" not in done.stdout
    assert [entry["seq"] for entry in lines(run("list", "--json", home=filled))] == [4, 1]
    assert "1 entry was forgotten" in run("forget", "1", "--yes", home=filled).stdout
    assert b"lake" not in (filled / "timmy.db").read_bytes()
    assert "nothing was changed" in run("forget", "--session", "s1", home=filled).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("forget",), "say what to forget"),
        (("forget", "1", "--session", "s1"), "say what to forget"),
        (("forget", "99"), "no entry has the seq 99"),
        (("show", "nothing"), "no entry has the id 'nothing'"),
        (("remember", " "), "the text is empty"),
        (("remember", "x", "--kind", "song"), "the kind 'song' is not known"),
        (("remember", "x", "--scope", "mars"), "the scope 'mars' is not known"),
        (("search", "x", "--since", "noon"), "'noon' is not a time"),
        (("edit", "1"), "nothing to change was given"),
        (("off", "--session", "a b"), "the session 'a b' is not usable"),
        (("import", "/nowhere/at/all.md"), "cannot be read"),
        (("import", "/nowhere/at/all.png"), "the format of"),
        (("export", "/nowhere/at/all.jsonl"), "cannot be written"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_status_1(filled: Path, words: tuple[str, ...], said: str) -> None:
    done = run(*words, home=filled)
    assert done.returncode == 1
    assert said in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


# Switching ---------------------------------------------------------------------------------------------------


def test_a_session_is_switched_off_and_on(filled: Path) -> None:
    assert "memory is off in the session s1" in run("off", "--session", "s1", home=filled).stdout
    assert "memory is on, but for s1" in run("status", home=filled).stdout
    chat = ("chat", "where did we walk?", "--session", "s1")
    here(*chat, home=filled)
    assert len(lines(run("list", "--json", home=filled))) == 4
    assert "memory is on in the session s1" in run("on", "-s", "s1", home=filled).stdout
    here(*chat, "--no-memory", home=filled)
    assert len(lines(run("list", "--json", home=filled))) == 4
    here(*chat, home=filled)
    assert lines(run("list", "--json", home=filled))[0]["text"] == "where did we walk?"


def test_a_question_at_the_terminal_is_told_what_memory_holds(filled: Path) -> None:
    done = here("chat", "what is the dog called?", home=filled)
    assert "What Timmy remembers about it" in done.stdout
    assert "the dog is called Rex" in done.stdout


# Moving ------------------------------------------------------------------------------------------------------


def test_files_are_imported_once_and_what_is_wrong_is_said(home: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("# Garden\nRoses need sun.\n")
    assert "1 entry was added; 0 were there already" in run("import", str(notes), home=home).stdout
    assert "0 entries were added; 1 were there already" in run("import", str(notes), home=home).stdout
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "fine"}\nnonsense\n')
    done = run("import", str(broken), home=home)
    assert done.returncode == 1
    assert "1 entry was added" in done.stdout
    assert "broken.jsonl, line 2:" in done.stderr
    assert "1 part was not kept" in done.stderr


def test_an_export_can_be_imported_elsewhere(filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "memory.jsonl"
    assert "4 entries are in" in run("export", str(path), home=filled).stdout
    assert path.stat().st_mode & 0o077 == 0
    assert len(lines(run("export", "-", "--kind", "fact", home=filled))) == 2
    other = tmp_path / "other"
    assert "4 entries were added" in run("import", str(path), home=other).stdout
    assert run("export", "-", home=other).stdout.count("\n") == 4
