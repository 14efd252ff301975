"""What the router's page says and draws of its providers, in every state that they can be in."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from html import unescape
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from timmy_core.errors import RouterError
from timmy_core.router.budget import Standing
from timmy_core.router.chat import Answer, Attempt, Delta, Done, Failure, ProviderStatus, Switch, Usage
from timmy_core.router.costs import DayCost
from timmy_core.router.report import Line, Move
from timmy_core.timmy import Timmy
from ui import attempts, cascade, chips, measures, now, palette, provider_charts, steering, timeline, trying

NOW = datetime(2026, 11, 22, 14, 2, tzinfo=UTC)
LATER = NOW + timedelta(seconds=41)


def provider(name: str = "p", **changes: Any) -> ProviderStatus:
    plain: dict[str, Any] = {
        "kind": "openai", "model": "m", "priority": 1, "configured": True, "problem": "", "advice": "",
        "circuit": "closed", "open_until": None, "consecutive_failures": 0, "requests": 3, "errors": 0,
        "p50_ms": 1.0, "p95_ms": 2.0, "last_success_at": NOW,
    }  # fmt: skip
    return ProviderStatus(name=name, **(plain | changes))


def moment(*providers: ProviderStatus, **more: Any) -> now.Now:
    return now.Now(providers=providers, at=NOW, **more)


def failing(name: str, **changes: Any) -> ProviderStatus:
    failure = Failure(NOW, "timeout", "nothing came", "tr4ce")
    return provider(name, consecutive_failures=5, recent_failures=(failure,), **changes)


# The first line ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("providers", "words"),
    [
        ((), "No provider is set up"),
        ((provider("a"), provider("b")), "<strong>a answers</strong>, with b behind it."),
        ((provider("a"),), "nobody stands behind it"),
        ((provider("a", last_success_at=None),), "is asked first"),
        ((provider("a", enabled=False), provider("b")), "<strong>b answers</strong>, because a is switched off."),
        ((provider("a", isolated=True, circuit="open"), provider("b")), "because a is isolated."),
        ((provider("a", bar="the key was refused"), provider("b")), "because a is misconfigured."),
        ((provider("a", limited_until=NOW + timedelta(days=9999)), provider("b")), "a asked to be left alone"),
        ((failing("a", circuit="open", open_until=LATER), provider("b")), "because a is open since"),
        ((provider("a", circuit="half_open"), provider("b")), "a is half-open and gets one probe"),
        ((failing("a", circuit="open", open_until=LATER),), "Nobody answers right now"),
        ((failing("a", circuit="open", open_until=NOW),), "a gets a probe"),
        ((provider("a"), failing("b", circuit="open", open_until=LATER)), "Further down, b is open"),
        ((provider("a"), provider("b", configured=False)), "<strong>a answers</strong>; nobody stands behind it."),
    ],
)
def test_the_first_line_says_who_answers_and_what_is_wrong(providers: Sequence[ProviderStatus], words: str) -> None:
    assert words in now.first_line(moment(*providers))


def test_the_first_line_names_who_took_a_provider_out() -> None:
    hands = {("a", "provider.isolated"): now.Hand("<alex>", NOW)}
    line = now.first_line(moment(provider("a", isolated=True), provider("b"), hands=hands))
    assert "a is isolated by &lt;alex&gt; since" in line


def test_a_wrong_configuration_and_a_budget_that_is_nearly_spent_stand_in_the_first_line() -> None:
    config = SimpleNamespace(problem=SimpleNamespace(message="line 3: <x>", at=NOW), restart=("server",), loaded_at=NOW)
    budgets = [
        Standing(None, "day", 100, 85, 5),
        Standing("seer", "month", 100, 100, 0),
        Standing(None, "month", 1000, 1, 0),
    ]
    here = moment(provider(), config=config, budgets=budgets)
    line = now.first_line(here)
    assert "The configuration file is wrong, and the one before it stays in force." in line
    assert "The budget for today is 90 % spent." in line
    assert "The budget of seer for this month is spent." in line
    assert line.count("budget") == 2
    assert "line 3: &lt;x&gt;" in now.notes(here)
    assert "in force after a restart: <code>[server]</code>" in now.notes(here)


def test_the_latest_failover_of_all_is_told_with_its_trace() -> None:
    told = "it failed (timeout: nothing came), so b answered instead"
    early = failing("c", last_failover="it failed (x), so b answered instead")
    late = provider("a", last_failover=told, recent_failures=(Failure(LATER, "timeout", "nothing came", "l4te"),))
    text = now.failover(moment(early, late))
    assert "a failed (timeout: nothing came), so b answered instead." in text
    assert "/swarm/events?trace=l4te" in text
    assert now.failover(moment(provider())) == ""


# The cascade -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"in_flight": 2, "waiting": 1}, "2 in flight, 1 waiting"),
        ({"circuit": "open", "open_until": LATER}, "Left alone; next probe"),
        ({"isolated": True, "circuit": "open"}, "no question goes there until it is closed"),
        ({"enabled": False}, "Switched off in the configuration"),
        ({"bar": "the key was refused"}, "The key was refused."),
        ({"limited_until": NOW + timedelta(days=9999)}, "It asked to be left alone, and is asked again"),
        ({"circuit": "half_open"}, "two answers close its circuit"),
        ({"configured": False, "problem": "no key", "advice": "`export KEY=…`"}, 'data-copy="export KEY=…"'),
        ({"availability": 0.98}, '<span class="tw-low">98.0 %</span>'),
    ],
)
def test_a_step_says_what_it_is_doing_now_and_why(changes: dict[str, Any], words: str) -> None:
    assert words in cascade.cascade(moment(provider(**changes)))


def test_todays_cost_says_when_a_part_of_it_is_not_known() -> None:
    costs = [DayCost(NOW.date(), "p", 4_200, 2), DayCost(NOW.date() - timedelta(days=1), "p", 9, 0)]
    text = cascade.cascade(moment(provider(), costs=costs))
    assert "$0.0042 + ?" in text
    assert "2 attempts of today whose price is not known" in text


@pytest.mark.parametrize(
    ("micro", "words"), [(0, "$0"), (1, "<$0.0001"), (4_200, "$0.0042"), (1_234_567_890, "$1,234.57")]
)
def test_money_reads_as_a_person_would_write_it(micro: int, words: str) -> None:
    assert cascade.usd(micro) == words


def test_what_is_not_quite_all_is_never_shown_as_all() -> None:
    assert [cascade.percent(share) for share in (None, 1.0, 0.9999, 0.0)] == ["–", "100 %", "99.9 %", "0.0 %"]


def test_what_hurts_is_confirmed_with_its_consequence_and_what_does_not_is_done_at_once() -> None:
    here = moment(provider("a"), provider("b"))
    menu = cascade.steer(here, here.providers[0])
    orders = [json.loads(unescape(text.split('"')[0])) for text in menu.split('data-steer="')[1:]]
    by_action = {order["action"]: order for order in orders}
    assert set(by_action) == {"check", "priority", "isolate", "disable"}
    assert "From then on b answers." in by_action["isolate"]["confirm"]["words"]
    assert by_action["disable"]["confirm"]["button"] == "Switch off a"
    assert "confirm" not in by_action["check"]
    alone = moment(provider("a"))
    assert "nobody answers, and every question gets the offline answer" in cascade.steer(alone, alone.providers[0])


@pytest.mark.parametrize("priorities", [(1, 2, 3), (0, 0, 0), (0, 1, 2), (5, 5, 9), (0, 1, 1), (9_999, 10_000, 10_000)])
def test_moving_a_provider_gives_the_order_that_was_asked_for(priorities: tuple[int, ...]) -> None:
    names = "abc"
    for place, step in itertools.product(range(3), (-1, 1)):
        if not 0 <= place + step < len(names):
            continue
        changes = cascade.moved(list(zip(names, priorities, strict=True)), names[place], step)
        after = dict(zip(names, priorities, strict=True)) | changes
        wanted = list(names)
        wanted[place], wanted[place + step] = wanted[place + step], wanted[place]
        # Equal priorities are asked in the order of the file, so a move leaves none equal.
        assert sorted(names, key=lambda name: after[name]) == wanted
        assert all(0 <= value <= cascade.LAST for value in changes.values())


# Steering and trying -----------------------------------------------------------------------------------------


def test_a_change_names_who_made_it_and_offers_the_way_back(used: Timmy) -> None:
    sent: list[Any] = []
    steering.carry_out(sent.append, used.router, {"name": "well", "action": "isolate"}, "page")
    assert "well is isolated; nobody answers" in sent[-1]["words"]
    event = used.events.list(type="provider.isolated", limit=1)[0]
    assert (event.data or {})["by"] == "page"
    assert now.look(used).hands["well", "provider.isolated"].by == "page"
    steering.carry_out(sent.append, used.router, sent[-1]["undo"], "page")
    assert (sent[-1]["state"], sent[-1]["undo"]) == ("good", None)
    assert sent[-1]["words"] == "well is closed and may be asked again; well answers."
    steering.carry_out(sent.append, used.router, {"name": "well", "action": "priority", "values": {"well": 7}}, "page")
    assert sent[-1]["undo"]["values"] == {"well": 1}
    steering.carry_out(sent.append, used.router, {"name": "well", "action": "check"}, "page")
    assert sent[-1]["words"].startswith("well: ")


@pytest.mark.parametrize("order", [{"name": "gone", "action": "isolate"}, {"name": "well", "action": "explode"}, {}])
def test_an_order_that_cannot_be_meant_is_said_and_changes_nothing(used: Timmy, order: dict[str, str]) -> None:
    sent: list[Any] = []
    steering.carry_out(sent.append, used.router, order, "page")
    assert sent[-1]["state"] == "bad"
    assert used.events.list(family="provider", limit=1) == []


def test_an_answer_is_shown_as_it_comes_with_every_attempt_below(used: Timmy) -> None:
    sent: list[Any] = []
    trying.play(sent.append, used.router.stream_sync([{"role": "user", "content": "?"}]), trying.threading.Event())
    assert "".join(part["text"] for part in sent if part["kind"] == "text") == "Here I am."
    assert sent[-1]["text"] == "Here I am."
    assert "well answered" in sent[-1]["html"]


class Broken:
    """A stream that switches once, and breaks."""

    def __iter__(self) -> Any:
        yield Delta("half")
        yield Switch("a", "b", "stream_truncated")
        message = "b broke too"
        raise RouterError(message)

    def close(self) -> None:
        self.closed = True


def test_a_switch_makes_void_what_stood_there_and_a_break_is_said() -> None:
    sent: list[Any] = []
    stream = Broken()
    trying.play(sent.append, stream, trying.threading.Event())
    assert "a broke off (stream truncated); b begins again" in sent[-2]["words"]
    assert sent[-1] == {"kind": "failed", "words": "B broke too."}
    assert stream.closed


def test_an_outcome_escapes_what_came_from_outside_and_says_what_is_not_known() -> None:
    tried = (
        Attempt("<a>", "m", "failed", 12.0, error_class="timeout", message="<b>", advice="`x`"),
        Attempt("c", "m", "completed", 3.0, why="retry"),
    )
    answer = Answer("t", "c", "m", Usage(3, None, estimated=True), None, tried, "tr4ce", offline=False, latency_ms=15.0)
    text = trying.outcome(answer)
    assert "&lt;a&gt;" in text
    assert "≈ 3 in, ? out" in text
    assert "not known" in text
    assert "(retry)" in text
    assert Done(answer).answer is answer


# Measures ----------------------------------------------------------------------------------------------------


def line(name: str, **changes: Any) -> Line:
    numbers = dict.fromkeys(
        ("attempts", "completed", "failed", "cancelled", "retries", "hedges", "input_tokens", "output_tokens",
         "cached_tokens", "cache_write_tokens", "reasoning_tokens", "estimated", "cost_microusd", "unpriced"), 0
    )  # fmt: skip
    nothing = dict.fromkeys(
        ("availability", "p50_ms", "p95_ms", "p99_ms", "first_token_p50_ms", "first_token_p95_ms",
         "first_token_p99_ms", "tokens_per_s")
    )  # fmt: skip
    return Line(**{"provider": name, "model": "", "agent_id": "", **numbers, **nothing, **changes})


@pytest.mark.parametrize(
    ("availability", "words", "state"),
    [
        (1.0, "100 % available · unused", "tw-good"),
        (0.995, "99.5 % available · 50 % used", "tw-good"),
        (0.991, "99.1 % available · 90 % used", "tw-wait"),
        (0.96, "96.0 % available · overdrawn 4.0×", "tw-bad"),
        (None, "no answer to count", "tw-off"),
    ],
)
def test_an_error_budget_says_how_much_of_it_is_used(availability: float | None, words: str, state: str) -> None:
    found = measures.Measured(NOW, NOW, "a day", lines=[line("a", attempts=9, availability=availability)])
    text = measures.reliability(found)
    assert words in text
    assert f'<i class="{state}"' in text


def test_errors_are_told_by_class_and_provider_and_lead_to_their_events() -> None:
    lines = [line("a", errors={"timeout": 3, "overloaded": 1}), line("b", errors={"timeout": 2})]
    text = measures.reliability(measures.Measured(NOW, NOW, "a day", lines=lines))
    assert "a 3, b 2" in text
    assert text.index("timeout") < text.index("overloaded")
    assert "/swarm/events?text=timeout" in text


def test_a_budget_is_a_bar_of_what_is_spent_and_what_is_set_aside() -> None:
    text = measures.budgets(moment(budgets=[Standing(None, "day", 1_000_000, 500_000, 250_000)]))
    assert "$0.2500 of $1.00 left, $0.2500 set aside" in text
    assert 'class="tw-good" style="width:50.0%"' in text
    assert 'class="tw-held" style="width:25.0%"' in text
    assert "No budget is set." in measures.budgets(moment(budgets=[Standing(None, "day", None, 5, 0)]))


def test_what_cannot_be_measured_is_said(used: Timmy) -> None:
    assert "1 attempt" in measures.headline(measures.measure(used, {"range": "1h", "provider": "well"}))
    assert "No attempt of gone in the last hour." in measures.headline(
        measures.measure(used, {"range": "1h", "provider": "gone"})
    )
    assert "could not be measured" in measures.headline(
        measures.Measured(NOW, NOW, "a day", problem="the disk is full")
    )


def frame(*rows: tuple[str, str, float, float | None]) -> pl.DataFrame:
    """Return attempts of (provider, outcome, latency, first token)."""
    return pl.DataFrame(
        [
            {
                "ts": NOW, "provider": name, "model": "m", "outcome": outcome, "why": "cascade", "trace_id": "f" * 32,
                "error_class": None if outcome == "completed" else "timeout", "message": "<m>", "latency_ms": took,
                "first_token_ms": first, "input_tokens": None, "output_tokens": 4, "estimated": True,
                "cost_microusd": None,
            }
            for name, outcome, took, first in rows
        ]
    )  # fmt: skip


def test_distributions_set_the_first_token_below_the_whole_answer_on_one_scale() -> None:
    rows = frame(("a", "completed", 900.0, 90.0), ("a", "completed", 1000.0, None), ("b", "failed", 5.0, None))
    assert provider_charts.rows_of(rows) == [("a", "m", False, [900.0, 1000.0]), ("a", "m", True, [90.0])]
    spec = provider_charts.distributions(rows, {"a": palette.PROVIDERS["ollama"]}).to_dict()
    axis = spec["layer"][0]["encoding"]["y"]["axis"]
    assert axis["labelExpr"].startswith('["a", "first token"]')
    assert {layer["encoding"]["y"]["axis"]["labelOverlap"] for layer in spec["layer"]} == {False}
    assert len(provider_charts.measured(rows)) == 3


def test_a_provider_with_several_models_is_called_by_them() -> None:
    rows = [("a", "m", False, [1.0]), ("a", "m", True, [1.0]), ("a", "n", False, [1.0]), ("b", "m", False, [1.0])]
    assert provider_charts._names(rows) == ["m", "first token", "n", "b"]


def test_costs_are_drawn_for_every_one_of_seven_days() -> None:
    days = measures.costs_frame([DayCost(NOW.date(), "a", 1_000_000, 0), DayCost(NOW.date(), "b", 0, 3)])
    spec = provider_charts.costs(days, NOW, {}).to_dict()
    assert len(days) == 1
    assert len(spec["encoding"]["x"]["scale"]["domain"]) == 7


def test_an_attempt_of_the_table_leads_to_its_trace_and_says_what_is_not_known() -> None:
    text = attempts.table(frame(("<a>", "failed", 12.0, None)), {})
    assert "/swarm/events?trace=ffff" in text
    assert "≈ ? → 4" in text
    assert "&lt;a&gt;" in text
    assert "<m>" not in text


# Circuits over time ------------------------------------------------------------------------------------------


def move(minutes: int, before: str, after: str, reason: str = "") -> Move:
    return Move(NOW + timedelta(minutes=minutes), 1, None, "p", "m", before, after, reason, 0, None)


def test_the_states_of_a_circuit_follow_each_other_without_a_gap() -> None:
    moves = [move(10, "closed", "open", "5 failures"), move(20, "open", "half_open"), move(21, "half_open", "closed")]
    found = timeline.spans(moves, "closed", NOW, NOW + timedelta(hours=1))
    assert [span.state for span in found] == ["closed", "open", "half_open", "closed"]
    assert [one.end for one in found[:-1]] == [two.begin for two in found[1:]]
    assert (found[0].begin, found[-1].end) == (NOW, NOW + timedelta(hours=1))
    assert found[1].reason == "5 failures"


def test_a_circuit_that_did_not_move_stood_all_the_time_as_it_stands_now() -> None:
    lane = timeline.timeline([(provider(isolated=True), "m", [])], NOW, NOW + timedelta(hours=1), {"p": "#000000"})
    assert "isolated all the time" in lane
    assert lane.count("tw-span-isolated") == 1


def test_what_a_hand_opened_is_told_from_what_failures_opened() -> None:
    by_hand = timeline.spans([move(1, "closed", "open", "isolated by hand")], "open", NOW, NOW + timedelta(hours=1))
    assert by_hand[-1].state == "isolated"


# The address and the colours ---------------------------------------------------------------------------------


def test_the_address_keeps_what_is_known_and_nothing_else() -> None:
    groups = measures.groups({"here": "#000000"})
    assert chips.from_address({"range": ["1h", "7d"], "provider": " box "}, groups) == {
        "range": "7d",
        "provider": "box",
    }
    assert chips.from_address({"range": "9y"}, groups) == {"range": "24h"}


def test_two_providers_of_a_kind_have_colours_of_their_own_that_no_steering_changes() -> None:
    kinds = {"b": "openai", "a": "openai", "c": "ollama"}
    colors = palette.provider_colors(kinds)
    assert len(set(colors.values())) == 3
    assert colors == palette.provider_colors(dict(reversed(kinds.items())))
    assert colors["a"] == palette.PROVIDERS["openai"]
    for color, ground in itertools.product(palette.SPARE, (palette.LIGHT_GROUND, palette.DARK_GROUND)):
        assert palette.contrast(color, ground) >= 3
