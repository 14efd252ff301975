"""`timmy lab`: notebooks to be changed, on a home that only is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from timmy_core.cli.lab import lay_out
from timmy_core.errors import StoreReadOnlyError
from timmy_core.settings import load_settings
from timmy_core.testing import ScriptedProvider
from timmy_core.timmy import Timmy

TIMMY = Path(sys.executable).with_name("timmy")


@pytest.fixture
def notebooks(tmp_path: Path) -> Path:
    folder = tmp_path / "notebooks"
    (folder / "ui").mkdir(parents=True)
    (folder / "one.py").write_text("1\n")
    (folder / "two.py").write_text("2\n")
    return folder


def test_copies_that_nobody_changed_follow_the_version_and_others_stay(notebooks: Path, tmp_path: Path) -> None:
    lab = tmp_path / "home" / "lab"
    assert lay_out(notebooks, lab) == []
    (lab / "one.py").write_text("mine\n")
    (notebooks / "one.py").write_text("1.1\n")
    (notebooks / "two.py").write_text("2.1\n")
    assert lay_out(notebooks, lab) == ["one.py"]
    assert (lab / "one.py").read_text() == "mine\n"
    assert (lab / "two.py").read_text() == "2.1\n"
    assert (lab / "ui").resolve() == notebooks / "ui"
    (lab / "one.py").unlink()
    assert lay_out(notebooks, lab) == []
    assert (lab / "one.py").read_text() == "1.1\n"


def test_a_notebook_that_is_not_there_is_named(home: Path) -> None:
    done = subprocess.run(
        [TIMMY, "lab", "nothing", "--home", str(home)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert "no notebook 'nothing'; expected one of" in done.stderr


def test_a_home_that_is_only_read_takes_no_write_and_asks_no_model(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIMMY_READ_ONLY", "true")
    provider = ScriptedProvider("well", "Here I am.")
    timmy = Timmy(load_settings(home), providers=[provider])
    try:
        with pytest.raises(StoreReadOnlyError, match="timmy lab --write"):
            timmy.events.append("task.created", source="test", data={})
        with pytest.raises(StoreReadOnlyError):
            timmy.ask_sync("Are you there?")
        answer = timmy.router.chat_sync([{"role": "user", "content": "Are you there?"}])
        assert answer.offline
        assert "open to be read only" in answer.attempts[0].message
        assert provider.requests == []
        assert timmy.events.list() == []
        assert timmy.sql("SELECT count(*) AS n FROM events")["n"].to_list() == [0]
    finally:
        timmy.shutdown()


def test_the_editor_answers_on_this_machine(home: Path, tmp_path: Path) -> None:
    with (tmp_path / "out.txt").open("wb") as out:
        lab = subprocess.Popen(
            [TIMMY, "lab", "router", "--home", str(home), "--no-open"],
            stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "COLUMNS": "200", "BROWSER": "none"},
        )  # fmt: skip
    try:
        address = until_printed(lab, tmp_path / "out.txt")
        # Its address has the token; without it nobody gets in.
        assert "access_token=" in address
        with httpx.Client(trust_env=False, timeout=30, follow_redirects=True) as browser:
            assert browser.get(address.split("?", 1)[0] + "/api/usage").status_code == 401
            assert browser.get(address).status_code == 200
    finally:
        lab.send_signal(signal.SIGTERM)
        lab.wait(30)


def until_printed(lab: subprocess.Popen[bytes], out: Path) -> str:
    for _ in range(300):
        words = [word for word in out.read_text(errors="replace").split() if word.startswith("http://localhost:")]
        if words:
            return words[0]
        assert lab.poll() is None, out.read_text()
        time.sleep(0.2)
    raise AssertionError(out.read_text())
