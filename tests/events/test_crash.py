"""`kill -9` at any moment of sealing, pruning or redacting: nothing is lost or double, the next start mends."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from timmy_core.events import archive as archive_module
from timmy_core.events import retention, segment
from timmy_core.events.events import Events
from timmy_core.store.engine import Store

KEEPER = Path(__file__).with_name("keeper.py")
ROUNDS = 20
AT_MOST_S = 0.25


def run_and_kill(path: Path, what: str, name: str, after_s: float) -> list[str]:
    """Start a keeper, kill it so many seconds after its first acknowledgement, and return the whole lines it wrote."""
    with subprocess.Popen([sys.executable, KEEPER, path, "keep", what, name], stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        first = keeper.stdout.readline()
        killer = threading.Timer(after_s, keeper.kill)
        killer.start()
        rest = keeper.stdout.read()
        killer.join()
    assert keeper.returncode == -9
    return [line.decode() for line in (first + rest).splitlines(keepends=True) if line.endswith(b"\n")]


def check_whole(path: Path, acked: dict[str, int], redacted: set[int]) -> None:
    """Open the home as the next start does, and hold the log against everything that was ever promised."""
    store = Store.open(path)
    events = Events(store)
    try:
        assert events.mend() == []
        assert not events.retention.unfinished()
        assert list(events.archive.folder.glob("*.tmp")) == []
        every = []
        while batch := events.read_after(every[-1].seq if every else 0):
            every += batch
        assert [event.seq for event in every] == list(range(1, len(every) + 1))
        seqs = {event.id: event.seq for event in every}
        assert len(seqs) == len(every)
        assert {key: seqs.get(key) for key in acked} == acked
        assert redacted <= {event.seq for event in every if event.data is None}
        found = events.verify()
        assert found.ok, found.problem
        sealed = events.archive.segments()
        assert [one.first_seq for one in sealed] == [1, *(one.last_seq + 1 for one in sealed[:-1])][: len(sealed)]
        assert sorted(one.file for one in sealed) == sorted(p.name for p in events.archive.folder.glob("*.parquet"))
        said = [(event.data or {})["first_seq"] for event in every if event.type == "log.sealed"]
        assert said == [one.first_seq for one in sealed]
    finally:
        store.close()
    content = path.read_bytes()
    assert [event.seq for event in every if event.data is None and f'secret-{event.id}"'.encode() in content] == []


@pytest.mark.parametrize("what", ["seal", "prune", "redact"])
def test_killed_twenty_times_nothing_is_lost_or_double(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "SEGMENT", 20)
    monkeypatch.setattr(segment, "ROW_GROUP", 8)
    monkeypatch.setattr(retention, "CHUNK", 7)
    chance = random.Random(what)  # noqa: S311 - a seed, not a secret
    path = tmp_path / "timmy.db"
    acked: dict[str, int] = {}
    redacted: set[int] = set()
    for number in range(ROUNDS):
        for line in run_and_kill(path, what, str(number), chance.uniform(0, AT_MOST_S)):
            kind, seq, key = line.split()
            if kind == "a":
                acked[key] = int(seq)
            else:
                redacted.add(int(seq))
        check_whole(path, acked, redacted)
    assert len(acked) > ROUNDS
