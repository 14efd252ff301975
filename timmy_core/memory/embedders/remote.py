"""What embedders behind a server share: Timmy's loop, limits, and errors in the house's words."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final
from urllib.parse import urlsplit

from timmy_core.errors import EmbeddingError
from timmy_core.loop import LoopClosedError, LoopThread
from timmy_core.memory.embed import EmbeddingModel, normalised

if TYPE_CHECKING:
    from timmy_core.memory.embed import Floats

Ask = Callable[[Any], Coroutine[Any, Any, Any]]

CONNECT_S: Final = 3.0
NO_KEY: Final = "none"  # what stands for a key where a server wants none; one client insists on something
_SHOWN: Final = 200

# A status, what it means, and what to do about it.
_STATUSES: Final[Mapping[int, tuple[str, str]]] = {
    401: ("the key is not accepted", "set a valid api_key in [memory]"),
    403: ("the key is not allowed to do this", "set another api_key in [memory]"),
    404: ("there is no such model or address", "check model and base_url in [memory]"),
    429: ("it asks to be left alone for a while, or the account is used up", "wait, or look at the account"),
}
_REFUSED: Final = frozenset({400, 413, 422})  # about the text itself


@dataclass(frozen=True, slots=True)
class Server:
    """Where an embedder's server is, and how it is asked."""

    model: str
    base_url: str
    api_key: str | None
    local: bool
    dimensions: int | None
    timeout_s: float


class RemoteEmbedder(ABC):
    """An embedder behind an official client, which lives on Timmy's own event loop.

    Args:
        server: where it is.
        loop: Timmy's loop; texts are embedded from any other thread.
    """

    kind: str
    prefixes: ClassVar[Mapping[str, tuple[str, str]]] = {}  # model -> before a question, before a text

    def __init__(self, server: Server, loop: LoopThread) -> None:
        self.server = server
        self.local = server.local
        self.loopback = is_loopback(server.base_url)
        self._loop = loop
        self._client: Any = None

    @abstractmethod
    def _build(self) -> Any:
        """Import the library and return its client."""

    @abstractmethod
    async def _identify(self, client: Any) -> EmbeddingModel:
        """Return which model answers."""

    @abstractmethod
    async def _vectors(self, client: Any, texts: list[str]) -> list[Any]:
        """Return one vector a text, in order."""

    @abstractmethod
    def _foreign(self) -> tuple[type[Exception], ...]:
        """Return what the library and its transport raise."""

    def prepare(self) -> EmbeddingModel:
        """Ask the server which model it has.

        Raises:
            EmbeddingError: it cannot be asked, or has no such model.
        """
        model: EmbeddingModel = self._run(self._identify)
        return model

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Floats:
        """Return one normalised row a text.

        Raises:
            EmbeddingError: the server failed or refused.
        """
        import numpy as np

        before = self.prefixes.get(self.server.model.partition(":")[0], ("", ""))[0 if query else 1]
        wanted = [before + text for text in texts]
        rows = self._run(lambda client: self._vectors(client, wanted))
        try:
            vectors = np.asarray(rows, np.float32)
        except ValueError:
            vectors = np.empty(0, np.float32)
        if vectors.ndim != 2 or len(vectors) != len(wanted):  # noqa: PLR2004 - rows and columns
            other = f"it returned no {len(wanted)} vectors of one length"
            raise self.error(other, "check model in [memory]")
        return normalised(vectors)

    def close(self) -> None:
        """Close every socket; one whose loop has ended has none."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(LoopClosedError):
                self._loop.run(self._close(client))

    def _run(self, ask: Ask) -> Any:
        try:
            return self._loop.run(self._asked(ask))
        except LoopClosedError as error:
            raise EmbeddingError(str(error)) from None

    async def _close(self, client: Any) -> None:
        await client.close()

    async def _asked(self, ask: Ask) -> Any:
        try:
            async with asyncio.timeout(self.server.timeout_s):
                if self._client is None:
                    self._client = await asyncio.to_thread(self._build)
                return await ask(self._client)
        except TimeoutError:
            wait = f"it did not answer within {self.server.timeout_s:g} s"
            raise self.error(wait, "raise timeout_s in [memory] if the model is slow") from None
        except ImportError as error:
            missing = f"its library cannot be loaded: {error}"
            raise self.error(missing, "install what it names") from None
        except self._caught() as error:
            # Without the cause: a foreign text may repeat the key, and tracebacks are logged.
            raise self._translated(error) from None

    def _caught(self) -> tuple[type[Exception], ...]:
        return (*self._foreign(), OSError, ValueError, TypeError, AttributeError, LookupError)

    def _translated(self, error: Exception) -> EmbeddingError:
        status = getattr(error, "status_code", None)
        said = getattr(error, "error", None) or getattr(error, "message", None) or str(error)
        if not isinstance(status, int) or status < 0:
            told = str(said).strip() or type(error).__name__
            return self.error(told, f"check that {shown(self.server.base_url)} answers, or base_url in [memory]")
        means, advice = _STATUSES.get(status, (str(said), "try again later, or look at the server's log"))
        return self.error(f"HTTP {status}: {means}", advice, refused=status in _REFUSED)

    def error(self, what: str, advice: str, *, refused: bool = False) -> EmbeddingError:
        """Return an error in the house's words; the key is in none of them."""
        secret = self.server.api_key
        hidden = what.replace(secret, "…") if secret and secret != NO_KEY else what
        message = f"{self.kind} at {shown(self.server.base_url)} gave no embedding: {hidden[:_SHOWN]}; {advice}"
        return EmbeddingError(message, refused=refused)


def is_loopback(url: str) -> bool:
    """Return whether an address is this machine's own."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def shown(url: str) -> str:
    """Return an address without the user and password it may hold."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
