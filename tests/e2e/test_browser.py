from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from .browser import NAMED_BY, NoBrowserError, find_browser


class Programs:
    """Stands in for `subprocess.run`: programs that start, and fetches that bring one or fail."""

    def __init__(self, *, start: bool = False, apt_brings: Path | None = None) -> None:
        self.start, self.apt_brings = start, apt_brings
        self.commands: list[str] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.commands.append(" ".join(command))
        if command[-1] == "--version":
            return subprocess.CompletedProcess(command, 0 if self.start else 127, "", "")
        if command[:2] == ["apt-get", "install"] and self.apt_brings is not None:
            program(self.apt_brings)
            self.start = True
            return subprocess.CompletedProcess(command, 0, "", "")
        return subprocess.CompletedProcess(command, 1, "", "no network\n")


def program(path: Path) -> Path:
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_one_that_is_named_is_taken() -> None:
    assert find_browser({NAMED_BY: "/opt/mine", "PATH": ""}, run=Programs(start=True)) == "/opt/mine"


def test_a_named_one_that_does_not_start_is_an_error_that_names_it() -> None:
    with pytest.raises(NoBrowserError, match=r"names /opt/mine, which does not start"):
        find_browser({NAMED_BY: "/opt/mine", "PATH": ""}, run=Programs())


def test_the_systems_own_is_taken_without_fetching(tmp_path: Path) -> None:
    path, programs = program(tmp_path / "chromium"), Programs(start=True)
    assert find_browser({"PATH": str(tmp_path)}, run=programs) == str(path)
    assert programs.commands == [f"{path} --version"]


def test_a_stub_that_does_not_start_is_passed_over_and_the_package_manager_fetches_one(tmp_path: Path) -> None:
    program(tmp_path / "chromium-browser")
    program(tmp_path / "apt-get")
    programs = Programs(apt_brings=tmp_path / "chromium")
    assert find_browser({"PATH": str(tmp_path)}, run=programs, root=True) == str(tmp_path / "chromium")
    assert any("playwright install chromium" in command for command in programs.commands)


def test_none_to_be_had_is_an_error_with_an_instruction(tmp_path: Path) -> None:
    with pytest.raises(NoBrowserError) as caught:
        find_browser({"PATH": str(tmp_path)}, run=Programs(), root=False)
    message = str(caught.value)
    assert "playwright install --with-deps chromium" in message
    assert NAMED_BY in message
    assert "no network" in message
