"""The charts of the ledger page: what came in and went out on each day, and lines small enough for a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import altair as alt

from ui import palette, sats
from ui.charts import INK, axis, styled

if TYPE_CHECKING:
    from timmy_core.ledger.model import Sum

DAY = timedelta(days=1)
COLORS = {"came in": palette.FAMILIES["invoice"], "went out": palette.FAMILIES["payment"], "fees": palette.NEUTRAL}
_MSAT = 1000
_WIDE, _HIGH = 120.0, 26.0
_FEW = 14  # days that are labelled one by one


def flow(days: Sequence[Sum]) -> Any:
    """Return bars of what came in, above, and what went out, below, a day; dragging across them chooses days."""
    bars = [
        {"day": start.isoformat(), "end": (start + DAY).isoformat(), "kind": kind, "sats": amount / _MSAT * sign,
         "words": sats.words(amount), "number": number}
        for one in days
        for start in (start_of(one.key),)
        for kind, amount, sign, number in (
            ("came in", one.incoming_msat, 1, one.invoices),
            ("went out", one.outgoing_msat, -1, one.payments),
            ("fees", one.fees_msat, -1, one.payments),
        )
        if amount
    ]  # fmt: skip
    first, last = start_of(days[0].key), start_of(days[-1].key) + DAY
    scale = alt.Scale(domain=list(COLORS), range=list(COLORS.values()))
    domain = alt.Scale(type="utc", domain=[first.isoformat(), last.isoformat()])
    count, form = (7, "%a %d") if len(days) <= _FEW else (7, "%d %b")
    chart = (
        alt.Chart({"values": bars})
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X(
                "utcyearmonthdate(day):T", title=None, scale=domain, axis=axis(grid=False, tickCount=count, format=form)
            ),
            x2="end:T",
            y=alt.Y("sum(sats):Q", title=None, axis=axis(tickCount=4, format=",~f")),
            color=alt.Color("kind:N", scale=scale, legend=None),
            order=alt.Order("kind:N", sort="descending"),
            tooltip=[
                alt.Tooltip("day:T", title="day", timeUnit="utcyearmonthdate", format="%a %d %b %Y"),
                alt.Tooltip("kind:N", title="what"),
                alt.Tooltip("words:N", title="amount"),
                alt.Tooltip("number:Q", title="how many", format=","),
            ],
        )
        .add_params(alt.selection_interval(encodings=["x"], name="stretch"))
    )
    zero = alt.Chart({"values": [{"zero": 0}]}).mark_rule(color=INK, opacity=0.55).encode(y="zero:Q")
    return styled(chart + zero, height=190)


def stretch(days: Sequence[Sum], selections: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Return the ends of what was chosen in the chart, rounded outwards to whole days; None where nothing was."""
    found = [value for layer in selections.values() if isinstance(layer, Mapping) for value in layer.values()]
    chosen = next((value for value in found if isinstance(value, Sequence) and len(value) == len(("a", "b"))), None)
    if chosen is None:
        return None
    first, last = sorted(float(ms) / 1000 for ms in chosen)
    touched = [
        start for one in days
        if (start := start_of(one.key)).timestamp() < last and (start + DAY).timestamp() > first
    ]  # fmt: skip
    return (touched[0], touched[-1] + DAY) if touched else None


def start_of(key: str) -> datetime:
    """Return when a day begins, by its key such as 2026-11-22; days are those of UTC."""
    return datetime.fromisoformat(key).replace(tzinfo=UTC)


def running(days: Sequence[Sum], last_msat: int) -> list[int]:
    """Return what was left at the end of each day, from what is left now and what each day changed."""
    changes = [one.incoming_msat - one.outgoing_msat - one.fees_msat for one in days]
    before = last_msat - sum(changes)
    return [before + so_far for so_far in accumulate(changes)]


def sparkline(values: Sequence[int], color: str, *, label: str) -> str:
    """Return a line without an axis, as SVG; nothing where there is nothing to compare.

    Args:
        values: oldest first.
        color: of the line.
        label: what it shows, for those who do not see it.
    """
    if len(values) < len(("first", "last")) or not any(values):
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1
    step = _WIDE / (len(values) - 1)
    points = " ".join(
        f"{number * step:.1f},{_HIGH - 2 - (_HIGH - 4) * ((value - low) / span if high > low else 0.5):.1f}"
        for number, value in enumerate(values)
    )
    return (
        f'<svg class="tw-spark" viewBox="0 0 {_WIDE:g} {_HIGH:g}" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f'<polygon points="0,{_HIGH:g} {points} {_WIDE:g},{_HIGH:g}" fill="{color}" opacity=".12"></polygon>'
        f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5" '
        f'vector-effect="non-scaling-stroke" stroke-linejoin="round"></polyline></svg>'
    )
