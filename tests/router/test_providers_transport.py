"""The transport of the doors: its connections, how they die, and what is left of them."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
import subprocess
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from timmy_core.errors import ProviderError
from timmy_core.router.chat import Image, Message, Provider
from timmy_core.settings import RouterSettings
from timmy_core.testing import Turn, WireServer

from .doors import ASK, KEY, KINDS, ask, both, cloud, door, failure, question
from .rawserver import OPENAI, raw_server, reply


def fds() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough


@both
async def test_a_pool_of_dead_connections_costs_one_new_one_a_question(
    provider: Provider, server: WireServer, streamed: bool
) -> None:
    server.then(Turn(first_s=0.02))
    await asyncio.gather(*(ask(provider, streamed) for _ in range(6)))
    kept = server.connections
    assert kept == 6
    server.requests.clear()
    server.then(Turn(drop_reused=True), Turn())
    assert (await ask(provider, streamed)).text == "Hello there."
    # One dead connection, and then a new one at once, whatever else the pool holds.
    assert server.connections == kept + 1
    assert len(server.requests) == 2


@both
async def test_a_new_connection_that_dies_is_a_failure_at_once(
    provider: Provider, server: WireServer, streamed: bool
) -> None:
    server.then(Turn(drop=True))
    assert (await failure(provider, streamed)).error_class == "connection_failed"
    assert len(server.requests) == 1
    await ask_well(provider, server, streamed)
    server.requests.clear()
    server.then(Turn(drop=True))
    # An old one, then a new one; that is where it ends.
    assert (await failure(provider, streamed)).error_class == "connection_failed"
    assert len(server.requests) == 2


async def ask_well(provider: Provider, server: WireServer, streamed: bool) -> None:
    server.then(Turn())
    await ask(provider, streamed)


async def test_the_list_of_models_is_not_asked_for_twice_on_a_new_connection(
    provider: Provider, server: WireServer
) -> None:
    server.then(Turn(drop=True))
    assert not (await provider.check(timeout_s=2)).ok
    assert len(server.requests) == 1


@pytest.mark.parametrize("polite", [True, False], ids=["end", "reset"])
async def test_a_byte_of_an_answer_is_enough_for_not_asking_again(polite: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, nth: int) -> None:
        if nth == 1:
            writer.write(reply(OPENAI))
            return
        writer.write(b"HTTP/1.1 20")
        await writer.drain()
        await asyncio.sleep(0.02)
        if not polite:
            writer.transport.abort()
        raise ConnectionError

    async with raw_server(serve) as (port, requests):
        provider = door("openai", f"http://127.0.0.1:{port}")
        assert (await provider.chat(ASK)).text == "ok"
        assert (await failure(provider)).error_class == "connection_failed"
        assert requests == [2]
        await provider.close()


async def test_what_is_not_http_is_malformed() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, nth: int) -> None:
        writer.write(b"-ERR unknown command 'POST'\r\n")

    async with raw_server(serve) as (port, _):
        for kind in KINDS:
            provider = door(kind, f"http://127.0.0.1:{port}")
            assert (await failure(provider)).error_class == "malformed_response"
            await provider.close()


async def test_long_headers_are_read() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, nth: int) -> None:
        writer.write(reply(OPENAI, b"content-security-policy: " + b"x" * 30_000))

    async with raw_server(serve) as (port, _):
        provider = door("openai", f"http://127.0.0.1:{port}")
        assert (await provider.chat(ASK)).text == "ok"
        await provider.close()


async def test_an_untrusted_certificate_is_said_to_be_one(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, nth: int) -> None:
        writer.write(reply(OPENAI))

    with warnings.catch_warnings():
        async with raw_server(serve, ssl=self_signed(tmp_path)) as (port, requests):
            for kind in KINDS:
                provider = door(kind, f"https://127.0.0.1:{port}")
                error = await failure(provider)
                assert error.error_class == "connection_failed"
                assert "TLS" in error.message
                await provider.close()
            assert requests in ([], [0] * len(requests))


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    signed = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "both.pem").write_bytes(private + signed.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context


async def test_a_host_that_takes_no_connection_is_left_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object, **options: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", never)
    for kind in KINDS:
        provider = door(kind, "http://127.0.0.1:9", router=RouterSettings(connect_s=0.05))
        error = await failure(provider)
        assert error.error_class == "timeout"
        assert "no connection was made within 0.05 s" in error.message
        await provider.close()


async def test_a_name_that_is_looked_up_for_ever_is_left_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object, **options: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("aiohttp.resolver.ThreadedResolver.resolve", never)
    provider = door("openai", "http://slow.invalid", router=RouterSettings(connect_s=0.05))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert "no connection was made within 0.05 s" in (await failure(provider)).message
    await provider.close()


async def test_a_name_with_two_addresses_of_which_one_refuses_is_answered(server: WireServer) -> None:
    provider = door("openai", server.url.replace("127.0.0.1", "localhost"))
    assert (await provider.chat(ASK)).text == "Hello there."
    await server.stop()
    assert (await failure(provider)).error_class == "connection_refused"
    await provider.close()


async def test_the_user_in_an_address_becomes_a_header(server: WireServer) -> None:
    provider = door("openai", server.url.replace("http://", "http://ann:pw@"))
    await provider.chat(ASK)
    assert server.requests[-1].headers["authorization"].startswith("Basic ")
    await provider.close()


async def test_a_large_question_is_sent_whole_and_again_if_it_was_lost(server: WireServer) -> None:
    picture = Image("image/png", b"\x89PNG" * 500_000)
    asked = question(Message("user", "what is it?", (picture,)))
    for kind in KINDS:
        provider = door(kind, server.url)
        server.then(Turn())
        await provider.chat(ASK)
        server.then(Turn(drop_reused=True), Turn())
        assert (await provider.chat(asked)).text == "Hello there."
        assert server.requests[-1].images == (picture,)
        await provider.close()


async def test_a_proxy_from_the_environment_is_used_for_others_and_told_our_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
        writer.write(reply(OPENAI, b"connection: close"))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1]
        monkeypatch.setenv("http_proxy", f"http://ann:pw@127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        provider = door("openai", "http://models.example")
        assert (await provider.chat(ASK)).text == "ok"
        await provider.close()
    assert heads[0].startswith(b"POST http://models.example/v1/chat/completions HTTP/1.1\r\n")
    assert b"proxy-authorization: basic" in heads[0].lower()
    assert f"authorization: Bearer {KEY}".lower().encode() in heads[0].lower()


async def test_a_proxy_of_another_kind_is_named_as_the_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1080")
    for kind in KINDS:
        error = await failure(door(kind, "http://models.example"))
        assert error.error_class == "not_configured"
        assert "ALL_PROXY" in error.advice


@pytest.mark.parametrize("turn", [Turn(), Turn(drop=True), Turn(status=500), Turn(ending="reset", after=1)])
async def test_closing_leaves_no_socket_and_no_task(provider: Provider, server: WireServer, turn: Turn) -> None:
    await ask_well(provider, server, streamed=False)
    await provider.close()
    await asyncio.sleep(0.01)
    gc.collect()
    before, tasks = fds(), len(asyncio.all_tasks())
    server.then(turn)
    for streamed in (False, True):
        results = await asyncio.gather(*(ask(provider, streamed) for _ in range(8)), return_exceptions=True)
        assert all(isinstance(result, ProviderError) for result in results) or turn == Turn()
    await provider.close()
    # The other ends are the server's, which notices a moment later.
    for _ in range(200):
        if server.open_connections == 0:
            break
        await asyncio.sleep(0.01)
    gc.collect()
    assert fds() <= before
    assert len(asyncio.all_tasks()) <= tasks


@cloud
async def test_closing_ends_what_is_under_way(server: WireServer, kind: str) -> None:
    provider = door(kind, server.url)
    await ask_well(provider, server, streamed=False)
    server.then(Turn(hang=True))
    asked = asyncio.create_task(ask(provider, streamed=False))
    async with asyncio.timeout(5):
        while len(server.requests) < 2:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)
        await provider.close()
        with pytest.raises(ProviderError):
            await asked


async def test_a_host_without_an_address_is_a_failed_connection() -> None:
    provider = door("openai", "http://no-such-host.invalid")
    with pytest.raises(ProviderError) as caught:
        await provider.chat(ASK)
    assert caught.value.error_class == "connection_failed"
    await provider.close()


@both
@pytest.mark.parametrize("turn", [Turn(hang=True), Turn(ending="hang", after=1), Turn(pause_s=0.02)])
async def test_a_caller_that_gives_up_leaves_no_connection_in_use(
    provider: Provider, server: WireServer, streamed: bool, turn: Turn
) -> None:
    await ask(provider, streamed)
    server.then(turn)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.03):
            await ask(provider, streamed)
    server.then(Turn())
    assert (await ask(provider, streamed)).text == "Hello there."


@pytest.mark.parametrize("kind", KINDS)
async def test_only_the_settings_decide_where_a_question_goes_and_with_which_key(
    server: WireServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for name in ("OPENAI", "ANTHROPIC", "OLLAMA"):
        for what in ("BASE_URL", "HOST", "API_KEY", "AUTH_TOKEN", "ORG_ID", "PROJECT_ID", "ADMIN_KEY"):
            monkeypatch.setenv(f"{name}_{what}", "http://stray.invalid")
        monkeypatch.setenv(f"{name}_CUSTOM_HEADERS", "x-stray: 1\nauthorization: stray")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://stray.invalid:9")
    for key, sent in ((KEY, f"Bearer {KEY}"), (None, "Bearer none")):
        provider = door(kind, server.url, api_key=key)
        await ask(provider, streamed=False)
        headers = server.requests[-1].headers
        assert "stray" not in repr({name: value for name, value in headers.items() if name != "host"})
        assert headers.get("authorization") == (None if kind == "ollama" and key is None else sent)
        await provider.close()


def test_importing_the_router_loads_no_client() -> None:
    code = (
        "import sys, timmy_core.router, timmy_core.router.providers\n"
        "print([m for m in ('openai', 'anthropic', 'ollama', 'httpx', 'httpx2') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@both
async def test_a_question_lost_with_an_old_connection_is_sent_again_without_a_word(
    provider: Provider, server: WireServer, streamed: bool
) -> None:
    await ask(provider, streamed)
    server.then(Turn(drop=True), Turn())
    assert (await ask(provider, streamed)).text == "Hello there."
    assert len(server.questions) == 3


@both
async def test_an_answer_that_had_begun_is_never_asked_for_again(
    provider: Provider, server: WireServer, streamed: bool
) -> None:
    await ask(provider, streamed)
    server.then(Turn(ending="reset", after=1), Turn())
    with pytest.raises(ProviderError):
        await ask(provider, streamed)
    assert len(server.questions) == 2


async def test_an_answer_that_is_finished_does_not_wait_for_the_end_of_its_stream(
    provider: Provider, server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timmy_core.router.providers.door._TAIL_S", 0.02)
    server.then(Turn(ending="linger"))
    async with asyncio.timeout(20):
        assert (await ask(provider, streamed=True)).text == "Hello there."


async def test_a_stream_that_ended_well_leaves_its_connection_for_the_next(
    provider: Provider, server: WireServer
) -> None:
    for _ in range(3):
        await ask(provider, streamed=True)
    assert server.connections == 1
