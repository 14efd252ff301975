"""How the scopes that are open are searched, for whoever wants to see it."""

from __future__ import annotations

from dataclasses import dataclass

from timmy_core.memory.index.shelf import Shelf


@dataclass(frozen=True, slots=True)
class ScopeState:
    """How a scope that is open is searched; for the page."""

    scope: str  # empty for all of them together
    vectors: int
    route: str  # exact, graph or streamed
    generation: int  # of the graph; 0 without
    new: int  # vectors that came after the graph
    dead: int  # rows of the graph that no longer count
    bytes: int


def state_of(shelf: Shelf) -> ScopeState:
    """Return how a scope is searched."""
    graph = shelf.graph
    return ScopeState(
        scope=shelf.scope,
        vectors=len(shelf),
        route=shelf.route,
        generation=graph.manifest.generation if graph else 0,
        new=len(shelf.block) if graph else 0,
        dead=len(graph.dead) - graph.live if graph else 0,
        bytes=shelf.bytes,
    )
