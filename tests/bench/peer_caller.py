"""One caller of the measured server, in a process of its own: told on standard input what to do, it prints JSON.

    python peer_caller.py {bare|bare-aiohttp|timmy|litellm} BASE_URL FOLDER

Each line it reads is one task: `apart CALLS`, `together CALLS AT_ONCE`, `stream CALLS`, `memory CALLS AT_ONCE`. It
answers with the milliseconds of each call, the seconds of the whole, or bytes of memory. Only `timmy` needs this
package; the others run in whatever environment has their library.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

MESSAGES = [
    {"role": "system", "content": "You are Timmy, an agent that runs on its owner's own machine. Answer plainly."},
    {"role": "user", "content": "What is a circuit breaker, and why would a router of language models want one?"},
]
WARM = 30
STEPS = 10

Call = Callable[[], Awaitable[Any]]
Caller = tuple[Call, Call, Callable[[], Awaitable[Any]]]
"""What asks for a whole answer, what reads a stream to its end, and what waits until nothing is left to do."""


async def _nothing() -> None:
    """There is nothing to wait for."""


def bare(url: str, folder: Path, *, aiohttp: bool = False) -> Caller:
    """The official client, on its ordinary transport or on its quick one."""
    import openai

    options: dict[str, Any] = {"http_client": openai.DefaultAioHttpClient()} if aiohttp else {}
    client = openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0, **options)

    async def stream() -> int:
        events = await client.chat.completions.create(
            model="tiny", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )  # type: ignore[call-overload]
        return len([event async for event in events if event.choices and event.choices[0].delta.content])

    return lambda: client.chat.completions.create(model="tiny", messages=MESSAGES), stream, _nothing  # type: ignore[arg-type]


def litellm(url: str, folder: Path) -> Caller:
    """LiteLLM's Router with two deployments, as its manual has it."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    os.environ["LITELLM_TELEMETRY"] = "False"
    import litellm as library

    library.suppress_debug_info = True
    deployment = {"model": "openai/tiny", "api_base": url, "api_key": "none"}
    fallback = {"model_name": "second", "litellm_params": dict(deployment)}
    router = library.Router(
        model_list=[{"model_name": "first", "litellm_params": deployment}, fallback],
        fallbacks=[{"first": ["second"]}],
        num_retries=0,
    )

    async def stream() -> int:
        events = await router.acompletion(model="first", messages=MESSAGES, stream=True)
        return len([event async for event in events if event.choices[0].delta.content])

    return lambda: router.acompletion(model="first", messages=MESSAGES), stream, _nothing


def timmy(url: str, folder: Path) -> Caller:
    """The cascade with two providers, recording every attempt durably."""
    from contextlib import aclosing

    from timmy_core.events.log import EventLog
    from timmy_core.router.cascade import Cascade
    from timmy_core.router.chat import Delta
    from timmy_core.router.metrics import Metrics
    from timmy_core.router.providers import OfflineAnswer, build_provider
    from timmy_core.settings import ProviderSettings, RouterSettings
    from timmy_core.store.engine import Store

    store = Store.open(folder / "peer.db")
    limits = RouterSettings(max_concurrency=1000)
    tables = [
        {"name": name, "kind": "openai", "base_url": url, "api_key": "none", "models": {"default": "tiny"}}
        for name in ("first", "second")
    ]
    providers = [build_provider(ProviderSettings.model_validate(table), limits) for table in tables]
    cascade = Cascade(providers, offline=OfflineAnswer(folder / "timmy.toml"), recorder=Metrics(store, EventLog(store)))

    async def stream() -> int:
        async with aclosing(cascade.stream(MESSAGES)) as parts:
            return len([part async for part in parts if isinstance(part, Delta)])

    return lambda: cascade.chat(MESSAGES), stream, lambda: store.awrite(lambda _: None)


CALLERS: dict[str, Callable[[str, Path], Caller]] = {
    "bare": bare,
    "bare-aiohttp": lambda url, folder: bare(url, folder, aiohttp=True),
    "timmy": timmy,
    "litellm": litellm,
}


async def apart(call: Call, settle: Call, calls: int) -> list[float]:
    """Call one after the other and return the milliseconds of each."""
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        await call()
        times.append((time.perf_counter() - began) * 1000)
        await settle()
    return times


async def together(call: Call, settle: Call, calls: int, at_once: int) -> float:
    """Call many at once and return the seconds that all of them took, their records included."""
    left = iter(range(calls))

    async def worker() -> None:
        for _ in left:
            await call()

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(at_once)))
    await settle()
    return time.perf_counter() - began


def resident_bytes() -> int:
    """Return how much memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def memory(call: Call, settle: Call, calls: int, at_once: int) -> list[int]:
    """Return the memory after each tenth of the calls."""
    held = []
    for _ in range(STEPS):
        await together(call, settle, calls // STEPS, at_once)
        gc.collect()
        held.append(resident_bytes())
    return held


async def main() -> None:
    kind, url, folder = sys.argv[1:4]
    whole, stream, settle = CALLERS[kind](url, Path(folder))
    await apart(whole, settle, WARM)
    await apart(stream, settle, 3)
    tasks: dict[str, Callable[..., Awaitable[Any]]] = {
        "apart": lambda calls: apart(whole, settle, calls),
        "together": lambda calls, at_once: together(whole, settle, calls, at_once),
        "stream": lambda calls: apart(stream, settle, calls),
        "memory": lambda calls, at_once: memory(whole, settle, calls, at_once),
    }
    print("ready", flush=True)
    while line := (await asyncio.to_thread(sys.stdin.readline)).split():
        gc.collect()
        print(json.dumps(await tasks[line[0]](*map(int, line[1:]))), flush=True)
    os._exit(0)  # libraries that leave sockets and threads behind must not hold up the measurement


if __name__ == "__main__":
    asyncio.run(main())
