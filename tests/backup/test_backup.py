"""A backup holds everything of one moment, is made while others write, and is looked at before it takes a place."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from timmy_core.backup.make import back_up
from timmy_core.backup.model import LEFT_OUT, Made
from timmy_core.backup.restore import check_backup, restore
from timmy_core.clock import SystemClock
from timmy_core.errors import BackupError, HomeInUseError
from timmy_core.events import archive
from timmy_core.timmy import Timmy, open_timmy

CLOCK = SystemClock()
WRITER = Path(__file__).parent.parent / "events" / "writer.py"
RESTORER = Path(__file__).parent / "restorer.py"


def make(timmy: Timmy, to: Path) -> Made:
    return back_up(timmy.store, timmy.events, timmy.settings.home, to)


@pytest.fixture
def lived_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with something in every room: a sealed and a pruned segment, heads, blobs, sats, a fact."""
    monkeypatch.setattr(archive, "SEGMENT", 20)
    with open_timmy(home) as timmy:
        for number in range(45):
            timmy.events.append("system.info", source="test", data={"n": number})
        timmy.events.seal()
        assert timmy.events.prune(timedelta(0)).events
        timmy.events.sign_head()
        timmy.events.blobs.put(b"a large answer")
        timmy.payments.create_invoice(amount_msat=21_000, memo="tea")
        timmy.memory.remember("Ann drinks tea", kind="fact")
    (home / "memory-index").mkdir(exist_ok=True)
    (home / "memory-index" / "x").write_text("derived")
    (home / "models" / "big").mkdir(parents=True)
    (home / "models" / "big" / "weights").write_text("fetched")
    (home / "notes.txt").write_text("mine")
    return home


def test_a_restored_home_holds_all_that_the_home_held(lived_in: Path, tmp_path: Path) -> None:
    with open_timmy(lived_in) as timmy:
        made = make(timmy, tmp_path / "b.tar.zst")
        before = [event.as_dict() for event in timmy.events.list(limit=1000, order="asc")][: made.manifest.seq]
        entries, balance = timmy.ledger.list().entries, timmy.ledger.balance().posted_msat
    done = restore(made.path, tmp_path / "new", CLOCK)
    assert done.aside is None
    assert done.checked.segments == 2
    with open_timmy(tmp_path / "new") as timmy:
        after = [event.as_dict() for event in timmy.events.list(limit=1000, order="asc")]
        assert after[: len(before)] == before
        assert [event["type"] for event in after[len(before) :]] == ["log.restored"]
        assert timmy.events.verify().ok
        assert timmy.ledger.list().entries == entries
        assert timmy.ledger.balance().posted_msat == balance
        assert timmy.ledger.verify().ok
        assert [match.entry.text for match in timmy.memory.search("tea")] == ["Ann drinks tea"]
        assert timmy.unmended == ()
        # The key came along, so the next head follows the ones before.
        assert timmy.events.sign_head().n == 2
        assert timmy.events.verify().ok
    assert (tmp_path / "new" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "new" / "timmy.toml").read_text() == (lived_in / "timmy.toml").read_text()


def test_what_can_be_made_anew_is_left_out(lived_in: Path, tmp_path: Path) -> None:
    with open_timmy(lived_in) as timmy:
        names = {file.path for file in make(timmy, tmp_path / "b.tar.zst").manifest.files}
    assert {"timmy.db", "heads.jsonl", "heads.key", "heads.pub", "timmy.toml", "notes.txt"} <= names
    assert not [name for name in names if name.startswith(("memory-index", "models", "timmy.db-", "timmy.text"))]
    assert "memory-index" in LEFT_OUT


def test_the_log_says_that_a_backup_was_made_and_only_its_owner_reads_it(lived_in: Path, tmp_path: Path) -> None:
    with open_timmy(lived_in) as timmy:
        made = make(timmy, tmp_path / "b.tar.zst")
        event = timmy.events.list(type="log.backed_up")[0]
    assert event.data is not None
    assert event.data["backup"] == made.manifest.id
    assert made.path.stat().st_mode & 0o777 == 0o600


def test_a_cursor_from_before_a_restore_means_nothing_after_it(lived_in: Path, tmp_path: Path) -> None:
    with open_timmy(lived_in) as timmy:
        epoch = timmy.feed.epoch
        made = make(timmy, tmp_path / "b.tar.zst")
    restore(made.path, lived_in, CLOCK, over=True)
    with open_timmy(lived_in) as timmy:
        assert timmy.feed.epoch != epoch
        assert timmy.events.verify().ok


