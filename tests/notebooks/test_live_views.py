"""The live page: what an event says and leads to, the past behind the feed, tasks, and a trace as a line of time."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.waiting import until
from timmy_core import NewEvent
from timmy_core.events.model import EVENT_TYPES
from timmy_core.server.pages import PAGES
from timmy_core.timmy import Timmy
from ui import icons, live, palette, scale, tasking, tasks, things, traces, wording

UI = Path(live.__file__).parent


def told(type_: str, data: dict[str, Any] | None = None, **own: Any) -> Any:
    return SimpleNamespace(
        **{"seq": 7, "type": type_, "task_id": None, "agent_id": None, "trace_id": None, "data": data or {}} | own
    )


# What an event says and leads to -------------------------------------------------------------------------------


@pytest.mark.parametrize("type_", EVENT_TYPES)
def test_every_declared_type_has_a_look_words_and_a_place_to_go(type_: str) -> None:
    family = type_.partition(".")[0]
    assert family in palette.FAMILIES
    assert icons.PATHS[family]
    assert wording.said(type_, {}) == EVENT_TYPES[type_]
    paths = {page.path for page in PAGES}
    assert {link.href.partition("?")[0] for link in things.links(told(type_))} <= paths


@pytest.mark.parametrize(
    ("event", "href"),
    [
        (told("payment.settled", {"entry": "e1"}), "/lightning/ledger?entry=e1"),
        (told("memory.stored", {"entries": ["m1", "m2"]}), "/memory?entry=m1"),
        (told("llm.failed", {"gen_ai.provider.name": "my box"}), "/router/status?provider=my%20box"),
        (told("upgrade.applied", {"proposal": "p1"}), "/self-modify/queue?id=p1"),
        (told("bid.submitted", task_id="t1", agent_id="echo"), "/swarm/live?task=t1"),
        (told("agent.joined", agent_id="echo"), "/swarm/live?agent=echo"),
        (told("system.warning", {"link": "/router/status"}), "/router/status"),
        (told("log.redacted", {"first_seq": 3}), "/swarm/events?seq=3"),
        (told("x.own.thing", trace_id="abc"), "/swarm/events?trace=abc"),
        (told("x.own.thing"), "/swarm/events?seq=7"),
    ],
)
def test_an_event_leads_to_the_thing_itself(event: Any, href: str) -> None:
    assert things.links(event)[0].href == href


@pytest.mark.parametrize("odd", ["https://elsewhere.example", "//elsewhere.example", "javascript:alert(1)", 7, None])
def test_a_link_in_an_event_never_leads_out_of_the_workbench(odd: object) -> None:
    assert all(link.href.startswith("/swarm/") for link in things.links(told("system.error", {"link": odd})))


def test_the_words_of_a_type_leave_out_what_has_no_value() -> None:
    data = {"title": "Water the garden", "budget_msat": 500_500, "needs": [], "by": "ann"}
    assert wording.said("task.created", data) == "Water the garden · up to 500.5 sat · by ann"
    assert wording.said("task.created", None) == "redacted"


def test_trouble_is_told_from_the_rest() -> None:
    assert [wording.tone(name) for name in ("llm.failed", "system.warning", "chat.asked")] == ["bad", "wait", ""]


def test_the_browser_reads_every_key_that_a_phrase_can_have() -> None:
    """The two readers of the table know the same fields of an event itself."""
    own = {key for pieces in wording.PHRASES.values() for piece in pieces for key in re.findall(r"\{@(\w+)\}", piece)}
    fields = {rule.key[1:] for rule in things.RULES if rule.key.startswith("@")}
    known = {"seq", "id", "type", "ts", "source", "task_id", "agent_id", "trace_id"}
    assert own <= known
    assert fields <= known


# The past behind the feed --------------------------------------------------------------------------------------


def asked(timmy: Timmy, **content: Any) -> dict[str, Any]:
    sent: list[dict[str, Any]] = []
    live.answer(sent.append, timmy, content)
    return sent[0]


def fill(timmy: Timmy) -> None:
    now = datetime.now(UTC)
    kinds = ("task.created", "system.info", "x.note.made")
    timmy.events.append_many(
        [
            NewEvent(
                kinds[n % 3], "test", {"n": n, "message": f"word{n}"}, agent_id="echo", ts=now + timedelta(seconds=n)
            )
            for n in range(300)
        ]
    )


def test_the_past_comes_in_pages_until_nothing_is_left(empty: Timmy) -> None:
    fill(empty)
    head, seen, number, more = empty.events.head()[0], list[int](), 0, True
    while more:
        number += 1
        before = seen[-1] if seen else head + 1
        page = asked(empty, kind="past", number=number, before=before, query={})
        assert page["number"] == number
        seen += [event["seq"] for event in page["events"]]
        more = page["more"]
    assert seen == list(range(head, 0, -1))


def test_the_past_of_two_families_is_one_list(empty: Timmy) -> None:
    fill(empty)
    found = asked(empty, kind="past", number=1, before=250, query={"family": "task,x", "text": ""})["events"]
    assert {event["type"] for event in found} == {"task.created", "x.note.made"}
    seqs = [event["seq"] for event in found]
    assert seqs == sorted(seqs, reverse=True)
    assert seqs[0] == 249 or seqs[0] == 248


def test_the_past_can_be_asked_by_words_agent_and_time(empty: Timmy) -> None:
    fill(empty)
    one = asked(empty, kind="past", number=1, before=10_000, query={"text": "word42", "agent": "echo"})["events"]
    assert [event["data"]["n"] for event in one] == [42]
    cut = one[0]["ts"]
    earlier = asked(empty, kind="past", number=2, before=10_000, query={"until": cut, "agent": "echo"})["events"]
    assert earlier[0]["data"]["n"] == 41


def test_a_wrong_question_of_the_past_is_answered_in_words(empty: Timmy) -> None:
    reply = asked(empty, kind="past", number=3, before=10, query={"since": "noon"})
    assert reply["number"] == 3
    assert reply["problem"].startswith("'noon' is not a time")
    assert asked(empty, kind="event", seq=10_000)["event"] is None


def test_a_trace_that_is_not_there_is_said(empty: Timmy) -> None:
    assert "No event has this trace" in asked(empty, kind="trace", trace="nobody")["html"]


# A trace -------------------------------------------------------------------------------------------------------


def test_a_question_is_told_from_asking_to_remembering(used: Timmy) -> None:
    trace = used.events.list(type="chat.asked", limit=1)[0].trace_id or ""
    text = asked(used, kind="trace", trace=trace)["html"]
    story = re.findall(r"</span>([^<]+)</a></li>", text[text.index("tw-story") : text.index('class="tw-trace"')])
    assert story[0] == "1 question"
    assert "1 attempt" in story
    assert story[-1] == "remembered"


def test_a_task_s_trace_tells_of_bids_work_sats_and_an_upgrade(empty: Timmy) -> None:
    steps: list[tuple[str, dict[str, Any]]] = [
        ("task.created", {"title": "x"}), ("bid.submitted", {"amount_msat": 5000}),
        ("bid.submitted", {"amount_msat": 9000}),
        ("task.started", {}), ("memory.recalled", {"entries": ["a", "b"], "took_ms": 3}), ("llm.failed", {}),
        ("llm.completed", {}), ("task.completed", {}), ("payment.settled", {"amount_msat": 5000}),
        ("upgrade.proposed", {"proposal": "p"}),
    ]  # fmt: skip
    empty.events.append_many([NewEvent(name, "test", data, task_id="t", trace_id="tr") for name, data in steps])
    text = traces.story(empty.questions.trace("tr"))
    for words in (
        "1 task",
        "2 bids",
        "2 memories recalled",
        "2 attempts, 1 failed",
        "done",
        "5 sat moved",
        "1 proposal",
    ):
        assert words in text
    assert re.findall(r"</span>([^<]+)</a>", text)[0] == "1 task"


stretch = st.tuples(st.floats(0, 1e9), st.floats(0, 1e6)).map(lambda one: (one[0], one[0] + one[1]))


@settings(max_examples=60, deadline=None)
@given(st.lists(stretch, min_size=1, max_size=30))
@example([(0.0, 0.04045), (268435457.0, 268435457.0)])
def test_a_line_of_time_keeps_the_order_and_stays_within_its_bounds(stretches: list[tuple[float, float]]) -> None:
    line = scale.Scale.of(stretches)
    moments = sorted({moment for pair in stretches for moment in pair})
    places = [line.at(moment) for moment in moments]
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in places)
    assert all(one <= other + 1e-9 for one, other in itertools.pairwise(places))
    assert len(line.cuts) <= scale.MOST_CUTS
    # Where it was cut, nothing happened.
    assert not [1 for cut in line.cuts for begin, end in stretches if begin < cut.end_ms and end > cut.begin_ms]


def test_a_decision_days_later_does_not_press_the_rest_together() -> None:
    day = 86_400_000.0
    line = scale.Scale.of([(0, 900), (1000, 1900), (2 * day, 2 * day + 100)])
    assert len(line.cuts) == 1
    assert line.at(1000) > 0.4
    assert scale.words(line.cuts[0].ms) == "1 d"


# Tasks ---------------------------------------------------------------------------------------------------------


def done(timmy: Timmy, **order: Any) -> dict[str, Any]:
    sent: list[dict[str, Any]] = []
    tasking.carry_out(sent.append, timmy, order, "ann")
    return sent[0]


def test_a_task_is_posted_bid_for_and_shown_with_its_bids(empty: Timmy) -> None:
    empty.swarm.register("mole", capabilities=["text"])
    empty.swarm.register("owl", capabilities=["text"])
    posted = done(empty, kind="post", number=4, key="k1", text="Water <b>all</b> of it", budget="1,000", needs="text")
    assert posted["number"] == 4
    assert "Posted “Water <b>all</b> of it”" in posted["words"]
    empty.swarm.bid(posted["id"], "mole", amount_sats=40)
    empty.swarm.bid(posted["id"], "owl", amount_sats=30.5)
    listed = done(empty, kind="list")
    assert (listed["count"], listed["open"], listed["more"]) == (1, 1, None)
    assert listed["rows"][0]["words"] == "2 bids, the lowest 30.5 sat by owl"
    assert {"mole", "owl"} <= set(listed["offers"]["agents"])
    html = done(empty, kind="task", id=posted["id"])["html"]
    assert html.index("owl") < html.index("mole")
    assert "<b>all</b>" not in html
    assert "data-cancel" in html


def test_a_task_that_is_done_is_asked_about_again_until_its_pay_has_come(empty: Timmy) -> None:
    empty.swarm.register("mole", kind="local", wallet="home")
    task = empty.swarm.post_task("Say hello.", budget_sats=20, bidding_s=0.1)
    empty.swarm.bid(task.id, "mole", amount_sats=3)
    assert done(empty, kind="task", id=task.id)["unpaid"] is False
    until(lambda: empty.swarm.tend(pay=False), "the auction ended")
    lease = empty.swarm.task(task.id).lease or ""
    empty.swarm.start(task.id, "mole", lease=lease)
    empty.swarm.complete(task.id, "mole", lease=lease, result="Hello.")
    assert done(empty, kind="task", id=task.id)["unpaid"] is True
    empty.swarm.pay_due()
    assert done(empty, kind="task", id=task.id)["unpaid"] is False


def test_posting_the_same_form_twice_makes_one_task(empty: Timmy) -> None:
    order = {"kind": "post", "key": "same", "text": "Once", "budget": "5"}
    assert done(empty, **order)["id"] == done(empty, **order)["id"]
    assert empty.swarm.count() == 1


@pytest.mark.parametrize(
    "order", [{"text": " ", "budget": "5"}, {"text": "x", "budget": "much"}, {"text": "x", "budget": "-1"}]
)
def test_what_cannot_be_posted_is_refused_in_words(empty: Timmy, order: dict[str, Any]) -> None:
    assert done(empty, kind="post", key="k", **order)["problem"].endswith((".", "`"))
    assert empty.swarm.count() == 0


def test_a_canceled_task_is_shown_as_such_and_an_unknown_one_is_said(empty: Timmy) -> None:
    task = empty.swarm.post_task("Nothing much")
    assert done(empty, kind="cancel", id=task.id, reason="not needed")["words"] == "Canceled “Nothing much”."
    assert "data-cancel" not in tasks.detail(empty.swarm.task(task.id))
    assert done(empty, kind="task", id="nobody")["problem"].startswith("There is no task")


def test_the_first_line_says_what_is_open_and_who_is_here(empty: Timmy) -> None:
    assert tasks.first_line(empty).startswith("No task is open, echo, forge, seer come when there is something to do")
    assert tasks.offers(empty)["agents"] == ["echo", "forge", "seer"]
    empty.swarm.register("mole", capabilities=["digging"])
    assert "1 agent is here" in tasks.first_line(empty)
    assert tasks.offers(empty)["able"] == ["digging"]
    empty.swarm.post_task("One")
    assert "<strong>1 task</strong> is open" in tasks.first_line(empty)
