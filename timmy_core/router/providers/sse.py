"""What the doors of the two server-sent-event APIs share: the transport, and refusing what is no event stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ErrorClass
from timmy_core.router.providers.door import Door
from timmy_core.router.providers.failures import parse_body
from timmy_core.router.providers.transport import surviving_client

_MAX_BODY: Final = 65_536
_NO_EVENTS: Final = ("application/json", "text/html")


class SseDoor(Door):
    """A door whose official client stands on httpx2 and reads server-sent events."""

    def _http_client(self) -> Any:
        import httpx2

        return surviving_client(httpx2)(
            timeout=httpx2.Timeout(None, connect=self.connect_s),  # the cascade holds the other limits
            limits=httpx2.Limits(max_connections=1000, max_keepalive_connections=100),
            trust_env=not self.loopback,  # a proxy from the environment cannot reach this machine for us
            follow_redirects=False,  # the key goes where the configuration says, and nowhere else
        )

    async def _expect_events(self, response: Any, model: str) -> None:
        """Refuse a body that is no event stream, which the client would read as an empty one."""
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _NO_EVENTS:
            return
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > _MAX_BODY:
                break
        await response.aclose()
        raise self._wrong_form(body.decode(errors="replace"), model)

    def _wrong_form(self, text: str, model: str) -> ProviderError:
        """Return the error for a body of another form, which may still hold an honest error."""
        body = parse_body(text)
        if isinstance(body, Mapping) and body.get("error"):
            return self.reply_error(None, {}, body, model)
        return self.error(ErrorClass.MALFORMED, "its answer has another form than its API promises", model)
