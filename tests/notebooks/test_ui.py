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

from timmy_core.errors import TimmyError
from timmy_core.events.model import EVENT_TYPES, Event
from timmy_core.router.chat import Failure, ProviderStatus
from ui import asking, charts, exploring, listing, live, palette, parts, sentences, traces
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


def event(seq: int, type_: str = "llm.completed", data: dict[str, Any] | None = None, **fields: Any) -> Event:
    plain: dict[str, Any] = {"source": "agent", "task_id": None, "agent_id": "timmy", "trace_id": "0123456789abcdef"}
    moment = NOW + timedelta(seconds=seq)
    return Event(seq=seq, id=f"id{seq}", type=type_, ts=moment, data=data or {}, v=1, hash="0" * 64, **(plain | fields))


def counted(*bars: tuple[int, str, int]) -> pl.DataFrame:
    """Return counts over time of (minute, key, events)."""
    rows = [(NOW + timedelta(minutes=m), NOW + timedelta(minutes=m + 1), key, events) for m, key, events in bars]
    return pl.DataFrame(rows, schema=charts.no_counts().schema, orient="row")


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


def test_bars_wear_the_colours_of_their_families() -> None:
    spec = charts.events_over_time(counted((0, "llm", 2), (1, "chat", 3))).to_dict()
    scale = spec["encoding"]["color"]["scale"]
    assert scale["domain"] == ["chat", "llm"]
    assert scale["range"] == [palette.FAMILIES["chat"], palette.FAMILIES["llm"]]
    assert spec["background"] == "transparent"


def test_a_chosen_stretch_is_rounded_outwards_to_whole_bars() -> None:
    bars = counted((0, "llm", 2), (1, "chat", 3), (5, "llm", 1))
    ms = [(NOW + timedelta(seconds=seconds)).timestamp() * 1000 for seconds in (30, 90)]
    assert charts.stretch(bars, {"stretch": {"start": ms}}) == (NOW, NOW + timedelta(minutes=2))
    assert charts.stretch(bars, {}) is None
    assert charts.stretch(bars, {"stretch": {}}) is None


def test_types_wear_shades_of_their_family_and_the_rest_is_grey() -> None:
    assert charts.type_color("other") == palette.NEUTRAL
    shades = {charts.type_color(name) for name in ("task.created", "task.assigned", "task.completed")}
    assert len(shades) == 3
    assert all(len(shade) == 7 for shade in shades)


def test_too_many_keys_become_other_and_no_event_is_lost() -> None:
    many = charts.few(counted(*((n % 3, f"x.k{n:02}", n + 1) for n in range(30))), keys=5)
    assert many["key"].n_unique() == 5
    assert "other" in many["key"]
    assert many["events"].sum() == sum(range(1, 31))


def test_a_row_of_the_table_says_what_happened_in_words() -> None:
    (row,) = listing.rows([event(3, data={"provider": "a", "latency_ms": 412.3})])
    assert row["words"] == "a · 412 ms"
    assert row["who"] == "timmy"
    assert datetime.fromisoformat(row["ts"]) == NOW + timedelta(seconds=3)


def test_the_table_asks_for_older_events_and_ignores_an_earlier_question() -> None:
    shown, sent = listing.Listing(), []
    shown.send = sent.append  # type: ignore[method-assign]
    asked: list[int] = []
    shown.show([event(n) for n in range(200, 100, -1)], lambda before: asked.append(before) or [event(5)])
    assert shown.page["more"]
    shown._asked(shown, {"kind": "more", "before": 101, "query": shown.page["query"]}, None)
    shown._asked(shown, {"kind": "more", "before": 101, "query": -1}, None)
    assert asked == [101]
    assert [row["seq"] for row in sent[0]["rows"]] == [5]
    assert not sent[0]["more"]


# Asking --------------------------------------------------------------------------------------------------------


def test_only_what_is_known_of_the_address_becomes_a_query() -> None:
    assert asking.from_address({"family": ["chat", " llm "], "seq": "7", "text": " ", "evil": "x"}) == {"family": "llm"}


