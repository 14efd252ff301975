"""The few pages that are not notebooks: login, logout, not found, something failed. Self-contained HTML."""

from __future__ import annotations

from html import escape

from starlette.responses import HTMLResponse

# These pages run no script and load nothing, so they are allowed nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --quiet: #60646c; --ground: #fcfcfd; --card: #fff; --line: #d9d9e0;
  --blue: #0b63c5; --on-blue: #fff; --red: #c62a2f; }
@media (prefers-color-scheme: dark) { :root { --ink: #edeef0; --quiet: #b0b4ba; --ground: #111113; --card: #18191b;
  --line: #363a3f; --blue: #70b8ff; --on-blue: #0d1117; --red: #ff9592; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 16px; background: var(--ground);
  color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { width: 100%; max-width: 400px; padding: 32px; background: var(--card); border: 1px solid var(--line);
  border-radius: 12px; }
h1 { margin: 0 0 4px; font-size: 22px; line-height: 1.25; }
p { margin: 0 0 16px; color: var(--quiet); overflow-wrap: anywhere; }
label { display: block; margin: 0 0 4px; font-weight: 600; font-size: 14px; }
input[type=password] { width: 100%; padding: 10px 12px; font: inherit; color: inherit; background: var(--ground);
  border: 1px solid var(--line); border-radius: 8px; }
button, .button { display: inline-block; margin-top: 16px; padding: 10px 18px; font: inherit; font-weight: 600;
  color: var(--on-blue); background: var(--blue); border: 0; border-radius: 8px; text-decoration: none;
  cursor: pointer; }
form button { width: 100%; }
:focus-visible { outline: 3px solid var(--blue); outline-offset: 2px; }
.problem { color: var(--red); margin: 12px 0 0; }
.mark { display: block; margin-bottom: 16px; color: var(--quiet); font-size: 14px; }
"""


def login_screen(
    *, target: str, problem: str = "", status: int = 200, headers: dict[str, str] | None = None
) -> HTMLResponse:
    """Ask for the password; `target` is where to go afterwards."""
    note = f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
    return _screen(
        "Log in",
        f"""<h1>Log in</h1><p>This workbench is protected by a password.</p>
<form method="post" action="/login">
<input type="hidden" name="next" value="{escape(target, quote=True)}">
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus>{note}
<button>Log in</button></form>""",
        status=status,
        headers=headers,
    )


def logout_screen(*, token: str) -> HTMLResponse:
    """Ask whether to log out; the token proves that this page sent the answer."""
    return _screen(
        "Log out",
        f"""<h1>Log out?</h1><p>You need the password to come back.</p>
<form method="post" action="/logout"><input type="hidden" name="token" value="{escape(token, quote=True)}">
<button>Log out</button></form>""",
    )


def problem_screen(title: str, text: str, *, status: int, headers: dict[str, str] | None = None) -> HTMLResponse:
    """Say what happened and lead back to the first page."""
    body = f'<h1>{escape(title)}</h1><p>{escape(text)}</p><a class="button" href="/">Go to the first page</a>'
    return _screen(title, body, status=status, headers=headers)


def _screen(title: str, body: str, *, status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)} · Timmy Workbench</title><style>{_STYLE}</style></head>
<body><main><span class="mark">Timmy Workbench</span>{body}</main></body></html>"""
    defaults = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}
    return HTMLResponse(page, status_code=status, headers=defaults | (headers or {}))
