"""The trees behind the signed heads are those of RFC 6962."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timmy_core.events import merkle


def naive(entries: list[bytes]) -> bytes:
    """The definition of RFC 6962, word for word."""
    if not entries:
        return hashlib.sha256().digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + naive(entries[:k]) + naive(entries[k:])).digest()


def naive_path(index: int, entries: list[bytes]) -> list[bytes]:
    if len(entries) == 1:
        return []
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if index < k:
        return [*naive_path(index, entries[:k]), naive(entries[k:])]
    return [*naive_path(index - k, entries[k:]), naive(entries[:k])]


ENTRIES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
    "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_the_roots_are_those_of_certificate_transparency() -> None:
    assert [merkle.root(ENTRIES[:size]).hex() for size in range(9)] == ROOTS


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=70), st.data())
def test_roots_and_paths_are_those_of_the_definition(entries: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(entries) - 1))
    path = merkle.path(entries, index)
    assert merkle.root(entries) == naive(entries)
    assert path == naive_path(index, entries)
    assert merkle.root_from_path(entries[index], index, len(entries), path) == naive(entries)


@given(st.lists(st.binary(min_size=1, max_size=8), min_size=1, max_size=40, unique=True), st.data())
def test_a_path_proves_nothing_else(entries: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(entries) - 1))
    root, path, size = merkle.root(entries), merkle.path(entries, index), len(entries)
    assert merkle.root_from_path(entries[index] + b"x", index, size, path) != root
    assert merkle.root_from_path(entries[index], size, size, path) is None
    assert merkle.root_from_path(entries[index], index, size, [*path, bytes(32)]) != root
    if path:
        assert merkle.root_from_path(entries[index], index, size, path[:-1]) != root
    other = data.draw(st.integers(0, size - 1))
    if other != index:
        assert merkle.root_from_path(entries[index], other, size, path) != root


def test_a_tree_has_no_entry_outside() -> None:
    with pytest.raises(IndexError, match="not in a tree of 2"):
        merkle.path([b"a", b"b"], 2)
