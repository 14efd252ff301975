"""What the router shows as frames: its attempts, its providers, their circuits and what was spent."""

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
        "agent_id": ("agent_id", "text"),
        "attempt": ("attempt", "int"),
        "why": ("why", "text"),
        "streamed": ("streamed", "bool"),
        "provider": ("provider", "text"),
        "model": ("model", "text"),
        "outcome": ("outcome", "text"),
        "error_class": ("error_class", "text"),
        "message": ("message", "text"),
        "latency_ms": ("latency_us / 1000.0", "float"),
        "first_token_ms": ("first_token_us / 1000.0", "float"),
        "input_tokens": ("input_tokens", "int"),
        "output_tokens": ("output_tokens", "int"),
        "cached_tokens": ("cached_tokens", "int"),
        "cache_write_tokens": ("cache_write_tokens", "int"),
        "reasoning_tokens": ("reasoning_tokens", "int"),
        "estimated": ("estimated", "bool"),
        "cost_microusd": ("cost_microusd", "int"),
    },
    time="ts",
    key="id",
    grows=True,
)

# The index on (provider, id) finds the newest row at once, however many there are.
_LAST_AT: Final = "(SELECT ts FROM provider_metrics WHERE provider = totals.provider ORDER BY id DESC LIMIT 1)"

PROVIDERS_FRAME: Final = FrameSpec(
    name="providers",
    source="provider_totals AS totals",
    columns={
        "provider": ("provider", "text"),
        "requests": ("requests", "int"),
        "errors": ("errors", "int"),
        "completed": ("completed", "int"),
        "cost_microusd": ("cost_microusd", "int"),
        "unpriced": ("unpriced", "int"),
        "last_at": (_LAST_AT, "time"),
    },
    time=_LAST_AT,
    key="provider",
)

CIRCUITS_FRAME: Final = FrameSpec(
    name="circuits",
    source="provider_circuits",
    columns={
        "provider": ("provider", "text"),
        "model": ("model", "text"),
        "state": ("state", "text"),
        "failures": ("failures", "int"),
        "open_until": ("open_until", "time"),
        "isolated": ("isolated", "bool"),
        "limited_until": ("limited_until", "time"),
        "changed_at": ("changed_at", "time"),
    },
    time="changed_at",
    key="changed_at",
)

SPENDING_FRAME: Final = FrameSpec(
    name="spending",
    source="spending",
    columns={
        "day": ("day", "text"),
        "agent_id": ("agent_id", "text"),
        "microusd": ("microusd", "int"),
    },
    time="(unixepoch(day) * 1000000)",
    key="day",
)
