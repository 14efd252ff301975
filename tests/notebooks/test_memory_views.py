"""The memory page: its first line, its facts, what its hands do, what its search sends, its charts."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from timmy_core.errors import TimmyError
from timmy_core.memory import overview
from timmy_core.memory.embedding_rows import Cursor, Made, lacking, save, take_over
from timmy_core.memory.model import Match, Passage, Why
from timmy_core.memory.model_files import Progress
from timmy_core.timmy import Timmy
from ui import carrying, chat, filters, finding, keeping, knowing, memory_charts, remembered, sought

from .test_pages import shown

NOW = datetime(2026, 11, 22, 14, 2, tzinfo=UTC)
MODEL = "made-up@1"
Load = Callable[[str], ModuleType]


def fact(timmy: Timmy, text: str, **fields: Any) -> Any:
    return timmy.memory.remember(text, kind="fact", **fields)


def done(timmy: Timmy, **order: Any) -> dict[str, Any]:
    """Carry out an order, and return the last that was said."""
    sent: list[Any] = []
    keeping.carry_out(sent.append, timmy, order, "a test", threading.Event())
    return dict(sent[-1])


def embedded(timmy: Timmy) -> None:
    """Give every entry a vector, as the worker does."""
    timmy.store.write(lambda connection: take_over(connection, MODEL))
    found, after = lacking(timmy.store, MODEL, Cursor(), local=True, limit=1000)
    chance = np.random.default_rng(3)
    made = [Made(one, ((0, chance.normal(size=16).astype("<f2").tobytes()),)) for one in found]
    assert timmy.store.write(lambda connection: save(connection, MODEL, made, after, {"per_second": 70.0}))


# The page as a whole -----------------------------------------------------------------------------------------


def test_an_empty_memory_says_what_to_do_and_offers_the_model(page: Load, empty: Timmy) -> None:
    text = shown(page, "memory", empty)
    for words in ("remembers nothing yet", "by words only", "Install all-MiniLM-L6-v2", "91.3 MB", "No fact yet."):
        assert words in text
    assert "To be resolved" not in text
    assert "Remembered over time" not in text


def test_the_page_of_a_used_memory_has_every_part(page: Load, used: Timmy) -> None:
    fact(used, "The spare key is under the blue pot.")
    fact(used, "The spare key is under the red pot.")
    fact(used, "Jo goes to the new school.", proposed=True)
    embedded(used)
    text = shown(page, "memory", used)
    for words in (
        "2 facts", "2 turns", "1 proposed fact waits for you", "What Timmy knows about you", "To be resolved",
        "blue or red", "Recalled for an answer", "Remembered over time", "A map of 4 entries",
        "Bring in, take out", "Health",
    ):  # fmt: skip
        assert words in text, words


def test_what_was_remembered_is_no_markup(page: Load, used: Timmy) -> None:
    fact(used, "<script>alert(1)</script> is <b>bold</b>", subject="<i>it</i>")
    fact(used, "<script>alert(1)</script> is <b>thin</b>")
    text = shown(page, "memory", used)
    assert not [tag for tag in ("<script>alert", "<b>bold", "<b>thin", "<i>it") if tag in text]


# The first line ----------------------------------------------------------------------------------------------


def held(**changes: Any) -> remembered.Held:
    counted = [overview.Counted("fact", "stored", 3, 1), overview.Counted("conversation", "stored", 40, 0)]
    return remembered.Held(counted=counted, **changes)


def line(**changes: Any) -> str:
    return remembered.first_line(held(meaning=remembered.Meaning(**changes)))


def test_the_first_line_counts_what_holds_and_says_how_it_is_found() -> None:
    text = line()
    assert "2 facts</a></strong> and <strong>" in text
    assert "40 turns" in text
    assert "no embedding model is installed" in text
    assert line(installed=True, model="m@1", done=40, total=40).endswith("by words and by meaning (m).")
    assert "30 of 40 so far, 70 a second" in line(installed=True, model="m@1", done=30, total=40, per_second=70.4)
    assert "as the settings say" in line(chosen="none")
    assert "the embedding model fails" in line(installed=True, state="failing")


def test_a_model_that_fails_is_said_with_what_to_do() -> None:
    text = remembered.notes(held(meaning=remembered.Meaning(damaged="it is damaged; run `timmy memory model install`")))
    assert "Words find everything meanwhile" in text
    assert "Install it again" in text


def test_embedding_under_way_says_how_long_it_takes() -> None:
    meaning = remembered.Meaning(installed=True, model="m@1", done=100, total=800, per_second=70)
    assert "700 entries to embed, 10 s left" in remembered.notes(held(meaning=meaning))


# The hands ---------------------------------------------------------------------------------------------------


def test_a_newer_fact_about_the_same_ends_the_older_and_says_so(empty: Timmy) -> None:
    done(empty, action="remember", text="Ann lives in Graz.", subject="home of Ann")
    said = done(empty, action="remember", text="Ann lives in Vienna.", subject="home of Ann")
    assert "“Ann lives in Graz.” ended with it" in said["words"]
    assert (
        "Known already" in done(empty, action="remember", text="Ann lives in Vienna.", subject="home of Ann")["words"]
    )


def test_what_was_ended_can_hold_again(empty: Timmy) -> None:
    entry = fact(empty, "The bakery closes at six.")
    undo = done(empty, action="end", id=entry.id)["undo"]
    assert empty.memory.facts() == []
    done(empty, **undo)
    assert [one.id for one in empty.memory.facts()] == [entry.id]


def test_a_pair_that_a_person_told_apart_is_not_asked_about_again(empty: Timmy) -> None:
    older, newer = fact(empty, "The key is under the blue pot."), fact(empty, "The key is under the red pot.")
    assert len(knowing.open_pairs(empty.memory.contradictions())) == 1
    done(empty, action="both", id=newer.id, other=older.id)
    assert knowing.open_pairs(empty.memory.contradictions()) == []


def test_a_forgetting_by_filter_takes_only_what_its_preview_showed(empty: Timmy) -> None:
    for number in range(7):
        empty.memory.remember(f"turn {number}", session="s", agent_id="timmy")
    shown_first = keeping.preview(empty, {"where": {"session": "s"}})
    assert shown_first["title"] == "Forget 7 entries?"
    assert "and 2 more" in shown_first["html"]
    later = empty.memory.remember("came after the preview", session="s", agent_id="timmy")
    assert "Forgotten: 7 entries" in done(empty, **shown_first["go"])["words"]
    assert [one.id for one in empty.memory.list()] == [later.id]


def test_a_filter_that_matches_nothing_offers_nothing_to_forget(empty: Timmy) -> None:
    assert keeping.preview(empty, {"where": {"session": "nobody"}})["go"] is None


def test_a_forgetting_without_any_filter_is_refused(empty: Timmy) -> None:
    fact(empty, "It stays.")
    said = done(empty, action="forget", where={}, until="")
    assert said["state"] == "bad"
    assert len(empty.memory.list()) == 1


def test_what_cannot_be_done_is_said(empty: Timmy) -> None:
    assert done(empty, action="confirm", id="nobody")["state"] == "bad"


def test_the_switch_of_a_session_says_what_it_means(empty: Timmy) -> None:
    assert "nothing is remembered" in done(empty, action="switch", session="default", enabled=False)["words"]
    assert not empty.switches.get("default").enabled
    assert "but for the session default" in remembered.notes(remembered.look(empty))


def test_an_installation_says_how_far_it_is_once_a_percent_and_can_be_stopped() -> None:
    def install(*, on_progress: Any, stop: Any) -> str:
        for thousandth in range(1001):
            on_progress(Progress("fetching", thousandth * 1000, 1_000_000))
        on_progress(Progress("done", 1_000_000, 1_000_000))
        if stop():
            message = "it was stopped"
            raise TimmyError(message)
        return "hub"

    timmy: Any = SimpleNamespace(meaning=SimpleNamespace(install=install))
    sent: list[Any] = []
    stop = threading.Event()
    keeping.carry_out(sent.append, timmy, {"action": "install"}, "a test", stop)
    assert [one["percent"] for one in sent[:-1]] == list(range(101))
    assert sent[50]["words"] == "Fetching all-MiniLM-L6-v2: 500 kB of 1.0 MB"
    assert "is installed, from hub" in sent[-1]["words"]
    stop.set()
    keeping.carry_out(sent.append, timmy, {"action": "install"}, "a test", stop)
    assert (sent[-1]["state"], sent[-1]["words"]) == ("bad", "That did not work: it was stopped")


# The search --------------------------------------------------------------------------------------------------


def test_without_words_the_newest_are_listed_page_by_page(empty: Timmy) -> None:
    for number in range(30):
        empty.memory.remember(f"turn {number}", session="s")
    first = finding.found(empty, {})
    assert [one["text"] for one in first["rows"]] == [f"turn {n}" for n in range(29, 29 - finding.FEW, -1)]
    assert first["total"] == 30
    older = finding.found(empty, {}, cursor=first["cursor"])
    assert len(older["rows"]) == finding.PAGE
    assert finding.found(empty, {"session": "nobody"})["rows"] == []


def test_a_match_says_where_its_score_comes_from() -> None:
    why = Why(words=("rust",), keyword=1.0, similarity=0.5, window=None, recency=0.0, note="")
    assert [(one["name"], one["value"]) for one in finding.reasons(why)] == [("words", 1.0), ("likeness", 0.5)]


def test_of_a_document_the_passage_that_matched_is_shown(empty: Timmy) -> None:
    entry = empty.memory.remember("a long document", kind="document", metadata={"title": "x.md"})
    found = finding.row(entry, Match(entry, 1.0, Why(passage=Passage("long", 2, 6, 1))))
    assert (found["text"], found["passage"], found["title"]) == ("long", 2, "x.md")


def test_only_the_latest_of_several_questions_is_answered(empty: Timmy) -> None:
    sent: list[Any] = []
    answers = sought.Answers(partial(finding.found, empty), partial(finding.opened, empty))
    answers.answer(sent.append, {"kind": "find", "number": 2, "query": {}})
    answers.answer(sent.append, {"kind": "find", "number": 1, "query": {}})
    assert [one["number"] for one in sent] == [2]


def test_an_entry_opens_with_the_turns_beside_it(empty: Timmy) -> None:
    ids = [empty.memory.remember(text, session="s", agent_id="timmy").id for text in ("one", "two", "three")]
    opened = finding.opened(empty, ids[1])
    assert [one["text"] for one in (*opened["before"], *opened["after"])] == ["one", "three"]
    assert ["scope", "agent:timmy"] in opened["facts"]


# The address -------------------------------------------------------------------------------------------------


def test_a_chosen_stretch_wins_over_a_range_and_a_moment_without_a_zone_means_nothing() -> None:
    assert filters.wanted({"range": "7d"}, NOW) == {"since": NOW - timedelta(days=7)}
    assert filters.wanted({"range": "7d", "since": "2026-01-01T00:00:00+00:00"}, NOW) == {
        "since": datetime(2026, 1, 1, tzinfo=UTC)
    }
    assert filters.from_address({"since": "2026-01-01", "until": "noon", "kind": ["x", "fact"]}) == {"kind": "fact"}
    assert filters.described({"kind": "fact", "range": "7d"}) == "kind fact, the last 7 days"


# Charts ------------------------------------------------------------------------------------------------------


def test_the_growth_loses_no_entry_and_leaves_out_what_was_only_proposed(empty: Timmy) -> None:
    for days in range(0, 400, 10):
        fact(empty, f"fact {days}", created_at=NOW - timedelta(days=days))
    fact(empty, "a guess", proposed=True)
    bars = overview.grown(empty.store)
    assert sum(bar.entries for bar in bars) == 40
    assert len({bar.start for bar in bars}) <= 60
    ms = [bar.timestamp() * 1000 for bar in (bars[0].start + timedelta(hours=1), bars[0].end - timedelta(hours=1))]
    assert memory_charts.stretch(bars, {"stretch": {"start": ms}}) == (bars[0].start, bars[0].end)
    assert memory_charts.stretch(bars, {}) is None


def test_on_the_map_what_is_alike_is_near_and_it_is_the_same_each_time() -> None:
    chance = np.random.default_rng(1)
    middles = chance.normal(size=(2, 32)) * 5
    vectors = np.concatenate([middle + chance.normal(size=(20, 32)) for middle in middles]).astype(np.float32)
    flat = overview.projected(vectors)
    assert np.abs(flat).max() <= 1
    assert abs(flat[:20, 0].mean() - flat[20:, 0].mean()) > 4 * flat[:20, 0].std()
    assert np.array_equal(flat, overview.projected(vectors))


def test_the_brush_reads_what_is_inside_the_nearest_to_its_middle_first(empty: Timmy) -> None:
    for number in range(5):
        empty.memory.remember(f"turn {number}")
    assert overview.laid_out(empty.store, MODEL) == []
    embedded(empty)
    points = overview.laid_out(empty.store, MODEL)
    assert len(points) == 5
    assert len(memory_charts.brushed(points, {"near": {"x": [1.1, -1.1], "y": [-1.1, 1.1]}})) == 5
    assert memory_charts.brushed(points, {"near": {}}) == []
    one = points[2]
    box = {"x": [one.x - 1e-6, one.x + 1e-6], "y": [one.y - 1e-6, one.y + 1e-6]}
    assert memory_charts.brushed(points, {"near": box}) == [one.seq]


# Files -------------------------------------------------------------------------------------------------------


def carrying_widget(timmy: Timmy) -> tuple[carrying.Carrying, list[Any]]:
    sent: list[Any] = []
    widget = carrying.Carrying(timmy)
    widget.send = lambda content, buffers=None: sent.append((content, buffers))  # type: ignore[method-assign]
    return widget, sent


def test_a_file_comes_in_pieces(empty: Timmy) -> None:
    widget, sent = carrying_widget(empty)
    widget._asked(widget, {"kind": "begin", "name": "a.txt"}, None)
    for piece in (b"one ", b"two"):
        widget._asked(widget, {"kind": "piece", "data": base64.b64encode(piece).decode()}, None)
    assert [content["bytes"] for content, _ in sent] == [4, 7]


@pytest.mark.parametrize(("name", "state"), [("a.txt", "good"), ("a.xyz", "bad")])
def test_an_import_says_what_came_of_it(empty: Timmy, name: str, state: str) -> None:
    sent: list[Any] = []
    file = carrying.File(name, b"The boat lies at berth seven.", NOW)
    carrying.take_in(sent.append, empty, file, None, threading.Event())
    assert (sent[-1]["kind"], sent[-1]["state"]) == ("taken", state)
    assert empty.memory.count() == (state == "good")


def test_an_export_is_sent_in_pieces_and_named_last(empty: Timmy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carrying, "_LINES", 2)
    for number in range(3):
        fact(empty, f"fact {number}")
    sent: list[Any] = []
    carrying.hand_out(lambda content, buffers=None: sent.append((content, buffers)), empty, {})
    assert [content["kind"] for content, _ in sent] == ["chunk", "chunk", "file"]
    assert sent[-1][0]["words"] == "3 entries saved"
    assert b"".join(buffers[0] for _, buffers in sent[:-1]).count(b"\n") == 3


# The conversation --------------------------------------------------------------------------------------------


def memo(text: str, **changes: Any) -> Any:
    return SimpleNamespace(id="a/b", kind="fact", text=text, said_at=NOW, forgotten=False, **changes)


def test_an_answer_names_the_memories_that_it_stood_on_folded_and_as_plain_text() -> None:
    assert chat.stood_on(()) == ""
    text = chat.stood_on([memo("**<b>bold</b>** [x](y) `z`")])
    assert "<summary>stood on 1 memory</summary>" in text
    assert not {"<b>", "**", "[x]", "`"} & {piece for piece in ("<b>", "**", "[x]", "`") if piece in text}
    assert "/memory/?entry=a%2Fb" in text


def test_a_memory_that_was_forgotten_since_is_not_shown() -> None:
    gone = SimpleNamespace(id="x", kind=None, text="", said_at=None, forgotten=True)
    assert "<li>forgotten since</li>" in chat.stood_on([gone])
    assert "and 2 more" in chat.stood_on([memo("a")] * (chat.SHOWN + 2))
