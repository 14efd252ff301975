"""What of the words is kept: nothing, keyed hashes, or the words without secrets; and where too many of them go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from timmy_core.events.events import Events
from timmy_core.router.cascade import Cascade, Limits
from timmy_core.router.chat import Completion, Image, Message, ToolCall, Usage
from timmy_core.router.content import IN_EVENT_BYTES, Mode
from timmy_core.router.metrics import Metrics
from timmy_core.router.record import Origin
from timmy_core.settings import Settings
from timmy_core.store.engine import Store
from timmy_core.testing import FakeClock, ScriptedProvider

QUESTION = (Message("system", "Be brief."), Message("user", "Where is the harbour?"))
ANSWER = Completion("At the sea.", "stop", Usage(3, 4), "m")
KEY = "sk-ant-api03-" + "Ab1" * 31 + "AA"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "timmy.db")
    yield opened
    opened.close()


@pytest.fixture
def events(store: Store) -> Iterator[Events]:
    opened = Events(store, FakeClock())
    yield opened
    opened.close()


def metrics(store: Store, events: Events, mode: Mode, *, blobs: bool = True) -> Metrics:
    return Metrics(store, events, content=mode, blobs=events.blobs if blobs else None)


async def ask(
    recorder: Metrics, store: Store, *messages: Message, answer: Completion = ANSWER, stream: bool = False
) -> None:
    provider = ScriptedProvider("a", answer)
    house = Cascade([provider], offline=lambda _: "", limits=Limits(retry_percent=0), recorder=recorder)
    if stream:
        assert [part async for part in house.stream(messages, origin=Origin("t"))]
    else:
        await house.chat(messages, origin=Origin("t"))
    store.write(lambda _: None)


def data(events: Events) -> dict[str, object]:
    (event,) = events.list(type="llm.completed")
    return dict(event.data or {})


async def test_off_keeps_neither_words_nor_hashes(store: Store, events: Events) -> None:
    recorder = metrics(store, events, "off")
    assert not recorder.wants_content
    await ask(recorder, store, *QUESTION)
    kept = json.dumps(data(events))
    assert "harbour" not in kept
    assert "hash" not in kept


@pytest.mark.parametrize("stream", [False, True])
async def test_full_keeps_question_and_answer_in_the_form_of_opentelemetry(
    store: Store, events: Events, stream: bool
) -> None:
    await ask(metrics(store, events, "full"), store, *QUESTION, stream=stream)
    kept = data(events)
    assert kept["gen_ai.input.messages"] == [
        {"role": "system", "parts": [{"type": "text", "content": "Be brief."}]},
        {"role": "user", "parts": [{"type": "text", "content": "Where is the harbour?"}]},
    ]
    assert kept["gen_ai.output.messages"] == [
        {"role": "assistant", "parts": [{"type": "text", "content": "At the sea."}], "finish_reason": "stop"}
    ]
    assert kept["gen_ai.usage.input_tokens"] == 3


async def test_pictures_and_tools_are_kept_without_a_pictures_bytes(store: Store, events: Events) -> None:
    call = ToolCall("c1", "search", '{"q": "harbour"}')
    talk = (
        Message("user", "look", images=(Image("image/png", b"0123456789"),)),
        Message("assistant", tool_calls=(call,)),
        Message("tool", "found", tool_call_id="c1"),
    )
    await ask(metrics(store, events, "full"), store, *talk)
    assert data(events)["gen_ai.input.messages"] == [
        {
            "role": "user",
            "parts": [
                {"type": "text", "content": "look"},
                {"type": "blob", "modality": "image", "mime_type": "image/png", "bytes": 10},
            ],
        },
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "search", "arguments": '{"q": "harbour"}'}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "found"}]},
    ]


async def test_a_secret_in_the_words_is_not_kept(store: Store, events: Events) -> None:
    await ask(metrics(store, events, "full"), store, Message("user", f"my key is {KEY}, remember it"))
    kept = json.dumps(data(events))
    assert KEY not in kept
    assert "[redacted: " in kept


async def test_too_many_words_go_to_a_blob_without_secrets_and_the_figures_stay(store: Store, events: Events) -> None:
    long = Message("user", f"my key is {KEY}. " + "harbour " * (IN_EVENT_BYTES // 8))
    await ask(metrics(store, events, "full"), store, long)
    (event,) = events.list(type="llm.completed")
    assert event.data is not None
    assert event.data["gen_ai.usage.input_tokens"] == 3
    assert "gen_ai.input.messages" not in event.data
    held = events.content(event)
    assert held is not None
    assert "harbour harbour" in held["gen_ai.input.messages"][0]["parts"][0]["content"]
    assert KEY not in json.dumps(held)
    assert KEY not in json.dumps(dict(event.data))
    found = events.blobs.find(str(event.data["blob"]))
    assert found is not None
    assert found.bytes == event.data["bytes"]
    assert events.verify().ok


async def test_redacting_the_event_removes_its_blob_too(store: Store, events: Events) -> None:
    await ask(metrics(store, events, "full"), store, Message("user", "harbour " * (IN_EVENT_BYTES // 8)))
    (event,) = events.list(type="llm.completed")
    assert event.data is not None
    events.redact(seq=event.seq, reason="asked", by="ann")
    assert events.blobs.find(str(event.data["blob"])) is None


async def test_without_blobs_the_hash_of_too_many_words_is_kept(store: Store, events: Events) -> None:
    await ask(metrics(store, events, "full", blobs=False), store, Message("user", "harbour " * (IN_EVENT_BYTES // 8)))
    kept = data(events)
    assert "timmy.input_hash" in kept
    assert kept["timmy.content"] == "too large for an event, and no blob is kept"


async def test_a_hash_can_be_compared_in_its_home_and_in_no_other(tmp_path: Path, store: Store, events: Events) -> None:
    recorder = metrics(store, events, "hash")
    await ask(recorder, store, *QUESTION)
    kept = data(events)
    assert "harbour" not in json.dumps(kept)
    assert kept["timmy.input_hash"] == recorder.fingerprint(QUESTION)
    assert kept["timmy.output_hash"] == recorder.fingerprint("At the sea.")
    assert kept["timmy.output_hash"] != recorder.fingerprint("At the lake.")
    # Another process of this home has the same key, another home has another.
    assert metrics(store, events, "hash").fingerprint("At the sea.") == kept["timmy.output_hash"]
    elsewhere = Store.open(tmp_path / "other" / "timmy.db")
    other = Metrics(elsewhere, Events(elsewhere, FakeClock()))
    assert other.fingerprint("At the sea.") != kept["timmy.output_hash"]
    elsewhere.close()


def test_a_hash_tells_apart_who_said_what_and_pictures(store: Store, events: Events) -> None:
    recorder = metrics(store, events, "hash")
    picture, other = Image("image/png", b"one"), Image("image/png", b"two")
    said = [
        [Message("user", "ab")],
        [Message("assistant", "ab")],
        [Message("user", "a"), Message("user", "b")],
        [Message("user", "ab", images=(picture,))],
        [Message("user", "ab", images=(other,))],
    ]
    assert len({recorder.fingerprint(messages) for messages in said}) == len(said)


async def test_the_mode_may_change_while_it_runs(tmp_path: Path, store: Store, events: Events) -> None:
    recorder = metrics(store, events, "full")
    recorder.configure(Settings.model_validate({"home": tmp_path, "providers": ()}))
    await ask(recorder, store, *QUESTION)
    assert "harbour" not in json.dumps(data(events))
