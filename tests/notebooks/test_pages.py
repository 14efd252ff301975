"""Every page runs with an injected core, in each state, and says what that state asks for."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from timmy_core.timmy import Timmy
from ui import exploring, present

from .conftest import NOTEBOOKS, PAGES

Load = Callable[[str], ModuleType]
TEST_CELLS = {
    "home": 5,
    "live": 2,
    "events": 4,
    "ledger": 3,
    "memory": 3,
    "router": 3,
    "upgrades": 3,
    "latency_lab": 2,
    "policy_lab": 3,
}


def shown(load: Load, name: str, timmy: Timmy) -> str:
    """Return the HTML of all cells of a page."""
    outputs, _ = load(name).app.run(defs={"timmy": timmy})
    return "\n".join(_html(output) for output in outputs if output is not None)


def _html(output: Any) -> str:
    return str(getattr(output, "text", output))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_runs_in_every_state_within_the_same_frame(page: Load, state: Timmy, name: str) -> None:
    text = shown(page, name, state)
    assert '<nav class="tw-rail tw-rail-run' in text
    assert text.count('aria-current="page"') == 1
    assert "<h1>" in text
    assert "tw-line" in text


@pytest.mark.parametrize("name", PAGES)
def test_a_page_asks_no_other_host_for_anything(page: Load, used: Timmy, name: str) -> None:
    text = shown(page, name, used)
    assert not [word for word in ('src="http', 'href="http', "@import", "url(http") if word in text]


# The demonstration ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_every_page_of_a_demonstration_says_that_it_is_one(page: Load, demo: Timmy, name: str) -> None:
    text = shown(page, name, demo)
    assert "<b>Demonstration</b>" in text
    assert 'data-moved-ms="' in text


def test_no_page_of_another_home_says_so(page: Load, used: Timmy) -> None:
    assert "Demonstration" not in shown(page, "home", used)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("home", "4 of 4 providers"),
        ("live", "No task is open"),
        ("events", "events</strong>"),
        ("ledger", "You can spend"),
        ("memory", "1 proposed fact waits for you"),
        ("router", "How long answers took"),
        ("upgrades", "1 proposal waits for you"),
        ("latency_lab", "attempts failed"),
        ("policy_lab", "today's policy answers"),
    ],
)
def test_the_demonstration_has_something_to_show_on_every_page(page: Load, demo: Timmy, name: str, words: str) -> None:
    assert words in shown(page, name, demo)


def test_the_pages_go_by_the_time_of_the_home_that_they_show(page: Load, demo: Timmy) -> None:
    shown(page, "home", demo)
    assert present.now() == demo.settings.demo.ends_at
    assert present.now() == demo.clock.now()


def test_an_empty_home_says_what_to_do(page: Load, empty: Timmy) -> None:
    text = shown(page, "home", empty)
    assert "No provider answers yet" in text
    assert str(empty.settings.toml_path) in text
    assert "Nothing has happened yet." in text


def test_the_first_line_counts_who_can_answer(page: Load, used: Timmy) -> None:
    assert "<strong>1 of 1 provider</strong> can answer." in shown(page, "home", used)


def test_earlier_turns_stand_in_the_chat_when_the_page_is_loaded(page: Load, used: Timmy) -> None:
    text = shown(page, "home", used)
    assert "Are you there?" in text
    assert "Here I am." in text


def test_an_open_circuit_is_named_with_its_reason_and_what_to_do(page: Load, failing: Timmy) -> None:
    text = shown(page, "router", failing)
    assert "broken is open since" in text
    assert "next probe" in text
    assert "Nothing listens there." in text
    assert 'data-copy="export THE_KEY=…"' in text


def test_the_cascade_ends_with_the_offline_answer(page: Load, used: Timmy) -> None:
    text = shown(page, "router", used)
    assert text.index('data-provider="well"') < text.index("<b>offline answer</b>")


def test_without_attempts_there_is_a_sentence_instead_of_a_chart(page: Load, unasked: Timmy) -> None:
    text = shown(page, "router", unasked)
    assert "well is asked first" in text
    assert "nothing to measure" in text


def test_without_a_provider_the_page_says_what_to_do_and_measures_nothing(page: Load, empty: Timmy) -> None:
    text = shown(page, "router", empty)
    assert "No provider is set up" in text
    assert "[[providers]]" in text
    assert "nothing to measure" not in text


def test_the_page_of_a_used_router_has_every_part(page: Load, used: Timmy) -> None:
    text = shown(page, "router", used)
    parts = ("well answers", "Circuits", "How long answers took", "Error budget", "Budgets", "Recent attempts")
    assert [part for part in parts if part not in text] == []
    assert 'data-steer="' in text


def test_the_events_page_says_how_much_is_recorded_and_what_failed(page: Load, failing: Timmy) -> None:
    head = failing.events.head()[0]
    text = shown(page, "events", failing)
    assert f"<strong>{head} events</strong>" in text
    assert "llm.failed</a>" in text


def test_an_empty_log_says_what_to_do(page: Load, empty: Timmy) -> None:
    text = shown(page, "events", empty)
    assert "No event yet." in text
    assert "timmy chat" in text


def test_the_record_of_an_event_shows_its_whole_trace_and_its_neighbours(page: Load, used: Timmy) -> None:
    answered = used.events.list(type="chat.answered", limit=1)[0]
    text = page("events").record(used, answered.seq, "").text
    assert "Its trace, " in text
    assert "llm.completed" in text
    assert answered.id in text
    assert f'data-goto="{answered.seq - 1}"' in text
    assert f'data-goto="{answered.seq + 1}"' in text


def test_the_record_of_an_event_that_is_not_there_says_so(page: Load, empty: Timmy) -> None:
    assert "tw-empty" in page("events").record(empty, 99, "").text


def test_a_redacted_event_is_shown_as_one(page: Load, used: Timmy) -> None:
    used.events.redact(seq=1, reason="private", by="a test")
    assert "What this event said was redacted." in page("events").record(used, 1, "").text


def test_an_event_is_proven_and_the_proof_can_be_taken_away(page: Load, used: Timmy) -> None:
    text = page("events").proof_card(used, 1).text
    assert "proven" in text
    assert "Download proof" in text
    assert "not proven" in page("events").proof_card(used, 99).text


def test_a_trace_in_the_address_is_drawn_as_a_waterfall(page: Load, used: Timmy) -> None:
    trace_id = used.events.list(type="chat.asked", limit=1)[0].trace_id
    text = page("events").trace_card(used, trace_id, 0)
    assert "5 events in" in text
    assert text.count("tw-trace-bar") == 5


# A view taken further ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"family": "llm", "range": "24h", "by": "type"},
        {"text": 'it\'s "odd" \\ {here}'},
        {"source": "o'neill\\", "since": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"},
    ],
)
def test_a_view_opens_as_a_notebook_that_passes_the_check_and_runs(
    used: Timmy, tmp_path: Path, query: dict[str, str], page: Load
) -> None:
    used.events.append("task.created", source="o'neill\\", data={"title": 'it\'s "odd" here'})
    ((text, words),) = exploring.exporting(used)("notebook", query)
    assert "events_view.py" in words
    path = tmp_path / "events_view.py"
    path.write_bytes(text)
    checked = subprocess.run(
        [sys.executable, "-m", "marimo", "check", "--strict", str(path)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    spec = importlib.util.spec_from_file_location("events_view", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    _, defined = module.app.run(defs={"timmy": used})
    wanted = exploring.wanted_of(query, datetime.now(UTC))
    assert defined["events"]["seq"].to_list() == [event.seq for event in reversed(used.explorer.newest(wanted))]
    if not query.get("text"):
        assert defined["over_time"]["events"].sum() == len(defined["events"])


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
def test_what_is_shown_can_be_saved(used: Timmy, format_: str) -> None:
    pieces = list(exploring.exporting(used)(format_, {"family": "llm"}))
    assert pieces[-1][1] == "1 event saved"
    assert b"llm.completed" in b"".join(piece for piece, _ in pieces)


def test_the_notebooks_own_tests_pass_and_none_is_missed() -> None:
    files = [str(NOTEBOOKS / f"{name}.py") for name in PAGES]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", *files]
    # marimo offers its tests to pytest only where no test is running, and it tells so by this environment.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = outside | {"PYTHONPATH": os.pathsep.join([str(NOTEBOOKS), str(NOTEBOOKS.parent)])}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment, cwd=NOTEBOOKS.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{sum(TEST_CELLS.values())} passed" in done.stdout
