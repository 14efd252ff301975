"""Questions about how long providers took, as SQL over the table `attempts`: what an analyst would ask.

Every function returns the SQL alone, so that it can be shown beside what it found, copied and changed. `timmy.sql`
answers it.
"""

# ruff: noqa: S608 - the SQL is made of names of this file and of literals that `_moment` and `_text` write
from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, get_args

from timmy_core.errors import RouterError
from timmy_core.router.attempt import FAULTS

By = Literal["provider", "model", "hour", "prompt"]
Measure = Literal["latency_ms", "first_token_ms"]

BINS: Final = 12  # a decade of time
POINTS: Final = 3_000
DRILLED: Final = 200
_PROMPTS: Final = (100, 300, 1_000, 3_000, 10_000, 30_000)

_KEYS: Final[Mapping[str, str]] = {
    "provider": "provider",
    "model": "provider || ' · ' || model",
    "hour": "printf('%02d h', hour(ts AT TIME ZONE 'UTC'))",
    "prompt": "CASE "
    + " ".join(f"WHEN input_tokens < {most} THEN {place}" for place, most in enumerate(_PROMPTS))
    + f" WHEN input_tokens IS NOT NULL THEN {len(_PROMPTS)} END",
}
PROMPT_WORDS: Final = (
    f"under {_PROMPTS[0]:,}",
    *(f"{least:,} to {most:,}" for least, most in itertools.pairwise(_PROMPTS)),
    f"{_PROMPTS[-1]:,} and more",
)
"""What the numbers of `by="prompt"` mean, in tokens."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which attempts are asked about.

    Args:
        since: included.
        until: not included.
        provider: only this one's; empty is all.
        streamed: only streams, or only whole answers; None is both.
    """

    since: datetime
    until: datetime
    provider: str = ""
    streamed: bool | None = None

    @property
    def where(self) -> str:
        """The condition, as SQL."""
        parts = [f"ts >= {_moment(self.since)}", f"ts < {_moment(self.until)}"]
        if self.provider:
            parts.append(f"provider = {_text(self.provider)}")
        if self.streamed is not None:
            parts.append("streamed" if self.streamed else "NOT streamed")
        return "\n  AND ".join(parts)


def percentiles(chosen: Chosen, by: By = "model", measure: Measure = "latency_ms") -> str:
    """Return how long answers took at the percentiles, and how many attempts failed, a line each `by`.

    Raises:
        RouterError: `by` or `measure` is none of those that there are.
    """
    key = _key(by)
    value = _measure(measure)
    answered = f"outcome = 'completed' AND {value} > 0"
    return f"""SELECT {key} AS key, any_value(provider) AS provider,
  count(*) FILTER ({answered}) AS answers,
  count(*) FILTER (outcome = 'failed') AS failed,
  quantile_cont({value}, 0.50) FILTER ({answered}) AS p50,
  quantile_cont({value}, 0.90) FILTER ({answered}) AS p90,
  quantile_cont({value}, 0.95) FILTER ({answered}) AS p95,
  quantile_cont({value}, 0.99) FILTER ({answered}) AS p99
FROM attempts
WHERE {chosen.where}
  AND {key} IS NOT NULL
GROUP BY 1
HAVING answers > 0
ORDER BY 1
LIMIT 100"""


def distribution(chosen: Chosen, measure: Measure = "latency_ms") -> str:
    """Return how many answers took how long, a line each provider and step; steps grow by a constant factor."""
    value = _measure(measure)
    return f"""SELECT provider, floor({BINS} * log10({value}))::INT AS step, count(*) AS answers
FROM attempts
WHERE {chosen.where}
  AND outcome = 'completed' AND {value} > 0
GROUP BY 1, 2
ORDER BY 1, 2
LIMIT 2000"""


def first_against_whole(chosen: Chosen) -> str:
    """Return how many streams began after how long and were whole after how long, in steps on both sides."""
    return f"""SELECT provider, floor({BINS} / 2 * log10(first_token_ms))::INT AS first_step,
  floor({BINS} / 2 * log10(latency_ms))::INT AS whole_step, count(*) AS answers
FROM attempts
WHERE {chosen.where}
  AND outcome = 'completed' AND first_token_ms > 0 AND latency_ms > 0
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
LIMIT 2000"""


