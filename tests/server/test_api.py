"""The API: filters, pages of results, errors that say what to do."""

from __future__ import annotations

from typing import Any

import httpx
import pytest


@pytest.fixture
def events(timmy: Any) -> list[Any]:
    return [
        timmy.events.append("task.created", source=f"s{n % 2}", task_id=f"t{n}", trace_id="r", data={"n": n})
        for n in range(5)
    ] + [timmy.events.append("system.info", source="s0", agent_id="a", data={})]


def error_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["message"])


def seqs(response: httpx.Response) -> list[int]:
    assert response.status_code == 200, response.text
    return [event["seq"] for event in response.json()["events"]]


def test_the_newest_events_come_first(site: httpx.Client, events: list[Any]) -> None:
    response = site.get("/api/v1/events")
    assert seqs(response)[:6] == [event.seq for event in reversed(events)]
    assert response.json()["events"][0] == events[-1].as_dict()
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"type": "system.info"}, [5]),
        ({"family": "task"}, [4, 3, 2, 1, 0]),
        ({"task_id": "t3"}, [3]),
        ({"agent_id": "a"}, [5]),
        ({"trace_id": "r", "source": "s1"}, [3, 1]),
        ({"trace_id": "r", "order": "asc", "limit": "2"}, [0, 1]),
        ({"trace_id": "none"}, []),
        ({"text": "nowhere"}, []),
        ({"trace_id": "r", "since": "2000-01-01T00:00:00+00:00", "until": "2999-01-01T00:00:00Z"}, [4, 3, 2, 1, 0]),
        ({"trace_id": "r", "since": "2999-01-01T00:00:00Z"}, []),
    ],
)
def test_filters(site: httpx.Client, events: list[Any], query: dict[str, str], expected: list[int]) -> None:
    assert seqs(site.get("/api/v1/events", params=query)) == [events[index].seq for index in expected]


def test_a_zone_whose_plus_became_a_space_is_understood(site: httpx.Client, events: list[Any]) -> None:
    assert len(seqs(site.get("/api/v1/events?trace_id=r&since=2000-01-01T00:00:00+00:00"))) == 5


@pytest.mark.parametrize(("order", "cursor"), [("desc", "before"), ("asc", "after")])
def test_next_leads_through_all_pages_exactly_once(
    site: httpx.Client, events: list[Any], order: str, cursor: str
) -> None:
    found: list[int] = []
    query: dict[str, str] = {"family": "task", "limit": "2", "order": order}
    for _ in range(10):
        response = site.get("/api/v1/events", params=query)
        found += seqs(response)
        if response.json()["next"] is None:
            break
        query[cursor] = str(response.json()["next"])
    assert found == sorted((event.seq for event in events[:5]), reverse=order == "desc")


def test_a_full_last_page_has_no_next(site: httpx.Client, events: list[Any]) -> None:
    assert site.get("/api/v1/events", params={"family": "task", "limit": 5}).json()["next"] is None


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limt=3", "'limt' is not known; did you mean limit?"),
        ("zzz=3", "expected one of type, family"),
        ("limit=x", "limit: expected a valid integer"),
        ("limit=0", "greater than or equal to 1"),
        ("limit=100000", "less than or equal to 1000"),
        ("order=up", "order: expected 'desc' or 'asc', not 'up'"),
        ("since=2026-01-01T00:00:00", "expected a time with its zone, such as"),
        ("since=yesterday", "not 'yesterday'"),
        ("after=-1", "after: expected greater than or equal to 0"),
        ("after=99999999999999999999", "after: "),
        ("type=llm.complted", "llm.completed"),
        ("type=", "type: "),
        ("limit=1&limit=2", "limit is given more than once"),
        ("limit=x&limt=1", "; "),
    ],
)
def test_a_wrong_query_says_what_was_expected(site: httpx.Client, query: str, words: str) -> None:
    response = site.get(f"/api/v1/events?{query}")
    assert response.status_code == 400
    assert words in error_of(response)


def test_one_event_by_seq_and_by_id(site: httpx.Client, events: list[Any]) -> None:
    for key in (events[2].seq, events[2].id):
        assert site.get(f"/api/v1/events/{key}").json() == events[2].as_dict()


@pytest.mark.parametrize("key", ["999999", "no-such-id", "9" * 30, "-1"])
def test_an_event_that_is_not_there(site: httpx.Client, key: str) -> None:
    response = site.get(f"/api/v1/events/{key}")
    assert response.status_code == 404
    assert response.json()["error"]["type"] == "event_not_found"


def test_status_and_router(site: httpx.Client, timmy: Any) -> None:
    assert site.get("/api/v1/status").json()["home"] == str(timmy.settings.home)
    assert isinstance(site.get("/api/v1/router/status").json()["providers"], list)
    assert site.get("/api/v1/status", params={"x": "1"}).status_code == 400


@pytest.fixture
def asker(site: httpx.Client) -> httpx.Client:
    site.headers["X-Timmy-Token"] = site.get("/api/v1/token").json()["token"]
    return site


def test_asking_without_any_provider_gives_the_offline_answer(asker: httpx.Client) -> None:
    response = asker.post("/api/v1/ask", json={"text": "hello", "session": "s1"})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer["offline"] is True
    assert answer["text"]
    assert {"provider", "model", "trace_id", "attempts", "usage", "latency_ms"} <= set(answer)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[]", 422, "the body"),
        (b"{}", 422, "'text' is missing"),
        (b'{"text": 3}', 422, "text: expected a valid string, not 3"),
        (b'{"text": ""}', 422, "text: "),
        (b'{"text": " "}', 422, "the question is empty"),
        (b'{"text": "a", "session": "a b"}', 422, "is not usable"),
        (b'{"text": "\\ud800"}', 422, "text: expected a valid string"),
        (b'{"text": "a", "sesion": "x"}', 422, "'sesion' is not known; did you mean session?"),
    ],
)
def test_a_wrong_body_says_what_was_expected(asker: httpx.Client, body: bytes, status: int, words: str) -> None:
    response = asker.post("/api/v1/ask", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    assert words in error_of(response)


def test_only_json_is_taken(asker: httpx.Client) -> None:
    assert (
        asker.post("/api/v1/ask", content=b'{"text": "a"}', headers={"Content-Type": "text/plain"}).status_code == 415
    )


def test_what_does_not_exist_says_so(asker: httpx.Client) -> None:
    response = asker.get("/api/v1/nowhere", headers={"Accept": "text/html"})
    assert response.status_code == 404
    assert "/api/v1/nowhere does not exist" in error_of(response)
    for method, path, allowed in (("POST", "status", "GET"), ("DELETE", "events/1", "GET"), ("GET", "ask", "POST")):
        refused = asker.request(method, f"/api/v1/{path}")
        assert refused.status_code == 405
        assert f"takes {allowed}" in error_of(refused).replace("GET, HEAD", "GET")
        assert allowed in refused.headers["allow"]


def test_health_and_readiness(site: httpx.Client, timmy: Any) -> None:
    assert site.get("/healthz").json() == {"status": "ok"}
    assert site.get("/readyz").json() == {"ready": True, "checks": {"store": "ok", "feed": "ok"}}


def test_a_closed_store_is_not_ready(site: httpx.Client, timmy: Any) -> None:
    timmy.feed.close()
    timmy.store.close()
    response = site.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"ready": False, "checks": {"store": "failed", "feed": "stopped"}}
    assert site.get("/healthz").status_code == 200
    assert site.get("/api/v1/events").status_code == 503
