"""The memory over HTTP: finding, saying, forgetting with a preview, and the switch of each session."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from timmy_core.timmy import Timmy

API = "/api/v1/memory"


@pytest.fixture
def filled(timmy: Timmy) -> Timmy:
    timmy.memory.remember("the dog is called Rex", kind="fact", subject="dog")
    timmy.memory.remember("we walked to the lake", session="s1", speaker="user")
    timmy.memory.remember("a fine walk", session="s1", speaker="timmy")
    timmy.memory.remember("likes tea", kind="fact", proposed=True)
    return timmy


@pytest.fixture
def site(filled: Timmy, site: httpx.Client) -> httpx.Client:
    return site


@pytest.fixture
def writer(site: httpx.Client) -> httpx.Client:
    """A client that may change things."""
    site.headers["X-Timmy-Token"] = site.get("/api/v1/token").json()["token"]
    return site


def seqs(response: httpx.Response, name: str = "entries") -> list[int]:
    assert response.status_code == 200, response.text
    return [entry["seq"] for entry in response.json()[name]]


def error(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    return str(response.json()["error"]["message"])


# Looking -----------------------------------------------------------------------------------------------------


def test_search_finds_and_says_why(site: httpx.Client) -> None:
    (match,) = site.get(f"{API}/search?q=what+is+the+dog+called").json()["matches"]
    assert match["entry"]["text"] == "the dog is called Rex"
    assert "dog" in match["why"]["words"]
    assert match["score"] > 0
    assert site.get(f"{API}/search?q=dog&scope=session:s1").json()["matches"] == []
    assert site.get(f"{API}/search?q=dog&kind=document").json()["matches"] == []
    assert len(site.get(f"{API}/search?q=").json()["matches"]) == 3


def test_entries_are_filtered_and_paged(site: httpx.Client) -> None:
    assert seqs(site.get(f"{API}/entries")) == [4, 3, 2, 1]
    first = site.get(f"{API}/entries?limit=3")
    assert seqs(site.get(f"{API}/entries", params={"cursor": first.json()["next"]})) == [1]
    assert seqs(site.get(f"{API}/entries?session=s1&kind=conversation")) == [3, 2]
    assert seqs(site.get(f"{API}/entries?state=proposed")) == [4]


def test_an_entry_is_read_by_number_or_id_with_the_turns_beside_it(site: httpx.Client, filled: Timmy) -> None:
    by_number = site.get(f"{API}/entries/2").json()
    assert by_number == site.get(f"{API}/entries/{filled.memory.get(2).id}").json()
    assert [turn["text"] for turn in by_number["beside"]] == ["a fine walk"]
    assert "no entry has the seq 99" in error(site.get(f"{API}/entries/99"), 404)


def test_facts_that_hold_that_ever_did_and_that_wait(site: httpx.Client, filled: Timmy) -> None:
    before = filled.clock.now()
    filled.memory.close_fact(1, by="test")
    assert seqs(site.get(f"{API}/facts"), "facts") == []
    assert seqs(site.get(f"{API}/facts?which=all"), "facts") == [1]
    assert seqs(site.get(f"{API}/facts", params={"valid_at": before.isoformat()}), "facts") == [1]
    assert seqs(site.get(f"{API}/facts?which=candidates"), "facts") == [4]
    assert "leave one" in error(site.get(f"{API}/facts?which=all&valid_at={before:%Y-%m-%dT%H:%M:%SZ}"), 400)


def test_the_status_counts(site: httpx.Client) -> None:
    found = site.get(f"{API}/status").json()
    assert (found["entries"], found["kinds"], found["states"]) == (
        4, {"conversation": 2, "fact": 2}, {"stored": 3, "proposed": 1},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("search", "'q' is missing"),
        ("search?q=x&limit=1000", "less than or equal to 100"),
        ("entries?kind=song", "'conversation', 'fact' or 'document'"),
        ("entries?sesion=s1", "did you mean session"),
        ("facts?which=some", "which"),
        ("status?x=1", "not known"),
    ],
)
def test_a_wrong_parameter_is_named(site: httpx.Client, path: str, said: str) -> None:
    assert said in error(site.get(f"{API}/{path}"), 400)


# Saying ------------------------------------------------------------------------------------------------------


def test_a_text_is_remembered_edited_closed(writer: httpx.Client) -> None:
    body = {"text": "lives in Graz", "subject": "Home", "metadata": {"a": 1}, "valid_from": "2020-01-01T00:00:00Z"}
    entry = writer.post(f"{API}/entries", json=body).json()
    assert (entry["kind"], entry["scope"], entry["source"], entry["subject"]) == ("fact", "shared", "api", "home")
    assert entry["valid_from"].startswith("2020-01-01")
    edit = {"text": "lives in Linz", "subject": None}
    edited = writer.post(f"{API}/entries/{entry['id']}/edit", json=edit).json()
    assert (edited["text"], edited["subject"], edited["metadata"]) == ("lives in Linz", None, {"a": 1})
    closed = writer.post(f"{API}/entries/{entry['id']}/close", json={"at": "2026-01-01T00:00:00Z"}).json()
    assert closed["valid_to"].startswith("2026-01-01")
    again = writer.post(f"{API}/entries/{entry['id']}/edit", json={"valid_to": None}).json()
    assert again["valid_to"] is None


def test_a_candidate_is_confirmed_or_rejected(writer: httpx.Client, filled: Timmy) -> None:
    other = filled.memory.remember("likes rain", kind="fact", proposed=True)
    assert writer.post(f"{API}/entries/4/confirm", json={"by": "ann"}).json()["state"] == "stored"
    assert writer.post(f"{API}/entries/{other.id}/reject", json={}).json()["state"] == "rejected"
    assert "it was confirmed" in error(writer.post(f"{API}/entries/4/reject", json={}), 422)


def test_what_cannot_be_kept_is_refused_with_the_reason(writer: httpx.Client) -> None:
    assert "the text is empty" in error(writer.post(f"{API}/entries", json={"text": " "}), 422)
    assert "'text' is missing" in error(writer.post(f"{API}/entries", json={}), 422)
    assert "scope 'mars'" in error(writer.post(f"{API}/entries", json={"text": "x", "scope": "mars"}), 422)
    assert "nothing to change" in error(writer.post(f"{API}/entries/1/edit", json={}), 422)
    assert "no entry has" in error(writer.post(f"{API}/entries/99/edit", json={"text": "x"}), 404)
    body = {"text": "x", "id": "mine"}
    writer.post(f"{API}/entries", json=body)
    assert "belongs to an entry" in error(writer.post(f"{API}/entries", json=body | {"text": "y"}), 409)


# Forgetting --------------------------------------------------------------------------------------------------


def test_forgetting_is_shown_first_and_then_done(writer: httpx.Client, filled: Timmy) -> None:
    body: dict[str, Any] = {"where": {"session": "s1"}, "reason": "private", "by": "ann"}
    shown = writer.post(f"{API}/forget", json=body | {"preview": True})
    assert shown.json()["entries"] == 2
    assert seqs(shown, "some") == [3, 2]
    assert filled.memory.count() == 4
    assert writer.post(f"{API}/forget", json=body).json() == {"entries": 2, "passages": 0, "erased": True}
    assert writer.post(f"{API}/forget", json={"ids": [filled.memory.get(1).id]}).json()["entries"] == 1
    assert [entry.seq for entry in filled.memory.list()] == [4]
    event = filled.events.list(type="memory.forgotten", order="asc")[0]
    assert ((event.data or {})["reason"], (event.data or {})["by"]) == ("private", "ann")


@pytest.mark.parametrize("body", [{}, {"where": {}}, {"ids": ["a"], "where": {"session": "s1"}}, {"where": {"x": 1}}])
def test_nobody_forgets_everything_by_mistake(writer: httpx.Client, filled: Timmy, body: dict[str, Any]) -> None:
    error(writer.post(f"{API}/forget", json=body), 422)
    assert filled.memory.count() == 4


# Switching ---------------------------------------------------------------------------------------------------


def test_a_session_is_switched_and_a_question_obeys(writer: httpx.Client, filled: Timmy) -> None:
    assert writer.get(f"{API}/sessions").json() == {"default": True, "sessions": []}
    assert writer.get(f"{API}/sessions/s9").json()["enabled"] is True
    off = writer.post(f"{API}/sessions/s9", json={"enabled": False, "by": "ann"}).json()
    assert (off["session"], off["enabled"], off["changed_by"]) == ("s9", False, "ann")
    assert [one["session"] for one in writer.get(f"{API}/sessions").json()["sessions"]] == ["s9"]
    answer = writer.post("/api/v1/ask", json={"text": "what is the dog called?", "session": "s9"}).json()
    assert answer["memories"] == []
    answer = writer.post("/api/v1/ask", json={"text": "is the dog called Rex?", "session": "s9", "memory": True}).json()
    assert [memo["text"] for memo in answer["memories"]] == ["the dog is called Rex"]
    assert "called Rex" in answer["text"]
    assert "is not usable" in error(writer.post(f"{API}/sessions/a%20b", json={"enabled": False}), 422)
    assert "enabled" in error(writer.post(f"{API}/sessions/s9", json={"enabled": "no"}), 422)


# The door ----------------------------------------------------------------------------------------------------

WRITES = (
    "entries", "entries/1/edit", "entries/1/confirm", "entries/1/reject", "entries/1/close", "forget", "sessions/s1",
)  # fmt: skip


@pytest.mark.parametrize("path", WRITES)
def test_a_change_needs_the_token(site: httpx.Client, filled: Timmy, path: str) -> None:
    head = filled.events.head()
    assert "X-Timmy-Token" in error(site.post(f"{API}/{path}", json={}), 403)
    assert filled.events.head() == head


@pytest.mark.parametrize("path", ["status", "search?q=x", "entries", "entries/1", "facts", "sessions", "sessions/s1"])
def test_nothing_is_read_without_the_password(locked: httpx.Client, path: str) -> None:
    error(locked.get(f"{API}/{path}"), 401)


def test_a_wrong_method_is_told_all_that_are_right(writer: httpx.Client) -> None:
    refused = writer.put(f"{API}/entries", json={})
    assert refused.status_code == 405
    assert refused.headers["allow"] == "GET, HEAD, POST"
