"""Merkle trees after RFC 6962, section 2.1: one root stands for many entries, and a short path proves one of them.

leaf = SHA-256(00, entry)    node = SHA-256(01, left, right)    the left tree holds the largest power of two < n
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

EMPTY: Final = hashlib.sha256().digest()


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two neighbours."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(entries: Iterable[bytes]) -> bytes:
    """Return the root of a tree; it is made as the entries come, with memory for one path only."""
    peaks: list[tuple[int, bytes]] = []  # complete subtrees from left to right: (how many entries, hash)
    for entry in entries:
        size, top = 1, leaf_hash(entry)
        while peaks and peaks[-1][0] == size:
            top = node_hash(peaks.pop()[1], top)
            size *= 2
        peaks.append((size, top))
    if not peaks:
        return EMPTY
    top = peaks.pop()[1]
    while peaks:
        top = node_hash(peaks.pop()[1], top)
    return top


def path(entries: Sequence[bytes], index: int) -> list[bytes]:
    """Return the neighbours from an entry up to the root, the nearest first.

    Raises:
        IndexError: there is no such entry.
    """
    if not 0 <= index < len(entries):
        message = f"entry {index} is not in a tree of {len(entries)}"
        raise IndexError(message)
    row = [leaf_hash(entry) for entry in entries]
    neighbours = []
    while len(row) > 1:
        beside = index ^ 1
        if beside < len(row):
            neighbours.append(row[beside])
        pairs = [node_hash(left, right) for left, right in zip(row[::2], row[1::2], strict=False)]
        # An odd one at the end goes up as it is: its subtree is the right edge of the tree.
        row = pairs + row[len(pairs) * 2 :]
        index //= 2
    return neighbours


def root_from_path(entry: bytes, index: int, size: int, neighbours: Sequence[bytes]) -> bytes | None:
    """Return the root that an entry and its path lead to, or None where the path has not the length that it must have.

    This is the check of RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size:
        return None
    top, last = leaf_hash(entry), size - 1
    for neighbour in neighbours:
        if last == 0:
            return None
        if index & 1 or index == last:
            top = node_hash(neighbour, top)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            top = node_hash(top, neighbour)
        index, last = index >> 1, last >> 1
    return top if last == 0 else None
