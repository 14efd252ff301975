"""A value that grows without end: whatever builds it, the process that asks neither grows nor waits for long."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from timmy_core import open_timmy
from timmy_core.errors import QueryError
from timmy_core.store import workers as workers_module
from timmy_core.timmy import Timmy

LINUX = sys.platform == "linux"


def twice(depth: int) -> str:
    steps = ", ".join(f"w{n} AS (SELECT s || s || s || s || s || s || s || s s FROM w{n - 1})" for n in range(1, depth))
    return f"WITH w0 AS (SELECT repeat('x', 10000) s), {steps} SELECT length(s) FROM w{depth - 1}"


ATTACKS = {
    "concatenation through CTEs": twice(12),
    "lists of lists": (
        "SELECT len(list_transform(range(10000), lambda x: list_transform(range(10000), "
        "lambda y: list_transform(range(1000), lambda z: x + y + z))))"
    ),
    "sums of lists of lists": (
        "SELECT len(list_transform(range(10000), lambda x: list_sum(list_transform(range(10000), "
        "lambda y: list_sum(list_transform(range(1000), lambda z: x * y + z))))))"
    ),
    "string_agg over a cross join": (
        "SELECT length(string_agg(repeat('x', 10000) || a.i, '')) FROM range(100000) a(i), range(100000) b"
    ),
    "list over a cross join": (
        "SELECT list(repeat('x', 10000) || a.i || b.i) FROM range(100000) a(i), range(100000) b(i)"
    ),
    "repeat inside repeat": "SELECT length(" + "repeat(" * 12 + "'x'" + ", 10000)" * 12 + ")",
    "maps of structs": (
        "SELECT map_from_entries(list_transform(range(10000), lambda x: {'k': x, "
        "'v': list_transform(range(10000), lambda y: {'a': y, 'b': repeat('x', 10000)})}))"
    ),
    "regexp_replace": (
    "SELECT length(regexp_replace(regexp_replace(regexp_replace(repeat('a', 10000), '.', repeat('b', 10000), 'g'), "
    "'.', 'cccccccccccccccc', 'g'), '.', 'dddddddddd', 'g'))"
),
    "replace": (
        "SELECT length(replace(replace(replace(replace(repeat('a', 10000), 'a', repeat('b', 10000)), 'b', "
        "repeat('c', 10000)), 'c', 'dddddddddd'), 'd', 'eeeeeeeeee'))"
    ),
    "a recursion that doubles": (
        "WITH RECURSIVE r AS (SELECT repeat('x', 10000) AS s UNION ALL SELECT s || s FROM r) "
        "SELECT max(length(s)) FROM r"
    ),
    "to_json of what grows": "SELECT to_json(list_transform(range(10000), lambda x: range(10000)))::VARCHAR",
}  # fmt: skip


def one(timmy: Timmy) -> list[int]:
    return timmy.sql("SELECT 1 AS one")["one"].to_list()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "GRACE_S", 0.5)


def peak_mib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Timmy]:
    home = tmp_path_factory.mktemp("attacked")
    (home / "timmy.toml").write_text("providers = []\n", encoding="utf-8")
    with open_timmy(home) as opened:
        yield opened


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", ATTACKS)
def test_a_value_that_grows_without_end_costs_the_asker_nothing(attacked: Timmy, name: str) -> None:
    assert one(attacked) == [1]
    if LINUX:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = peak_mib()
    began = time.monotonic()
    with pytest.raises(QueryError, match=r"took longer than 0\.5 s|memory that it may have|was ended by"):
        attacked.sql(ATTACKS[name], timeout_s=0.5)
    assert time.monotonic() - began < 30
    if LINUX:
        assert peak_mib() - before < 100
    assert one(attacked) == [1]
