"""`timmy memory model`: fetching the model, and saying how it is."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pytest

from timmy_core.memory.model_files import MINILM, ModelFolder

from .running import here

run = partial(here, "memory", "model")
# Read here, because every test begins without variables of Timmy's.
REAL = os.environ.get("TIMMY_TEST_MINILM")


def test_a_home_without_a_model_is_no_fault(home: Path) -> None:
    done = run("status", home=home)
    assert done.returncode == 0
    assert "run `timmy memory model install`" in done.stdout
    assert "words alone" in done.stdout
    found = json.loads(run("status", "--json", home=home).stdout)
    assert (found["installed"], found["vectors"]) == (False, [])


def test_a_damaged_model_is_said_and_is_a_fault(home: Path) -> None:
    folder = ModelFolder(home / "models").path
    folder.mkdir(parents=True)
    for file in MINILM.files:
        with (folder / file.name).open("wb") as opened:
            opened.truncate(file.size)
    done = run("status", home=home)
    assert done.returncode == 1
    assert "is not the file that it should be" in done.stdout


def test_what_cannot_be_installed_is_one_sentence_and_not_left_half_there(home: Path) -> None:
    done = run("install", "--from", str(home / "nowhere"), home=home)
    assert done.returncode == 1
    assert "nowhere: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr
    assert not ModelFolder(home / "models").path.exists()


def test_the_real_model_is_installed_from_a_folder_and_sound(home: Path) -> None:
    if not REAL or not ModelFolder(Path(REAL) / "models").installed:
        pytest.skip("the real model, 91 MB, is left out: TIMMY_TEST_MINILM names no home that has it")
    done = run("install", "--from", str(Path(REAL) / "models"), home=home)
    assert done.returncode == 0, done.stderr
    assert "its SHA-256 is the right one" in done.stdout
    assert f"✓ {MINILM.name} {MINILM.version}" in run("status", home=home).stdout
    (home / "timmy.toml").write_text('[memory]\nembedder = "none"\n')
    assert 'it is not used: embedder = "none"' in run("install", "--from", str(Path(REAL) / "models"), home=home).stdout
