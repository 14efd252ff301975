"""`timmy demo`: a copy that is served, and gone at the end."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path

import httpx

from tests.e2e.served import plain_environment, timmy_command
from tests.waiting import until


def test_a_copy_is_served_answers_and_is_gone_at_the_end(tmp_path: Path) -> None:
    printed = tmp_path / "out.txt"
    environment = plain_environment(COLUMNS="200", TMPDIR=str(tmp_path))
    with printed.open("wb") as out:
        demo = subprocess.Popen(
            [*timmy_command(), "demo", "--no-open"], stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=tmp_path
        )
    try:
        shown = until(lambda: re.search(r"is at (http://\S+)", printed.read_text()), "it listens", within_s=60)
        url = shown.group(1)
        health = until(lambda: httpx.get(f"{url}/readyz").json()["ready"], "it is ready", within_s=30)
        assert health
        newest = httpx.get(f"{url}/api/v1/events", params={"limit": 1}).json()
        assert newest
        assert "a made-up month up to" in printed.read_text()
        assert "with the PIN" in printed.read_text()
        assert list(tmp_path.glob("timmy-demo-*"))
    finally:
        demo.send_signal(signal.SIGINT)
        status = demo.wait(30)
    assert status == 0, printed.read_text()
    assert "Traceback" not in printed.read_text()
    assert not list(tmp_path.glob("timmy-demo-*"))


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = subprocess.run(
        [*timmy_command(), "demo", "--no-open", "--home", str(tmp_path)],
        capture_output=True, text=True, env=plain_environment(), check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "is not empty; name another folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
