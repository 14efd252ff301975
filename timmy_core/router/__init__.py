"""The router: one question, the first provider that can answer it, and an honest account of the others."""

from __future__ import annotations

from timmy_core.router.cascade import Cascade, Limits
from timmy_core.router.chat import Answer, Attempt, Delta, Done, ErrorClass, Health, Message, ProviderStatus, Switch
from timmy_core.router.metrics import Metrics
from timmy_core.router.router import Router

__all__ = [
    "Answer",
    "Attempt",
    "Cascade",
    "Delta",
    "Done",
    "ErrorClass",
    "Health",
    "Limits",
    "Message",
    "Metrics",
    "ProviderStatus",
    "Router",
    "Switch",
]
