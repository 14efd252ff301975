"""Doubles that users need too: a clock, a provider that follows a script, a sick server, an embedder, a node."""

from __future__ import annotations

from timmy_core.testing.clock import FakeClock
from timmy_core.testing.embedder import WordEmbedder
from timmy_core.testing.fake_node import NODE_FAULTS, FakeNode
from timmy_core.testing.faults import FAULTS, Fault
from timmy_core.testing.lnd_server import LndServer
from timmy_core.testing.ollama_host import OllamaModel, Pull
from timmy_core.testing.provider import ScriptedProvider
from timmy_core.testing.turn import Turn
from timmy_core.testing.wire import WireServer

__all__ = [
    "FAULTS",
    "NODE_FAULTS",
    "FakeClock",
    "FakeNode",
    "Fault",
    "LndServer",
    "OllamaModel",
    "Pull",
    "ScriptedProvider",
    "Turn",
    "WireServer",
    "WordEmbedder",
]
