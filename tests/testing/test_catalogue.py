"""The catalogue of faults is complete, says what each is, and can be served as it is."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from timmy_core import testing as doubles
from timmy_core.testing import FAULTS, Fault, Turn, WireServer
from timmy_core.testing.turn import APIS

DOCS = Path(__file__).parents[2] / "docs"
HOW_TO = DOCS / "how-to" / "test-against-a-sick-provider.md"
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}


def test_every_fault_says_what_it_is_and_what_has_to_be_made_of_it() -> None:
    assert len(FAULTS) >= 40
    for name, fault in FAULTS.items():
        assert fault.name == name
        assert fault.doc.endswith(".")
        assert fault.apis
        harmless = fault.plain is None and fault.streamed is None
        assert (fault.effect == "none") == harmless, name
        assert (fault.limit_s is None) or fault.effect == "limited"


def test_each_fault_has_a_turn_for_each_of_its_apis_and_says_so_for_others() -> None:
    for fault in FAULTS.values():
        for api in APIS:
            if fault.turns is None or api not in fault.apis:
                with pytest.raises(ValueError, match=fault.name):
                    fault.turn(api)
            else:
                assert isinstance(fault.turn(api), Turn)


@pytest.mark.parametrize(
    "name", [name for name, fault in FAULTS.items() if fault.turns and fault.at_once and name != "lingers"]
)
async def test_a_fault_is_served_to_every_api_that_knows_it(name: str) -> None:
    fault = FAULTS[name]
    async with WireServer(fault) as server, httpx.AsyncClient(base_url=server.url) as client:
        for api in fault.apis:
            for streamed in (False, True):
                body = {"model": "m", "messages": [], "stream": streamed}
                try:
                    reply = await client.post(PATHS[api], json=body)
                except httpx.TransportError:
                    cut = ("connection_failed", "stream_truncated")
                    assert fault.error_class(streamed=streamed) in cut or fault.turn(api).drop_reused
                else:
                    assert reply.status_code == fault.turn(api).status


async def test_a_fault_that_the_api_does_not_know_is_told_as_such() -> None:
    async with WireServer(FAULTS["refusal"]) as server, httpx.AsyncClient(base_url=server.url) as client:
        reply = await client.post("/api/chat", json={"model": "m"})
        assert (reply.status_code, "unknown to ollama" in reply.text) == (501, True)


async def test_what_cannot_be_served_is_refused_politely() -> None:
    async with WireServer() as server, httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.post("/api/chat", content=b"{half")).status_code == 400
        assert (await client.post("/api/chat", content=b"[]")).status_code == 400
        assert (await client.post("/v2/other", json={})).status_code == 404
        assert not server.questions
        assert server.open_connections == 1

    async def pieces() -> object:
        yield b'{"model": "m",'
        yield b' "stream": false}'

    async with WireServer() as server, httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.post("/api/chat", content=pieces())).status_code == 200  # type: ignore[arg-type]
        assert server.questions[0].body == {"model": "m", "stream": False}


def test_the_date_of_a_rate_limit_lies_ahead_whenever_it_is_asked_for() -> None:
    fault: Fault = FAULTS["rate_limited_date"]
    assert fault.turn("openai").headers["retry-after"].endswith("GMT")


def test_every_fault_stands_in_the_reference_as_it_is() -> None:
    text = (DOCS / "reference" / "testing.md").read_text(encoding="utf-8")
    described = [line for line in text.partition("## Faults")[2].splitlines() if line.startswith("| `")]
    assert described == [_row(fault) for fault in FAULTS.values()]


def test_every_double_is_in_the_reference() -> None:
    text = (DOCS / "reference" / "testing.md").read_text(encoding="utf-8").partition("## ")[0]
    assert [name for name in doubles.__all__ if f"| `{name}` |" not in text] == []


def test_the_how_to_about_sick_providers_runs(home: Path) -> None:
    code = "\n".join(
        re.findall(r"^```python\n(.*?)^```$", HOW_TO.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=home)
    assert done.returncode == 0, done.stderr
    printed = done.stdout.splitlines()
    assert printed[:2] == ["Delta(text='Hello')", "Delta(text=' there')"]
    assert printed[2].startswith("Switch(from_provider='sick', to_provider='well'")
    assert "text='I am well.', provider='well', model='small'" in printed[-1]


def _row(fault: Fault) -> str:
    plain, streamed = (f"`{kind}`" if kind else "–" for kind in (fault.plain, fault.streamed))
    apis = "all" if fault.apis == APIS else ", ".join(fault.apis)
    return f"| `{fault.name}` | {fault.doc} | {plain} | {streamed} | {fault.effect} | {apis} |"
