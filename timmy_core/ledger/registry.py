"""The nodes of a home by name, and what each of them is; nothing is asked of them here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from timmy_core.errors import NodeError
from timmy_core.ledger.node import Network, Node, NodeKind


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a node is; `play` says that its sats are worth nothing."""

    name: str
    kind: NodeKind
    network: Network
    play: bool
    default: bool


class Nodes:
    """The nodes of a home.

    Args:
        nodes: all of them, by different names.
        default: the name of the one that is used where none is named; the first if None.
    """

    def __init__(self, nodes: Sequence[Node], default: str | None = None) -> None:
        self._nodes = {node.name: node for node in nodes}
        self.default = default or next(iter(self._nodes), "")

    def get(self, name: str | None = None) -> Node:
        """Return the named node, or the default one.

        Raises:
            NodeError: no node has that name.
        """
        wanted = self.default if name is None else name
        node = self._nodes.get(wanted)
        if node is None:
            known = ", ".join(self._nodes) or "none is configured"
            message = f"no node is named {wanted!r}; expected one of: {known}"
            raise NodeError(kind="misconfigured", message=message, sure=True)
        return node

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def __contains__(self, name: object) -> bool:
        return name in self._nodes

    def info(self) -> list[NodeInfo]:
        """Return what each node is."""
        return [NodeInfo(node.name, node.kind, node.network, node.play, node.name == self.default) for node in self]
