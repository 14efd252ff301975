"""Every way in which a provider is known to fail, by name: what it does, and what has to be made of it.

async with WireServer(FAULTS["stall"], Turn()) as server: ...
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from timmy_core.testing import faulty_replies, faulty_wires
from timmy_core.testing.fault import Effect, Fault

FAULTS: Final[Mapping[str, Fault]] = MappingProxyType(
    {fault.name: fault for fault in (*faulty_wires.FAULTS, *faulty_replies.FAULTS)}
)
"""All faults by their names."""

__all__ = ["FAULTS", "Effect", "Fault"]
