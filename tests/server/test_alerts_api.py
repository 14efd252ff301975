"""`/api/v1/alerts`: what needs a person's eye, and who is told."""

from __future__ import annotations

import httpx

from timmy_core.timmy import Timmy


def test_what_needs_an_eye_is_listed_until_it_is_over(timmy: Timmy, site: httpx.Client) -> None:
    none = {"alerts": [], "delivery": {"configured": False, "waiting": 0, "problem": ""}}
    assert site.get("/api/v1/alerts").json() == none
    for problem in ("event 7 was altered", ""):
        timmy.events.append("log.verified", source="cli", data={"ok": not problem, "problem": problem})
        timmy.alerts.check()
        shown = site.get("/api/v1/alerts").json()["alerts"]
        assert [one["rule"] for one in shown] == (["chain_broken"] if problem else [])
    (past,) = site.get("/api/v1/alerts", params={"open": "false"}).json()["alerts"]
    assert past["resolved_at"].endswith("Z")
    assert past["path"] == "/swarm/events"


def test_a_wrong_parameter_and_a_test_without_an_address_are_refused(timmy: Timmy, site: httpx.Client) -> None:
    assert site.get("/api/v1/alerts", params={"limit": "0"}).status_code == 400
    token = site.get("/api/v1/token").json()
    reply = site.post("/api/v1/alerts/test", headers={token["header"]: token["token"]})
    assert reply.status_code == 409
    assert "no address is named" in reply.json()["error"]["message"]
