"""A process of its own that reserves from a budget: `python spender.py HOME MODE COUNT`.

MODE `settle` reserves COUNT calls, settles every other one and prints what became of them; MODE `hang` reserves one
call, prints that it did, and waits to be killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from timmy_core.clock import SystemClock
from timmy_core.events.log import EventLog
from timmy_core.router.budget import Budgets, settle
from timmy_core.router.chat import ChatRequest, Message
from timmy_core.router.purse import Hold
from timmy_core.router.record import Origin
from timmy_core.settings import load_settings
from timmy_core.store.engine import Store
from timmy_core.testing import ScriptedProvider

REQUEST = ChatRequest((Message("user", "hello"),), "m", 30.0, 5.0, max_tokens=100)


async def spend(home: Path, count: int) -> dict[str, int]:
    store = Store.open(home / "timmy.db")
    budgets = Budgets(store, EventLog(store), SystemClock(), load_settings(home))
    paid = ScriptedProvider("paid", free=False)
    holds = [await budgets.reserve(Origin("t"), paid, "m", REQUEST) for _ in range(count)]
    got = [hold for hold in holds if isinstance(hold, Hold)]
    spent = 0
    for hold in got[::2]:
        cost = hold.microusd // 3
        now = SystemClock().now()
        await store.awrite(
            lambda connection, hold=hold, cost=cost, now=now: settle(
                connection, hold_id=hold.id, agent_id=None, cost=cost, now=now
            )
        )
        spent += cost
    held = sum(hold.microusd for hold in got[1::2])
    store.close()
    return {"got": len(got), "refused": count - len(got), "spent": spent, "held": held}


async def hang(home: Path) -> None:
    store = Store.open(home / "timmy.db")
    budgets = Budgets(store, EventLog(store), SystemClock(), load_settings(home))
    hold = await budgets.reserve(Origin("t"), ScriptedProvider("paid", free=False), "m", REQUEST)
    print(json.dumps({"microusd": getattr(hold, "microusd", None)}), flush=True)
    time.sleep(600)  # noqa: ASYNC251 - it is killed


if __name__ == "__main__":
    folder, mode, many = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if mode == "hang":
        asyncio.run(hang(folder))
    else:
        print(json.dumps(asyncio.run(spend(folder, many))))
