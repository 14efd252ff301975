"""`timmy agent run`: one agent of the swarm as a program of its own, here or on another machine, over the API."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.markup import escape

from timmy_core.cli.console import err, out
from timmy_core.errors import SwarmError

if TYPE_CHECKING:
    import httpx

WAIT_S: Final = 20.0
CALL_S: Final = 30.0
AGAIN_S: Final = (1.0, 2.0, 5.0, 15.0, 30.0)  # while the home does not answer
MAX_RESULT: Final = 100_000
_GONE: Final = (401, 403)
_PROMPT: Final = "You are {name}, an agent that does one task at a time. Hand in the result alone."


@dataclass(frozen=True, slots=True)
class Plan:
    """How an agent works.

    Args:
        bid_sats: what it wants for a task; never more than the budget.
        prompt: what stands before a task where the home's cascade does it.
        command: a program that does it instead: the task as JSON on its input, the result on its output.
        invoice: a program that makes an invoice: the msat are its last argument, the invoice is its output.
        work_s: how long a task may take.
    """

    bid_sats: float
    prompt: str
    command: str | None
    invoice: str | None
    work_s: float


def run(
    url: Annotated[str, typer.Option(help="Where the home is served.")] = "http://127.0.0.1:8765",
    token_file: Annotated[
        Path | None,
        typer.Option(help="A file with the token; `timmy agent register` writes one.", show_default=False),
    ] = None,
    bid: Annotated[float, typer.Option(min=0, help="Sats that it bids; never more than a budget.")] = 5,
    prompt: Annotated[
        str | None, typer.Option(help="What stands before a task, for the home's cascade.", show_default=False)
    ] = None,
    command: Annotated[
        str | None,
        typer.Option(
            help="A program that does the work instead: JSON on its input, result on its output.", show_default=False
        ),
    ] = None,
    invoice_command: Annotated[
        str | None,
        typer.Option(
            help="A program that prints an invoice over the msat that are its last argument.", show_default=False
        ),
    ] = None,
    work_s: Annotated[float, typer.Option(min=1, help="Seconds that a task may take.")] = 600,
    once: Annotated[bool, typer.Option("--once", help="End after one task.")] = False,
) -> None:
    """Bid and work for sats until Ctrl-C. Without --command the home's cascade does the work, in the task's trace."""
    import httpx

    plan = Plan(bid, prompt or "", command, invoice_command, work_s)
    headers = {"Authorization": f"Bearer {_token(token_file)}"}
    with httpx.Client(base_url=f"{url.rstrip('/')}/api/v1/swarm/agent", headers=headers, timeout=CALL_S) as client:
        agent = Remote(client, plan)
        try:
            agent.work(once=once)
        except KeyboardInterrupt:
            err.print("stopped; what it worked on goes to somebody else once its lease is over")


class Remote:
    """Bids for tasks of a home and does them.

    Args:
        client: asks the home, below the address for agents, with the token.
        plan: how it works.
    """

    def __init__(self, client: httpx.Client, plan: Plan) -> None:
        self._client = client
        self._plan = plan
        self._stopped = threading.Event()
        self._bid: set[tuple[str, int]] = set()

    def work(self, *, once: bool) -> None:
        """Bid and work until it is stopped, or one task is done.

        Raises:
            SwarmError: the home does not let it in.
        """
        me = self._patiently("GET", "/me")
        lease_s = float(me["lease_s"])
        out.print(f"[green]✓[/] {escape(me['agent']['name'])} is at work for {escape(str(self._client.base_url))}")
        while not self._stopped.is_set():
            found = self._patiently("GET", "/work", params={"wait_s": WAIT_S})
            for task in found["mine"]:
                self._do(task, me["agent"]["name"], lease_s)
                if once:
                    return
            fresh = [task for task in found["open"] if (task["id"], task["auction"]) not in self._bid]
            for task in fresh:
                self._offer(task)
            if not fresh:
                # The auctions that are open have its bids; there is nothing to do until one of them ends.
                self._stopped.wait(AGAIN_S[0] / 4)

    def _offer(self, task: Mapping[str, Any]) -> None:
        self._bid.add((task["id"], task["auction"]))
        amount = min(self._plan.bid_sats, task["budget_msat"] / 1000)
        answer = self._ask("POST", f"/tasks/{task['id']}/bid", json={"amount_sats": amount})
        if answer.is_success:
            out.print(f"bid {amount:g} sats for [bold]{escape(task['title'])}[/]", soft_wrap=True)
        else:
            err.print(f"[dim]{escape(_said(answer))}[/]", soft_wrap=True)

    # One task ------------------------------------------------------------------------------------------------

    def _do(self, task: Mapping[str, Any], name: str, lease_s: float) -> None:
        lease = {"lease": task["lease"]}
        path = f"/tasks/{task['id']}"
        if not self._ask("POST", f"{path}/start", json=lease).is_success:
            return  # somebody else has it by now
        done = threading.Event()
        beat = threading.Thread(target=self._renew, args=(path, lease, lease_s / 3, done), daemon=True)
        beat.start()
        try:
            result = self._result(task, name, path, lease)
            body = {**lease, **result, **self._invoice(task)}
            answer = self._again("POST", f"{path}/complete", json=body)
        except SwarmError as error:
            answer = self._again("POST", f"{path}/fail", json={**lease, "problem": str(error)[:1000]})
            err.print(f"[yellow]{escape(str(error))}[/]", soft_wrap=True)
        finally:
            done.set()
            beat.join()
        if answer.is_success and answer.json()["state"] == "completed":
            out.print(f"[green]✓[/] did [bold]{escape(task['title'])}[/]", soft_wrap=True)
        elif not answer.is_success:
            err.print(f"[red]{escape(_said(answer))}[/]", soft_wrap=True)

    def _result(self, task: Mapping[str, Any], name: str, path: str, lease: Mapping[str, str]) -> dict[str, Any]:
        if self._plan.command is not None:
            shown = {key: task[key] for key in ("id", "title", "description", "budget_msat", "trace_id")}
            text = _output(self._plan.command, (), json.dumps(shown), self._plan.work_s)
            return {"result": text[:MAX_RESULT], "provider": "command"}
        prompt = self._plan.prompt or _PROMPT.format(name=name)
        messages = [{"role": "system", "content": prompt}, {"role": "user", "content": task["description"]}]
        body = {**lease, "messages": messages, "deadline_s": self._plan.work_s}
        answer = self._ask("POST", f"{path}/ask", json=body, timeout=self._plan.work_s + CALL_S)
        if not answer.is_success:
            raise SwarmError(_said(answer))
        said = answer.json()
        if said["offline"] or not said["text"].strip():
            message = "no model of the home answered; `timmy router status` there says why"
            raise SwarmError(message)
        return {"result": said["text"].strip()[:MAX_RESULT], "provider": said["provider"], "model": said["model"]}

    def _invoice(self, task: Mapping[str, Any]) -> dict[str, str]:
        if self._plan.invoice is None or not task["bid_msat"]:
            return {}
        return {"bolt11": _output(self._plan.invoice, (str(task["bid_msat"]),), "", CALL_S).strip()}

    def _renew(self, path: str, lease: Mapping[str, str], every_s: float, done: threading.Event) -> None:
        while not done.wait(every_s):
            self._ask("POST", f"{path}/renew", json=lease)

    # Asking --------------------------------------------------------------------------------------------------

    def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask the home; one that does not answer is an answer of 503."""
        import httpx

        more.setdefault("timeout", CALL_S + WAIT_S)
        try:
            return self._client.request(method, path, **more)
        except httpx.HTTPError as error:
            return httpx.Response(503, json={"error": {"message": f"the home does not answer: {error}"}})

    def _again(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Ask until there is an answer: said twice, the same changes nothing."""
        for wait_s in (*AGAIN_S, None):
            answer = self._ask(method, path, **more)
            if not answer.is_server_error or wait_s is None or self._stopped.wait(wait_s):
                break
        return answer

    def _patiently(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        """Return what the home says, however long it does not answer; a home that says no ends it."""
        tries = 0
        while True:
            answer = self._ask(method, path, **more)
            if answer.is_success:
                said: dict[str, Any] = answer.json()
                return said
            if answer.status_code in _GONE or answer.is_client_error:
                raise SwarmError(_said(answer))
            if not tries:
                err.print(f"[yellow]{escape(_said(answer))}; it is asked again[/]", soft_wrap=True)
            self._stopped.wait(AGAIN_S[min(tries, len(AGAIN_S) - 1)])
            tries += 1


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the home answered with {answer.status_code}; is this the address of `timmy up`?"


def _token(path: Path | None) -> str:
    if path is None:
        return str(typer.prompt("Token", hide_input=True, err=True)).strip()
    try:
        return path.read_text(encoding="utf-8").split("\n", 1)[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read: {error}; `timmy agent token NAME --token-file {path}` writes it"
        raise SwarmError(message) from error


def _output(command: str, more: tuple[str, ...], given: str, timeout_s: float) -> str:
    """Return what a program that its owner named says."""
    words = [*shlex.split(command), *more]
    try:
        done = subprocess.run(  # noqa: S603 - the owner's own command, without a shell
            words, input=given, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = f"{words[0]} could not do it: {error}"
        raise SwarmError(message) from error
    if done.returncode != 0 or not done.stdout.strip():
        message = f"{words[0]} ended with {done.returncode} and said: {(done.stderr or done.stdout).strip()[-300:]}"
        raise SwarmError(message)
    return done.stdout
