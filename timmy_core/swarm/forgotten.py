"""What was forgotten goes from sessions and tasks too: turn and task stay, without their words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from timmy_core.store.engine import Connection

FORGOTTEN: Final = "[forgotten]"
_TURNS: Final = """
UPDATE turns SET content = ? WHERE session = ? AND (content = ? OR (trace_id = ? AND substr(content, 1, ?) = ?))
"""

# What is remembered of a task holds its description whole; a word of it alone is no reason to forget the task.
_TASKS: Final = """
UPDATE swarm_tasks SET title = ?, description = ?, result = ?
WHERE trace_id = ? AND result IS NOT NULL AND instr(?, description) > 0
"""


class Said(Protocol):
    """What has to be known of what was forgotten."""

    @property
    def session(self) -> str | None:
        """The session in which it was said."""

    @property
    def trace_id(self) -> str | None:
        """The request that it was said in."""

    @property
    def text(self) -> str:
        """The words."""


def forget_turns(connection: Connection, gone: Sequence[Said]) -> None:
    """Take the words of what was said in a session out of its turns, however often they were said there."""
    for said in gone:
        if said.session is not None:
            values = (FORGOTTEN, said.session, said.text, said.trace_id, len(said.text), said.text)
            connection.execute(_TURNS, values)


def forget_results(connection: Connection, gone: Sequence[Said]) -> None:
    """Take the words of tasks that were remembered, and are forgotten now, out of the tasks themselves."""
    for said in gone:
        if said.trace_id is not None:
            values = (FORGOTTEN, FORGOTTEN, FORGOTTEN, said.trace_id, said.text)
            connection.execute(_TASKS, values)
