"""The ledger over HTTP: looking, asking for sats, paying, comparing, budgets, findings, and the books as a file."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from timmy_core.ledger import bolt11
from timmy_core.timmy import Timmy

API = "/api/v1/ledger"


@pytest.fixture
def writer(site: httpx.Client) -> httpx.Client:
    """A client that may change things."""
    site.headers["X-Timmy-Token"] = site.get("/api/v1/token").json()["token"]
    return site


def ok(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def error(response: httpx.Response, status: int) -> tuple[str, str]:
    assert response.status_code == status, response.text
    return response.json()["error"]["type"], response.json()["error"]["message"]


def invoice(writer: httpx.Client, amount_msat: int = 21_000, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = ok(writer.post(f"{API}/invoices", json={"amount_msat": amount_msat, **more}))
    return made


def asked(timmy: Timmy, amount_msat: int | None = 50_000) -> str:
    """Return an invoice of the play node's neighbour."""
    return timmy.payments.playing.invoice(amount_msat=amount_msat, memo="a map")


def test_an_invoice_is_made_paid_and_counted(writer: httpx.Client, timmy: Timmy) -> None:
    made = invoice(writer, memo="coffee", agent_id="echo", source="shop", task_id="t1")
    assert (made["direction"], made["shown"], made["memo"]) == ("in", "pending", "coffee")
    assert bolt11.decode(made["bolt11"]).amount_msat == 21_000
    assert made["trace_id"]
    assert ok(writer.get(f"{API}/balance"))["pending_incoming_msat"] == 21_000

    timmy.payments.playing.pay(made["payment_hash"])
    timmy.payments.check(made["id"])
    balance = ok(writer.get(f"{API}/balance"))
    assert (balance["incoming_total_msat"], balance["pending_incoming_msat"]) == (21_000, 0)
    one = ok(writer.get(f"{API}/entries/{made['id']}"))
    assert one["shown"] == "settled"
    assert [line["credit"] for line in one["postings"] if line["kind"] in {"single", "post"}] == ["Income:LN:shop"]
    (by_agent,) = ok(writer.get(f"{API}/stats?days=7"))["by_agent"]
    assert (by_agent["key"], by_agent["incoming_msat"]) == ("echo", 21_000)


def test_a_payment_is_decoded_then_paid_and_a_repetition_pays_nothing_twice(writer: httpx.Client, timmy: Timmy) -> None:
    text = asked(timmy)
    seen = ok(writer.post(f"{API}/decode", json={"bolt11": text}))
    assert (seen["amount_msat"], seen["problems"], seen["play"]) == (50_000, [], True)
    assert len(seen["invoice"]["payee"]) == 66
    body = {"bolt11": text, "agent_id": "echo", "idempotency_key": "k1"}
    paid = ok(writer.post(f"{API}/payments", json=body))
    assert (paid["shown"], paid["amount_msat"], paid["agent_id"]) == ("settled", 50_000, "echo")
    assert ok(writer.post(f"{API}/payments", json=body))["id"] == paid["id"]
    assert ok(writer.get(f"{API}/balance"))["outgoing_total_msat"] == 50_000
    assert error(writer.post(f"{API}/payments", json={"bolt11": text}), 409)[0] == "already_paid"
    assert error(writer.post(f"{API}/payments", json={"bolt11": asked(timmy), "idempotency_key": "k1"}), 409)[0] == (
        "idempotency_conflict"
    )
    assert ok(writer.get(f"{API}/entries/{paid['id']}"))["tries"][0]["number"] == 1


def test_what_cannot_be_paid_says_why(writer: httpx.Client, timmy: Timmy) -> None:
    assert error(writer.post(f"{API}/payments", json={"bolt11": "lnbc1nonsense"}), 422)[0] == "bolt11"
    kind, words = error(writer.post(f"{API}/payments", json={"bolt11": asked(timmy, 10**12)}), 409)
    assert kind == "insufficient_funds"
    assert "hold" in words or "spend" in words or "has" in words
    assert error(writer.get(f"{API}/entries/nothing"), 404)[0] == "entry_unknown"
    assert error(writer.post(f"{API}/invoices", json={"amount_msat": 1, "node": "other"}), 502)[0] == "node"


@pytest.mark.parametrize("amount", [1.5, "21", True, -1, None, 10**20])
def test_an_amount_that_is_no_whole_number_of_msat_is_refused(writer: httpx.Client, amount: Any) -> None:
    assert error(writer.post(f"{API}/invoices", json={"amount_msat": amount}), 422)[0] == "invalid_body"


