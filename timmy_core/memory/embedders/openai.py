"""Embeddings of OpenAI, and of every server that speaks its API; texts leave the machine, so it has to be chosen."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from timmy_core.memory.embed import EmbeddingModel
from timmy_core.memory.embedders.remote import CONNECT_S, NO_KEY, RemoteEmbedder

DEFAULT_URL: Final = "https://api.openai.com/v1"
DEFAULT_MODEL: Final = "text-embedding-3-small"
MAX_CHARS: Final = 8000  # of one text: surely less than the 8,192 tokens that its models take


class OpenAIEmbedder(RemoteEmbedder):
    """An embedder behind the official `openai` client."""

    kind = "openai"

    def _build(self) -> Any:
        import httpx2
        import openai

        timeout = httpx2.Timeout(self.server.timeout_s, connect=CONNECT_S)
        http = httpx2.AsyncClient(timeout=timeout, trust_env=not self.loopback, follow_redirects=False)
        client = openai.AsyncOpenAI(
            api_key=self.server.api_key or NO_KEY,
            admin_api_key="",
            webhook_secret="",
            base_url=self.server.base_url,
            timeout=timeout,
            max_retries=1,
            http_client=http,
        )
        # The client reads these from the environment when nothing is given, and takes no "none" for an answer.
        client.organization = None
        client.project = None
        client._custom_headers = {}  # noqa: SLF001 - OPENAI_CUSTOM_HEADERS has no other switch
        return client

    async def _identify(self, client: Any) -> EmbeddingModel:
        """Name the server in the version: another one may call other weights the same."""
        del client
        if self.server.base_url.rstrip("/") == DEFAULT_URL and not self.server.api_key:
            missing = "it has no api_key"
            raise self.error(missing, "set api_key in [memory]")
        version = urlsplit(self.server.base_url).netloc.rpartition("@")[2]
        wanted = self.server.dimensions
        return EmbeddingModel(self.server.model, f"{version}/{wanted}" if wanted else version, wanted)

    async def _vectors(self, client: Any, texts: list[str]) -> list[Any]:
        import openai

        reply = await client.embeddings.create(
            model=self.server.model,
            input=[text[:MAX_CHARS] for text in texts],
            dimensions=self.server.dimensions or openai.omit,
            encoding_format="float",
        )
        return [item.embedding for item in sorted(reply.data, key=lambda item: item.index)]

    def _foreign(self) -> tuple[type[Exception], ...]:
        import httpx2
        import openai

        return openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL
