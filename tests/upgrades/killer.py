"""Does one thing with a queue in a process of its own, and kills it after a given step, or is killed from outside.

Reads a JSON object a line: {"home", "repo", "what", "id", "step"}; for each it forks, and answers with a JSON object:
{"killed": whether it was, "steps": how many there are, "way": a digest of what they were}. Step 0 is never reached, so
it counts them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import git  # noqa: F401 - loaded before the forks, as polars and others are
from queue_house import PIN, House

from timmy_core.store.engine import Store
from timmy_core.upgrades.workspace import git as git_door


class Steps:
    """Counts what has an effect that lasts, and ends the process after the one that was asked for."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.names: list[str] = []

    @property
    def way(self) -> str:
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()

    def after(self, owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = real(*args, **kwargs)
            # Of git, the command; the ids in it are others in each run.
            command = [arg for arg in args[1] if arg[:1] != "-" and "=" not in arg][:1] if name == "_execute" else []
            self.names.append(" ".join((name, *command)))
            if len(self.names) == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(owner, name, wrapped)


def act(order: dict[str, Any]) -> None:
    house = House(Path(order["home"]), Path(order["repo"]), mode=order["mode"])
    what, proposal_id = order["what"], order["id"]
    if what == "propose":
        house.propose("src/part1/f1.py", "proposed\n")
    elif what == "test":
        house.queue.test(proposal_id)
    elif what == "apply":
        house.queue.apply(proposal_id)
    elif what == "recover":
        house.queue.recover()
    elif what == "start":
        house.queue.begin()
        house.queue.recover()
        house.queue.started()
    elif what == "rollback":
        house.queue.rollback(proposal_id, by="ann", pin=PIN)
    else:
        raise AssertionError(what)
    house.close()


def child(order: dict[str, Any], answer: int) -> None:
    os.setpgid(0, 0)
    steps = Steps(order["step"])
    steps.after(git_door.Git, "_execute")
    steps.after(Store, "write")
    for owner, name in ((Path, "replace"), (Path, "unlink"), (os, "fsync")):
        steps.after(owner, name)
    act(order)
    os.write(answer, json.dumps({"steps": len(steps.names), "way": steps.way}).encode())


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        reading, writing = os.pipe()
        began = time.monotonic()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                child(order, writing)
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)  # whoever of the two is first
        if "after_s" in order:
            select.select([reading], [], [], order["after_s"])
            # Git dies with its parent, as when a machine stops, or outlives it.
            (os.killpg if order["group"] else os.kill)(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        said = os.read(reading, 4096)
        os.close(reading)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        failed = not killed and os.waitstatus_to_exitcode(status) != 0
        told = {"killed": killed, "failed": failed, "took_s": time.monotonic() - began}
        print(json.dumps({**told, **(json.loads(said) if said else {})}), flush=True)


if __name__ == "__main__":
    main()
