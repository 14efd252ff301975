"""The section `[memory]` of the settings."""

from __future__ import annotations

from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

EmbedderKind = Literal["auto", "minilm", "sentence-transformers", "ollama", "openai", "none"]

_OF_SERVERS: Final = ("model", "base_url", "api_key", "local")


class MemorySettings(BaseModel):
    """What turns memories into vectors; without a model words are compared alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    embedder: EmbedderKind = "auto"  # auto: minilm where it is installed; never a server, which has to be named
    model: str | None = Field(default=None, min_length=1)  # of ollama and openai
    base_url: str | None = Field(default=None, pattern=r"^https?://")
    api_key: SecretStr | None = None
    dimensions: int | None = Field(default=None, ge=1, le=4096)  # of openai: ask for shorter vectors
    local: bool | None = None  # of ollama and openai; None: it is where base_url is this machine
    timeout_s: float = Field(default=30.0, gt=0, le=86_400)  # of ollama and openai
    recall: bool = True  # look into memory before an answer, and remember it, where a session does not say otherwise
    recall_s: float = Field(default=0.15, gt=0, le=60)  # an answer waits for memory so long; the first one for 1 s
    context_tokens: int = Field(default=600, ge=32, le=100_000)  # of memory, before a question
    share_with: Literal["local", "all"] = "local"  # who may be told what memory holds: providers here, or any
    extract: bool = False  # have a model propose facts after an answer
    hub_url: str = Field(default="https://huggingface.co", pattern=r"^https?://")

    @model_validator(mode="after")
    def _keys_fit_the_embedder(self) -> Self:
        for key in _OF_SERVERS:
            if self.embedder not in ("ollama", "openai") and getattr(self, key) is not None:
                text = f'{key} is for embedder = "ollama" and "openai", and this one is {self.embedder!r}; remove it'
                raise ValueError(text)
        if self.embedder != "openai" and self.dimensions is not None:
            text = f'dimensions is for embedder = "openai" alone, and this one is {self.embedder!r}; remove it'
            raise ValueError(text)
        return self
