"""Timmy Workbench: the core that pages, the command line and your own programs call.

Names load when they are first used, so importing this package does nothing and costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from timmy_core.errors import TimmyError as TimmyError
    from timmy_core.events.model import Event as Event
    from timmy_core.events.model import NewEvent as NewEvent
    from timmy_core.events.proof import check_proof as check_proof
    from timmy_core.events.wanted import Wanted as Wanted
    from timmy_core.router.chat import Answer as Answer
    from timmy_core.router.chat import Delta as Delta
    from timmy_core.router.chat import Done as Done
    from timmy_core.router.chat import Switch as Switch
    from timmy_core.settings import Settings as Settings
    from timmy_core.settings import load_settings as load_settings
    from timmy_core.status import Status as Status
    from timmy_core.timmy import Timmy as Timmy
    from timmy_core.timmy import open_timmy as open_timmy

_HOMES = {
    "Answer": "router.chat",
    "Delta": "router.chat",
    "Done": "router.chat",
    "Event": "events.model",
    "NewEvent": "events.model",
    "Settings": "settings",
    "Status": "status",
    "Switch": "router.chat",
    "Timmy": "timmy",
    "TimmyError": "errors",
    "Wanted": "events.wanted",
    "check_proof": "events.proof",
    "load_settings": "settings",
    "open_timmy": "timmy",
}

__all__ = sorted(_HOMES)  # noqa: PLE0605 - the one list of public names is the table above


def __getattr__(name: str) -> Any:
    """Load a public name from the module it lives in (PEP 562)."""
    if name not in _HOMES:
        message = f"module 'timmy_core' has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"timmy_core.{_HOMES[name]}"), name)
