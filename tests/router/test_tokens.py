"""The rule of thumb for tokens, beside the counts of two real tokenizers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from timmy_core.router.chat import ChatRequest, Image, Message, Tool, ToolCall
from timmy_core.router.tokens import IMAGE_TOKENS, at_least, estimate, estimated_usage

# Text, its tokens in o200k, and in the tokenizer that Anthropic published.
COUNTED = {
    "english": (
        (
            "The cascade takes a conversation and returns one answer. It asks each provider in turn, and the first "
            "one that is well and answers in time wins."
        ),
        30,
        30,
    ),
    "german": (
        (
            "Der Vermittler nimmt ein Gespräch entgegen und gibt genau eine Antwort zurück. "
            "Überschwemmungsgebiete müssen außerdem regelmäßig überprüft werden."
        ),
        27,
        47,
    ),
    "russian": ("Маршрутизатор принимает разговор и возвращает один ответ.", 13, 26),
    "chinese": ("路由器接收一段对话并返回一个答案。它按照优先级依次询问提供者。", 26, 27),
    "hindi": ("राउटर एक बातचीत लेता है और एक उत्तर लौटाता है।", 15, 50),
    "code": ('def close(self) -> None:\n    """Give it back."""\n    self._loop.run(self._cascade.close())\n', 23, 28),
    "json": ('{"vendor": "openai", "input": 8000000, "output": 40000000, "context_tokens": 1050000}', 32, 27),
    "log": ("2026-11-22T10:15:11.123456Z ERROR [worker-7] connection refused to 127.0.0.1:8007", 36, 34),
}


@pytest.mark.parametrize("name", COUNTED)
def test_an_estimate_is_near_what_real_tokenizers_count(name: str) -> None:
    text, *counted = COUNTED[name]
    assert 0.9 <= estimate(text) / max(counted) <= 1.7


@pytest.mark.parametrize("name", COUNTED)
def test_no_tokenizer_stays_below_the_lower_bound(name: str) -> None:
    text, *counted = COUNTED[name]
    assert 0.3 <= at_least(text) / min(counted) <= 0.7


@pytest.mark.parametrize("text", [" " * 5000, "\n" * 5000, "-" * 5000, "=" * 5000, "─" * 5000, "| --- | --- |\n" * 3])
def test_long_runs_of_one_sign_do_not_make_a_question_too_long(text: str) -> None:
    assert at_least(text) <= 20


@given(st.text(max_size=300))
def test_the_lower_bound_is_never_above_the_estimate_and_any_text_is_taken(text: str) -> None:
    assert 0 <= at_least(text) <= estimate(text)
    assert type(estimate(text)) is int


@given(st.text(max_size=100), st.text(max_size=100))
def test_more_text_is_never_fewer_tokens(first: str, more: str) -> None:
    assert estimate(first) <= estimate(first + more)


def test_half_a_surrogate_pair_is_counted_all_the_same() -> None:
    assert estimate("a\ud800b") > 0


def test_pictures_tools_and_calls_count() -> None:
    bare = estimate([Message("user", "hi")])
    assert estimate([Message("user", "hi", images=(Image("image/png", b"x"),))]) == bare + IMAGE_TOKENS
    called = Message("assistant", tool_calls=(ToolCall("1", "search", '{"q": "a long question about the weather"}'),))
    assert estimate([called]) > estimate([Message("assistant")]) + 10
    tool = Tool("search", "Searches the web.", {"type": "object", "properties": {"q": {"type": "string"}}})
    assert estimate([Message("user", "hi")], [tool]) > bare + 20
    assert at_least([Message("user", "hi")], [tool]) > at_least([Message("user", "hi")])


def test_what_a_broken_answer_used_is_its_question_and_what_came_of_it() -> None:
    request = ChatRequest((Message("user", "What is a circuit breaker?"),), "m", 1.0, 1.0, prefill="It is")
    nothing = estimated_usage(request)
    some = estimated_usage(request, "a switch", [ToolCall("1", "f", "{}")])
    assert (nothing.estimated, nothing.output_tokens) == (True, 0)
    assert nothing.input_tokens == estimate(request.messages) + estimate("It is")
    assert some.input_tokens == nothing.input_tokens
    assert (some.output_tokens or 0) > estimate("a switch")
