"""Embeddings of an Ollama server, on this machine or another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from timmy_core.memory.embed import EmbeddingModel
from timmy_core.memory.embedders.remote import CONNECT_S, RemoteEmbedder

DEFAULT_URL: Final = "http://127.0.0.1:11434"
DEFAULT_MODEL: Final = "nomic-embed-text"


class OllamaEmbedder(RemoteEmbedder):
    """An embedder behind the official `ollama` client; a text that is too long is cut by the server."""

    kind = "ollama"
    prefixes: ClassVar[Mapping[str, tuple[str, str]]] = {
        # What these models were trained to see; without it they find less.
        "nomic-embed-text": ("search_query: ", "search_document: "),
        "mxbai-embed-large": ("Represent this sentence for searching relevant passages: ", ""),
    }

    def _build(self) -> Any:
        import httpx
        import ollama

        def authorize(request: httpx.Request) -> httpx.Request:
            """Send the configured key and no other; the client would take one from the environment."""
            request.headers.pop("authorization", None)
            if self.server.api_key:
                request.headers["authorization"] = f"Bearer {self.server.api_key}"
            return request

        return ollama.AsyncClient(
            self.server.base_url,
            auth=authorize,
            timeout=httpx.Timeout(self.server.timeout_s, connect=CONNECT_S),
            trust_env=not self.loopback,
            follow_redirects=False,
        )

    async def _identify(self, client: Any) -> EmbeddingModel:
        """Take the digest of the model's files for its version: a tag may stand for another model tomorrow."""
        wanted = self.server.model
        for model in (await client.list()).models:
            if model.model in (wanted, f"{wanted}:latest"):
                digest = str(model.digest or "").removeprefix("sha256:")
                return EmbeddingModel(wanted, digest[:12] or "unknown", None)
        missing = f"it has no model {wanted}"
        raise self.error(missing, f"run `ollama pull {wanted}` there, or set model in [memory]")

    async def _vectors(self, client: Any, texts: list[str]) -> list[Any]:
        return list((await client.embed(model=self.server.model, input=texts)).embeddings)

    async def _close(self, client: Any) -> None:
        await client._client.aclose()  # noqa: SLF001 - the client has no way of its own

    def _foreign(self) -> tuple[type[Exception], ...]:
        import httpx
        import ollama

        return ollama.ResponseError, httpx.HTTPError, httpx.InvalidURL
