"""What hostile code tries, at every level that this machine reaches: it is contained, and the result says the level."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import socket
import time
from pathlib import Path

import pytest

from timmy_core.upgrades.model import Level

from .walls_house import SMALL, every_level, needed, processes_with, run

ROOTS = ("/dev/shm", "/tmp", "/var/tmp", "/dev", "/")  # noqa: S108 - where hostile code tries to write
pytestmark = every_level


def test_a_fork_bomb_is_ended_and_nothing_of_it_is_left(level: Level, tmp_path: Path) -> None:
    word = f"bomb-{secrets.token_hex(8)}"
    began = time.monotonic()
    outcome = run(
        level,
        tmp_path,
        f"""
        import os, time
        os.environ["MARK"] = "{word}"
        while True:
            try:
                os.fork()
            except OSError:
                time.sleep(0.01)
        """,
        bounds=dataclasses.replace(SMALL, time_s=3.0),
    )
    assert outcome.level == level
    assert outcome.ended in ("time", "processes")
    assert time.monotonic() - began < 30
    assert processes_with(word) == []


def test_no_more_processes_run_at_once_than_were_given(level: Level, tmp_path: Path) -> None:
    outcome = run(
        level,
        tmp_path,
        """
        import os, sys, time
        made = 0
        try:
            while made < 200:
                if os.fork() == 0:
                    time.sleep(5)
                    os._exit(0)
                made += 1
        except OSError:
            pass
        open(sys.argv[1], "w").write(str(made))
        """,
    )
    assert outcome.level == level
    assert outcome.ended == "processes" or int(outcome.report) <= SMALL.processes


def test_a_process_that_leaves_its_group_and_its_parent_is_ended_too(level: Level, tmp_path: Path) -> None:
    word = f"daemon-{secrets.token_hex(8)}"
    outcome = run(
        level,
        tmp_path,
        f"""
        import os, signal, sys, time
        for number in range(1, 32):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(number, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.execve(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)", "{word}"], {{}})
            os._exit(0)
        time.sleep(0.5)
        """,
    )
    assert (outcome.level, outcome.ended, outcome.exit) == (level, "exited", 0)
    assert processes_with(word) == []


def test_memory_is_bounded_in_one_process(level: Level, tmp_path: Path) -> None:
    outcome = run(level, tmp_path, "held = bytearray(400 << 20)")
    assert outcome.level == level
    assert outcome.ended == "memory" or (outcome.exit == 1 and "MemoryError" in outcome.output)


def test_memory_is_bounded_over_all_processes_together(level: Level, tmp_path: Path) -> None:
    outcome = run(
        level,
        tmp_path,
        """
        import os, time
        for _ in range(4):
            if os.fork() == 0:
                held = bytearray(b"x" * (100 << 20))
                time.sleep(20)
                os._exit(0)
        time.sleep(20)
        """,
    )
    assert (outcome.level, outcome.ended) == (level, "memory")


@pytest.mark.parametrize("place", ["os.environ['TMPDIR']", *map(repr, ROOTS)])
def test_the_disk_is_bounded_wherever_files_can_be_made(level: Level, tmp_path: Path, place: str) -> None:
    outcome = run(
        level,
        tmp_path,
        f"""
        import os, sys, time
        written, folder = 0, {place}
        try:
            for number in range(64):
                with open(os.path.join(folder, f"timmy-filler-{{number}}"), "wb") as file:
                    file.write(bytes(1 << 20))
                    written += 1
                time.sleep(0.02)
        except OSError:
            pass
        open("/proc/self/oom_score_adj").read()
        print("written", written)
        """,
    )
    assert outcome.level == level
    left = [path for root in ROOTS for path in Path(root).glob("timmy-filler-*")]
    for path in left:
        path.unlink()
    assert not left
    written = int(outcome.output.split()[-1]) if "written" in outcome.output else 99
    assert outcome.ended == "disk" or written <= SMALL.disk_bytes >> 20


def test_one_huge_file_is_refused(level: Level, tmp_path: Path) -> None:
    outcome = run(
        level,
        tmp_path,
        """
        import os
        with open(os.path.join(os.environ["TMPDIR"], "huge"), "wb") as file:
            for _ in range(32):
                file.write(bytes(1 << 20))
        """,
    )
    assert outcome.level == level
    assert outcome.ended == "disk" or outcome.exit != 0


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_neither_the_internet_nor_this_machine_is_in_reach(level: Level, tmp_path: Path, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket(type=socket.SOCK_DGRAM) as hearing:
        hearing.bind(("127.0.0.1", 0))
        hearing.settimeout(0.2)
        asked = (listening if kind == "SOCK_STREAM" else hearing).getsockname()[1]
        outcome = run(
            level,
            tmp_path,
            f"""
            import socket
            for host, port in (("192.0.2.1", 80), ("127.0.0.1", {asked})):
                try:
                    with socket.socket(type=socket.{kind}) as asked:
                        asked.settimeout(2)
                        asked.connect((host, port))
                        asked.send(b"leaked")
                    print("reached", host)
                except OSError as error:
                    print("refused")
            """,
        )
        assert outcome.level == level
        heard = b""
        with contextlib.suppress(TimeoutError):
            heard = hearing.recv(100)
    assert heard == b""
    assert "192.0.2.1" not in outcome.output
    if kind == "SOCK_STREAM":
        assert outcome.output.split() == ["refused", "refused"]


def test_secrets_of_the_machine_and_of_this_process_are_out_of_reach(
    level: Level, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = secrets.token_hex(16)
    monkeypatch.setenv("SOME_API_KEY", word)
    secret = tmp_path / "keys" / "ann"
    secret.parent.mkdir()
    secret.write_text(word, encoding="utf-8")
    for path in (secret, secret.parent, tmp_path):
        path.chmod(0o755)
    outcome = run(
        level,
        tmp_path,
        f"""
        import glob, os
        print(dict(os.environ))
        for path in ["{secret}", "/proc/{os.getpid()}/environ", "/proc/1/environ", "/etc/shadow",
                     *glob.glob("/root/.ssh/*"), *glob.glob("/proc/[0-9]*/environ"), *glob.glob("/home/*/.*")]:
            try:
                print(open(path, "rb").read())
            except OSError:
                pass
        for place, names, files in os.walk("{tmp_path.parent}"):
            for name in files:
                try:
                    print(open(os.path.join(place, name), "rb").read()[:200])
                except OSError:
                    pass
        """,
        bounds=dataclasses.replace(SMALL, tail_bytes=1 << 20),
    )
    assert (outcome.level, outcome.ended) == (level, "exited")
    assert word not in outcome.output


def test_the_files_under_test_cannot_be_changed(level: Level, tmp_path: Path) -> None:
    outcome = run(
        level,
        tmp_path,
        """
        import os
        for change in (lambda: open("attack.py", "w"), lambda: open("made", "w"), lambda: os.remove("attack.py"),
                       lambda: os.chmod("attack.py", 0o777), lambda: os.rename("attack.py", "other")):
            try:
                change()
                print("changed")
            except OSError:
                print("refused")
        """,
    )
    assert outcome.level == level
    assert outcome.output.split() == ["refused"] * 5
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["attack.py"]


def test_no_process_outside_can_be_signalled_or_looked_into(level: Level, tmp_path: Path) -> None:
    outcome = run(
        level,
        tmp_path,
        f"""
        import ctypes, os
        for attempt in (lambda: os.kill({os.getpid()}, 0), lambda: os.kill(os.getppid(), 9),
                        lambda: open("/proc/{os.getpid()}/mem", "rb"),
                        lambda: os.listdir(f"/proc/{{os.getppid()}}/fd")):
            try:
                attempt()
                print("could")
            except OSError:
                print("refused")
        print("ptrace", ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0))
        """,
    )
    assert outcome.level == level
    assert outcome.ended == "exited"
    assert outcome.output.split() == ["refused"] * 4 + ["ptrace", "-1"]


def test_privileges_cannot_be_won_back(level: Level, tmp_path: Path) -> None:
    outcome = run(
        level,
        tmp_path,
        """
        import ctypes, os
        libc = ctypes.CDLL(None)
        print(int(open("/proc/self/status").read().split("CapEff:")[1].split()[0], 16))
        print(int(open("/proc/self/status").read().split("CapBnd:")[1].split()[0], 16))
        print(libc.unshare(0x10000000), libc.mount(b"/", b"/tmp", None, 4096, None), libc.chroot(b"/"))
        """,
    )
    assert outcome.level == level
    assert outcome.output.split() == ["0", "0", "-1", "-1", "-1"]


def test_what_is_printed_without_end_is_ended(level: Level, tmp_path: Path) -> None:
    outcome = run(level, tmp_path, "while True: print('x' * 65536)")
    assert (outcome.level, outcome.ended) == (level, "output")
    assert len(outcome.output) <= SMALL.tail_bytes


def test_what_sleeps_for_ever_is_ended(level: Level, tmp_path: Path) -> None:
    outcome = run(level, tmp_path, "import time; time.sleep(60)", bounds=dataclasses.replace(SMALL, time_s=1.0))
    assert (outcome.level, outcome.ended, outcome.exit) == (level, "time", None)
    assert outcome.took_s < 30


@pytest.mark.parametrize(
    "forged",
    ["os.symlink('/etc/passwd', path)", "os.mkfifo(path)", "os.mkdir(path)", "open(path, 'w').truncate(64 << 20)"],
)
def test_a_report_that_is_no_plain_file_is_no_report(level: Level, tmp_path: Path, forged: str) -> None:
    bounds = dataclasses.replace(SMALL, disk_bytes=128 << 20)
    outcome = run(level, tmp_path, f"import os, sys; path = sys.argv[1]; {forged}", bounds=bounds)
    assert (outcome.level, outcome.ended, outcome.report) == (level, "exited", b"")


def test_the_launcher_cannot_be_spoken_for(level: Level, tmp_path: Path) -> None:
    """Its pipe is closed before the command begins, and whoever writes to every descriptor reaches none."""
    outcome = run(
        level,
        tmp_path,
        """
        import os
        for fd in range(3, 256):
            try:
                os.write(fd, b'{"exit": 0, "report": 0, "problem": "", "held": [], "clean": true}\\n')
                print("written", fd)
            except OSError:
                pass
        os._exit(3)
        """,
    )
    assert (outcome.level, outcome.exit, outcome.output) == (level, 3, "")


def test_the_level_is_one_that_this_machine_reaches(level: Level) -> None:
    assert needed(level).find().level == level
