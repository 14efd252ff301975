"""The workers: a user's query runs in another process, which is bounded and can be ended whatever it does."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from tests.waiting import until
from timmy_core import open_timmy
from timmy_core.errors import QueryError, StoreClosedError, StoreError
from timmy_core.events import archive as archive_module
from timmy_core.store import workers as workers_module
from timmy_core.store.lake import Lake
from timmy_core.store.wire import Incoming, Origin, error_of, packed
from timmy_core.store.worker import Worker
from timmy_core.store.workers import AT_ONCE, Workers
from timmy_core.timmy import Timmy

LINUX = sys.platform == "linux"
ENDLESS = (
    "SELECT length(regexp_replace(regexp_replace(regexp_replace(repeat('a', 10000), '.', repeat('b', 10000), 'g'), "
    "'.', 'cccccccccccccccc', 'g'), '.', 'dddddddddd', 'g'))"
)


def one(timmy: Timmy) -> list[int]:
    return timmy.sql("SELECT 1 AS one")["one"].to_list()


def workers_of(timmy: Timmy) -> Workers:
    assert timmy.lake._workers is not None
    return timmy.lake._workers


def is_there(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (LINUX and state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "GRACE_S", 0.5)


# A user's SQL ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_the_condition_of_a_frame_is_a_users_sql_too(timmy: Timmy, monkeypatch: pytest.MonkeyPatch) -> None:
    timmy.events.append("system.info", source="test")
    monkeypatch.setattr("timmy_core.store.lake.TIMEOUT_S", 0.5)
    grows = ENDLESS.removeprefix("SELECT ") + " > seq"
    for call in (
        lambda: timmy.frame("events", where=grows),
        lambda: timmy.questions.recent(where=grows),
    ):
        with pytest.raises(QueryError, match="took longer than"):
            call()
    monkeypatch.undo()
    assert timmy.frame("events", where="seq = 1").height == 1


@pytest.mark.skipif(not LINUX, reason="only Linux bounds what a process can fill")
def test_the_kernel_bounds_what_a_worker_takes(timmy: Timmy) -> None:
    one(timmy)
    (pid,) = workers_of(timmy).pids
    limits = Path(f"/proc/{pid}/limits").read_text()
    for line in (r"data size +2147483648", r"core file size +0 ", r"open files +256 ", r"file size +16777216 "):
        assert len([found for found in limits.splitlines() if re.search(line, found)]) == 1, line
    assert os.getpriority(os.PRIO_PROCESS, pid) >= 5
    assert b"TIMMY" not in Path(f"/proc/{pid}/environ").read_bytes()


# Ends -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGKILL, "memory that it may have.*SIGKILL"),
        (signal.SIGABRT, "memory that it may have.*SIGABRT"),
        (signal.SIGSEGV, "was ended by SIGSEGV"),
        (signal.SIGTERM, "was ended by SIGTERM"),
        (signal.SIGALRM, "took longer than 30 s"),
    ],
)
def test_a_worker_that_is_ended_from_outside_is_an_error_and_no_more(
    timmy: Timmy, number: signal.Signals, said: str
) -> None:
    one(timmy)
    (worker,) = workers_of(timmy)._all
    pid, worker.taken = worker.pid, False
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(timmy.sql, ENDLESS, timeout_s=30)
        until(lambda: worker.taken)
        os.kill(pid, number)
        with pytest.raises(QueryError, match=said):
            asked.result(timeout=20)
    assert one(timmy) == [1]
    assert workers_of(timmy).pids != [pid]


def test_a_worker_that_died_while_nobody_asked_is_replaced_without_a_word(timmy: Timmy) -> None:
    one(timmy)
    (pid,) = workers_of(timmy).pids
    os.kill(pid, signal.SIGKILL)
    until(lambda: not is_there(pid))
    assert one(timmy) == [1]


def test_a_worker_that_cannot_begin_is_an_error_with_its_reason_in_the_log(
    timmy: Timmy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("timmy_core.store.worker._BOOT", "import sys; sys.exit('no such luck')")
    with caplog.at_level(logging.WARNING), pytest.raises(QueryError, match=r"ended with code 1 .* the log says why"):
        one(timmy)
    assert "no such luck" in caplog.text
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(QueryError, match="cannot be started: No such file"):
        one(timmy)
    monkeypatch.undo()
    assert one(timmy) == [1]


def test_an_interrupted_wait_leaves_no_answer_for_the_next_query(timmy: Timmy, monkeypatch: pytest.MonkeyPatch) -> None:
    one(timmy)
    real = Worker._receive

    def interrupted(worker: Worker, incoming: Incoming, given_s: float) -> None:
        monkeypatch.setattr(Worker, "_receive", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "_receive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        timmy.sql("SELECT 2 AS one")
    assert one(timmy) == [1]


@pytest.mark.parametrize("asking", [False, True])
def test_workers_end_with_the_process_that_asks_even_if_that_is_killed(home: Path, *, asking: bool) -> None:
    code = (
        "import sys, threading, time; from timmy_core import open_timmy\n"
        "timmy = open_timmy(sys.argv[1]); timmy.sql('SELECT 1')\n"
        "if sys.argv[2]: threading.Thread(target=timmy.sql, args=(sys.argv[2],), kwargs={'timeout_s': 500}).start()\n"
        "time.sleep(0.5); print(*timmy.lake._workers.pids, flush=True); time.sleep(500)\n"
    )
    command = [sys.executable, "-c", code, home, ENDLESS if asking else ""]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        (pid,) = map(int, process.stdout.readline().split())
        assert is_there(pid)
        process.kill()
    until(lambda: not is_there(pid))


def test_an_idle_worker_gives_its_memory_back(tmp_path: Path, timmy: Timmy) -> None:
    first = workers_of(timmy)
    workers = Workers(first._origin, idle_s=0.2)
    assert workers.query("SELECT 1 AS one", limit=1, timeout_s=5).frame["one"].to_list() == [1]
    (pid,) = workers.pids
    until(lambda: not workers.pids)
    assert not is_there(pid)
    assert workers.query("SELECT 2 AS one", limit=1, timeout_s=5).frame["one"].to_list() == [2]
    workers.close()


def test_closing_leaves_no_process_no_thread_and_no_file(home: Path) -> None:
    with open_timmy(home) as timmy:  # what the libraries open once and for all is open then
        one(timmy)
    files, threads = len(list(Path("/dev/fd").iterdir())), set(threading.enumerate())
    with open_timmy(home) as timmy:
        one(timmy)
        (pid,) = workers_of(timmy).pids
    assert not is_there(pid)
    assert set(threading.enumerate()) <= threads
    assert len(list(Path("/dev/fd").iterdir())) == files


def test_closing_ends_a_query_that_runs(home: Path) -> None:
    timmy = open_timmy(home)
    one(timmy)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(timmy.sql, ENDLESS, timeout_s=60)
        until(lambda: not workers_of(timmy)._idle)
        began = time.monotonic()
        timmy.close()
        with pytest.raises(StoreClosedError):
            asked.result(timeout=30)
    assert time.monotonic() - began < 30
    assert workers_of(timmy).pids == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_neither_uses_nor_ends_the_workers(timmy: Timmy) -> None:
    one(timmy)
    (pid,) = workers_of(timmy).pids
    forked = os.fork()
    if not forked:
        try:
            timmy.lake._workers.query("SELECT 1", limit=1, timeout_s=1)  # type: ignore[union-attr]
        except StoreClosedError:
            timmy.lake._workers.close()  # type: ignore[union-attr]
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 7
    assert one(timmy) == [1]
    assert workers_of(timmy).pids == [pid]


# Turns ------------------------------------------------------------------------------------------------------------


def test_many_ask_at_once_and_no_more_than_two_processes_answer(timmy: Timmy) -> None:
    timmy.events.append("system.info", source="test")

    def ask(number: int) -> tuple[int, int]:
        with pytest.raises(QueryError, match="does not exist"):
            timmy.sql(f"FROM nothing_{number}")
        return timmy.sql(f"SELECT {number} AS number, count(*) AS n FROM events").row(0)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(24))) == [(number, 1) for number in range(24)]
    assert 1 <= len(workers_of(timmy).pids) <= AT_ONCE


@pytest.mark.usefixtures("impatient")
def test_one_long_query_does_not_stop_the_others_and_two_do_for_their_time(timmy: Timmy) -> None:
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(timmy.sql, ENDLESS, timeout_s=4)
        until(lambda: len(workers_of(timmy).pids) == 1 and not workers_of(timmy)._idle)
        assert one(timmy) == [1]
        assert len(workers_of(timmy).pids) == AT_ONCE
        second = pool.submit(timmy.sql, ENDLESS, timeout_s=4)
        until(lambda: not workers_of(timmy)._idle)
        with pytest.raises(QueryError, match="2 queries are running already"):
            timmy.sql("SELECT 1", timeout_s=0.1)
        for asked in (first, second):
            with pytest.raises(QueryError, match="took longer than 4 s"):
                asked.result(timeout=20)
    assert one(timmy) == [1]


# Answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "FROM events ORDER BY seq",
        "SELECT * FROM events WHERE false",
        "SELECT sum(i) n, avg(i) f, list(i) l, {'a': i, 'b': [i]} AS s FROM range(9) t(i) GROUP BY i ORDER BY i",
        "SELECT 1::TINYINT a, 2::UBIGINT b, 3::HUGEINT c, 1.25::DECIMAL(9, 3) d, 1.5::FLOAT e, NULL f, true g",
        "SELECT DATE '2026-01-02' a, TIME '01:02:03' b, TIMESTAMP '2026-01-02 03:04:05.678' c, ts d FROM events",
        "SELECT INTERVAL 90 MINUTE a, TIMESTAMP_NS '2026-01-02 03:04:05.123456789' b, uuid() IS NULL c, 'x'::JSON d",
        "SELECT 'x'::ENUM('x', 'y') a, 'ab'::BLOB b, [1, 2]::INTEGER[2] c, ''::VARCHAR d, MAP {'k': [1]} e",
        "SELECT [INTERVAL 1 SECOND] AS refused",
        "SELECT 1::UHUGEINT a, '101'::BIT b, UUID '00000000-0000-0000-0000-000000000001' c",
        "SELECT 'a' AS twice, 'b' AS twice",
        "SUMMARIZE turns",
        "DESCRIBE events",
    ],
)
def test_a_frame_has_the_kinds_it_has_without_a_worker(timmy: Timmy, query: str) -> None:
    timmy.events.append("system.info", source="test", data={"n": 1, "text": "naïve ✓"})

    def answered(ask: Callable[[str], object]) -> object:
        try:
            return ask(query)
        except QueryError as error:
            return str(error)

    apart, here = answered(timmy.lake.query), answered(timmy.lake.answer)
    if isinstance(here, str):
        assert apart == here
    else:
        assert_frame_equal(apart.frame, here.frame)  # type: ignore[attr-defined]
        assert apart.truncated == here.truncated  # type: ignore[attr-defined]


def test_a_worker_keeps_up_while_the_log_is_sealed_and_pruned(timmy: Timmy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "SEGMENT", 20)
    query = "SELECT count(*) AS n, max(seq) AS head FROM events WHERE source = 'test'"
    for number in range(1, 61):
        timmy.events.append("system.info", source="test", data={"n": number})
        assert timmy.sql(query)["n"].to_list() == [number]
        if number % 20 == 10:
            timmy.events.seal()
            timmy.events.prune(timedelta(0))
            assert timmy.sql(query)["n"].to_list() == [number]
    timmy.events.redact(seq=[1], reason="asked", by="ann")
    assert timmy.sql("SELECT data FROM events WHERE seq = 1")["data"].to_list() == [None]
    assert len(workers_of(timmy).pids) == 1


def test_half_a_character_is_refused_before_anything_is_asked(timmy: Timmy) -> None:
    for call in (lambda: timmy.sql("SELECT '\ud800'"), lambda: timmy.frame("events", where="'\ud800' = id")):
        with pytest.raises(QueryError, match="a text of at most"):
            call()
    assert workers_of(timmy).pids == []


# The wire ---------------------------------------------------------------------------------------------------------


def test_a_message_may_arrive_in_any_pieces() -> None:
    message, incoming = packed({"a": "naïve \ud800"}, b"bytes"), Incoming()
    for at in range(len(message)):
        assert incoming.missing() > 0
        incoming.feed(message[at : at + 1])
    assert incoming.missing() == 0
    words, body = incoming.take()
    assert (words, bytes(body)) == ({"a": "naïve \ud800"}, b"bytes")


def test_what_is_to_be_opened_travels_whole(timmy: Timmy) -> None:
    origin = workers_of(timmy)._origin
    again = Origin.of(json.loads(json.dumps(origin.as_dict())))
    assert (again.database, again.folder, again.specs) == (origin.database, origin.folder, origin.specs)
    assert again.promotion.expressions() == origin.promotion.expressions()


def test_an_error_keeps_its_class_and_a_strange_one_becomes_a_plain_one() -> None:
    assert error_of({}) is None
    for name, kind in (("QueryError", QueryError), ("StoreError", StoreError), ("Final", StoreError)):
        error = error_of({"error": name, "message": "so it is"})
        assert type(error) is kind
        assert str(error) == "so it is"


def test_inside_a_worker_the_lake_answers_by_itself(timmy: Timmy) -> None:
    origin = workers_of(timmy)._origin
    lake = Lake(timmy.store, origin.specs, folder=origin.folder, promotion=origin.promotion, apart=False)
    assert lake.query("SELECT 1 AS one").frame["one"].to_list() == [1]
    assert lake._workers is None
    lake.close()