def error_budget(chosen: Chosen, *, target: float = 0.99) -> str:
    """Return how much of the error budget each provider had used by each hour, or day in longer times.

    What it may do wrong is one part in so many of all that it was asked in this time; 1.0 is all of that.
    """
    faults = ", ".join(_text(kind.value) for kind in sorted(FAULTS))
    days = (chosen.until - chosen.since).total_seconds() > 4 * 86_400
    return f"""WITH counted AS (
  SELECT provider, date_trunc('{"day" if days else "hour"}', ts) AS start,
    count(*) FILTER (outcome = 'completed') AS fine,
    count(*) FILTER (outcome = 'failed' AND error_class IN ({faults})) AS faults
  FROM attempts
  WHERE {chosen.where}
  GROUP BY 1, 2
)
SELECT provider, start, fine, faults,
  sum(faults) OVER (PARTITION BY provider ORDER BY start)
    / nullif({1 - target:.6g} * sum(fine + faults) OVER (PARTITION BY provider), 0) AS used
FROM counted
ORDER BY 1, 2
LIMIT 5000"""


def cost_against_latency(chosen: Chosen) -> str:
    """Return what a thousand answers of each model cost, and how long they took; of those whose price is known."""
    return f"""SELECT provider, model, count(*) AS answers, quantile_cont(latency_ms, 0.5) AS p50,
  quantile_cont(latency_ms, 0.95) AS p95, avg(cost_microusd) / 1000.0 AS usd_a_thousand
FROM attempts
WHERE {chosen.where}
  AND outcome = 'completed' AND latency_ms > 0 AND cost_microusd IS NOT NULL
GROUP BY 1, 2
ORDER BY 1, 2
LIMIT 100"""


def before_and_after(chosen: Chosen, split: datetime) -> str:
    """Return the percentiles of each model before a moment and from it on."""
    return f"""SELECT provider, model,
  CASE WHEN ts < {_moment(split)} THEN 'before' ELSE 'after' END AS side,
  count(*) FILTER (outcome = 'completed') AS answers,
  count(*) FILTER (outcome = 'failed') AS failed,
  quantile_cont(latency_ms, 0.50) FILTER (outcome = 'completed') AS p50,
  quantile_cont(latency_ms, 0.95) FILTER (outcome = 'completed') AS p95
FROM attempts
WHERE {chosen.where}
GROUP BY ALL
HAVING answers > 0
ORDER BY provider, model, side DESC
LIMIT 200"""


def points(chosen: Chosen) -> str:
    """Return single attempts to be drawn as points; where there are too many, some by chance, the same each time."""
    return f"""SELECT ts, trace_id, provider, model, outcome, error_class, latency_ms, first_token_ms
FROM attempts
WHERE {chosen.where}
  AND outcome IN ('completed', 'failed') AND latency_ms > 0
ORDER BY hash(trace_id, attempt)
LIMIT {POINTS}"""


def drill(chosen: Chosen, *, least_ms: float = 0.0, most_ms: float | None = None) -> str:
    """Return the newest single attempts whose time lies between two others."""
    most = "" if most_ms is None else f" AND latency_ms <= {float(most_ms):.6g}"
    return f"""SELECT ts, trace_id, why, provider, model, outcome, error_class, message, latency_ms, first_token_ms,
  input_tokens, output_tokens, estimated, cost_microusd
FROM attempts
WHERE {chosen.where}
  AND latency_ms >= {float(least_ms):.6g}{most}
ORDER BY ts DESC
LIMIT {DRILLED}"""


def _key(by: str) -> str:
    if by not in _KEYS:
        message = f"by is {by!r}; expected one of {', '.join(_KEYS)}"
        raise RouterError(message)
    return _KEYS[by]


def _measure(name: str) -> str:
    if name not in get_args(Measure):
        message = f"measure is {name!r}; expected one of {', '.join(get_args(Measure))}"
        raise RouterError(message)
    return name


def _moment(moment: datetime) -> str:
    return f"TIMESTAMPTZ '{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00'"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
