"""The engine: what is acknowledged is durable, what fails changes nothing, and readers only read."""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from timmy_core.errors import StoreBusyError, StoreClosedError, StoreError, StoreFullError
from timmy_core.store import engine
from timmy_core.store.engine import Connection, Store
from timmy_core.store.lock import lock_is_stuck


def put(value: str) -> object:
    def run(connection: Connection) -> int:
        connection.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (value, value))
        return len(value)

    return run


def values(store: Store) -> set[str]:
    with store.read() as connection:
        return {row[0] for row in connection.execute("SELECT value FROM meta WHERE key <> 'epoch'")}


def test_a_write_returns_what_its_function_returns_and_is_seen_by_readers(store: Store) -> None:
    assert store.write(put("four")) == 4
    assert values(store) == {"four"}


def test_a_failing_write_undoes_itself_and_not_its_neighbours(store: Store) -> None:
    def bad(connection: Connection) -> None:
        connection.execute("INSERT INTO meta (key, value) VALUES ('half', 'half')")
        message = "changed my mind"
        raise ValueError(message)

    before, failing, after = store.submit(put("before")), store.submit(bad), store.submit(put("after"))
    assert (before.result(), after.result()) == (6, 5)
    with pytest.raises(ValueError, match="changed my mind"):
        failing.result()
    assert values(store) == {"before", "after"}


def test_a_refused_statement_is_an_error_of_the_house(store: Store) -> None:
    store.write(put("once"))
    with pytest.raises(StoreError, match="UNIQUE"):
        store.write(put("once"))


async def test_the_event_loop_runs_on_while_a_write_waits(store: Store) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    assert await store.awrite(put("x")) == 1
    ticking.cancel()
    assert ticks > 1


def test_a_write_after_close_is_refused_and_queued_ones_were_kept(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "timmy.db")
    futures = [store.submit(put(str(number))) for number in range(100)]
    store.close()
    store.close()
    assert all(future.result() for future in futures)
    with pytest.raises(StoreClosedError, match="open it again"):
        store.write(put("late"))
    with pytest.raises(StoreClosedError), store.read():
        pass


def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError, match="cannot be written"), store.read() as connection:
        connection.execute("INSERT INTO meta (key, value) VALUES ('a', 'b')")


def test_the_queue_that_nobody_waits_for_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MAX_QUEUE", 3)
    blocked, go = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        blocked.set()
        go.wait()

    store.submit(hold)
    blocked.wait()
    kept = [store.submit(put(str(number))) for number in range(3)]
    with pytest.raises(StoreBusyError, match="3 writes wait"):
        store.submit(put("too many"))
    go.set()
    assert [future.result() for future in kept] == [1, 1, 1]


def test_a_full_database_is_a_clear_error_and_goes_on_when_there_is_room(store: Store) -> None:
    store.write(put("kept"))
    pages = store.write(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
    store.write(lambda connection: connection.execute(f"PRAGMA max_page_count={pages}").fetchone())
    first, second = store.submit(put("x" * 100_000)), store.submit(put("small"))
    with pytest.raises(StoreFullError, match="the disk is full; free some room"):
        first.result()
    second.exception()
    store.write(lambda connection: connection.execute("PRAGMA max_page_count=1000000").fetchone())
    store.write(put("again"))
    assert {"kept", "again"} <= values(store)


def fill(store: Store) -> int:
    """Write until the disk is full, and return how many writes were acknowledged."""
    for number in range(1000):
        try:
            store.write(put(f"{number}-" + "x" * 5000))
        except StoreFullError:
            return number
    message = "1,000 writes did not fill the small disk"
    raise AssertionError(message)


def test_a_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    """On a real, small file system: what was acknowledged stays, and writing goes on after room was made."""
    mounted = tmp_path / "small"
    mounted.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mounted], capture_output=True, check=False)
    if made.returncode:
        # Where this user may not mount, SQLite's own page limit, in the test above, stands for the disk.
        return
    store = Store.open(mounted / "timmy.db")
    ballast = mounted / "ballast"
    try:
        ballast.write_bytes(bytes(400_000))
        kept = fill(store)
        assert len(values(store)) == kept
        ballast.unlink()
        store.write(put("again"))
        assert len(values(store)) == kept + 1
    finally:
        store.close()
        subprocess.run(["umount", mounted], check=True)


def test_the_write_ahead_log_is_emptied_into_the_database(store: Store) -> None:
    wal = store.path.with_name(store.path.name + "-wal")
    store.write(put("kept"))
    assert wal.stat().st_size > 0
    assert store.empty_wal()
    assert wal.stat().st_size == 0
    assert values(store) == {"kept"}
    store.write(put("after"))
    assert values(store) == {"kept", "after"}


def test_the_write_ahead_log_is_left_while_somebody_reads_from_it(store: Store) -> None:
    store.write(put("one"))
    with store.read() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT * FROM meta").fetchall()
        store.write(put("two"))
        assert not store.empty_wal(patience_s=0)
        connection.execute("COMMIT")
    assert store.empty_wal(patience_s=0)
    assert values(store) == {"one", "two"}


def test_what_is_deleted_is_overwritten(store: Store) -> None:
    store.write(put("a word that nobody shall find"))
    store.write(lambda connection: connection.execute("DELETE FROM meta WHERE key <> 'epoch'"))
    assert store.empty_wal()
    content = subprocess.run(["cat", store.path], capture_output=True, check=True).stdout
    assert b"a word that nobody" not in content


def test_a_store_of_a_later_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "timmy.db"
    store = Store.open(path)
    store.write(lambda connection: connection.execute("PRAGMA user_version=999"))
    store.close()
    with pytest.raises(StoreError, match="later version"):
        Store.open(path)


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "timmy.db"
    path.write_bytes(b"this is a letter to my aunt" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Store.open(path)
    assert path.read_bytes().startswith(b"this is a letter")


def test_a_home_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="name another with --home"):
        Store.open(tmp_path / "file" / "home" / "timmy.db")


def test_only_the_owner_can_read_the_store(store: Store) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def test_a_forked_child_is_told_to_open_its_own(store: Store) -> None:
    code = (
        "import os, sys; from pathlib import Path; from timmy_core.store.engine import Store\n"
        "store = Store.open(Path(sys.argv[1])); pid = os.fork()\n"
        "if pid == 0:\n"
        "    try: store.write(lambda c: None)\n"
        "    except Exception as error: os._exit(7 if 'after a fork' in str(error) else 8)\n"
        "    os._exit(9)\n"
        "code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]); store.close(); sys.exit(code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, store.path.with_name("other.db")], check=False)
    assert done.returncode == 7


def test_a_lock_that_another_holds_is_seen(store: Store) -> None:
    assert not lock_is_stuck(store.path, patience_s=0)
    fd = os.open(f"{store.path}.lock", os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    assert lock_is_stuck(store.path, patience_s=0.02)
    os.close(fd)
    assert not lock_is_stuck(store.path, patience_s=0)


def test_no_other_library_opens_the_live_file() -> None:
    """A second SQLite library in the process drops the first one's locks, and acknowledged commits with them."""
    root = Path(engine.__file__).parents[2]
    banned = ("apsw", "connectorx", "adbc_driver_sqlite", "read_database_uri", "sqlite_scan", "sqlite_attach", "-shm")
    sources = [*root.glob("timmy_core/**/*.py"), *root.glob("notebooks/**/*.py")]
    assert len(sources) > 20
    found = [(path.name, word) for path in sources for word in banned if word in path.read_text(encoding="utf-8")]
    assert found == []
