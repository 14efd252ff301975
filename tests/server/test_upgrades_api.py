"""Proposals over HTTP: taken in, tested, decided with a PIN, applied and taken back; what is refused says why."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.upgrades.quick_repo import PIN, make_quick_repo, quick_toml
from timmy_core import open_timmy
from timmy_core.timmy import Timmy

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
API = "/api/v1/upgrades"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return make_quick_repo(tmp_path / "repo")


@pytest.fixture
def timmy(home: Path, repo: Path) -> Iterator[Timmy]:
    (home / "timmy.toml").write_text(quick_toml(repo), encoding="utf-8")
    with open_timmy(home) as opened:
        opened.upgrading.approvals.set_pin(PIN, by="ann")
        yield opened


@pytest.fixture
def writer(site: httpx.Client) -> httpx.Client:
    """A client that may change things."""
    site.headers["X-Timmy-Token"] = site.get("/api/v1/token").json()["token"]
    site.timeout = httpx.Timeout(60)
    return site


def ok(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def error(response: httpx.Response, status: int) -> tuple[str, str]:
    assert response.status_code == status, response.text
    return response.json()["error"]["type"], response.json()["error"]["message"]


def propose(writer: httpx.Client, words: str = "greener\n", **more: Any) -> dict[str, Any]:
    body = {"description": "Better words", "proposed_by": "timmy", "files": {"words.txt": words}, **more}
    made: dict[str, Any] = ok(writer.post(API, json=body))
    return made


def do(writer: httpx.Client, one: dict[str, Any], what: str, **body: Any) -> httpx.Response:
    given = {"json": body} if body or what == "test" else {}
    return writer.post(f"{API}/{one['id']}/{what}", **given)  # type: ignore[arg-type]


def test_a_proposal_goes_the_whole_way_and_back(writer: httpx.Client, repo: Path) -> None:
    made = propose(writer)
    assert (made["state"], made["shown"], made["risk"]) == ("proposed", "proposed", "normal")
    assert ok(writer.get(f"{API}/pending")) == {"pending": 1}
    shown = ok(do(writer, made, "test"))
    assert (shown["state"], shown["tests"]["passed"]) == ("awaiting_approval", True)
    diff = ok(writer.get(f"{API}/{made['id']}/diff"))
    assert [line["text"] for line in diff["files"][0]["hunks"][0]["lines"]] == ["green", "greener"]
    approved = ok(do(writer, shown, "approve", by="ann", pin=PIN, consent=True, seen=shown["seen"]))
    assert approved["state"] == "approved"
    assert approved["approvals"][0]["by"] == "ann"
    assert ok(do(writer, made, "apply"))["state"] == "applied"
    assert (repo / "words.txt").read_text(encoding="utf-8") == "greener\n"
    back = ok(do(writer, made, "rollback", by="ann", pin=PIN))
    assert back["state"] == "rolled_back"
    assert (repo / "words.txt").read_text(encoding="utf-8") == "green\n"
    events = ok(writer.get(f"{API}/{made['id']}/history"))["events"]
    assert [event["type"] for event in events][-1] == "upgrade.rolled_back"
    assert PIN not in writer.get(f"{API}/{made['id']}").text
    assert ok(writer.get(API, params={"state": "rolled_back"}))["proposals"][0]["id"] == made["id"]


def test_what_is_refused_says_why(writer: httpx.Client) -> None:
    made = propose(writer, "RED\n")
    red = ok(do(writer, made, "test"))
    assert red["state"] == "test_failed"
    assert red["tests"]["own"]["failed"] == ["words::test_words"]
    kind, message = error(do(writer, red, "approve", by="ann", pin=PIN, consent=True, seen=red["seen"]), 409)
    assert (kind, "red" in message) == ("upgrade_state", True)
    assert error(do(writer, red, "reject", by="ann", pin="a-wrong-one", reason="no"), 403)[0] == "pin"
    assert error(writer.post(f"{API}/{'0' * 32}/apply"), 404)[0] == "proposal_not_found"
    refused = {"description": "Odd", "proposed_by": "timmy", "files": {"../out": "x"}}
    assert error(writer.post(API, json=refused), 422)[0] == "proposal"
    assert error(do(writer, red, "reject", by="ann", reason="no"), 422)[0] == "invalid_body"
    assert ok(do(writer, red, "reject", by="ann", pin=PIN, reason="Red words."))["state"] == "rejected"


def test_another_seen_than_the_present_one_is_refused(writer: httpx.Client) -> None:
    shown = ok(do(writer, propose(writer), "test"))
    kind, message = error(do(writer, shown, "approve", by="ann", pin=PIN, consent=True, seen="of something else"), 409)
    assert kind == "approval"
    assert "changed since it was shown" in message


def test_the_state_says_who_decides_and_what_is_checked_out(writer: httpx.Client, repo: Path) -> None:
    found = ok(writer.get(f"{API}/state"))
    assert (found["pending"], found["people"], found["problem"]) == (0, ["ann"], None)
    assert found["repository"]["repo"] == str(repo)
    assert ok(writer.post(f"{API}/recover")) == {"findings": []}


def test_nothing_changes_without_the_token(writer: httpx.Client) -> None:
    del writer.headers["X-Timmy-Token"]
    assert writer.post(f"{API}/recover").status_code == 403


class TestWithoutARepository:
    """A home in which no repository is named."""

    @pytest.fixture
    def timmy(self, home: Path) -> Iterator[Timmy]:
        with open_timmy(home) as opened:
            yield opened

    def test_it_is_said_what_is_missing(self, site: httpx.Client) -> None:
        assert error(site.get(API), 409)[0] == "upgrade"
        assert ok(site.get(f"{API}/pending")) == {"pending": 0}
        assert "no repository is named" in ok(site.get(f"{API}/state"))["problem"]
