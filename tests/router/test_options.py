"""The options of a request: every wrong one is refused with what is expected."""

from __future__ import annotations

from typing import Any

import pytest

from timmy_core.router.chat import Tool
from timmy_core.router.options import PLAIN, ChatOptions, Options, check_options

TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def test_no_options_are_the_plain_ones() -> None:
    assert check_options({}) is PLAIN
    assert Options() == PLAIN


def test_every_option_that_can_be_typed_is_checked_and_every_checked_one_can_be_typed() -> None:
    assert set(ChatOptions.__annotations__) == set(Options.__slots__)


def test_what_is_right_comes_out_in_the_houses_form() -> None:
    checked = check_options(
        {"deadline_s": 3, "tools": [TOOL], "tool_choice": "look", "json_schema": {"type": "object"}}
    )
    assert checked.deadline_s == 3.0
    assert checked.tools == (Tool("look", "", {"type": "object"}),)
    assert checked.json_mode
    assert not checked.plain


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 1}, "'temprature' is not known; did you mean 'temperature'"),
        ({"zzz": 1}, "expected one of deadline_s, model, max_tokens"),
        ({"deadline_s": 0}, "deadline_s is 0; expected a positive number of seconds"),
        ({"deadline_s": float("inf")}, "deadline_s is inf"),
        ({"deadline_s": float("nan")}, "deadline_s is nan"),
        ({"deadline_s": "5"}, "deadline_s is '5'"),
        ({"deadline_s": True}, "deadline_s is True"),
        ({"model": ""}, "model is ''; expected a name"),
        ({"model": None}, "model is None"),
        ({"max_tokens": 0}, "max_tokens is 0; expected a whole number"),
        ({"max_tokens": 1.5}, "max_tokens is 1.5"),
        ({"temperature": 2.1}, "temperature is 2.1; expected a number from 0 to 2"),
        ({"temperature": -1}, "temperature is -1"),
        ({"tools": "look"}, "tools is 'look'; expected a list"),
        ({"tools": [TOOL, TOOL]}, "two tools are named 'look'"),
        ({"tools": [{}]}, "a tool needs a name"),
        ({"tool_choice": "required"}, "tool_choice is 'required', but no tools are given"),
        ({"tools": [TOOL], "tool_choice": "jump"}, "tool_choice is 'jump'; expected one of auto, required, none, look"),
        ({"json_mode": "yes"}, "json_mode is 'yes'; expected True or False"),
        ({"json_schema": "{}"}, "json_schema is '{}'; expected a JSON schema"),
        ({"local_only": 1}, "local_only is 1; expected True or False"),
        ({"provider": 7}, "provider is 7; expected a name"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_is_expected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        check_options(options)


@pytest.mark.parametrize("name", ["deadline_s", "max_tokens", "temperature", "json_schema", "provider"])
def test_none_means_that_nothing_is_asked_for(name: str) -> None:
    assert check_options({name: None}) == PLAIN
