"""What the pages share: words, colours, charts, the conversation and the feed."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from timmy_core.events.model import EVENT_TYPES
from timmy_core.router.chat import Failure, ProviderStatus
from ui import charts, live, palette, parts, sentences, tables
from ui.chat import byline

OFTEN = ("chat", "llm", "circuit", "task", "system")
NOW = datetime(2026, 11, 22, 14, 2, tzinfo=UTC)


def provider(name: str = "p", **changes: Any) -> ProviderStatus:
    plain: dict[str, Any] = {
        "kind": "openai", "model": "m", "priority": 1, "configured": True, "problem": "", "advice": "",
        "circuit": "closed", "open_until": None, "consecutive_failures": 0, "requests": 3, "errors": 0,
        "p50_ms": 1.0, "p95_ms": 2.0, "last_success_at": NOW,
    }  # fmt: skip
    return ProviderStatus(name=name, **(plain | changes))


def events_frame(count: int, *, every: timedelta = timedelta(seconds=1)) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "seq": list(range(1, count + 1)),
            "ts": [NOW + every * i for i in range(count)],
            "type": ["chat.asked" if i % 2 else "llm.completed" for i in range(count)],
            "family": ["chat" if i % 2 else "llm" for i in range(count)],
            "source": ["agent"] * count,
            "task_id": [None] * count,
            "agent_id": ["timmy"] * count,
            "trace_id": ["0123456789abcdef"] * count,
            "data": ['{"provider": "a", "latency_ms": 412.3}'] * count,
            "id": [f"id{i}" for i in range(count)],
        },
        schema_overrides={"ts": pl.Datetime("us", "UTC"), "task_id": pl.String},
    )


# Words -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ms", "words"), [(None, "–"), (0.4, "0 ms"), (412.3, "412 ms"), (1800, "1.8 s")])
def test_latencies_read_as_a_person_would_say_them(ms: float | None, words: str) -> None:
    assert parts.latency(ms) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(-3, "0 s"), (41, "41 s"), (200, "3 min"), (7300, "2 h"), (9e5, "10 d")]
)
def test_durations_use_the_largest_unit_that_fits(seconds: float, words: str) -> None:
    assert parts.duration(seconds) == words


def test_a_time_carries_its_whole_moment_for_the_browser() -> None:
    text = parts.ago(NOW, now=NOW + timedelta(seconds=3))
    assert ">3 s ago<" in text
    assert 'datetime="2026-11-22T14:02:00+00:00"' in text


def test_a_probe_that_is_due_is_not_counted_below_zero() -> None:
    assert ">with the next question<" in parts.until(NOW, now=NOW + timedelta(seconds=1))


def test_what_comes_from_outside_is_escaped() -> None:
    for text in (
        parts.pill("good", "<b>"), parts.ident("<b>"), parts.advice("`<b>`"), parts.pretty({"a": "<b>"}),
        sentences.can_answer([provider("<b>", consecutive_failures=1)]),
    ):  # fmt: skip
        assert "<b>" not in text


def test_advice_turns_what_stands_in_backticks_into_commands() -> None:
    assert parts.advice("start `ollama serve` now").count('data-copy="ollama serve"') == 1


def test_an_event_is_summed_up_in_three_words_at_most() -> None:
    data = {"gen_ai.provider.name": "ollama", "error.type": "timeout", "timmy.latency_ms": 1800.0, "timmy.attempt": 1}
    assert parts.summary(data) == "ollama · timeout · 1.8 s"
    assert parts.summary({"odd": 1}) == "odd 1"
    assert parts.summary(None) == "redacted"
    assert len(parts.summary({"message": "x" * 500})) == parts.SUMMARY_CHARS


# The first line ----------------------------------------------------------------------------------------------


def test_an_open_circuit_says_since_when_and_when_it_is_probed() -> None:
    failure = Failure(NOW, "timeout", "too slow", "t")
    broken = provider("a", circuit="open", open_until=NOW + timedelta(days=9999), recent_failures=(failure,))
    line = sentences.can_answer([provider("b"), broken, provider("c", configured=False)])
    assert line.startswith("<strong>1 of 3 providers</strong> can answer; a is open since ")
    assert "next probe" in line


def test_a_provider_that_was_well_once_is_missed_now() -> None:
    assert "No provider can answer right now" in sentences.can_answer([provider(consecutive_failures=2)])


def test_what_to_do_is_silent_as_soon_as_one_answers() -> None:
    asleep = provider("b", last_success_at=None, kind="ollama", model="tiny")
    assert "ollama pull tiny" in sentences.to_do([asleep], toml="t")
    assert sentences.to_do([provider("a"), asleep], toml="t") == ""


# Colours -----------------------------------------------------------------------------------------------------


def test_every_declared_family_has_a_colour() -> None:
    assert {name.split(".")[0] for name in EVENT_TYPES} <= set(palette.FAMILIES)


@pytest.mark.parametrize("color", sorted({*palette.FAMILIES.values(), *palette.PROVIDERS.values()}))
def test_a_colour_is_legible_on_both_grounds(color: str) -> None:
    assert palette.contrast(color, palette.LIGHT_GROUND) >= 3
    assert palette.contrast(color, palette.DARK_GROUND) >= 3


# Viénot, Brettel and Mollon (1999), on linear RGB.
_EYES = {
    "protan": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
    "deutan": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
}


@pytest.mark.parametrize("eyes", sorted(_EYES))
@pytest.mark.parametrize(
    "colors",
    [palette.PROVIDERS, {name: palette.FAMILIES[name] for name in ("chat", "llm", "circuit", "task", "system")}],
)
def test_what_is_seen_side_by_side_stays_apart_for_colour_blind_eyes(eyes: str, colors: dict[str, str]) -> None:
    for (one, first), (other, second) in itertools.combinations(colors.items(), 2):
        assert _distance(_seen(first, eyes), _seen(second, eyes)) > 9, (one, other)


def _seen(color: str, eyes: str) -> tuple[float, float, float]:
    """Return the Lab of a colour as those eyes see it."""
    linear = [palette.luminance(f"#{color[i : i + 2] * 3}") for i in (1, 3, 5)]
    red, green, blue = (sum(a * b for a, b in zip(row, linear, strict=True)) for row in _EYES[eyes])
    x, y, z = (
        (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505,
        0.2126 * red + 0.7152 * green + 0.0722 * blue,
        (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089,
    )
    fx, fy, fz = (max(value, 0.008856) ** (1 / 3) for value in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def _distance(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5


# Charts and tables -------------------------------------------------------------------------------------------


def test_counts_lose_no_event_and_stay_few() -> None:
    binned = charts.counts(events_frame(5000, every=timedelta(seconds=7)))
    assert binned["events"].sum() == 5000
    assert binned["start"].n_unique() <= charts.BINS + 1


def test_one_event_makes_one_bar() -> None:
    assert charts.counts(events_frame(1)).height == 1


def test_no_event_makes_an_empty_frame_with_the_same_columns() -> None:
    assert charts.counts(events_frame(0)).columns == charts.counts(events_frame(3)).columns


def test_bars_wear_the_colours_of_their_families() -> None:
    spec = charts.events_over_time(charts.counts(events_frame(4))).to_dict()
    scale = spec["encoding"]["color"]["scale"]
    assert scale["domain"] == ["chat", "llm"]
    assert scale["range"] == [palette.FAMILIES["chat"], palette.FAMILIES["llm"]]
    assert spec["background"] == "transparent"


def test_latencies_leave_out_what_was_not_asked() -> None:
    attempts = pl.DataFrame(
        {
            "ts": [NOW, NOW, NOW],
            "provider": ["a", "a", "b"],
            "model": ["m"] * 3,
            "outcome": ["completed", "skipped", "failed"],
            "error_class": [None, "circuit_open", "timeout"],
            "latency_ms": [3.0, 0.0, 9.0],
        }
    )
    assert charts.measured(attempts)["outcome"].to_list() == ["completed", "failed"]
    spec = charts.latencies(attempts, {"a": "ollama"}).to_dict()
    colors = spec["layer"][0]["encoding"]["color"]["scale"]
    assert colors["range"] == [palette.PROVIDERS["ollama"], palette.NEUTRAL]


def test_the_table_shows_the_newest_first_in_words_and_only_columns_that_hold_something() -> None:
    shown = tables.rows(events_frame(3))
    assert shown.columns == ["when", "type", "about", "source", "agent", "trace", "seq"]
    assert shown["seq"].to_list() == [3, 2, 1]
    assert shown["about"][0] == "a · 412 ms"
    assert shown["trace"][0] == "89abcdef"


def test_only_filters_that_are_set_reach_the_core() -> None:
    assert tables.columns({"family": "llm", "type": "", "trace": " t ", "task": None}) == {
        "family": "llm",
        "trace_id": "t",
    }


# The conversation and the feed ---------------------------------------------------------------------------------


def test_the_byline_leaves_out_what_is_not_known() -> None:
    assert byline("a", "m", None, offline=False) == "`a · m`"


def test_without_a_server_the_kernel_sends_what_the_log_yields_in_bounded_batches() -> None:
    sent: list[dict[str, Any]] = []
    events = [SimpleNamespace(seq=i, as_dict=lambda i=i: {"seq": i}) for i in range(1, 6)]

    def tail(since: int, _stop: threading.Event) -> Iterator[list[Any]]:
        yield events[since:]

    live._follow(tail, 1, threading.Event(), sent.append, 3)
    assert [[event["seq"] for event in packet["events"]] for packet in sent] == [[2, 3, 4], [5]]


def test_a_stopped_follower_sends_nothing_more() -> None:
    stop, sent = threading.Event(), []
    stop.set()
    live._follow(lambda _since, _stop: iter([[SimpleNamespace(seq=1, as_dict=dict)]]), 0, stop, sent.append, 3)
    assert sent == []
