"""The offline answer: who was asked, why nobody answered, and what to do."""

from __future__ import annotations

from pathlib import Path

from timmy_core.router.chat import Attempt
from timmy_core.router.providers import OfflineAnswer


def test_the_offline_answer_lists_each_attempt_and_what_to_do() -> None:
    compose = OfflineAnswer(Path("/home/ann/.timmy/timmy.toml"))
    text = compose(
        [
            Attempt("ollama", "llama3.2", "failed", message="nothing listens there", advice="run `ollama serve`"),
            Attempt("openai", "m", "skipped", message="OPENAI_API_KEY\n is not set", advice="set it"),
        ]
    )
    assert "1. **ollama** (llama3.2) failed: nothing listens there.\n   What to do: run `ollama serve`." in text
    assert "2. **openai** (m) was not asked: OPENAI_API_KEY is not set." in text
    assert "No model answered" in text


def test_the_offline_answer_helps_without_any_provider() -> None:
    text = OfflineAnswer(Path("/home/ann/.timmy/timmy.toml"))([])
    for word in ("No provider is configured", "`ollama serve`", "/home/ann/.timmy/timmy.toml", "`timmy doctor`"):
        assert word in text


def test_a_refusal_is_not_told_as_a_failure() -> None:
    refused = Attempt("a", "m", "failed", error_class="content_filtered", message="it refused")
    text = OfflineAnswer(Path("timmy.toml"))([refused])
    assert text.startswith("**a refused to answer this.**")
    assert "No other model was asked" in text
