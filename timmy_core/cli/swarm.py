"""`timmy swarm`: tasks that agents bid for, from a terminal."""

from __future__ import annotations

import getpass
import json
import time
from typing import Annotated, Final

import typer
from rich.markup import escape
from rich.table import Table

from timmy_core.cli.console import Home, Json, err, out
from timmy_core.cli.shown import age, print_pairs, when
from timmy_core.errors import TaskNotFoundError
from timmy_core.plain import plain
from timmy_core.swarm.coordinator import Swarm
from timmy_core.swarm.model import OPEN, Task
from timmy_core.timmy import open_timmy

app = typer.Typer(no_args_is_help=True, help="Tasks that agents bid for: post, look, cancel.")

Id = Annotated[str, typer.Argument(help="The task: its id, or how it begins or ends.", show_default=False)]

_TONES: Final = {
    "bidding": "yellow", "assigned": "blue", "working": "blue", "completed": "green", "failed": "red",
    "canceled": "dim",
}  # fmt: skip
_ID_CHARS: Final = 32
_LOOK_S: Final = 0.25
_HIDDEN: Final = ("lease", "holder")


@app.command()
def post(
    description: Annotated[str, typer.Argument(help="What is to be done; the first line is its title.")],
    budget: Annotated[float, typer.Option(min=0, help="Sats that it may cost at most; 0 asks for a favour.")] = 0,
    need: Annotated[
        list[str] | None, typer.Option("--need", help="A capability that who bids has to have.", show_default=False)
    ] = None,
    bidding: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds that the auction lasts.", show_default=False)
    ] = None,
    deadline: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds until it has to be done.", show_default=False)
    ] = None,
    local_only: Annotated[bool, typer.Option("--local-only", help="Nothing of it may leave this machine.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Wait so many seconds for its end, and print the result.")] = 0,
    json_: Json = False,
    home: Home = None,
) -> None:
    """Post a task; agents of the running `timmy up` and others bid for it. With --wait status 1 if it is not done."""
    with open_timmy(home) as timmy:
        task = timmy.swarm.post_task(
            description, budget_sats=budget, needs=need or (), bidding_s=bidding, deadline_s=deadline,
            local_only=local_only,
        )  # fmt: skip
        ends = time.monotonic() + wait
        while task.open and time.monotonic() < ends:
            time.sleep(_LOOK_S)
            task = timmy.swarm.task(task.id)
    if json_:
        print(_as_json(task))
    elif task.result is not None:
        out.print(task.result, soft_wrap=True, markup=False)
    else:
        out.print(f"[green]✓[/] posted [bold]{task.id}[/]: {_state(task)}", soft_wrap=True)
        if task.problem:
            err.print(escape(task.problem), soft_wrap=True)
    if wait and task.state != "completed":
        raise typer.Exit(1)


@app.command()
def tasks(
    all_: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    agent: Annotated[str | None, typer.Option(help="Only of this agent.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the newest first.")] = 50,
    json_: Json = False,
    home: Home = None,
) -> None:
    """Print tasks, those that are not over."""
    with open_timmy(home) as timmy:
        found = timmy.swarm.tasks(state=None if all_ else OPEN, agent=agent, limit=limit)
    if json_:
        for task in found:
            print(_as_json(task))
        return
    if not len(found):
        err.print("nothing was posted" if all_ else "no task is open; --all shows those that are over")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("id", "task", "state", "agent", "bid", "budget", "bids", "paid", "age"):
        right = name in {"bid", "budget", "bids", "age"}
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "task")
    for task in found:
        bid = "–" if task.bid_msat is None else f"{task.bid_msat / 1000:g}"
        paid = {"none": "–", "due": "due", "paid": "[green]✓[/]"}.get(task.pay_state, task.pay_state)
        table.add_row(
            task.id, escape(task.title), _state(task), task.agent or "–", bid, f"{task.budget_sats:g}",
            str(len(task.bids)), paid, age(task.created_at),
        )  # fmt: skip
    out.print(table)


@app.command()
def show(id_: Id, json_: Json = False, home: Home = None) -> None:
    """Print a task: its bids, who did it, what came of it, and everything in its trace."""
    with open_timmy(home) as timmy:
        task = find(timmy.swarm, id_)
        events = timmy.swarm.history(task.id)
    if json_:
        print(_as_json(task, events=[event.as_dict() for event in events]))
        return
    out.print(f"[bold]{escape(task.description)}[/]", soft_wrap=True)
    out.print(_state(task))
    if task.problem:
        out.print(f"[red]{escape(task.problem)}[/]", soft_wrap=True)
    print_pairs(
        [
            ("posted", f"{when(task.created_at)} by {task.posted_by}"),
            ("budget", f"{task.budget_sats:g} sats, paid by {task.payer}"),
            ("needs", ", ".join(task.needs) or None),
            ("deadline", when(task.deadline_at) if task.deadline_at else None),
            ("agent", f"{task.agent}, attempt {task.attempts}" if task.agent else None),
            ("answered by", f"{task.provider}, {task.model}" if task.provider else None),
            ("payment", _payment(task)),
            ("trace", task.trace_id),
            ("id", task.id),
        ]
    )
    for bid in task.bids:
        mark = "[green]✓[/]" if bid.won else " "
        out.print(f"  {mark} {escape(bid.agent)} bids {bid.amount_sats:g} sats [dim]{when(bid.at)}[/]")
    if task.result is not None:
        out.print("\n[bold]Result[/]")
        out.print(task.result, soft_wrap=True, markup=False)
    out.print("\n[bold]What happened[/]")
    for event in events:
        who = f" [dim]{escape(event.agent_id)}[/]" if event.agent_id else ""
        out.print(f"  [dim]{when(event.ts)}[/] {event.type}{who}", soft_wrap=True)


@app.command()
def cancel(
    id_: Id,
    reason: Annotated[str, typer.Option(help="Why; it stays on record.")] = "",
    home: Home = None,
) -> None:
    """Withdraw a task that is not over; who works on it is not paid."""
    with open_timmy(home) as timmy:
        task = timmy.swarm.cancel(find(timmy.swarm, id_).id, by=getpass.getuser(), reason=reason)
    out.print(f"[green]✓[/] {task.id} is canceled")


def find(swarm: Swarm, id_: str) -> Task:
    """Return a task by its id, or by the beginning or end of it.

    Raises:
        TaskNotFoundError: none of the latest fits, or more than one.
    """
    if len(id_) >= _ID_CHARS:
        return swarm.task(id_)
    fits = [
        each for each in swarm.tasks(limit=500) if each.id == id_ or each.id.startswith(id_) or each.id.endswith(id_)
    ]
    if len(fits) == 1:
        return fits[0]
    how_many = "no task's id begins or ends" if not fits else f"the ids of {len(fits)} tasks begin or end"
    message = f"{how_many} with {id_!r}; `timmy swarm tasks --all` has them"
    raise TaskNotFoundError(message)


def _state(task: Task) -> str:
    return f"[{_TONES[task.state]}]{task.state}[/]"


def _payment(task: Task) -> str | None:
    if task.pay_state == "none":
        return None
    problem = f": {task.pay_problem}" if task.pay_problem else ""
    return f"{(task.bid_msat or 0) / 1000:g} sats, {task.pay_state}{problem}"


def _as_json(task: Task, **more: object) -> str:
    shown = {name: value for name, value in plain(task).items() if name not in _HIDDEN}
    return json.dumps({**shown, **more}, ensure_ascii=False)
