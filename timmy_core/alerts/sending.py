"""Sending: an alert as JSON to a webhook, or as a message to a topic of ntfy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from timmy_core.alerts.model import Alert, Told
from timmy_core.clock import iso
from timmy_core.settings_alerts import AlertSettings

MENDED: Final = "mend url in [alerts]"
_OK: Final = range(200, 300)
_ELSEWHERE: Final = range(300, 400)
_PRIORITY: Final = {"error": "high", "warning": "default"}
_TAG: Final = {"error": "rotating_light", "warning": "warning"}


def request(settings: AlertSettings, alert: Alert, what: Told) -> tuple[bytes, Mapping[str, str]]:
    """Return the body and the headers of what is sent."""
    token = "" if settings.token is None else settings.token.get_secret_value()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # It may arrive twice, when we died before noting that it did; by this the receiver can tell.
    headers["X-Timmy-Notice"] = f"{alert.id}-{what}"
    link = f"{settings.page_url.rstrip('/')}{alert.path}" if settings.page_url else ""
    if settings.kind == "ntfy":
        over = what == "resolved"
        headers |= {
            "Title": f"Timmy: {alert.title}{' - over' if over else ''}",
            "Priority": "low" if over else _PRIORITY[alert.severity],
            "Tags": "white_check_mark" if over else _TAG[alert.severity],
            **({"Click": link} if link else {}),
        }
        return alert.message.encode(), headers
    content: dict[str, Any] = {
        "id": alert.id,
        "what": what,
        "rule": alert.rule,
        "subject": alert.subject,
        "severity": alert.severity,
        "title": alert.title,
        "message": alert.message,
        "path": alert.path,
        "link": link or None,
        "raised_at": iso(alert.raised_at),
        "resolved_at": None if alert.resolved_at is None else iso(alert.resolved_at),
    }
    return json.dumps(content, ensure_ascii=False).encode(), headers | {"Content-Type": "application/json"}


async def send(settings: AlertSettings, alert: Alert, what: Told) -> str:
    """Send it; returns what went wrong, without the address, or nothing."""
    import httpx

    address = "" if settings.url is None else settings.url.get_secret_value()
    content, headers = request(settings, alert, what)
    try:
        async with (
            httpx.AsyncClient(timeout=settings.timeout_s, follow_redirects=False) as client,
            client.stream("POST", address, content=content, headers=dict(headers)) as answer,
        ):
            status = answer.status_code
    except httpx.TimeoutException:
        return f"the address did not answer within {settings.timeout_s:g} s"
    except httpx.InvalidURL:
        return f"the address is not one; {MENDED}"
    except httpx.HTTPError as error:
        # Its own words may hold the address, and so a secret.
        return f"the address cannot be reached ({type(error).__name__})"
    if status in _OK:
        return ""
    if status in _ELSEWHERE:
        return f"the address answers with {status} and sends us elsewhere; {MENDED}"
    return f"the address answers with {status}"
