"""`timmy chat`: talk with Timmy in the terminal; the answer streams."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from timmy_core.cli.console import Home, err, out
from timmy_core.loop import SyncStream
from timmy_core.router.chat import Answer, Delta, Done, StreamPart, Switch, ToolCall
from timmy_core.swarm.asked import AskOptions
from timmy_core.timmy import Timmy, open_timmy


def chat(
    question: Annotated[
        str | None, typer.Argument(help="One question; without it a conversation begins.", show_default=False)
    ] = None,
    session: Annotated[str, typer.Option(help="Whose history is continued.")] = "default",
    local_only: Annotated[bool, typer.Option("--local-only", help="Nothing of it may leave this machine.")] = False,
    memory: Annotated[
        bool | None,
        typer.Option("--memory/--no-memory", help="Whatever the session's switch says.", show_default=False),
    ] = None,
    home: Home = None,
) -> None:
    """Ask Timmy; the answer streams and names who gave it."""
    asking: AskOptions = {"session": session, "local_only": local_only, "memory": memory}
    with open_timmy(home) as timmy:
        if question is not None:
            answer = _answer(timmy, question, asking)
            if answer is None or answer.offline:
                raise typer.Exit(1)
            return
        _converse(timmy, asking)


def _converse(timmy: Timmy, asking: AskOptions) -> None:
    if out.is_terminal:
        name = escape(asking["session"])
        out.print(f"[dim]Session {name}. An empty line or Ctrl-D ends it; Ctrl-C stops an answer.[/]")
    while True:
        try:
            question = out.input("[bold blue]you>[/] " if out.is_terminal else "")
        except (EOFError, KeyboardInterrupt):
            out.print()
            return
        if not question.strip():
            return
        _answer(timmy, question, asking)


def _answer(timmy: Timmy, question: str, asking: AskOptions) -> Answer | None:
    return show(timmy.ask_stream_sync(question, **asking))


def show(parts: SyncStream[StreamPart]) -> Answer | None:
    """Print the answer as it comes; None when the user stopped it."""
    answer: Answer | None = None
    try:
        for part in parts:
            if isinstance(part, Delta):
                out.out(part.text, end="", highlight=False)
            elif isinstance(part, ToolCall):
                out.out(f"{part.name}({part.arguments})", highlight=False)
            elif isinstance(part, Switch):
                how = "going on" if part.continues else "starting again"
                err.print(f"\n[yellow]{escape(part.from_provider)} failed ({escape(part.reason)}); {how}.[/]")
            elif isinstance(part, Done):
                answer = part.answer
    except KeyboardInterrupt:
        parts.close()
        err.print("\n[yellow]stopped[/]")
        return None
    out.print()
    if answer is not None:
        err.print(f"[dim]{escape(signature(answer))}[/]")
    return answer


def signature(answer: Answer) -> str:
    """Return the line under an answer: who gave it, with which model, how fast."""
    if answer.offline:
        return "offline: no model answered"
    took = f"{answer.latency_ms:,.0f} ms" if answer.latency_ms < 1000 else f"{answer.latency_ms / 1000:.1f} s"  # noqa: PLR2004 - ms a second
    stood = len(answer.memories)
    recalled = f" · {stood} {'memory' if stood == 1 else 'memories'}" if stood else ""
    return f"{answer.provider} · {answer.model} · {took}{recalled}"
