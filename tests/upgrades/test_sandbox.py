"""The sandbox: the level is found by running, the view shows no keys, and nothing is left behind."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from timmy_core.errors import SandboxError
from timmy_core.upgrades.model import LEVELS, Level
from timmy_core.upgrades.sandbox import sweep, walls
from timmy_core.upgrades.sandbox.job import Bounds, Job
from timmy_core.upgrades.sandbox.levels import Reached, Sandbox
from timmy_core.upgrades.sandbox.view import view_of

from .walls_house import SMALL, every_level, needed, processes_with, run


def rooms() -> list[str]:
    return [path.name for path in Path(tempfile.gettempdir()).glob("timmy-trial-*")]


# Levels ----------------------------------------------------------------------------------------------------------


def test_the_best_level_that_holds_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = Sandbox()
    found = {
        "bubblewrap": Reached("bubblewrap", refused="not installed"),
        "namespaces": Reached("namespaces"),
        "limits": Reached("limits"),
    }
    monkeypatch.setattr(sandbox, "attempt", found.__getitem__)
    assert sandbox.known is None
    assert sandbox.find().level == "namespaces"
    assert [one.refused for one in sandbox.tried] == ["not installed", ""]
    assert sandbox.known == found["namespaces"]


def test_where_the_least_level_is_not_reached_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = Sandbox(least="namespaces")
    monkeypatch.setattr(sandbox, "attempt", lambda level: Reached(level, refused=f"no {level} here"))
    with pytest.raises(SandboxError, match="bubblewrap: no bubblewrap here; namespaces: no namespaces here"):
        sandbox.run(Job(("true",), Path("/")), Bounds())


@pytest.mark.parametrize("level", ["bubblewrap", "namespaces"])
def test_a_tool_that_is_not_installed_is_named_with_its_package(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walls.shutil, "which", lambda _: None)
    assert "is not installed; install the package" in Sandbox().attempt(level).refused


def test_a_wall_that_does_not_hold_is_not_counted_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bubblewrap that lets everything through, as one does that was exchanged, is found out by the probe."""
    fake = tmp_path / "bwrap"
    fake.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n', encoding="utf-8")
    fake.chmod(0o755)
    needed("bubblewrap")
    monkeypatch.setattr(walls.shutil, "which", lambda _: str(fake))
    python = Path("/usr/bin/python3")
    reached = Sandbox(python=python if python.exists() else None).attempt("bubblewrap")
    assert reached.refused


@every_level
def test_each_level_says_which_guards_held(level: Level) -> None:
    reached = needed(level).attempt(level)
    assert reached.refused == ""
    assert set(reached.held) <= {"landlock", "seccomp"}


# What is seen ----------------------------------------------------------------------------------------------------


def test_a_folder_that_holds_the_home_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with pytest.raises(SandboxError, match="would see its keys"):
        view_of(Path(sys.executable), [tmp_path], [home])
    assert tmp_path / "other" not in view_of(Path(sys.executable), [], [home]).read


def test_a_link_to_a_folder_that_holds_the_home_is_refused_too(tmp_path: Path) -> None:
    home = tmp_path / "real" / "home"
    home.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(SandboxError, match="would see its keys"):
        view_of(Path(sys.executable), [tmp_path / "link"], [home])


def test_what_is_to_be_seen_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="not there"):
        view_of(Path(sys.executable), [tmp_path / "none"], [])


def test_links_of_an_interpreter_that_lead_in_a_circle_are_an_error(tmp_path: Path) -> None:
    one, two = tmp_path / "bin" / "one", tmp_path / "bin" / "two"
    one.parent.mkdir()
    one.symlink_to(two)
    two.symlink_to(one)
    with pytest.raises(SandboxError, match="circle"):
        view_of(one, [], [])