def test_entries_are_filtered_and_paged(writer: httpx.Client, timmy: Timmy) -> None:
    made = [invoice(writer, memo=f"number {number}", agent_id="ab"[number % 2])["id"] for number in range(5)]
    first = ok(writer.get(f"{API}/entries?limit=3"))
    assert [one["id"] for one in first["entries"]] == made[:1:-1]
    rest = ok(writer.get(f"{API}/entries", params={"limit": 3, "cursor": first["next"]}))
    assert ([one["id"] for one in rest["entries"]], rest["next"]) == (made[1::-1], None)
    assert len(ok(writer.get(f"{API}/entries?agent_id=a&direction=in&status=pending"))["entries"]) == 3
    assert ok(writer.get(f"{API}/entries?direction=out"))["entries"] == []
    (found,) = ok(writer.get(f"{API}/entries", params={"text": "number 4"}))["entries"]
    assert found["id"] == made[4]
    assert "direction" in error(writer.get(f"{API}/entries?direction=up"), 400)[1]


def test_the_book_as_it_was_its_accounts_and_a_statement(writer: httpx.Client, timmy: Timmy) -> None:
    made = invoice(writer)
    before = timmy.clock.now().isoformat()
    timmy.payments.playing.pay(made["payment_hash"])
    timmy.payments.check(made["id"])
    assert ok(writer.get(f"{API}/balance", params={"as_of": before}))["incoming_total_msat"] == 0
    assert ok(writer.get(f"{API}/balance"))["incoming_total_msat"] == 21_000
    accounts = {one["code"]: one["balance_msat"] for one in ok(writer.get(f"{API}/accounts"))["accounts"]}
    assert accounts["Assets:LN:play"] == 100_000_000 + 21_000
    then = {one["code"]: one["balance_msat"] for one in ok(
        writer.get(f"{API}/accounts", params={"as_of": before}))["accounts"]}  # fmt: skip
    assert then["Assets:LN:play"] == 100_000_000
    found = ok(writer.get(f"{API}/statement?account=Assets:LN:play"))
    assert (found["opening_msat"], found["closing_msat"]) == (0, 100_021_000)
    assert error(writer.get(f"{API}/statement"), 400)[0] == "bad_request"


def test_budgets_are_set_held_and_asked(writer: httpx.Client, timmy: Timmy) -> None:
    put = ok(writer.post(f"{API}/budgets", json={"agent_id": "echo", "period": "day", "limit_msat": 60_000}))
    assert (put["limit_msat"], put["spent_msat"]) == (60_000, 0)
    assert ok(writer.post(f"{API}/payments", json={"bolt11": asked(timmy), "agent_id": "echo"}))["shown"] == "settled"
    refused = writer.post(f"{API}/payments", json={"bolt11": asked(timmy), "agent_id": "echo"})
    assert error(refused, 409)[0] == "budget_exceeded"
    (budget,) = [one for one in ok(writer.get(f"{API}/budgets"))["budgets"] if one["period"] == "day"]
    assert budget["spent_msat"] >= 50_000
    assert budget["left_msat"] == 60_000 - budget["spent_msat"]
    assert error(writer.post(f"{API}/budgets", json={"agent_id": "echo", "period": "year", "limit_msat": 1}), 422)


def test_comparing_writes_only_when_told_to_and_findings_are_settled_by_people(
    writer: httpx.Client, timmy: Timmy
) -> None:
    made = invoice(writer)
    timmy.payments.playing.pay(made["payment_hash"])
    seen = ok(writer.post(f"{API}/reconcile", json={}))
    assert (seen["dry_run"], seen["applied"]) == (True, 0)
    assert timmy.ledger.get(made["id"]).shown == "pending"
    done = ok(writer.post(f"{API}/reconcile", json={"dry_run": False}))
    assert done["applied"] == 1
    assert timmy.ledger.get(made["id"]).shown == "settled"
    assert ok(writer.post(f"{API}/reconcile", json={"dry_run": False}))["applied"] == 0
    assert ok(writer.get(f"{API}/findings"))["findings"] == []
    assert error(writer.post(f"{API}/findings/none/resolve", json={}), 404)[0] == "entry_unknown"


def test_the_whole_book_is_checked_and_taken_out(writer: httpx.Client, timmy: Timmy) -> None:
    made = invoice(writer, memo="=1+1")
    timmy.payments.playing.pay(made["payment_hash"])
    timmy.payments.check(made["id"])
    checked = ok(writer.get(f"{API}/verify"))
    assert (checked["ok"], checked["problems"]) == (True, [])
    file = writer.get(f"{API}/export")
    assert file.headers["content-type"].startswith("text/csv")
    assert file.headers["content-disposition"].endswith('.csv"')
    assert "Income:LN:api" in file.text
    assert "beancount" in error(writer.get(f"{API}/export?format=xls"), 422)[1]
    parquet = writer.get(f"{API}/export?format=parquet")
    assert parquet.content[:4] == b"PAR1"


def test_nodes_are_named_without_being_asked(writer: httpx.Client) -> None:
    (node,) = ok(writer.get(f"{API}/nodes"))["nodes"]
    assert (node["name"], node["kind"], node["play"], node["default"]) == ("play", "play", True, True)


def test_money_moves_only_with_the_token_of_a_page(site: httpx.Client) -> None:
    for path in ("invoices", "payments", "reconcile", "budgets"):
        assert site.post(f"{API}/{path}", json={}).status_code == 403
