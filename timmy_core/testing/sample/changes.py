"""The sample's upgrades: a small repository in the home, and what was proposed, tested, decided and landed in it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from timmy_core.testing.sample.config import BEGAN, PERSON, PIN, REPO

if TYPE_CHECKING:
    from timmy_core.testing.clock import FakeClock
    from timmy_core.timmy import Timmy

Deed = Callable[[], object]

PRICES: Final = '''\
"""What the workshop charges."""

PRICES = {"inspection": 3800, "puncture": 1500, "wheel": 4500}
DISCOUNT_FROM = 3


def price(work: str) -> int:
    """Return the price of one piece of work, in cents."""
    return PRICES[work]


def total(works: list[str]) -> int:
    """Return what they cost together, in cents; from three on a tenth less."""
    sum = 0
    for work in works:
        sum += price(work)
    if len(works) >= DISCOUNT_FROM:
        sum = sum * 9 // 10
    return sum
'''
TESTS: Final = """\
import unittest

from prices import price, total


class Prices(unittest.TestCase):
    def test_one(self):
        self.assertEqual(price("puncture"), 1500)

    def test_two_cost_their_sum(self):
        self.assertEqual(total(["puncture", "wheel"]), 6000)

    def test_three_cost_a_tenth_less(self):
        self.assertEqual(total(["puncture"] * 3), 4050)
"""
# The demonstration has to work without any test runner beside Python's own, which writes no such report by itself.
CHECK: Final = '''\
"""Run the tests and write what came of each, as JUnit does: python check.py REPORT"""

import sys
import unittest
from xml.etree import ElementTree


class Kept(unittest.TextTestResult):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.suite = ElementTree.Element("testsuite")

    def startTest(self, test):
        super().startTest(test)
        name, _, case = test.id().rpartition(".")
        self.case = ElementTree.SubElement(self.suite, "testcase", classname=name, name=case)

    def addFailure(self, test, error):
        super().addFailure(test, error)
        ElementTree.SubElement(self.case, "failure")

    def addError(self, test, error):
        super().addError(test, error)
        ElementTree.SubElement(self.case, "error")


sys.path.insert(0, ".")
result = unittest.TextTestRunner(sys.stdout, resultclass=Kept).run(unittest.defaultTestLoader.discover("tests"))
ElementTree.ElementTree(result.suite).write(sys.argv[1])
sys.exit(not result.wasSuccessful())
'''
SHORTER: Final = PRICES.replace(
    "    sum = 0\n    for work in works:\n        sum += price(work)\n    if len(works) >= DISCOUNT_FROM:\n"
    "        sum = sum * 9 // 10\n    return sum\n",
    "    cents = sum(price(work) for work in works)\n    return cents * 9 // 10 if len(works) >= DISCOUNT_FROM else "
    "cents\n",
)
DEARER: Final = SHORTER.replace('"inspection": 3800', '"inspection": 4200')
CHEAPER: Final = SHORTER.replace("* 9 // 10", "* 8 // 10")
ROUNDED: Final = DEARER.replace(
    "def total(", 'def shown(cents: int) -> str:\n    """Return a price as people read it."""\n'
    '    return f"{cents // 100}.{cents % 100:02d} €"\n\n\ndef total(',
)  # fmt: skip
FILES: Final = {
    "prices.py": PRICES,
    "tests/test_prices.py": TESTS,
    "README.md": "# Prices\n\nWhat the workshop charges, in cents.\n",
    "check.py": CHECK,
}
GUIDE: Final = FILES["README.md"] + "\nFrom three pieces of work on, everything costs a tenth less.\n"


def make_repo(home: Path) -> None:
    """Make the repository with its branch `main`."""
    repo = home / REPO
    for name, text in FILES.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(text, encoding="utf-8")
    _git(repo, "init", "-q", "-b", "main", "--template=")
    _git(repo, "config", "user.name", PERSON)
    _git(repo, "config", "user.email", f"{PERSON}@example.org")
    _git(repo, "add", "-A")
    _git(repo, "commit", "-q", "-m", "What the workshop charges")


def _git(repo: Path, *words: str) -> None:
    """Run git as nobody in particular, at the time at which the month begins."""
    when = {"GIT_AUTHOR_DATE": BEGAN.isoformat(), "GIT_COMMITTER_DATE": BEGAN.isoformat()}
    plain = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "HOME": str(repo)}
    environment = {"PATH": os.environ.get("PATH", os.defpath), **plain, **when}
    subprocess.run(["git", "-C", str(repo), *words], check=True, env=environment, capture_output=True)  # noqa: S603, S607


def of_day(timmy: Timmy, clock: FakeClock, day: int) -> Iterator[tuple[float, Deed]]:
    """Yield what is proposed and decided on a day, with its hour."""
    deeds: dict[int, Deed] = {
        2: partial(timmy.upgrading.approvals.set_pin, PIN, by=PERSON),
        5: partial(_landed, timmy, clock, "Add prices up in one line", {"prices.py": SHORTER}),
        10: partial(_rejected, timmy, clock),
        16: partial(_landed, timmy, clock, "An inspection costs 42 euro", {"prices.py": DEARER}),
        20: partial(_failing, timmy, clock),
        23: partial(_rolled_back, timmy, clock),
        29: partial(_waiting, timmy, clock),
    }
    if day in deeds:
        yield 17.2, deeds[day]


def _proposed(timmy: Timmy, clock: FakeClock, words: str, files: dict[str, str], by: str = "timmy") -> str:
    proposal = timmy.upgrades.propose(description=words, files=files, proposed_by=by)
    clock.advance(3.0)
    timmy.upgrades.test(proposal.id)
    clock.advance(40.0)
    return proposal.id


def _landed(timmy: Timmy, clock: FakeClock, words: str, files: dict[str, str]) -> str:
    id_ = _proposed(timmy, clock, words, files)
    clock.advance(900.0)
    timmy.upgrades.approve(id_, by=PERSON, pin=PIN)
    clock.advance(4.0)
    timmy.upgrades.apply(id_)
    return id_


def _rejected(timmy: Timmy, clock: FakeClock) -> None:
    id_ = _proposed(timmy, clock, "Describe the discount", {"README.md": GUIDE + "\nAsk Timmy for more.\n"})
    clock.advance(1800.0)
    timmy.upgrades.reject(id_, by=PERSON, reason="the last line is not for customers", pin=PIN)


def _failing(timmy: Timmy, clock: FakeClock) -> None:
    """Propose something that the tests do not let through."""
    _proposed(timmy, clock, "A larger discount from three on", {"prices.py": CHEAPER}, by="forge")


def _rolled_back(timmy: Timmy, clock: FakeClock) -> None:
    id_ = _landed(timmy, clock, "Show prices as people read them", {"prices.py": ROUNDED})
    clock.advance(7200.0)
    timmy.upgrades.rollback(id_, by=PERSON, pin=PIN)


def _waiting(timmy: Timmy, clock: FakeClock) -> None:
    _proposed(timmy, clock, "Describe the discount where people look for it", {"README.md": GUIDE}, by="forge")
