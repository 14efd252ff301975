"""What a newcomer installs: the wheel, outside the checkout, with the pages in it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
from playwright.sync_api import expect

from timmy_core.server.pages import PAGES

from .conftest import Serve
from .served import plain_environment
from .window import PATIENCE_MS, Window, heading

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Installed:
    """A wheel that was installed into a folder of its own; what it depends on comes from this environment."""

    wheel: Path
    folder: Path

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(self.folder / "bin" / "timmy")]

    @property
    def environment(self) -> dict[str, str]:
        return plain_environment(PYTHONPATH=str(self.folder))

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=self.wheel.parent,
            env=self.environment,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}"
        return done.stdout.strip()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    built, folder = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("installed")
    pip("wheel", "--no-deps", "--wheel-dir", str(built), str(ROOT))
    wheels = list(built.glob("timmy_workbench-*.whl"))
    assert len(wheels) == 1, f"expected one wheel, got {[path.name for path in built.iterdir()]}"
    pip("install", "--no-deps", "--no-index", "--target", str(folder), str(wheels[0]))
    return Installed(wheels[0], folder)


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, f"`pip {' '.join(arguments)}` ended with status {done.returncode}:\n{done.stderr}"


def test_the_wheel_holds_every_page_and_nothing_that_was_lying_about(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()
    missing = {f"timmy_core/_notebooks/{page.notebook}" for page in PAGES} - set(names)
    assert not missing
    ours = ("timmy_core/", "timmy_workbench-")
    stray = [name for name in names if not name.startswith(ours) or "__marimo__" in name or "__pycache__" in name]
    assert not stray, f"the wheel carries leftovers: {stray}"


def test_the_installed_package_finds_its_own_pages(installed: Installed) -> None:
    assert installed.run(*installed.command, "--version") == f"timmy-workbench {version('timmy-workbench')}"
    code = "import timmy_core as t; from timmy_core.server.pages import *; print(t.__file__, find_notebooks(), sep='|')"
    package, notebooks = map(Path, installed.run(sys.executable, "-c", code).split("|"))
    assert package == installed.folder / "timmy_core" / "__init__.py", "not the wheel but something else was imported"
    assert notebooks == installed.folder / "timmy_core" / "_notebooks"


def test_the_installed_command_serves_the_pages(installed: Installed, home: Path, serve: Serve, window: Window) -> None:
    served = serve(home, environment=installed.environment, command=installed.command)
    for place in PAGES:
        answer = served.get(place.path if place.path == "/" else f"{place.path}/")
        assert answer.status_code == 200, f"{place.path} answered {answer.status_code}"
        title = place.title if place.word == "labs" else place.word.capitalize()
        assert f"<title>{title} · Timmy</title>" in answer.text
    page = window.tab()
    page.goto(served.url)
    heading(page, "Timmy").wait_for()
    expect(page.locator(".tw-chat")).to_be_visible(timeout=PATIENCE_MS)
    assert window.foreign_requests(served.netloc) == []
    assert window.errors() == []
