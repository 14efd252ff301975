"""`timmy ledger export`, as a person types it: into files whose names say the format, to the terminal, and refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from timmy_core import open_timmy
from timmy_core.ledger.export.formats import FORMATS, export_bytes

TIMMY = Path(sys.executable).with_name("timmy")


def run(*words: str, home: Path) -> subprocess.CompletedProcess[bytes]:
    command = [TIMMY, "ledger", "export", *words, "--home", str(home)]
    return subprocess.run(
        command, capture_output=True, check=False, timeout=60, env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    )


@pytest.fixture
def booked(home: Path) -> Path:
    with open_timmy(home) as timmy:
        timmy.ledger.opening("savings", 21_000)
    return home


@pytest.fixture
def expected(booked: Path) -> dict[str, bytes]:
    with open_timmy(booked) as timmy:
        return {name: b"".join(export_bytes(timmy.ledger, name)) for name in FORMATS}


def test_the_longest_ending_of_the_file_says_the_format(booked: Path, expected: dict[str, bytes]) -> None:
    path = booked / "Book.Koinly.csv"
    done = run(str(path), home=booked)
    assert done.returncode == 0, done.stderr
    assert b"1 booking is in" in done.stdout.replace(b"\n", b" ")
    assert path.read_bytes() == expected["koinly"]


def test_it_prints_what_the_file_would_be(booked: Path, expected: dict[str, bytes]) -> None:
    assert run("-", "--format", "csv", home=booked).stdout == expected["csv"]
    assert b"Assets:LN:savings" in expected["csv"]
    assert b"savings" not in run("-", "--format", "csv", "--node", "other", home=booked).stdout
    assert b"Brought forward" in run("-", "--format", "csv", "--since", "2100-01-01", home=booked).stdout


def test_what_it_cannot_do_is_said_with_what_to_do(booked: Path) -> None:
    unclear = run(str(booked / "book.xlsx"), home=booked)
    assert unclear.returncode != 0
    assert b"does not say its format; give --format" in unclear.stderr
    unknown = run("-", "--format", "xlsx", home=booked)
    assert unknown.returncode != 0
    assert b"there is no format 'xlsx'; expected one of csv, beancount" in unknown.stderr
