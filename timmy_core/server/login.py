"""`/login` and `/logout`: the two pages that hand out the cookie and take it back."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from timmy_core.server.auth import SESSION_S, safe_next
from timmy_core.server.gate import client_address, too_many
from timmy_core.server.screens import login_screen, logout_screen

if TYPE_CHECKING:
    from starlette.requests import Request

    from timmy_core.server.gate import Access

_FORM_BYTES = 16 * 1024
_FORM_FIELDS = 20


class Login:
    """The endpoints of both pages."""

    def __init__(self, access: Access) -> None:
        self._access = access

    def routes(self) -> list[Route]:
        """Return the routes of login and logout."""
        return [
            Route("/login", self.show_login, methods=["GET"]),
            Route("/login", self.log_in, methods=["POST"]),
            Route("/logout", self.show_logout, methods=["GET"]),
            Route("/logout", self.log_out, methods=["POST"]),
        ]

    async def show_login(self, request: Request) -> Response:
        """Ask for the password, unless nobody needs it or it was given before."""
        target = safe_next(request.query_params.get("next", "/"))
        if "user" in request.scope:
            return RedirectResponse(target, status_code=303)
        return login_screen(target=target)

    async def log_in(self, request: Request) -> Response:
        """Check the password and hand out the cookie."""
        form = await _form(request)
        access, address = self._access, client_address(request.scope)
        target = safe_next(form.get("next", "/"))
        if not access.keys.login_required:
            return RedirectResponse(target, status_code=303)
        # Nothing is awaited from here to the verdict, so parallel guesses cannot slip past the limit.
        wait_s = access.limiter.wait_s(address)
        if wait_s > 0:
            refusal = too_many(wait_s)
            problem = refusal.message[:1].upper() + refusal.message[1:] + "."
            return login_screen(target=target, problem=problem, status=429, headers=dict(refusal.headers))
        if not access.keys.password_matches(form.get("password", "")):
            access.limiter.failed(address)
            return login_screen(target=target, problem="That password is not right.", status=401)
        access.limiter.succeeded(address)
        response = RedirectResponse(target, status_code=303)
        self._set_cookie(response, secure=request.url.scheme == "https")
        return response

    async def show_logout(self, request: Request) -> Response:
        """Ask whether to log out."""
        if not self._access.keys.login_required:
            return RedirectResponse("/", status_code=303)
        return logout_screen(token=self._access.keys.token(request.scope["timmy_session"]))

    async def log_out(self, request: Request) -> Response:
        """Make the cookie void and take it back."""
        form = await _form(request)
        session_id: str = request.scope["timmy_session"]
        if not self._access.keys.token_matches(session_id, form.get("token", "")):
            raise HTTPException(403, "this logout was not sent by our own page; open /logout and press the button")
        self._access.keys.revoke(session_id)
        response = RedirectResponse("/login" if self._access.keys.login_required else "/", status_code=303)
        response.delete_cookie(self._access.cookie_name, path="/", httponly=True, samesite="strict")
        return response

    def _set_cookie(self, response: Response, *, secure: bool) -> None:
        response.set_cookie(
            self._access.cookie_name,
            self._access.keys.issue(self._access.clock.now().timestamp()),
            max_age=SESSION_S,
            path="/",
            secure=secure,
            httponly=True,
            samesite="strict",
        )


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a small form; the first value of each."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _FORM_BYTES:
            raise HTTPException(413, f"the form is larger than {_FORM_BYTES} bytes")
    try:
        fields = parse_qs(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_FORM_FIELDS, errors="replace"
        )
    except ValueError:
        raise HTTPException(400, f"the form has more than {_FORM_FIELDS} fields") from None
    return {name: values[0] for name, values in fields.items()}
