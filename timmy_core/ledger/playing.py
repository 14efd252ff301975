"""Playing: what the neighbour of a play node does when it is told to, so that a first try needs no other wallet."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from timmy_core.errors import NodeError
from timmy_core.ledger.node import Node
from timmy_core.ledger.registry import Nodes
from timmy_core.loop import LoopThread


@runtime_checkable
class HasNeighbour(Protocol):
    """A node with somebody to trade with."""

    async def neighbour_pays(self, payment_hash: str, *, amount_msat: int | None = None, late: bool = False) -> None:
        """Have the neighbour pay an invoice of this node."""
        ...

    async def neighbour_invoice(self, *, amount_msat: int | None, memo: str = "", expiry_s: int = 3600) -> str:
        """Have the neighbour make an invoice that this node can pay."""
        ...


class Playing:
    """The neighbours of the play nodes; safe from any thread.

    Args:
        nodes: the nodes of the home.
        loop: Timmy's own loop.
    """

    def __init__(self, nodes: Nodes, loop: LoopThread) -> None:
        self._nodes = nodes
        self._loop = loop

    def pay(self, payment_hash: str, *, node: str | None = None) -> None:
        """Have the neighbour pay an invoice of a play node.

        Raises:
            NodeError: it is no play node, or the invoice cannot be paid any more.
        """
        self._loop.run(_neighbour_of(self._nodes.get(node)).neighbour_pays(payment_hash))

    def invoice(self, *, amount_msat: int | None, memo: str = "", node: str | None = None) -> str:
        """Have the neighbour make an invoice, which a play node can pay; without an amount the payer chooses.

        Raises:
            NodeError: it is no play node.
        """
        neighbour = _neighbour_of(self._nodes.get(node))
        return self._loop.run(neighbour.neighbour_invoice(amount_msat=amount_msat, memo=memo))


def _neighbour_of(node: Node) -> HasNeighbour:
    if isinstance(node, HasNeighbour):
        return node
    message = f"{node.name} is no play node, so nobody pays or asks when told to; name a node of kind play"
    raise NodeError("rejected", message, sure=True)  # noqa: EM101 - the kind; the message is a variable
