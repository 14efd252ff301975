"""A provider that cannot be asked in this version, and says so."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, Chunk, Completion, ErrorClass, Health
from timmy_core.settings import ProviderSettings


class AbsentDoor:
    """Stands in the cascade with what is missing, so that nobody wonders where the provider went."""

    free = True
    local = True
    can_prefill = False
    max_concurrency: int | None = None

    def __init__(self, settings: ProviderSettings, problem: str, advice: str) -> None:
        self.name = settings.name
        self.kind: str = settings.kind
        self.models: Mapping[str, str] = dict(settings.models)
        self.default_model = settings.models.get("default") or next(iter(settings.models.values()), "")
        self.priority = settings.priority
        self.first_token_s = settings.first_token_s
        self._problem = problem, advice

    def problem(self) -> tuple[str, str]:
        """Return what is missing and what to do."""
        return self._problem

    def window_tokens(self, model: str) -> int | None:
        """Nothing is known of it."""
        del model
        return None

    async def chat(self, request: ChatRequest) -> Completion:
        """Refuse."""
        del request
        raise self._error()

    async def stream(self, request: ChatRequest) -> AsyncGenerator[Chunk, None]:
        """Refuse."""
        del request
        raise self._error()
        yield Chunk()  # makes this a generator

    async def check(self, *, timeout_s: float) -> Health:
        """Say what is missing."""
        del timeout_s
        return Health(ok=False, message=self._problem[0], advice=self._problem[1])

    async def close(self) -> None:
        """There is nothing to close."""

    def _error(self) -> ProviderError:
        return ProviderError(ErrorClass.NOT_CONFIGURED, self._problem[0], advice=self._problem[1])
