"""What the router shows as a frame: one row an attempt."""

from __future__ import annotations

from typing import Final

from timmy_core.store.lake import FrameSpec

ATTEMPTS_FRAME: Final = FrameSpec(
    name="attempts",
    source="provider_metrics",
    columns={
        "ts": ("ts", "time"),
        "trace_id": ("trace_id", "text"),
        "event_seq": ("event_seq", "int"),
        "attempt": ("attempt", "int"),
        "provider": ("provider", "text"),
        "model": ("model", "text"),
        "outcome": ("outcome", "text"),
        "error_class": ("error_class", "text"),
        "message": ("message", "text"),
        "latency_ms": ("latency_us / 1000.0", "float"),
        "first_token_ms": ("first_token_us / 1000.0", "float"),
        "input_tokens": ("input_tokens", "int"),
        "output_tokens": ("output_tokens", "int"),
        "cost_microusd": ("cost_microusd", "int"),
    },
    time="ts",
    key="id",
)
