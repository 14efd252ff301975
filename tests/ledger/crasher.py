"""A process that dies by `kill -9` at a named step of a walk through the ledger; forked anew for each step."""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from timmy_core.clock import SystemClock
from timmy_core.errors import NodeError
from timmy_core.ledger.ledger import Ledger

# The parent's folder is no package; this finds its neighbour wherever the tests lie.
sys.path.insert(0, str(Path(__file__).parent))
from lightning import House

WRITES: Final = (
    "opening", "intend_invoice", "record_invoice", "settle_invoice", "begin_payment", "mark_in_flight",
    "settle_payment", "fail_payment",
)  # fmt: skip


class Steps:
    """Counts the steps, and ends the process without a word at the chosen one."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.count = 0

    def __call__(self, name: str) -> None:
        if self.count == self.last:
            os.write(1, f"{self.count} {name}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)
        self.count += 1


def around(steps: Steps, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(work)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        steps(f"before {name}")
        result = work(*args, **kwargs)
        steps(f"after {name}")
        return result

    return wrapped


def walk(folder: Path, last: int) -> None:
    """Make an invoice that is paid, pay one, and pay one that fails; with the same keys as before the crash."""
    steps = Steps(last)
    for name in WRITES:
        setattr(Ledger, name, around(steps, name, getattr(Ledger, name)))
    with House(folder, SystemClock(), on_step=steps) as house:
        house.node._on_step = None
        bolt11, dear = (folder / "asked").read_text().split()
        house.node._on_step = steps
        made = house.payments.create_invoice(amount_msat=30_000, memo="m", agent_id="echo", idempotency_key="in")
        house.do(house.node.neighbour_pays(made.payment_hash))
        steps("paid by the neighbour")
        house.payments.check(made)
        house.payments.pay(bolt11, agent_id="echo", idempotency_key="out")
        house.payments.pay(dear, fee_limit_msat=0, idempotency_key="dear")
        house.node.misbehave("pay", "lost_answer")
        house.payments.pay(made_again(house), wait_s=5, idempotency_key="self")


def made_again(house: House) -> str:
    made = house.payments.create_invoice(amount_msat=4_000, memo="self", idempotency_key="again")
    return made.bolt11


def main(root: Path, first: int, until: int) -> None:
    for last in range(first, until):
        folder = root / str(last)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            try:
                walk(folder, last)
            except NodeError as error:
                os.write(2, f"{last}: {error}\n".encode())
                os._exit(1)
            os.write(1, f"{last} end\n".encode())
            os._exit(0)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