@every_level
def test_the_settings_can_show_more(level: Level, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    (shown / "data").write_text("seen", encoding="utf-8")
    for folder in [shown, *shown.parents]:
        if folder.is_relative_to(tempfile.gettempdir()) and folder != Path(tempfile.gettempdir()):
            folder.chmod(0o755)
    sandbox = Sandbox(python=needed(level).python, readable=[shown], only=level)
    tree = tmp_path / "tree"
    tree.mkdir()
    outcome = sandbox.run(Job(("cat", str(shown / "data")), tree), SMALL)
    assert (outcome.exit, outcome.output) == (0, "seen")


# Runs ------------------------------------------------------------------------------------------------------------


@every_level
def test_a_command_gets_its_report_out_and_its_exit_code(level: Level, tmp_path: Path) -> None:
    code = "import sys; open(sys.argv[1], 'wb').write(bytes(1 << 20)); print('hello'); sys.exit(3)"
    outcome = run(level, tmp_path, code)
    assert (outcome.ended, outcome.exit, outcome.output, len(outcome.report)) == ("exited", 3, "hello\n", 1 << 20)


@every_level
def test_the_end_of_what_it_prints_is_kept(level: Level, tmp_path: Path) -> None:
    outcome = run(level, tmp_path, "for number in range(20000): print(number)")
    assert outcome.output.endswith("19998\n19999\n")
    assert len(outcome.output) <= SMALL.tail_bytes


@every_level
def test_a_copy_may_be_changed_and_the_files_stay(level: Level, tmp_path: Path) -> None:
    outcome = run(level, tmp_path, "open('attack.py', 'a').write('#'); open('new', 'w'); print('done')", copied=True)
    assert outcome.output == "done\n"
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["attack.py"]


@every_level
def test_servers_and_children_of_tests_work_on_their_own(level: Level, tmp_path: Path) -> None:
    outcome = run(
        level,
        tmp_path,
        """
        import multiprocessing, socket, subprocess, sys, tempfile, threading
        if __name__ == "__main__":
            print(subprocess.run(["echo", "child"], capture_output=True, text=True).stdout, end="")
            thread = threading.Thread(target=print, args=("thread",))
            thread.start()
            thread.join()
            with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listening:
                listening.bind(folder + "/s")
                print("socket")
            queue = multiprocessing.get_context("fork").SimpleQueue()
            queue.put("queue")
            print(queue.get())
        """,
    )
    # Semaphores lie in a folder of the machine, which is shut where there is no root of its own.
    expected = ["child", "thread", "socket"] if level == "limits" else ["child", "thread", "socket", "queue"]
    assert outcome.output.split()[: len(expected)] == expected


@pytest.mark.parametrize("level", ["bubblewrap", "namespaces"])
def test_tests_may_talk_to_servers_of_their_own(level: Level, tmp_path: Path) -> None:
    outcome = run(
        level,
        tmp_path,
        """
        import socket
        with socket.create_server(("127.0.0.1", 0)) as listening:
            socket.create_connection(listening.getsockname()).close()
        print("talked")
        """,
    )
    assert outcome.output == "talked\n"


@every_level
def test_a_command_that_cannot_be_started_is_an_error(level: Level, tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="no-such-program"):
        needed(level).run(Job(("/no-such-program",), tmp_path), SMALL)


@every_level
def test_a_run_can_be_stopped_from_outside(level: Level, tmp_path: Path) -> None:
    stopped = threading.Event()
    threading.Timer(0.7, stopped.set).start()
    outcome = run(level, tmp_path, "import time; time.sleep(60)", stopped=stopped.is_set)
    assert (outcome.ended, outcome.exit) == ("cancelled", None)


@every_level
def test_nothing_is_left_in_the_temporary_folder(level: Level, tmp_path: Path) -> None:
    needed(level)
    before = rooms()
    run(
        level,
        tmp_path,
        "import os; d = os.environ['TMPDIR'] + '/shut'; os.mkdir(d); open(d + '/f', 'w'); os.chmod(d, 0)",
    )
    assert set(rooms()) <= set(before)


@every_level
def test_runs_at_once_do_not_disturb_each_other(level: Level, tmp_path: Path) -> None:
    needed(level)
    outputs: dict[int, str] = {}

    def one(number: int) -> None:
        folder = tmp_path / str(number)
        folder.mkdir()
        outputs[number] = run(level, folder, f"import time; time.sleep(0.2); print({number})").output

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == {number: f"{number}\n" for number in range(4)}


@every_level
def test_when_timmy_is_killed_its_tests_end_too(level: Level, tmp_path: Path) -> None:
    sandbox, before = needed(level), rooms()
    word = f"orphan-{os.getpid()}-{level}"
    (tmp_path / "attack.py").write_text("import time; print('on', flush=True); time.sleep(60)", encoding="utf-8")
    code = f"""
import sys
from pathlib import Path
from timmy_core.upgrades.sandbox.levels import Sandbox
from timmy_core.upgrades.sandbox.job import Bounds, Job
sandbox = Sandbox(python=Path({str(sandbox.python)!r}), only={level!r})
sandbox.find()
print("ready", flush=True)
sandbox.run(Job(({str(sandbox.python)!r}, "attack.py", {word!r}), Path({str(tmp_path)!r})), Bounds())
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as timmy:
        assert timmy.stdout is not None
        assert timmy.stdout.readline() == "ready\n"
        deadline = time.monotonic() + 10
        while len(processes_with(word)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        timmy.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while processes_with(word) and time.monotonic() < deadline:
        time.sleep(0.05)
    # Its folder stays until a later start finds it old.
    for left in set(rooms()) - set(before):
        shutil.rmtree(Path(tempfile.gettempdir(), left))
    assert processes_with(word) == []


def test_folders_of_processes_that_were_killed_long_ago_are_removed() -> None:
    old, new = (Path(tempfile.mkdtemp(prefix="timmy-trial-")) for _ in range(2))
    (old / "file").touch()
    os.utime(old, (0, 0))
    Sandbox().find()
    assert not old.exists()
    assert new.exists()
    new.rmdir()


# Sweeping --------------------------------------------------------------------------------------------------------


def test_processes_below_are_found_over_generations_and_none_else() -> None:
    code = "import os, time\nfor _ in range(2):\n    os.fork()\nprint('on', flush=True)\ntime.sleep(30)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as root:
        assert root.stdout is not None
        for _ in range(4):
            root.stdout.readline()
        found = sweep.below(root.pid)
        assert len(found) == 3
        assert root.pid not in [seen.pid for seen in found]
        for seen in found:
            sweep.send(seen, signal.SIGKILL)
        root.kill()


def test_a_later_process_of_the_same_number_is_left_alone() -> None:
    with subprocess.Popen(["sleep", "30"]) as process:
        seen = sweep.look(process.pid)
        assert seen is not None
        sweep.send(dataclasses.replace(seen, started=seen.started - 1), signal.SIGKILL)
        assert process.poll() is None
        process.kill()
    assert sweep.look(process.pid) is None


def test_levels_are_those_of_the_model() -> None:
    assert set(walls._BUILDERS) == set(LEVELS)
