"""What `kill -9` leaves is finished once: each task ends once, and is paid once, whenever the process died."""

from __future__ import annotations

import collections
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from timmy_core.settings import Settings
from timmy_core.settings_swarm import SwarmSettings
from timmy_core.timmy import Timmy

TASKS = 8
KILLS = 6
BOUND_S = 180.0


@contextmanager
def serving(home: Path) -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, str(Path(__file__).with_name("runner.py")), str(home)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def looking(home: Path) -> Timmy:
    """Open the home beside whoever serves it; nothing is done by itself here."""
    return Timmy(Settings(home=home, providers=(), swarm=SwarmSettings(bidding_s=0.2)), providers=[])


def over(timmy: Timmy) -> bool:
    return all(not task.open and task.pay_state in ("paid", "none") for task in timmy.swarm.tasks(limit=100))


def test_every_task_ends_once_and_is_paid_once_however_often_its_process_is_killed(tmp_path: Path) -> None:
    home, random = tmp_path / "home", Random(8)  # noqa: S311 - it only spreads the kills
    timmy = looking(home)
    try:
        ids = [timmy.swarm.post_task(f"Say the number {number}.", budget_sats=50).id for number in range(TASKS)]
        for _ in range(KILLS):
            with serving(home):
                time.sleep(random.uniform(0.1, 1.2))
        with serving(home):
            ends = time.monotonic() + BOUND_S
            while not over(timmy) and time.monotonic() < ends:
                time.sleep(0.2)
        found = {task.id: task for task in timmy.swarm.tasks(limit=100)}
        states = {task.state for task in found.values()}
        assert states == {"completed"}
        assert over(timmy)
        ended = collections.Counter(
            event.task_id for event in timmy.events.list(type=["task.completed", "task.failed"], limit=1000)
        )
        assert ended == dict.fromkeys(ids, 1)
        owed = {task.id: task.bid_msat for task in found.values() if task.state == "completed"}
        paid = timmy.ledger.list(direction="out", limit=500).entries
        assert {one.task_id: one.amount_msat for one in paid if one.shown == "settled"} == owed
        assert len([one for one in paid if one.shown == "settled"]) == len(owed)
        assert timmy.events.verify().ok
    finally:
        timmy.shutdown()


def test_two_processes_give_each_task_out_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first, second = looking(home), looking(home)
    try:
        for name in ("ann", "bob"):
            first.swarm.register(name, wallet="home")
        posted = [first.swarm.post_task(f"task {number}", budget_sats=9, bidding_s=4.0) for number in range(20)]
        ids = [task.id for task in posted]
        for task_id in ids:
            first.swarm.bid(task_id, "ann", amount_sats=2)
            second.swarm.bid(task_id, "bob", amount_sats=1)
        time.sleep(4.1)  # every auction is over then
        threads = [threading.Thread(target=each.swarm.tend) for each in (first, second, first, second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {task.agent for task in first.swarm.tasks(limit=100)} == {"bob"}
        assert first.events.list(type="task.assigned", limit=100) == second.events.list(type="task.assigned", limit=100)
        assert len(first.events.list(type="auction.closed", limit=100)) == len(ids)
        assert len(first.events.list(type="task.assigned", limit=100)) == len(ids)
    finally:
        first.shutdown()
        second.shutdown()
