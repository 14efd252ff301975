"""How a local agent does a task: it recalls, asks the cascade with its tools, and hands in what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from timmy_core.errors import SwarmError
from timmy_core.events.log import EventLog
from timmy_core.events.model import NewEvent
from timmy_core.settings_memory import MemorySettings
from timmy_core.swarm.asked import Cascade
from timmy_core.swarm.calling import Calling, Tools
from timmy_core.swarm.model import Done, Task
from timmy_core.swarm.own_code import asks_for_change
from timmy_core.swarm.personas import Character
from timmy_core.swarm.recall import OFF, Looks, Recalled
from timmy_core.swarm.rows import SOURCE
from timmy_core.swarm.toolbox import Keeps, Toolbox

_TASK: Final = """\
The task, between the lines. It is all that is asked of you; hand in its result.
---
{text}
---"""


@dataclass(frozen=True, slots=True)
class Means:
    """What local agents work with.

    Args:
        cascade: answers.
        looks: looks into memory, past tasks before anything else.
        keeps: what the home keeps, for tools.
        changes: makes the tools that propose a change, for an agent; None where there is no repository.
        delta: makes a part of a stream.
        void: makes the part that takes back what was shown.
    """

    cascade: Cascade
    looks: Looks | None
    keeps: Keeps
    changes: Callable[[str], Tools] | None
    delta: Callable[[str], Any]
    void: Callable[[str], Any]


class LocalWork:
    """Does tasks; runs on Timmy's own event loop.

    Args:
        means: what it works with.
        events: told of what was recalled, and of every call of a tool.
        memory: how memory is used.
        tools: whether agents may call tools.
    """

    def __init__(self, means: Means, events: EventLog, memory: MemorySettings, *, tools: bool) -> None:
        self._means = means
        self._events = events
        self._memory = memory
        self._tools = tools

    async def do(self, task: Task, who: Character, *, deadline_s: float) -> Done:
        """Return the result of a task.

        Raises:
            SwarmError: no model answered, or what it said is empty.
        """
        recalled = await self._recall(task, who.name)
        messages = [*self._system(who, recalled), {"role": "user", "content": _TASK.format(text=task.description)}]
        toolbox = self._toolbox(task, who)
        cascade = self._means.cascade
        asked: Any = cascade
        if toolbox is not None:
            asked = Calling(cascade, toolbox, self._events, self._means.delta, self._means.void)
        answer = await asked.chat(
            messages, deadline_s=deadline_s, trace_id=task.trace_id, agent_id=who.name, task_id=task.id,
            session=f"task:{task.id}", local_only=task.local_only,
        )  # fmt: skip
        if answer.offline:
            message = "no model answered; `timmy router status` says why, and the task can be posted again"
            raise SwarmError(message)
        if not answer.text.strip():
            message = f"{answer.provider} answered with nothing; post the task again, in other words"
            raise SwarmError(message)
        return Done(answer.text.strip(), answer.provider, answer.model)

    async def _recall(self, task: Task, agent: str) -> Recalled:
        if self._means.looks is None or not self._memory.recall:
            return OFF
        recalled = await self._means.looks.look(
            task.description, agent_id=agent, session=f"task:{task.id}", local=task.local_only, without_traces=()
        )
        data: dict[str, Any] = {"session": f"task:{task.id}", "took_ms": recalled.took_ms}
        if recalled.state == "found":
            found = recalled.memories
            data |= {
                "entries": [one.id for one in found],
                "scores": [None if one.score is None else round(one.score, 6) for one in found],
                "tokens": recalled.tokens, "shared_with": self._memory.share_with,
            }  # fmt: skip
        else:
            data |= {"step": "recall", "problem": recalled.problem}
        kind = "memory.recalled" if recalled.state == "found" else "memory.failed"
        await self._events.aappend(_event(kind, task, agent, data))
        return recalled

    def _system(self, who: Character, recalled: Recalled) -> list[dict[str, Any]]:
        said: list[dict[str, Any]] = [{"role": "system", "content": who.prompt}]
        if recalled.prompt:
            # Where memory is for the owner's own machines, the router leaves this part out for others.
            local = {"local_only": True} if self._memory.share_with == "local" else {}
            said.append({"role": "system", "content": recalled.prompt, **local})
        return said

    def _toolbox(self, task: Task, who: Character) -> Toolbox | None:
        if not self._tools:
            return None
        open_ = task.local_only or self._memory.share_with == "all"
        changes = self._means.changes if who.proposes and asks_for_change(task.description) else None
        made = changes(who.name) if changes is not None else None
        box = Toolbox(who.tools, self._means.keeps if open_ else None, made)
        return box if box.offered else None


def _event(kind: str, task: Task, agent: str, data: dict[str, Any]) -> NewEvent:
    return NewEvent(kind, SOURCE, data, task_id=task.id, agent_id=agent, trace_id=task.trace_id)
