"""One canonical history, as each provider is asked it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from timmy_core.router.chat import Image, Message, Tool, ToolCall
from timmy_core.router.providers import anthropic_wire, openai_wire
from timmy_core.router.providers.render import is_strict
from timmy_core.testing import Turn, WireServer

from .doors import ask, both, door, question

PNG = Image("image/png", b"\x89PNG")
CALL = ToolCall("call.1", "weather", '{"city": "Bern"}')
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
WEATHER = Tool("weather", "Look out of the window", {"type": "object", "properties": {"city": {"type": "string"}}})
TALK = (
    Message("system", "be brief"),
    Message("user", "what is it?", (PNG,)),
    Message("assistant", "", tool_calls=(CALL, ToolCall("call.2", "weather", "{}"))),
    Message("tool", "sunny", tool_call_id="call.1"),
    Message("tool", "rainy", (PNG,), tool_call_id="call.2"),
    Message("user", "and now?"),
)
B64 = "iVBORw=="


def openai(*messages: Message, official: bool = False, model: str = "tiny", **more: Any) -> Mapping[str, Any]:
    return openai_wire.chat_arguments(question(*messages, model=model, **more), official=official)


def anthropic(*messages: Message, model: str = "tiny", **more: Any) -> Mapping[str, Any]:
    return anthropic_wire.chat_arguments(question(*messages, model=model, **more))


def test_tools_pictures_and_results_in_openais_form() -> None:
    url = {"url": f"data:image/png;base64,{B64}"}
    function = {"name": "weather", "arguments": '{"city": "Bern"}'}
    assert openai(*TALK)["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": url}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "call.1", "type": "function", "function": function},
                {"id": "call.2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "call.1"},
        {"role": "tool", "content": "rainy", "tool_call_id": "call.2"},
        # A tool's result is text there; its picture comes with a turn of the user's.
        {"role": "user", "content": [{"type": "image_url", "image_url": url}]},
        {"role": "user", "content": "and now?"},
    ]


def test_tools_pictures_and_results_in_anthropics_form() -> None:
    arguments = anthropic(*TALK)
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": B64}}
    assert arguments["system"] == "be brief"
    assert arguments["messages"] == [
        {"role": "user", "content": [picture, {"type": "text", "text": "what is it?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Bern"}},
                {"type": "tool_use", "id": "call_2", "name": "weather", "input": {}},
            ],
        },
        # The results are one turn of the user's, and stand before what the user says.
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "sunny"}]},
                {
                    "type": "tool_result",
                    "tool_use_id": "call_2",
                    "content": [picture, {"type": "text", "text": "rainy"}],
                },
                {"type": "text", "text": "and now?"},
            ],
        },
    ]
    # Without tools of its own the request names those that the history knows, and forbids them.
    assert [tool["name"] for tool in arguments["tools"]] == ["weather"]
    assert arguments["tool_choice"] == {"type": "none"}


@pytest.mark.parametrize(
    ("choice", "in_openai", "in_anthropic"),
    [
        ("auto", "auto", {"type": "auto"}),
        ("required", "required", {"type": "any"}),
        ("none", "none", {"type": "none"}),
        ("weather", {"type": "function", "function": {"name": "weather"}}, {"type": "tool", "name": "weather"}),
    ],
)
def test_the_choice_of_a_tool(choice: str, in_openai: object, in_anthropic: object) -> None:
    asked = {"tools": (WEATHER,), "tool_choice": choice}
    assert openai(**asked)["tool_choice"] == in_openai
    assert anthropic(**asked)["tool_choice"] == in_anthropic
    assert openai(**asked)["tools"][0]["function"]["parameters"] == WEATHER.parameters
    assert anthropic(**asked)["tools"][0]["input_schema"] == WEATHER.parameters


def test_turns_of_one_side_become_one_where_the_order_matters() -> None:
    talk = (
        Message("assistant", "earlier"),
        Message("user", "a"),
        Message("system", "rule one"),
        Message("user", "b", (PNG,)),
        Message("assistant", ""),
        Message("assistant", "c"),
        Message("system", "rule two"),
        Message("user", "d"),
    )
    turns = anthropic(*talk)["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert turns[2]["content"][1] == {"type": "text", "text": "a\n\nb"}
    assert anthropic(*talk)["system"] == "rule one\n\nrule two"
    local = openai(*talk)["messages"]
    assert [turn["role"] for turn in local] == ["system", "user", "assistant", "user", "assistant", "user"]
    # OpenAI itself takes them as they are.
    assert len(openai(*talk, official=True)["messages"]) == len(talk)


def test_a_question_in_the_systems_words_alone_is_asked_all_the_same() -> None:
    assert anthropic(Message("system", "say hi"))["messages"] == [{"role": "user", "content": "say hi"}]
    assert "system" not in anthropic(Message("system", "say hi"))
    assert openai(Message("system", "say hi"))["messages"] == [{"role": "user", "content": "say hi"}]


def test_what_another_model_botched_does_not_stop_the_conversation() -> None:
    botched = Message("assistant", "", tool_calls=(ToolCall("1", "weather", '{"city'),))
    talk = (Message("user", "a"), botched, Message("tool", "", tool_call_id="1"))
    turns = anthropic(*talk)["messages"]
    assert turns[1]["content"][0]["input"] == {"arguments": '{"city'}
    assert turns[2]["content"] == [{"type": "tool_result", "tool_use_id": "1"}]


def test_a_long_id_is_shortened_the_same_way_on_both_sides() -> None:
    long = "x" * 64
    asked = Message("assistant", "", tool_calls=(ToolCall(long, "weather", "{}"),))
    turns = openai(Message("user", "a"), asked, Message("tool", "", tool_call_id=long))["messages"]
    assert len(turns[1]["tool_calls"][0]["id"]) <= 40
    assert turns[1]["tool_calls"][0]["id"] == turns[2]["tool_call_id"]


@pytest.mark.parametrize(
    ("model", "prefill", "temperature", "form"),
    [
        ("claude-3-5-sonnet-20241022", True, True, False),
        ("claude-3-haiku-20240307", True, True, False),
        ("claude-sonnet-4-20250514", True, True, False),
        ("claude-opus-4-1-20250805", True, True, True),
        ("claude-haiku-4-5", True, True, True),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", True, True, True),
        ("claude-opus-4-6", False, True, True),
        ("claude-opus-4.7", False, False, True),
        ("claude-opus-4-10", False, False, True),
        ("claude-sonnet-5", False, False, True),
        ("claude-opus-5-5-20260801", False, False, True),
        ("gemma", False, True, False),
    ],
)
def test_what_a_claude_can_do_is_read_from_its_version(
    model: str, prefill: bool, temperature: bool, form: bool
) -> None:
    assert anthropic_wire.can_prefill(model) == prefill
    arguments = anthropic(model=model, temperature=0.5, json_schema=SCHEMA)
    assert ("extra_body" in arguments) == temperature
    assert ("output_config" in arguments) == form
    assert ("schema" in arguments["system"]) != form


def test_the_beginning_of_an_answer_goes_last() -> None:
    assert anthropic(model="claude-haiku-4-5", prefill="Once ")["messages"][-1] == {
        "role": "assistant",
        "content": "Once",
    }
    assert openai(prefill="Once ")["messages"][-1] == {"role": "assistant", "content": "Once "}
    assert door("anthropic", "http://h", models={"default": "claude-haiku-4-5"}).can_prefill
    assert not door(
        "anthropic", "http://h", models={"default": "claude-haiku-4-5", "large": "claude-opus-5"}
    ).can_prefill
    assert not door("openai", "http://h").can_prefill


def test_a_conversation_that_ends_with_the_models_own_words_is_gone_on_with() -> None:
    talk = (Message("user", "a"), Message("assistant", "b"))
    assert anthropic(*talk, model="claude-opus-5")["messages"][-1]["role"] == "user"
    assert anthropic(*talk, model="claude-haiku-4-5")["messages"][-1]["role"] == "assistant"


def test_json_mode_and_schema_in_openais_form() -> None:
    asked = openai(json_mode=True)
    assert asked["response_format"] == {"type": "json_object"}
    # This API refuses the mode where no message names it.
    assert "JSON" in asked["messages"][0]["content"]
    assert asked["messages"][0]["content"].startswith("be brief")
    said = openai(Message("user", "answer in json"), json_mode=True)
    assert said["messages"] == [{"role": "user", "content": "answer in json"}]
    form = openai(json_schema=SCHEMA)["response_format"]["json_schema"]
    assert (form["schema"], form["strict"]) == (SCHEMA, True)
    loose = {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}}
    assert openai(json_schema=loose)["response_format"]["json_schema"]["strict"] is False


def test_only_a_closed_schema_is_strict() -> None:
    assert is_strict(SCHEMA)
    assert is_strict({"type": "array", "items": SCHEMA})
    assert not is_strict({**SCHEMA, "required": []})
    assert not is_strict({"type": "array", "items": {"type": "object"}})


def test_openais_own_models_are_asked_in_its_new_words() -> None:
    assert openai(max_tokens=5, official=True)["max_completion_tokens"] == 5
    assert openai(max_tokens=5)["max_tokens"] == 5
    assert "temperature" not in openai(temperature=0.1, official=True, model="gpt-5.6-luna")
    assert openai(temperature=0.1, official=True, model="gpt-4.1")["temperature"] == 0.1
    assert openai(temperature=0.1, model="gpt-5.6-luna")["temperature"] == 0.1


@both
@pytest.mark.parametrize("kind", ["openai", "anthropic"])
async def test_the_whole_history_goes_through_a_real_client(server: WireServer, kind: str, streamed: bool) -> None:
    provider = door(kind, server.url)
    asked = question(*TALK, tools=(WEATHER,), temperature=0.5, max_tokens=50)
    assert (await ask(provider, streamed, asked)).text == "Hello there."
    sent = server.requests[-1]
    assert set(sent.images) == {PNG}
    assert (sent.body["temperature"], sent.body["max_tokens"], len(sent.body["tools"])) == (0.5, 50, 1)
    await provider.close()


@both
async def test_a_claude_is_held_to_a_schema_by_its_own_api(server: WireServer, streamed: bool) -> None:
    provider = door("anthropic", server.url)
    server.then(Turn(pieces=('{"a"', ": 1}")))
    answer = await ask(provider, streamed, question(model="claude-opus-5", json_schema=SCHEMA))
    assert answer.text == '{"a": 1}'
    assert server.requests[-1].body["output_config"]["format"]["type"] == "json_schema"
    await provider.close()
