"""`timmy backup`, `timmy restore` and `timmy alerts` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from timmy_core.cli import app
from timmy_core.errors import AlertError, BackupError
from timmy_core.timmy import open_timmy

RUN = CliRunner()


def timmy(*words: object) -> str:
    result = RUN.invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_home_is_backed_up_looked_at_and_restored(home: Path, tmp_path: Path) -> None:
    with open_timmy(home) as opened:
        opened.events.append("system.info", source="test")
    folder = tmp_path / "copies"
    folder.mkdir()
    assert "keep it where only you can read it" in timmy("backup", folder, "--home", home)
    (made,) = folder.iterdir()
    assert made.name.startswith("timmy-")
    assert made.name.endswith(".tar.zst")
    assert "book hold" in timmy("restore", made, "--check", "--home", home)
    with pytest.raises(BackupError, match="--over"):
        timmy("restore", made, "--home", home)
    assert "what was there before is in" in timmy("restore", made, "--over", "--home", home)
    with open_timmy(home) as opened:
        assert [event.type for event in opened.events.list(order="asc")] == ["system.info", "log.restored"]


def test_a_check_that_finds_faults_ends_with_status_1(home: Path, tmp_path: Path) -> None:
    with open_timmy(home) as opened:
        for number in range(3):
            opened.events.append("system.info", source="test", data={"n": number})

        def alter(connection: object) -> None:
            connection.execute("DROP TRIGGER events_unchanged")  # type: ignore[attr-defined]
            connection.execute("UPDATE events SET data = '{}' WHERE seq = 2")  # type: ignore[attr-defined]

        opened.store.write(alter)
    timmy("backup", tmp_path / "b.tar.zst", "--home", home)
    result = RUN.invoke(app, ["restore", str(tmp_path / "b.tar.zst"), "--check", "--home", str(home)])
    assert result.exit_code == 1
    assert "event 2" in result.output
    assert "event 2" in timmy("restore", tmp_path / "b.tar.zst", "--anyway", "--home", tmp_path / "new")


def test_alerts_are_listed_as_people_and_as_programs_read_them(home: Path) -> None:
    assert "nothing needs your eye" in timmy("alerts", "list", "--home", home)
    with open_timmy(home) as opened:
        opened.events.append("log.verified", source="cli", data={"ok": False, "problem": "event 7 was altered"})
        opened.alerts.check()
    assert "event 7 was altered" in timmy("alerts", "list", "--home", home)
    found = json.loads(timmy("alerts", "list", "--json", "--all", "--home", home))
    assert (found["rule"], found["resolved_at"]) == ("chain_broken", None)
    with pytest.raises(AlertError, match="no address is named"):
        timmy("alerts", "test", "--home", home)
