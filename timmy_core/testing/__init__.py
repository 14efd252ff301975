"""Doubles that users need too: a clock, a provider that follows a script, and a server that misbehaves on purpose."""

from __future__ import annotations

from timmy_core.testing.clock import FakeClock
from timmy_core.testing.provider import ScriptedProvider
from timmy_core.testing.wire import Turn, WireServer

__all__ = ["FakeClock", "ScriptedProvider", "Turn", "WireServer"]
