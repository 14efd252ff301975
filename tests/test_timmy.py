"""Opening and closing: one object a process and home, and nothing left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from timmy_core import open_timmy
from timmy_core.errors import ProviderError, SettingsError, StoreClosedError, StoreError
from timmy_core.loop import LoopClosedError
from timmy_core.settings import Settings
from timmy_core.testing import FakeClock, ScriptedProvider
from timmy_core.timmy import Timmy


def test_one_home_is_one_object_until_its_last_use_ends(home: Path) -> None:
    first, second = open_timmy(home), open_timmy(str(home))
    assert first is second
    first.close()
    second.events.append("system.info", source="test")
    second.close()
    assert second.closed
    with pytest.raises(StoreClosedError):
        second.events.append("system.info", source="test")
    with open_timmy(home) as again:
        assert again is not first
        assert again.events.head()[0] == 1


async def test_it_is_an_async_context_manager_too(home: Path) -> None:
    async with open_timmy(home) as timmy:
        assert (await timmy.ask("hello?")).offline
    assert timmy.closed
    with pytest.raises(LoopClosedError):
        await timmy.ask("hello?")


def test_closing_leaves_no_thread(home: Path) -> None:
    before = set(threading.enumerate())
    with open_timmy(home) as timmy:
        timmy.ask_sync("hello?")
        assert timmy.feed.alive
    assert set(threading.enumerate()) <= before


def test_a_wrong_configuration_opens_nothing(home: Path) -> None:
    (home / "timmy.toml").write_text("[router]\nx = 1\n")
    with pytest.raises(SettingsError, match="line 2"):
        open_timmy(home)
    assert not (home / "timmy.db").exists()


def test_without_any_provider_the_answer_says_what_to_do(timmy: Timmy, home: Path) -> None:
    answer = timmy.ask_sync("hello?")
    assert (answer.offline, answer.provider) == (True, "offline")
    assert "No model answered" in answer.text
    assert str(home / "timmy.toml") in answer.text
    assert "ollama serve" in answer.text


def test_the_status_counts_what_happened(tmp_path: Path) -> None:
    clock = FakeClock()
    timmy = Timmy(Settings(home=tmp_path, providers=()), clock=clock, providers=[ScriptedProvider("local", "hi")])
    timmy.ask_sync("hello?")
    status = timmy.status()
    assert (status.events, status.questions, status.last_event_at) == (5, 1, clock.now())
    assert [(provider.name, provider.requests, provider.errors) for provider in status.providers] == [("local", 1, 0)]
    plain = status.as_dict()
    assert plain["home"] == str(tmp_path)
    assert plain["started_at"].endswith("Z")
    timmy.shutdown()


def test_state_survives_a_restart(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, providers=())
    first = Timmy(settings, providers=[ScriptedProvider("local", "hi")])
    first.ask_sync("hello?")
    first.shutdown()
    second = Timmy(settings, providers=[ScriptedProvider("local", "hi")])
    assert [turn.content for turn in second.history()] == ["hello?", "hi"]
    assert second.router.status()[0].requests == 1
    assert second.events.verify().checked == 5
    second.shutdown()


def test_frames_hold_the_newest_rows_oldest_first(tmp_path: Path) -> None:
    clock = FakeClock()
    timmy = Timmy(Settings(home=tmp_path, providers=()), clock=clock, providers=[ScriptedProvider("local", "hi")])
    start = clock.now()
    for number in range(5):
        timmy.events.append("task.created", source="t", task_id=f"t{number}")
        clock.advance(60)
    timmy.ask_sync("hello?")
    events = timmy.frame("events", limit=3)
    assert events["seq"].to_list() == [8, 9, 10]
    assert str(events.schema["ts"]) == "Datetime(time_unit='us', time_zone='UTC')"
    tasks = timmy.frame(
        "events", family="task", since=start + timedelta(seconds=60), until=start + timedelta(seconds=180)
    )
    assert tasks["task_id"].to_list() == ["t1", "t2"]
    assert timmy.frame("events", type=["chat.asked", "chat.answered"])["seq"].to_list() == [6, 9]
    assert timmy.frame("attempts")["provider"].to_list() == ["local"]
    assert timmy.frame("turns", offline=False)["role"].to_list() == ["user", "assistant"]
    assert timmy.frame("attempts", provider="nobody").height == 0
    for call, said in (
        (
            lambda: timmy.frame("nothing"),
            "accounts, agents, attempts, bids, circuits, events, invoices, memory, payments, providers, recalls",
        ),
        (lambda: timmy.frame("events", colour="red"), "no column 'colour'"),
        (lambda: timmy.frame("events", limit=0), "out of range"),
        (lambda: timmy.frame("events", since=datetime(2026, 1, 1)), "without a zone"),  # noqa: DTZ001
    ):
        with pytest.raises(StoreError, match=said):
            call()
    assert start.tzinfo is UTC
    timmy.shutdown()


def test_importing_does_nothing_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, threading, timmy_core.timmy\n"
        "heavy = {'marimo', 'polars', 'altair', 'duckdb', 'openai', 'anthropic', 'ollama', 'httpx', 'httpx2', 'git', "
        "'usearch', 'uvicorn', 'starlette', 'torch'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_what_is_queued_as_the_process_ends_is_still_written(home: Path) -> None:
    code = (
        "import sys; from timmy_core import open_timmy; from timmy_core.events.model import NewEvent\n"
        "timmy = open_timmy(sys.argv[1])\n"
        "for n in range(50): timmy.store.submit(lambda c: timmy.events.append_in(c, NewEvent('system.info', 't')))\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, home], check=True)
    with open_timmy(home) as timmy:
        assert timmy.events.head()[0] == 50


def test_a_redacted_attempt_loses_its_words_everywhere(tmp_path: Path) -> None:
    down = ScriptedProvider("local", ProviderError("bad_request", "the secret word is xylophone"))
    timmy = Timmy(Settings(home=tmp_path, providers=()), providers=[down])
    timmy.ask_sync("hello?")
    (failed,) = timmy.events.list(type="llm.failed")
    assert timmy.sql("SELECT message FROM attempts")["message"].to_list() == ["the secret word is xylophone"]
    timmy.events.redact(seq=failed.seq, reason="a secret", by="test")
    assert timmy.sql("SELECT message FROM attempts")["message"].to_list() == [""]
    assert timmy.frame("attempts")["error_class"].to_list() == ["bad_request"]
    assert timmy.router.status()[0].recent_failures[0].message == ""
    timmy.shutdown()


def test_a_home_without_a_node_plays_and_its_ledger_is_kept_by_itself_while_it_serves(timmy: Timmy) -> None:
    (node,) = timmy.payments.nodes()
    assert (node.name, node.play, timmy.payments.watching()) == ("play", True, ())
    timmy.start_schedule()
    made = timmy.payments.create_invoice(amount_msat=21_000, memo="t", agent_id="echo")
    timmy.payments.playing.pay(made.payment_hash)
    assert timmy.payments.wait_settled(made, timeout_s=10).status == "settled"
    assert timmy.ledger.balance().incoming_total_msat == 21_000
    assert [state.node for state in timmy.payments.watching()] == ["play"]
    assert "reconcile" in [job.name for job in timmy.status().upkeep]
