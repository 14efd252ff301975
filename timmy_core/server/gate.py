"""The one door: every request to pages, API and WebSocket passes these checks, in this order.

1. `Host` names this server, so that no other site's name can be pointed at it (DNS rebinding).
2. `Origin`, where a browser sends one, is this server; other sites may link here but not load or send anything.
3. A WebSocket comes from a page of ours; so does a state change, or it proves itself with a password or token.
4. The body is not larger than `BODY_BYTES`.
5. Somebody is logged in, where a password is set: by cookie, or by `Authorization: Bearer <the password>`.
6. A state change of our own API carries the token of that login (`X-Timmy-Token`), or the password.

Below `AGENT_API` an agent of the swarm comes in with a token of its own instead of 5 and 6, which opens nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from starlette.authentication import SimpleUser
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse

from timmy_core.errors import AgentTokenError
from timmy_core.server.errors import answer, wants_page

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from timmy_core.clock import Clock
    from timmy_core.server.auth import Hosts, Keys, LoginLimiter

BODY_BYTES = 10 * 1024 * 1024
TOKEN_HEADER = "X-Timmy-Token"  # noqa: S105 - a header's name
API = "/api/v1/"
AGENT_API = f"{API}swarm/agent/"
OPEN_PATHS = frozenset({"/healthz", "/readyz", "/login", "/manifest.json"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST_ADVICE = "open the address that `timmy up` printed"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request goes no further."""

    status: int
    message: str
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Access:
    """Everything the door needs to decide, shared with the login page."""

    keys: Keys
    hosts: Hosts
    limiter: LoginLimiter
    clock: Clock
    cookie_name: str
    agent_of: Callable[[str], str] | None = None  # whose token it is; raises AgentTokenError


class Gate:
    """ASGI middleware that lets a request in, with `user` and `timmy_session` in its scope, or answers it."""

    def __init__(self, app: ASGIApp, *, access: Access, open_paths: frozenset[str] = frozenset()) -> None:
        self._app, self._access, self._open = app, access, OPEN_PATHS | open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it in or answer it."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        send = _with_security_headers(send, headers.get("host", ""), secure=scope["scheme"] == "https")
        if scope["path"].startswith(AGENT_API):
            refusal = await self._admit_agent(scope, headers)
        else:
            refusal = self._decide(scope, headers)
        if refusal is None:
            await self._app(_cleaned(scope, self._access.cookie_name), _bounded(receive), send)
            return
        if refusal.status == 401 and scope["method"] == "GET" and wants_page(scope):  # noqa: PLR2004
            response: Any = RedirectResponse(f"/login?next={quote(_target(scope), safe='/')}", status_code=303)
        else:
            response = answer(scope, refusal.status, refusal.message, headers=dict(refusal.headers))
        await response(scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._decide(scope, Headers(scope=scope))
        if refusal is None:
            await self._app(_cleaned(scope, self._access.cookie_name), receive, send)
            return
        # A close before the accept reaches a browser as 1006 without any reason; after it, code and reason arrive.
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000 + refusal.status, "reason": refusal.message[:120]})

    async def _admit_agent(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Return why not, or None and leave `timmy_agent` in the scope."""
        refusal = self._check_host(headers) or self._check_origin(scope, headers, bearer=True) or _check_size(headers)
        if refusal is not None:
            return refusal
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or self._access.agent_of is None:
            return Refusal(401, f"{AGENT_API} is for agents: send 'Authorization: Bearer <the agent's token>'")
        try:
            # 256 random bits cannot be guessed, so guesses need no limit, which would only shut out the owner as well.
            scope["timmy_agent"] = await asyncio.to_thread(self._access.agent_of, token.strip())
        except AgentTokenError as error:
            return Refusal(401, str(error))
        scope["timmy_session"], scope["user"] = "", SimpleUser(scope["timmy_agent"])
        return None

    def _decide(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Return why not, or None and leave `user` and `timmy_session` in the scope."""
        refusal = self._check_host(headers)
        if refusal is not None:
            return refusal
        session, bearer_refusal, bearer = self._identify(scope, headers)
        scope["timmy_session"] = session or ""
        if bearer_refusal is not None and scope["path"] not in self._open:
            return bearer_refusal
        refusal = self._check_origin(scope, headers, bearer=bearer) or _check_size(headers)
        if refusal is not None:
            return refusal
        known = bearer or session is not None
        if known or not self._access.keys.login_required:
            scope["user"] = SimpleUser("owner")
        elif scope["path"] not in self._open:
            return Refusal(401, "log in first, or send 'Authorization: Bearer <password>'")
        return self._check_token(scope, headers, bearer=bearer)

    def _identify(self, scope: Scope, headers: Headers) -> tuple[str | None, Refusal | None, bool]:
        """Return (session id by cookie, what is wrong with the bearer, bearer is right)."""
        access = self._access
        cookie = cookie_parser(headers.get("cookie", "")).get(access.cookie_name)
        session = access.keys.read(cookie, access.clock.now().timestamp()) if cookie else None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not access.keys.login_required:
            return (session.id if session else None), None, False
        address = client_address(scope)
        wait_s = access.limiter.wait_s(address)
        if wait_s > 0:
            return (session.id if session else None), too_many(wait_s), False
        if access.keys.password_matches(given.strip()):
            access.limiter.succeeded(address)
            return (session.id if session else None), None, True
        access.limiter.failed(address)
        return (session.id if session else None), Refusal(401, "the password after 'Bearer' is not right"), False

    def _check_host(self, headers: Headers) -> Refusal | None:
        hosts = headers.getlist("host")
        if len(hosts) == 1 and self._access.hosts.allows(hosts[0]):
            return None
        return Refusal(403, f"this server does not answer to the name {', '.join(hosts) or '(none)'!r}; {_HOST_ADVICE}")

    def _check_origin(self, scope: Scope, headers: Headers, *, bearer: bool) -> Refusal | None:
        origin = headers.get("origin")
        if origin is not None and not _same_origin(origin, headers.get("host", "")):
            return Refusal(403, f"a page of {origin} may not use this server")
        if origin is not None or bearer:
            return None
        if _is_foreign_load(scope, headers):
            return Refusal(403, "a page of another site may link here, but not load anything from here")
        if scope["type"] == "websocket":
            return Refusal(403, "a WebSocket needs an Origin header of this server, or the password as Bearer")
        return self._check_program(scope, headers)

    def _check_program(self, scope: Scope, headers: Headers) -> Refusal | None:
        """Browsers always name the origin of a state change; a program that does not has to show the token."""
        if scope["method"] in _SAFE_METHODS or scope["path"] == "/login":
            return None
        given = headers.get(TOKEN_HEADER, "")
        if given and self._access.keys.token_matches(scope["timmy_session"], given):
            return None
        return Refusal(
            403, f"a state change needs an Origin header of this server, the password as Bearer, or {TOKEN_HEADER}"
        )

    def _check_token(self, scope: Scope, headers: Headers, *, bearer: bool) -> Refusal | None:
        if scope["type"] != "http" or scope["method"] in _SAFE_METHODS or bearer or not scope["path"].startswith(API):
            return None
        if self._access.keys.token_matches(scope["timmy_session"], headers.get(TOKEN_HEADER, "")):
            return None
        return Refusal(403, f"the header {TOKEN_HEADER} is missing or not right; get the token from {API}token")


def client_address(scope: Scope) -> str:
    """Return the address that the limiter counts by."""
    client = scope.get("client")
    return client[0] if client else "unknown"


def too_many(wait_s: float) -> Refusal:
    """Return the refusal of an address that guessed too often."""
    seconds = int(wait_s) + 1
    return Refusal(429, f"too many wrong passwords; try again in {seconds} s", (("Retry-After", str(seconds)),))


def _same_origin(origin: str, host: str) -> bool:
    parts = urlsplit(origin)
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()


def _is_foreign_load(scope: Scope, headers: Headers) -> bool:
    """Say whether another site embeds or fetches something; following a link is not that."""
    if headers.get("sec-fetch-site", "none") not in ("cross-site", "same-site"):
        return False
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return not (is_link and scope["type"] == "http" and scope["method"] in _SAFE_METHODS)


def _check_size(headers: Headers) -> Refusal | None:
    text = headers.get("content-length", "0")
    if text.isdecimal() and int(text) > BODY_BYTES:
        return Refusal(
            413, f"the body is {int(text)} bytes, at most {BODY_BYTES} are taken", (("Connection", "close"),)
        )
    return None


def _bounded(receive: Receive) -> Receive:
    """Count a body that does not say its length beforehand."""
    taken = 0

    async def receive_bounded() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b"")) if message["type"] == "http.request" else 0
        if taken > BODY_BYTES:
            raise HTTPException(413, f"the body is larger than {BODY_BYTES} bytes")
        return message

    return receive_bounded


