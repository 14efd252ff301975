"""`timmy ledger`, as a person types it: asking for sats, paying, looking, comparing, budgets and files."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from timmy_core import open_timmy

from .running import TIMMY, here, lines

run = partial(here, "ledger")


def made(home: Path, sats: str = "21", *words: str) -> dict[str, Any]:
    (invoice,) = lines(run("invoice", sats, *words, "--json", home=home))
    return invoice


def asked(home: Path, *words: str) -> str:
    """Return an invoice of the play node's neighbour."""
    done = run("neighbour", "invoice", *words, home=home)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_invoice_is_made_paid_by_the_neighbour_and_counted(home: Path) -> None:
    invoice = made(home, "21.5", "--memo", "coffee", "--agent", "echo", "--source", "shop")
    assert (invoice["amount_msat"], invoice["shown"], invoice["agent_id"]) == (21_500, "pending", "echo")
    paid = run("neighbour", "pay", invoice["id"], home=home)
    assert paid.stdout.strip() == "settled: the neighbour paid 21.5 sat"
    shown = run("show", invoice["payment_hash"], home=home).stdout
    assert "coffee" in shown
    assert "Income:LN:shop" in shown
    balance = run("balance", home=home).stdout
    assert "100,021.5 sat of play can be spent" in balance
    (then,) = lines(run("balance", "--as-of", "1d", "--json", home=home))
    assert then["available_msat"] == 0


def test_an_invoice_prints_itself_last_and_its_code_when_asked(home: Path) -> None:
    done = run("invoice", "21", "--qr", home=home)
    assert done.stdout.splitlines()[-1].startswith("lnbcrt")
    assert "▀" in done.stdout or "█" in done.stdout
    waited = run("invoice", "21", "--wait", "0.3", home=home)
    assert waited.returncode == 1
    assert "pending" in waited.stdout


def test_a_payment_is_shown_before_it_is_made(home: Path) -> None:
    text = asked(home, "100", "--memo", "a map")
    seen = run("decode", "-", home=home, text=text)
    assert (seen.returncode, "a map" in seen.stdout, "100 sat" in seen.stdout) == (0, True, True)
    no = run("pay", text, home=home, text="n\n")
    assert (no.returncode, "nothing was changed" in no.stderr) == (1, True)
    yes = run("pay", text, "--agent", "echo", home=home, text="y\n")
    assert yes.returncode == 0, yes.stderr
    assert "paid 100 sat" in yes.stdout
    again = run("pay", text, "--yes", home=home)
    assert (again.returncode, "paid already" in again.stderr) == (1, True)
    (payment,) = lines(run("list", "--direction", "out", "--json", home=home))
    assert (payment["amount_msat"], payment["agent_id"], payment["shown"]) == (100_000, "echo", "settled")


def test_an_invoice_without_an_amount_wants_one(home: Path) -> None:
    text = asked(home)
    without = run("pay", text, "--yes", home=home)
    assert (without.returncode, "say how much" in without.stderr) == (1, True)
    assert run("pay", text, "--sats", "33", "--yes", home=home).returncode == 0


@pytest.mark.parametrize(
    "words", [("invoice", "1.2345"), ("invoice", "-3"), ("invoice", "many"), ("pay", "lnbc1x", "--yes")]
)
def test_what_is_no_amount_or_no_invoice_is_one_sentence(home: Path, words: tuple[str, ...]) -> None:
    done = run(*words, home=home)
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr


def test_entries_are_listed_by_filters(home: Path) -> None:
    for number in range(3):
        made(home, "21", "--memo", f"number {number}", "--task", f"t{number % 2}")
    assert [one["memo"] for one in lines(run("list", "--json", home=home))] == ["number 2", "number 1", "number 0"]
    assert len(lines(run("list", "--task", "t0", "--status", "pending", "--json", home=home))) == 2
    first = run("list", "--limit", "2", home=home)
    cursor = first.stderr.split("--cursor ")[1].strip()
    assert [one["memo"] for one in lines(run("list", "--cursor", cursor, "--json", home=home))] == ["number 0"]
    assert run("list", "--direction", "up", home=home).returncode == 1
    assert "nothing matches" in run("list", "--text", "xylophone", home=home).stderr


def test_comparing_shows_before_it_writes(home: Path) -> None:
    invoice = made(home)
    # The neighbour pays while nobody looks: only the node knows.
    with open_timmy(home) as timmy:
        timmy.payments.playing.pay(invoice["payment_hash"])
    dry = run("reconcile", "--dry-run", home=home)
    assert dry.returncode == 0, dry.stderr
    assert lines(run("list", "--status", "settled", "--json", home=home)) == []
    no = run("reconcile", home=home, text="n\n")
    assert no.returncode == 1
    done = run("reconcile", "--yes", home=home)
    assert (done.returncode, "1 written" in done.stdout) == (0, True)
    assert "nothing had to be written" in run("reconcile", "--yes", home=home).stdout
    assert "nothing waits" in run("findings", home=home).stderr


def test_a_budget_is_set_kept_and_taken_away(home: Path) -> None:
    assert "no agent has a budget" in run("budget", home=home).stderr
    assert "150 sat" in run("budget", "echo", "--day", "150", home=home).stdout
    assert run("pay", asked(home, "100"), "--agent", "echo", "--yes", home=home).returncode == 0
    refused = run("pay", asked(home, "100"), "--agent", "echo", "--yes", home=home)
    assert (refused.returncode, "budget" in refused.stderr) == (1, True)
    assert run("budget", "echo", "--day", "none", home=home).returncode == 0
    assert run("pay", asked(home, "100"), "--agent", "echo", "--yes", home=home).returncode == 0
    assert run("budget", "--day", "3", home=home).returncode == 1


def test_the_book_is_checked_summed_up_and_written_to_a_file(home: Path, tmp_path: Path) -> None:
    assert run("pay", asked(home, "100"), "--agent", "echo", "--task", "t1", "--yes", home=home).returncode == 0
    assert "lines hold" in run("verify", home=home).stdout
    stats = run("stats", home=home).stdout
    assert "echo" in stats
    assert "by task" in stats
    accounts = {one["code"] for one in lines(run("statement", "--json", home=home))}
    assert {"Assets:LN:play", "Expenses:LN:Payments:echo", "Equity:Opening"} <= accounts
    statement = run("statement", "Assets:LN:play", home=home).stdout
    assert "Equity:Opening" in statement
    assert statement.splitlines()[-1].startswith("closing")
    target = tmp_path / "book.beancount"
    assert run("export", str(target), home=home).returncode == 0
    assert "Expenses:LN:Payments" in target.read_text()


def test_an_error_of_the_ledger_is_one_sentence_and_a_status(home: Path) -> None:
    done = subprocess.run(
        [TIMMY, "ledger", "pay", "lnbc1nonsense", "--yes", "--home", str(home)],
        capture_output=True, text=True, check=False, timeout=60, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("timmy: ")
    assert "Traceback" not in done.stderr


def test_nodes_are_listed_and_asked(home: Path) -> None:
    (row,) = lines(run("nodes", "--ask", "--json", home=home))
    assert (row["node"]["name"], row["node"]["play"], row["health"]["ok"]) == ("play", True, True)
    assert "not asked" in run("nodes", home=home).stdout
