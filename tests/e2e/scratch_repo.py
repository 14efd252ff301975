"""A scratch repository for the upgrades page: a small program with tests, and changes to be proposed to it."""

from __future__ import annotations

import subprocess
from pathlib import Path

PIN = "blue-heron-41"
TARIFF = '''"""What a parcel costs."""

from dataclasses import dataclass

ZONES = {"home": 390, "near": 690, "far": 1490}
HEAVY_G = 5_000


@dataclass(frozen=True)
class Parcel:
    """A parcel, weighed."""

    grams: int
    zone: str = "home"


def price(parcel: Parcel) -> int:
    """Return the price in cents.

    Heavy parcels cost half as much again.
    """
    cents = ZONES[parcel.zone]
    if parcel.grams > HEAVY_G:
        cents = cents * 3 // 2
    return cents


def total(parcels: list[Parcel]) -> int:
    """Return what all of them cost together."""
    sum = 0
    for parcel in parcels:
        sum += price(parcel)
    return sum


def label(parcel: Parcel) -> str:
    """Return the words on the label."""
    return f"{parcel.zone} {parcel.grams} g"
'''
TESTS = """from tariff import Parcel, label, price, total


def test_a_light_parcel():
    assert price(Parcel(900)) == 390


def test_a_heavy_parcel():
    assert price(Parcel(9_000, "near")) == 1035


def test_several():
    assert total([Parcel(900), Parcel(900, "far")]) == 1880


def test_the_label():
    assert "900" in label(Parcel(900))
"""
README = "# Tariff\n\nWhat parcels cost.\n\nPrices are in cents.\n"
BETTER = TARIFF.replace(
    "    sum = 0\n    for parcel in parcels:\n        sum += price(parcel)\n    return sum\n",
    "    return sum(price(parcel) for parcel in parcels)\n",
)
DEARER = TARIFF.replace('"far": 1490', '"far": 1790').replace('f"{parcel.zone} {parcel.grams} g"', "parcel.zone")
CI = "steps:\n  - run: pytest -q\n"


def git(repo: Path, *args: str) -> str:
    """Run git as a person does, with a name and without anybody's configuration."""
    done = subprocess.run(
        ["git", "-C", str(repo), "-c", "user.name=ann", "-c", "user.email=ann@example.org", *args],
        check=True, capture_output=True, text=True,
        env={"PATH": "/usr/bin:/bin", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(repo)},
    )  # fmt: skip
    return done.stdout


def make_repo(path: Path) -> Path:
    """Make the repository with its branch `main`."""
    (path / "tests").mkdir(parents=True)
    git(path, "init", "-q", "-b", "main")
    for name, text in {
        "tariff.py": TARIFF,
        "tests/test_tariff.py": TESTS,
        "README.md": README,
        ".ci/steps.yml": CI,
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\n',
    }.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    git(path, "add", "-A")
    git(path, "commit", "-q", "-m", "the tariff")
    return path


def settings(repo: Path) -> str:
    """Return what stands in `timmy.toml` about it."""
    return f'[upgrades]\nrepo = "{repo}"\ntest_s = 120.0\n'
