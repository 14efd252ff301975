"""The doors to Lightning nodes, one a kind; all their network I/O happens in here."""

from __future__ import annotations

from pathlib import Path

from timmy_core.clock import Clock
from timmy_core.ledger.node import Node
from timmy_core.settings_ledger import NodeSettings


def open_node(settings: NodeSettings, home: Path, clock: Clock) -> Node:
    """Return the node of a `[[nodes]]` table; it connects with its first call.

    Args:
        settings: the table; one that lacks a key gives a node whose every call says so.
        home: where a play node keeps its file, and relative paths begin.
        clock: the time.
    """
    if settings.kind == "play":
        from timmy_core.ledger.nodes.play import PlayNode

        return PlayNode(settings.name, play_path(home, settings.name), clock, opening_msat=settings.play_sats * 1000)
    if settings.kind == "lnbits":
        from timmy_core.ledger.nodes.lnbits import LNbitsNode

        return LNbitsNode(settings, clock)
    from timmy_core.ledger.nodes.lnd import LndNode

    return LndNode(settings, home, clock)


def play_path(home: Path, name: str) -> Path:
    """Return where a play node keeps what it knows."""
    return home / "nodes" / f"{name}.jsonl"
