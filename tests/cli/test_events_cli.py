"""`timmy events`, as a person types it: finding, proving, keeping and moving."""

from __future__ import annotations

import json
import sqlite3
from functools import partial
from pathlib import Path

import pytest

from timmy_core import open_timmy
from timmy_core.events import archive

from .running import Done, here

run = partial(here, "events")


@pytest.fixture
def filled(home: Path) -> Path:
    """Nine events of two tasks, one failure among them."""
    with open_timmy(home) as timmy:
        for n in range(4):
            timmy.events.append("task.created", source="cli", task_id=f"t{n % 2}", data={"title": f"lantern {n}"})
            timmy.events.append("task.completed", source="coordinator", task_id=f"t{n % 2}", agent_id="echo")
        timmy.events.append("llm.failed", source="router", data={"gen_ai.provider.name": "ollama"})
    return home


def seqs(done: Done) -> list[int]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["seq"] for line in done.stdout.splitlines()]


# Finding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--provider", "ollama"), [9]),
        (("--task", "t1", "--type", "task.created"), [3, 7]),
        (("--text", "lantern"), [1, 3, 5, 7]),
        (("--since", "1h", "--source", "router"), [9]),
        (("--until", "1h"), []),
        (("--limit", "2"), [8, 9]),
    ],
)
def test_list_takes_every_filter(filled: Path, words: tuple[str, ...], found: list[int]) -> None:
    assert seqs(run("list", "--json", *words, home=filled)) == found


def test_search_finds_words_and_fails_where_there_are_none(filled: Path) -> None:
    assert seqs(run("search", "lantern", "2", "--json", home=filled)) == [5]
    none = run("search", "lantern", "violet", home=filled)
    assert none.returncode == 1
    assert "no event holds lantern and violet" in none.stderr


def test_stats_count_by_type_and_by_who(filled: Path) -> None:
    found = json.loads(run("stats", "--json", home=filled).stdout)
    assert found["total"] == 9
    assert found["by_type"]["task.created"] == 4
    assert found["by_agent"] == {"echo": 4}
    shown = run("stats", home=filled).stdout
    assert "9 events since" in shown
    assert "by source" in shown


# Proving -----------------------------------------------------------------------------------------------------


def test_a_proof_is_made_checked_and_refused_when_it_was_changed(filled: Path, tmp_path: Path) -> None:
    path = tmp_path / "proof.json"
    made = run("prove", "3", "--to", str(path), home=filled)
    assert made.returncode == 0, made.stderr
    key = made.stdout.split()[-1]
    held = run("check", str(path), "--key", key, home=tmp_path / "elsewhere")
    assert held.returncode == 0, held.stderr
    assert "the proof holds: event 3, task.created" in held.stdout
    assert run("check", str(path), home=filled).returncode == 0
    path.write_text(path.read_text().replace("lantern", "violet"))
    refused = run("check", str(path), "--key", key, home=filled)
    assert refused.returncode == 1
    assert "the data is not what was hashed" in refused.stderr


def test_verify_names_what_was_altered(filled: Path) -> None:
    with sqlite3.connect(filled / "timmy.db") as connection:
        connection.execute("DROP TRIGGER events_unchanged")
        connection.execute("UPDATE events SET source = 'nobody' WHERE seq = 5")
    connection.close()
    done = run("verify", home=filled)
    assert done.returncode == 1
    assert "event 5" in done.stderr
    assert "altered" in done.stderr


# Keeping -----------------------------------------------------------------------------------------------------


def test_seal_prune_and_verify_keep_every_event_readable(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "SEGMENT", 4)
    sealed = run("seal", home=filled)
    assert "events 1 to 4" in sealed.stdout
    assert "signs the log up to event" in sealed.stdout
    asked = run("prune", "--older-than", "1m", home=filled, text="n\n")
    assert asked.returncode == 1
    assert "nothing was changed" in asked.stderr
    young = run("prune", "--older-than", "1d", "--yes", home=filled)
    assert "nothing to prune" in young.stdout
    pruned = run("prune", "--older-than", "0m", "--yes", home=filled)
    assert pruned.returncode == 0, pruned.stderr
    assert "left the database" in pruned.stdout
    assert seqs(run("list", "--json", "--task", "t0", "--type", "task.created", home=filled)) == [1, 5]
    verified = run("verify", home=filled)
    assert verified.returncode == 0, verified.stderr


def test_redact_asks_first_and_leaves_a_chain_that_holds(filled: Path) -> None:
    asked = run("redact", "3", "--reason", "private", home=filled, text="n\n")
    assert asked.returncode == 1
    assert "Remove the data of 1 event from" in asked.stderr
    done = run("redact", "--task", "t0", "--type", "task.created", "--reason", "private", "--yes", home=filled)
    assert "2 events were redacted" in done.stdout
    with open_timmy(filled) as timmy:
        assert [timmy.events.get(seq).data for seq in (1, 5)] == [None, None]
        assert timmy.events.verify().ok
    assert run("search", "lantern", "--json", home=filled).stdout.count("\n") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("redact", "--reason", "x"), "say what to redact"),
        (("redact", "3", "--task", "t0", "--reason", "x"), "say what to redact"),
        (("redact", "3", "--yes"), "--reason is missing"),
        (("prune", "--older-than", "long", "--yes"), "'long' is not an age"),
        (("export", "events.txt"), "the format of 'events.txt' is not clear"),
        (("export", "-", "--format", "parquet"), "is not clear"),
        (("export", "/nowhere/at/all.csv"), "cannot be written"),
        (("import", "/nowhere/at/all"), "cannot be read"),
        (("prove", "99"), "no event has the seq 99"),
        (("check", "/nowhere/at/all"), "cannot be read"),
        (("list", "--since", "noon"), "'noon' is not a time"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_status_1(filled: Path, words: tuple[str, ...], said: str) -> None:
    done = run(*words, home=filled)
    assert done.returncode == 1
    assert said in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr


# Moving ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
def test_the_files_name_says_the_format(filled: Path, tmp_path: Path, name: str) -> None:
    done = run("export", str(tmp_path / name), "--type", "task.created", home=filled)
    assert done.returncode == 0, done.stderr
    assert "4 events are in" in done.stdout
    assert [path.name for path in tmp_path.glob("*out*")] == [name]


def test_an_export_can_be_imported_elsewhere_and_again(filled: Path, tmp_path: Path) -> None:
    lines = run("export", "-", home=filled).stdout
    assert len(lines.splitlines()) == 9
    path = tmp_path / "events.jsonl"
    path.write_text(lines)
    other = tmp_path / "other"
    assert "9 events were added; 0 were there already" in run("import", str(path), home=other).stdout
    assert "0 events were added; 9 were there already" in run("import", str(path), home=other).stdout


def test_the_earlier_log_is_imported_and_what_was_changed_is_said(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "swarm.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE event_log (id, event_type, source, task_id, agent_id, data, timestamp)")
        connection.execute(
            "INSERT INTO event_log VALUES ('a', 'old.name', 's', NULL, NULL, '{}', '2025-01-01T00:00:00')"
        )
    connection.close()
    done = run("import", str(path), home=home)
    assert "1 event was added" in done.stdout
    assert "had no zone and were taken as UTC" in done.stdout
    assert "x.imported.old.name" in done.stdout


def test_the_segment_that_tests_make_small_is_large_otherwise() -> None:
    assert archive.SEGMENT == 500_000
