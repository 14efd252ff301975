"""The swarm over HTTP: the owner's side, and agents that come in with tokens of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from timmy_core.timmy import Timmy

API = "/api/v1/swarm"


@pytest.fixture
def writer(site: httpx.Client) -> httpx.Client:
    """The owner, who may change things."""
    site.headers["X-Timmy-Token"] = site.get("/api/v1/token").json()["token"]
    return site


@pytest.fixture
def far(writer: httpx.Client) -> Iterator[httpx.Client]:
    """A remote agent."""
    made = ok(writer.post(f"{API}/agents", json={"name": "far", "capabilities": ["text"], "wallet": "home"}))
    headers = {"Authorization": f"Bearer {made['token']}"}
    with httpx.Client(base_url=f"{str(writer.base_url).rstrip('/')}{API}/agent", headers=headers) as client:
        yield client


def ok(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def error(response: httpx.Response, status: int) -> str:
    assert response.status_code == status, response.text
    return str(response.json()["error"]["type"])


def posted(writer: httpx.Client, **more: Any) -> dict[str, Any]:
    body = {"description": "Say hello.", "budget_sats": 20, "bidding_s": 0.2, **more}
    task: dict[str, Any] = ok(writer.post(f"{API}/tasks", json=body))
    return task


def won(timmy: Timmy, writer: httpx.Client, far: httpx.Client, **more: Any) -> dict[str, Any]:
    """Return a task that was posted, bid for and given to the agent."""
    task = posted(writer, **more)
    ok(far.post(f"/tasks/{task['id']}/bid", json={"amount_sats": 3}))
    time.sleep(0.25)
    timmy.swarm.tend(pay=False)
    (mine,) = ok(far.get("/work"))["mine"]
    return dict(mine)


def test_an_agent_bids_works_and_is_paid(timmy: Timmy, writer: httpx.Client, far: httpx.Client) -> None:
    task = won(timmy, writer, far)
    path, lease = f"/tasks/{task['id']}", {"lease": task["lease"]}
    assert ok(far.post(f"{path}/start", json=lease))["state"] == "working"
    ok(far.post(f"{path}/renew", json=lease))
    ok(far.post(f"{path}/tool", json={**lease, "step": "called", "tool": "look"}))
    done = ok(far.post(f"{path}/complete", json={**lease, "result": "hello"}))
    assert (done["state"], done["pay_state"]) == ("completed", "due")
    assert ok(far.post(f"{path}/complete", json={**lease, "result": "hello"})) == done
    timmy.swarm.pay_due()
    seen = ok(writer.get(f"{API}/tasks/{task['id']}"))
    assert (seen["pay_state"], seen["result"]) == ("paid", "hello")
    assert "payment.settled" in {one["type"] for one in ok(writer.get(f"{API}{path}/history"))["events"]}


def test_the_cascade_answers_an_agent_in_the_tasks_trace(timmy: Timmy, writer: httpx.Client, far: httpx.Client) -> None:
    task = won(timmy, writer, far)
    ask = {"lease": task["lease"], "messages": [{"role": "user", "content": "hello?"}]}
    answer = ok(far.post(f"/tasks/{task['id']}/ask", json=ask))
    assert answer["offline"] is True  # this home has no provider
    ends = time.monotonic() + 10
    while not (told := timmy.events.list(type="llm.unanswered")) and time.monotonic() < ends:
        time.sleep(0.02)  # the router's record waits for company, and nobody waits for it
    assert [event.task_id for event in told] == [task["id"]]
    assert error(far.post(f"/tasks/{task['id']}/ask", json={**ask, "messages": [{"role": "king"}]}), 422)
    assert error(far.post(f"/tasks/{task['id']}/ask", json={**ask, "lease": "x"}), 409) == "task_state"


def test_an_agents_token_opens_its_own_addresses_and_nothing_else(writer: httpx.Client, far: httpx.Client) -> None:
    assert ok(far.get("/me"))["agent"]["name"] == "far"
    base = str(writer.base_url).rstrip("/")
    bare = {"Authorization": far.headers["Authorization"]}
    refused = httpx.post(f"{base}{API}/tasks", json={"description": "x"}, headers=bare)
    assert refused.status_code == 403
    for wrong in ({}, {"Authorization": "Bearer tma_wrong"}, {"Authorization": "Basic x"}):
        assert httpx.get(f"{base}{API}/agent/me", headers=wrong).status_code == 401
    assert httpx.get(f"{base}{API}/agent/me", headers={**bare, "Origin": "http://evil"}).status_code == 403
    assert httpx.get(f"{base}{API}/agent/me", headers={**bare, "Host": "evil"}).status_code == 403
    assert writer.get(f"{API}/agent/me").status_code == 401  # the owner is no agent


def test_a_revoked_token_opens_nothing(writer: httpx.Client, far: httpx.Client) -> None:
    ok(writer.post(f"{API}/agents/far/revoke", json={"by": "me"}))
    assert far.get("/me").status_code == 401
    far.headers["Authorization"] = f"Bearer {ok(writer.post(f'{API}/agents/far/token', json={}))['token']}"
    ok(far.post("/leave", json={}))
    assert far.get("/me").status_code == 401


def test_with_a_password_an_agents_token_opens_no_page(start: Any, timmy: Timmy) -> None:
    token = timmy.swarm.make_token(timmy.swarm.register("far").name, by="me")
    serving = start(password="a secret")
    bare = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{serving.url}{API}/agent/me", headers=bare).status_code == 200
    for path in (f"{API}/tasks", "/api/v1/status", "/api/v1/events"):
        assert httpx.get(f"{serving.url}{path}", headers=bare).status_code == 401


def test_an_agent_does_not_see_what_is_not_for_it(timmy: Timmy, writer: httpx.Client, far: httpx.Client) -> None:
    timmy.swarm.register("near", kind="local")
    task = posted(writer, bidding_s=60)
    timmy.swarm.bid(task["id"], "near", amount_sats=5)
    ok(writer.post(f"{API}/tasks", json={"description": "secret", "local_only": True, "bidding_s": 60}))
    ok(writer.post(f"{API}/tasks", json={"description": "program", "needs": ["code"], "bidding_s": 60}))
    (offered,) = ok(far.get("/work"))["open"]
    assert (offered["id"], offered["bids"]) == (task["id"], [])
    assert not {"lease", "holder", "bolt11"} & set(offered)


def test_waiting_for_work_ends_with_the_first_task(writer: httpx.Client, far: httpx.Client) -> None:
    began = time.monotonic()
    assert ok(far.get("/work", params={"wait_s": 0.3})) == {"open": [], "mine": []}
    assert time.monotonic() - began >= 0.3
    posted(writer, bidding_s=60)
    assert len(ok(far.get("/work", params={"wait_s": 30}))["open"]) == 1


def test_an_agent_posts_in_its_own_name(timmy: Timmy, far: httpx.Client) -> None:
    task = ok(far.post("/tasks", json={"description": "Help me."}))
    assert (task["posted_by"], task["payer"]) == ("far", "far")
    refused = far.post("/tasks", json={"description": "Help me.", "posted_by": "timmy"})
    assert refused.status_code == 422


def test_an_agent_spends_only_what_somebody_set_a_limit_for(timmy: Timmy, far: httpx.Client) -> None:
    body = {"description": "Help me.", "budget_sats": 5, "bidding_s": 60}
    assert error(far.post("/tasks", json=body), 409) == "budget_exceeded"
    timmy.ledger.set_budget("far", "day", 10_000, by="me")
    task = ok(far.post("/tasks", json=body))
    assert error(far.post(f"/tasks/{task['id']}/bid", json={"amount_sats": 5}), 409) == "bid"  # its own


def test_the_owner_looks_posts_and_cancels(writer: httpx.Client) -> None:
    task = posted(writer, posted_by="ann", bidding_s=60)
    assert [one["id"] for one in ok(writer.get(f"{API}/tasks", params={"state": "bidding"}))["tasks"]] == [task["id"]]
    assert ok(writer.post(f"{API}/tasks/{task['id']}/cancel", json={"by": "ann"}))["state"] == "canceled"
    assert error(writer.get(f"{API}/tasks/none"), 404) == "task_not_found"
    assert error(writer.post(f"{API}/tasks", json={"description": "x", "needs": ["No"]}), 422) == "swarm"
    assert error(writer.post(f"{API}/agents/none/leave", json={}), 404) == "agent_unknown"