def test_a_range_ends_now_and_a_chosen_stretch_wins_over_it() -> None:
    assert exploring.wanted_of({"range": "1h"}, NOW).since == NOW - timedelta(hours=1)
    chosen = {"range": "1h", "since": "2026-01-01T00:00:00Z"}
    assert exploring.wanted_of(chosen, NOW).since == datetime(2026, 1, 1, tzinfo=UTC)


def asking_widget(**calls: Any) -> tuple[asking.Asking, list[Any]]:
    sent: list[Any] = []
    plain: dict[str, Any] = {"views": list, "save": print, "delete": print, "export": lambda *_: ()}
    widget = asking.Asking(query={}, **(plain | calls))
    widget.send = lambda content, buffers=None: sent.append((content, buffers))  # type: ignore[method-assign]
    return widget, sent


def test_what_cannot_be_saved_is_said_beside_the_filters() -> None:
    def refuse(_name: str, _query: Any) -> None:
        message = "there are too many"
        raise TimmyError(message)

    widget, sent = asking_widget(save=refuse)
    widget._asked(widget, {"kind": "save-view", "name": "x", "query": {}}, None)
    assert sent == [({"kind": "said", "words": "there are too many"}, None)]


def test_a_file_is_sent_in_bounded_pieces_and_named_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "CHUNK", 4)
    sent: list[Any] = []
    asking.send_file(
        lambda content, buffers=None: sent.append((content["kind"], buffers)),
        lambda _format, _query: iter([(b"abcdef", "half"), (b"gh", "all")]),
        "csv",
        {},
    )
    assert sent == [("chunk", [b"abcd"]), ("chunk", [b"ef"]), ("chunk", [b"gh"]), ("file", None)]


# Traces --------------------------------------------------------------------------------------------------------


def span(seq: int, begin_ms: float, duration_ms: float | None, type_: str = "llm.failed") -> Any:
    end_ms = begin_ms + (duration_ms or 0)
    return SimpleNamespace(
        event=event(seq, type_), begin_ms=begin_ms, duration_ms=duration_ms, end_ms=end_ms, failed="failed" in type_
    )


def test_a_waterfall_draws_each_bar_in_its_place_and_marks_the_chosen_one() -> None:
    text = traces.waterfall([span(1, 0, None, "chat.asked"), span(2, 100, 300)], current=2)
    assert "left:25.00%;width:75.00%" in text
    assert text.count("tw-instant") == 1
    assert text.count('aria-current="true"') == 1
    assert "300 ms" in text
    assert "var(--tw-bad)" in text


def test_of_a_long_trace_the_rest_is_folded() -> None:
    shown, folded = traces.waterfall([span(n, n, 1) for n in range(100)]).split("<details")
    assert shown.count("data-goto") == traces.BARS
    assert "and 40 events more" in folded
    assert folded.count("data-goto") == 100 - traces.BARS


def test_what_an_event_says_is_escaped_in_a_trace() -> None:
    odd = span(1, 0, 1)
    odd.event = event(1, "x.<b>", {"message": "<i>"})
    assert not {"<b>", "<i>"} & set(traces.waterfall([odd]).split('"'))
    assert "<i>" not in traces.waterfall([odd]).replace('<i class="tw-trace-bar', "")


# The conversation and the feed ---------------------------------------------------------------------------------


def test_the_byline_leaves_out_what_is_not_known() -> None:
    assert byline("a", "m", None, offline=False) == "`a · m`"


def test_without_a_server_the_kernel_sends_what_the_log_yields_in_bounded_batches() -> None:
    sent: list[dict[str, Any]] = []
    events = [SimpleNamespace(seq=i, as_dict=lambda i=i: {"seq": i}) for i in range(1, 6)]

    def tail(since: int, _stop: threading.Event) -> Iterator[list[Any]]:
        yield events[since:]

    live.follow(tail, 1, threading.Event(), sent.append, 3)
    assert [[event["seq"] for event in packet["events"]] for packet in sent] == [[2, 3, 4], [5]]


def test_a_stopped_follower_sends_nothing_more() -> None:
    stop, sent = threading.Event(), []
    stop.set()
    live.follow(lambda _since, _stop: iter([[SimpleNamespace(seq=1, as_dict=dict)]]), 0, stop, sent.append, 3)
    assert sent == []
