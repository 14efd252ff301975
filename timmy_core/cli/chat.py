"""`timmy chat`: talk with Timmy in the terminal; the answer streams."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from timmy_core.cli.console import Home, err, out
from timmy_core.router.chat import Answer, Delta, Done, Switch
from timmy_core.timmy import Timmy, open_timmy


def chat(
    question: Annotated[
        str | None, typer.Argument(help="One question; without it a conversation begins.", show_default=False)
    ] = None,
    session: Annotated[str, typer.Option(help="Whose history is continued.")] = "default",
    home: Home = None,
) -> None:
    """Ask Timmy; the answer streams and names who gave it."""
    with open_timmy(home) as timmy:
        if question is not None:
            answer = _answer(timmy, question, session)
            if answer is None or answer.offline:
                raise typer.Exit(1)
            return
        _converse(timmy, session)


def _converse(timmy: Timmy, session: str) -> None:
    if out.is_terminal:
        out.print(f"[dim]Session {escape(session)}. An empty line or Ctrl-D ends it; Ctrl-C stops an answer.[/]")
    while True:
        try:
            question = out.input("[bold blue]you>[/] " if out.is_terminal else "")
        except (EOFError, KeyboardInterrupt):
            out.print()
            return
        if not question.strip():
            return
        _answer(timmy, question, session)


def _answer(timmy: Timmy, question: str, session: str) -> Answer | None:
    """Print the answer as it comes; None when the user stopped it."""
    answer: Answer | None = None
    parts = timmy.ask_stream_sync(question, session=session)
    try:
        for part in parts:
            if isinstance(part, Delta):
                out.out(part.text, end="", highlight=False)
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
    return f"{answer.provider} · {answer.model} · {took}"
