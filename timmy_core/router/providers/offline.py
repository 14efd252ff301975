"""The offline answer: what Timmy says when no model answered, so that the reader knows why and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from timmy_core.router.chat import Attempt, ErrorClass


class OfflineAnswer:
    """Composes the last answer of the cascade, in Markdown.

    Args:
        toml_path: where providers are configured, as the reader should find it.
    """

    def __init__(self, toml_path: Path) -> None:
        self._toml_path = toml_path

    def __call__(self, attempts: Sequence[Attempt]) -> str:
        """Return the answer for a request whose attempts all failed, or were none."""
        return "\n".join(self._lines(attempts))

    def _lines(self, attempts: Sequence[Attempt]) -> Iterator[str]:
        refused = next((a for a in attempts if a.error_class == ErrorClass.CONTENT_FILTER), None)
        if refused is not None:
            yield f"**{refused.provider} refused to answer this.**"
            yield ""
            yield f"Its rules about content stopped the answer ({_sentence(refused.message)}) No other model was asked."
            yield ""
            yield "What to do: ask in other words."
            return
        yield "**No model answered.** This text comes from Timmy itself, not from a model."
        yield ""
        if attempts:
            yield "Who was tried, in this order:"
            yield ""
            for number, attempt in enumerate(attempts, 1):
                yield from _attempt(number, attempt)
        else:
            yield "No provider is configured."
        yield ""
        yield "What always helps:"
        yield ""
        yield "- A model on this machine: install [Ollama](https://ollama.com), run `ollama serve`,"
        yield "  then `ollama pull llama3.2`."
        yield f"- Any other model: add a `[[providers]]` table to `{self._toml_path}`; it is asked from then on."
        yield "- `timmy doctor` checks every provider and says what each of them needs."


def _attempt(number: int, attempt: Attempt) -> Iterator[str]:
    model = f" ({attempt.model})" if attempt.model else ""
    verb = "was not asked" if attempt.outcome == "skipped" else "failed"
    yield f"{number}. **{attempt.provider}**{model} {verb}: {_sentence(attempt.message)}"
    if attempt.advice:
        yield f"   What to do: {_sentence(attempt.advice)}"


def _sentence(text: str) -> str:
    """One line that ends with a full stop; a foreign text must not open a block of its own."""
    line = " ".join(text.split())
    return line if line.endswith((".", "!", "?")) else f"{line}."