def test_a_home_that_is_there_is_replaced_only_when_asked_and_then_kept(lived_in: Path, tmp_path: Path) -> None:
    with open_timmy(lived_in) as timmy:
        made = make(timmy, tmp_path / "b.tar.zst")
    with pytest.raises(BackupError, match="not empty; say --over"):
        restore(made.path, lived_in, CLOCK)
    with open_timmy(lived_in) as timmy:
        timmy.events.append("system.info", source="later")
    done = restore(made.path, lived_in, CLOCK, over=True)
    assert done.aside is not None
    with open_timmy(done.aside) as old:
        assert old.events.list(source="later")
    with open_timmy(lived_in) as new:
        assert not new.events.list(source="later")


def test_a_home_that_somebody_uses_is_not_replaced(lived_in: Path, tmp_path: Path) -> None:
    with open_timmy(lived_in) as timmy:
        made = make(timmy, tmp_path / "b.tar.zst")
        with pytest.raises(HomeInUseError, match="in use"):
            restore(made.path, lived_in, CLOCK, over=True)
        assert timmy.events.verify().ok
    assert sorted(path.name for path in lived_in.parent.iterdir()) == ["b.tar.zst", "home"]


def test_a_backup_inside_the_home_or_over_a_file_is_refused(lived_in: Path, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    with open_timmy(lived_in) as timmy:
        for target, said in (
            (lived_in / "b", "inside the home"),
            (tmp_path / "there", "exists already"),
            (tmp_path / "no" / "b", "does not exist"),
        ):
            with pytest.raises(BackupError, match=said):
                make(timmy, target)
        assert not timmy.events.list(type="log.backed_up")


# What is wrong with a backup --------------------------------------------------------------------------------------


def test_every_cut_and_every_flipped_byte_is_found(lived_in: Path, tmp_path: Path) -> None:
    with open_timmy(lived_in) as timmy:
        content = make(timmy, tmp_path / "b.tar.zst").path.read_bytes()
    bad = tmp_path / "bad.tar.zst"
    places = range(40, len(content) - 1, max(1, len(content) // 12))
    for at in places:
        bad.write_bytes(content[:at])
        with pytest.raises(BackupError):
            restore(bad, tmp_path / "new", CLOCK)
    for at in places:
        flipped = bytearray(content)
        flipped[at] ^= 0x55
        bad.write_bytes(flipped)
        with pytest.raises(BackupError):
            restore(bad, tmp_path / "new", CLOCK)
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "a//b", ""])
def test_a_file_that_would_lie_outside_of_the_home_is_refused(name: str, tmp_path: Path) -> None:
    repacked(tmp_path / "b", {name: b"x"})
    with pytest.raises(BackupError, match="outside of the home"):
        restore(tmp_path / "b", tmp_path / "new", CLOCK)


def test_a_link_in_a_backup_is_refused(tmp_path: Path) -> None:
    with (
        pa.CompressedOutputStream(str(tmp_path / "b"), "zstd") as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        link = tarfile.TarInfo("timmy.toml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(BackupError, match="do not trust it"):
        restore(tmp_path / "b", tmp_path / "new", CLOCK)


def test_what_is_no_backup_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no backup")
    with pytest.raises(BackupError, match="cannot be read"):
        restore(tmp_path / "text", tmp_path / "new", CLOCK)
    with pytest.raises(BackupError, match="there is no file"):
        restore(tmp_path / "none", tmp_path / "new", CLOCK)


def test_a_log_that_was_altered_before_the_backup_is_found_and_restored_only_anyway(
    lived_in: Path, tmp_path: Path
) -> None:
    with open_timmy(lived_in) as timmy:

        def alter(connection: object) -> None:
            connection.execute("DROP TRIGGER events_unchanged")  # type: ignore[attr-defined]
            connection.execute("UPDATE events SET data = '{\"n\":7777}' WHERE seq = 43")  # type: ignore[attr-defined]

        timmy.store.write(alter)
        made = make(timmy, tmp_path / "b.tar.zst")
    assert "event 43" in check_backup(made.path, tmp_path, CLOCK).problems[0]
    with pytest.raises(BackupError, match="event 43"):
        restore(made.path, tmp_path / "new", CLOCK)
    assert restore(made.path, tmp_path / "new", CLOCK, anyway=True).checked.problems


def test_a_segment_and_a_blob_that_are_gone_are_named(lived_in: Path, tmp_path: Path) -> None:
    with open_timmy(lived_in) as timmy:
        made = make(timmy, tmp_path / "b.tar.zst")
    contents = unpacked(made.path)
    segment = next(name for name in contents if name.endswith(".parquet"))
    blob = next(name for name in contents if name.startswith("blobs/"))
    manifest = json.loads(contents["manifest.json"])
    manifest["files"] = [one for one in manifest["files"] if one["path"] not in (segment, blob)]
    kept = {name: content for name, content in contents.items() if name not in (segment, blob, "manifest.json")}
    repacked(tmp_path / "less", {**kept, "manifest.json": json.dumps(manifest).encode()})
    problems = " ".join(check_backup(tmp_path / "less", tmp_path, CLOCK).problems)
    assert "is missing" in problems
    assert Path(blob).name in problems


def test_a_blob_that_ran_out_meanwhile_is_no_fault(lived_in: Path, tmp_path: Path) -> None:
    with open_timmy(lived_in) as timmy:
        digest = timmy.events.blobs.put(b"soon gone")
        # Removed once the database was copied: the copy names it, and the home does not any more.
        tell = lambda what: what.endswith("blobs") and timmy.events.blobs.delete([digest])  # noqa: E731
        made = back_up(timmy.store, timmy.events, lived_in, tmp_path / "b.tar.zst", tell)
    assert made.manifest.gone == (digest,)
    assert check_backup(made.path, tmp_path, CLOCK).problems == ()


# While others write, and cut short --------------------------------------------------------------------------------


def test_a_backup_beside_a_writer_holds_all_that_was_acknowledged_before_it(lived_in: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, str(WRITER), str(lived_in / "timmy.db"), "w", "4"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        with open_timmy(lived_in) as timmy:
            for round_ in range(3):
                said = [process.stdout.readline() for _ in range(100)]
                seqs = [int(line.split()[0]) for line in said]
                made = make(timmy, tmp_path / f"{round_}.tar.zst")
                timmy.events.sign_head()
                assert made.manifest.seq >= max(seqs)
                checked = check_backup(made.path, tmp_path, CLOCK)
                assert checked.problems == ()
                assert checked.events == made.manifest.seq
        # It was killed, and what it was told is durable; the last backup is whole all the same.
        process.kill()
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    with open_timmy(lived_in) as timmy:
        assert timmy.events.verify().ok


def test_a_killed_backup_leaves_no_file_of_that_name(lived_in: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from timmy_core.timmy import open_timmy\n"
        "from timmy_core.backup.make import back_up\n"
        "t = open_timmy(sys.argv[1])\n"
        "back_up(t.store, t.events, t.settings.home, Path(sys.argv[2]), "
        "lambda what: os.kill(os.getpid(), 9) if sys.argv[3] in what else None)"
    )
    target = tmp_path / "b.tar.zst"
    for where in ("database", "segments", "blobs", "settings"):
        ran = subprocess.run([sys.executable, "-c", code, str(lived_in), str(target), where], check=False)
        assert ran.returncode == -signal.SIGKILL
        assert not target.exists()
    with open_timmy(lived_in) as timmy:
        made = make(timmy, target)
    assert check_backup(made.path, tmp_path, CLOCK).problems == ()
    # No copy of the database stays behind, in the home or beside the backup.
    assert list((lived_in / "cache").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("b.")) == ["b.tar.zst"]


def test_what_a_killed_backup_left_long_ago_is_removed(lived_in: Path, tmp_path: Path) -> None:
    old, young = (tmp_path / f"timmy-2026010{day}-030000.tar.zst.tmp" for day in (1, 2))
    for path in (old, young):
        path.write_text("half")
    os.utime(old, (0, 0))
    with open_timmy(lived_in) as timmy:
        make(timmy, tmp_path / "b.tar.zst")
    assert (old.exists(), young.exists()) == (False, True)


def test_a_killed_restore_leaves_the_old_home_or_the_new_one_whole(lived_in: Path, tmp_path: Path) -> None:
    with open_timmy(lived_in) as timmy:
        made = make(timmy, tmp_path / "b.tar.zst")
        timmy.events.append("system.info", source="later")
    seen = set()
    for delay_s in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4):
        command = [sys.executable, str(RESTORER), str(made.path), str(lived_in)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()  # it begins now
        time.sleep(delay_s)
        process.kill()
        process.wait()
        process.stdout.close()
        with open_timmy(lived_in) as timmy:
            assert timmy.events.verify().ok
            seen.add(bool(timmy.events.list(source="later")))
            if not timmy.events.list(source="later"):
                timmy.events.append("system.info", source="later")
    restore(made.path, lived_in, CLOCK, over=True)
    assert not list(tmp_path.glob(".*restoring-*"))
    assert seen


def unpacked(file: Path) -> dict[str, bytes]:
    with (
        file.open("rb") as raw,
        pa.CompressedInputStream(raw, "zstd") as packed,
        tarfile.open(fileobj=packed, mode="r|") as tar,
    ):
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


def repacked(file: Path, contents: dict[str, bytes]) -> None:
    with pa.CompressedOutputStream(str(file), "zstd") as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
