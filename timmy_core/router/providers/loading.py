"""Loading a local model: a task of the door's own, which no caller's timeout or leaving ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, ErrorClass

_MARGIN_S: Final = 0.5
_MAX_UNTOLD: Final = 100

Load = Callable[[str], Coroutine[Any, Any, None]]


def patience_s(request: ChatRequest) -> float:
    """Return how long a caller can wait for a model: a little less than until the cascade gives it up.

    Whoever is faster says why there is no answer, and "it is loading" is truer than "it is silent".
    """
    limit_s = min(request.first_token_s, request.timeout_s)
    return max(0.0, limit_s - min(_MARGIN_S, limit_s / 10))


class Loading:
    """One load a model at a time; callers wait for it as long as they can, and it goes on when they leave.

    Args:
        load: loads a model; raises ProviderError when it cannot.
        load_s: how long that may take.
        error: makes the door's own error.
    """

    def __init__(self, load: Load, load_s: float, error: Callable[[ErrorClass, str, str], ProviderError]) -> None:
        self._load = load
        self._load_s = load_s
        self._error = error
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[str, int] = {}
        self._untold: dict[str, ProviderError] = {}

    def is_loading(self, model: str) -> bool:
        """Return whether a load of this model is under way."""
        return model in self._tasks

    async def wait(self, model: str, wait_s: float) -> None:
        """Wait until a model is loaded; begins to load it where nobody did.

        Raises:
            ProviderError: LOADING when it takes longer than `wait_s`; any other class when it cannot be loaded, also
                when that came out while nobody waited.
        """
        untold = self._untold.pop(model, None)
        if untold is not None:
            raise _again(untold)
        task = self._tasks.get(model) or self._begin(model)
        self._waiting[model] = self._waiting.get(model, 0) + 1
        try:
            await asyncio.wait((task,), timeout=wait_s)
        finally:
            self._waiting[model] -= 1
            if not self._waiting[model]:
                del self._waiting[model]
        if not task.done():
            raise self._error(ErrorClass.LOADING, f"it is loading {model} into memory, which goes on", model)
        if task.cancelled():
            raise self._error(ErrorClass.LOADING, f"loading {model} was stopped because the provider is closed", model)
        failure = task.exception()
        if isinstance(failure, ProviderError):
            raise _again(failure)
        if failure is not None:
            raise failure

    async def close(self) -> None:
        """Stop every load and wait until it has ended."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._untold.clear()

    def _begin(self, model: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._within_budget(model), name=f"load-{model}")
        self._tasks[model] = task
        task.add_done_callback(lambda done: self._ended(model, done))
        return task

    async def _within_budget(self, model: str) -> None:
        try:
            async with asyncio.timeout(self._load_s):
                await self._load(model)
        except TimeoutError:
            message = f"it did not load {model} within {self._load_s:g} s (load_s)"
            raise self._error(ErrorClass.TIMEOUT, message, model) from None

    def _ended(self, model: str, task: asyncio.Task[None]) -> None:
        self._tasks.pop(model, None)
        failure = None if task.cancelled() else task.exception()
        if isinstance(failure, ProviderError) and not self._waiting.get(model) and len(self._untold) < _MAX_UNTOLD:
            self._untold[model] = failure


def _again(error: ProviderError) -> ProviderError:
    """The same error for another caller: an exception that is raised twice would drag both tracebacks along."""
    return ProviderError(error.error_class, error.message, advice=error.advice, retry_after_s=error.retry_after_s)
