"""What the doors of the two server-sent-event APIs share: the transport, and refusing what is no event stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from timmy_core.errors import ProviderError
from timmy_core.router.chat import ChatRequest, ErrorClass
from timmy_core.router.providers.answers import is_json
from timmy_core.router.providers.door import Door
from timmy_core.router.providers.failures import parse_body
from timmy_core.router.providers.render import wants_json
from timmy_core.router.providers.transport import client_options, surviving_client

_MAX_BODY: Final = 65_536
_NO_EVENTS: Final = ("application/json", "text/html")


class SseDoor(Door):
    """A door whose official client stands on httpx2 and reads server-sent events."""

    def _http_client(self) -> Any:
        import httpx2

        return surviving_client(httpx2)(**client_options(httpx2, connect_s=self.connect_s, loopback=self.loopback))

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

    def _check_json(self, request: ChatRequest, text: str, finish: str) -> None:
        """Refuse a finished answer that had to be a JSON and is none; text so far counts as its beginning."""
        only_object = request.json_schema is None
        if not text or finish != "stop" or not wants_json(request):
            return
        if not is_json(request.prefill + text, only_object=only_object):
            message = "its answer is not the JSON that was asked for"
            raise self.error(ErrorClass.MALFORMED, message, request.model)