def _cleaned(scope: Scope, cookie_name: str) -> Scope:
    """Take password and login cookie out of what pages can see; their code has no use for either."""
    headers = []
    for name, value in scope["headers"]:
        if name == b"authorization":
            continue
        if name == b"cookie":
            others = [part for part in value.split(b";") if part.split(b"=")[0].strip() != cookie_name.encode()]
            if not others:
                continue
            headers.append((name, b";".join(others).strip()))
            continue
        headers.append((name, value))
    return {**scope, "headers": headers}


def _target(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return f"{quote(scope['path'])}?{query}" if query else quote(scope["path"])


def _with_security_headers(send: Send, host: str, *, secure: bool) -> Send:
    policy = _policy(host)
    ours = {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        # Not "no-referrer": with that, browsers send "Origin: null" with our own forms.
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
    }
    if secure:
        ours["Strict-Transport-Security"] = "max-age=31536000"

    async def send_secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            # marimo lets every origin read its answers; nobody but our own pages may.
            for name in [name for name in headers if name.lower().startswith("access-control-")]:
                del headers[name]
            headers.setdefault("Content-Security-Policy", policy)
            headers.update(ours)
        await send(message)

    return send_secured


def _policy(host: str) -> str:
    """The content security policy of the notebook pages: whatever they need, from this server only."""
    # Inline scripts and eval are marimo's and Vega's way; blob and data hold their workers, modules and images.
    # The host was checked before any page is answered, but a refused request answers with it too: no odd characters.
    sockets = f" ws://{host} wss://{host}" if all(c.isalnum() or c in ".-:[]" for c in host) else ""
    return (
        "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob: data:; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
        "media-src 'self' data: blob:; "
        f"connect-src 'self' data: blob:{sockets}; worker-src 'self' blob: data:; frame-src 'self' data: blob:; "
        "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
    )
