"""The door: host, origin, login, token and size, asked of a real server."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

PASSWORD = "correct horse"
HTML = {"Accept": "text/html"}
Origin = Callable[[httpx.Client], dict[str, str]]
LogIn = Callable[..., httpx.Response]


def error_of(response: httpx.Response) -> str:
    return str(response.json()["error"]["message"])


@pytest.mark.parametrize("path", ["/", "/swarm/live/", "/api/v1/status", "/api/v1/events", "/memory/", "/ws/events"])
def test_without_a_login_a_program_is_refused_everywhere(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 401


def test_assets_need_the_login_too(locked: httpx.Client) -> None:
    import marimo

    assert locked.get(f"/-/marimo-{marimo.__version__}/favicon.ico").status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/manifest.json", "/swarm/live/manifest.json", "/login"])
def test_health_manifest_and_login_are_open(locked: httpx.Client, path: str) -> None:
    assert locked.get(path).status_code == 200


def test_a_browser_is_sent_to_the_login_with_the_way_back(locked: httpx.Client) -> None:
    response = locked.get("/swarm/events/", params={"type": "llm.failed", "x": "a&b"}, headers=HTML)
    assert response.status_code == 303
    assert response.headers["location"] == "/login?next=/swarm/events/%3Ftype%3Dllm.failed%26x%3Da%2526b"


def test_the_login_leads_back_and_the_cookie_opens_everything(locked: httpx.Client, log_in: LogIn) -> None:
    response = log_in(locked, next="/swarm/events/?type=llm.failed")
    assert (response.status_code, response.headers["location"]) == (303, "/swarm/events/?type=llm.failed")
    assert locked.get("/api/v1/status").status_code == 200
    assert "<marimo-filename" in locked.get("/", headers=HTML).text


def test_the_cookie_is_kept_from_scripts_and_other_sites(locked: httpx.Client, log_in: LogIn) -> None:
    cookie = log_in(locked).headers["set-cookie"].lower()
    assert cookie.startswith(f"timmy_{locked.base_url.port}=")
    assert {"httponly", "samesite=strict", "path=/"} <= set(cookie.split("; "))
    assert "secure" not in cookie.split("; "), "over plain http a Secure cookie would never come back"


@pytest.mark.parametrize(
    "target", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "x", ""]
)
def test_the_login_never_leads_to_another_site(locked: httpx.Client, log_in: LogIn, target: str) -> None:
    assert log_in(locked, next=target).headers["location"] == "/"


def test_a_wrong_password_says_so_and_sets_no_cookie(locked: httpx.Client, log_in: LogIn) -> None:
    response = log_in(locked, "wrong")
    assert (response.status_code, "set-cookie" in response.headers) == (401, False)
    assert "That password is not right." in response.text


def test_guessing_is_stopped_for_the_right_password_too(locked: httpx.Client, log_in: LogIn) -> None:
    statuses = [log_in(locked, "wrong").status_code for _ in range(9)]
    assert statuses == [401] * 8 + [429]
    response = log_in(locked)
    assert response.status_code == 429
    assert 0 < int(response.headers["retry-after"]) <= 61
    assert locked.get("/api/v1/status", headers={"Authorization": f"Bearer {PASSWORD}"}).status_code == 429


def test_guesses_as_bearer_count_as_well(locked: httpx.Client) -> None:
    wrong = {"Authorization": "Bearer wrong"}
    assert [locked.get("/api/v1/status", headers=wrong).status_code for _ in range(9)] == [401] * 8 + [429]


def test_the_password_works_as_bearer(locked: httpx.Client) -> None:
    assert locked.get("/api/v1/status", headers={"Authorization": f"Bearer {PASSWORD}"}).status_code == 200


@pytest.mark.parametrize(
    "change", [lambda c: c[:-8] + "AAAAAAAA", lambda c: "f" + c[1:], lambda _: "x", lambda c: c + "." + c]
)
def test_a_forged_cookie_is_refused(locked: httpx.Client, log_in: LogIn, change: Callable[[str], str]) -> None:
    name, value = log_in(locked).headers["set-cookie"].split(";")[0].split("=", 1)
    locked.cookies.clear()
    assert locked.get("/api/v1/status", headers={"Cookie": f"{name}={change(value)}"}).status_code == 401
    assert locked.get("/api/v1/status", headers={"Cookie": f"a=b; {name}={value}"}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""])
def test_another_host_name_is_refused(site: httpx.Client, host: str) -> None:
    response = site.get("/healthz", headers={"Host": host.format(port=site.base_url.port)})
    assert response.status_code == 403
    assert "does not answer to the name" in error_of(response)


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "LOCALHOST:{port}"])
def test_the_names_of_this_machine_are_answered(site: httpx.Client, host: str) -> None:
    assert site.get("/healthz", headers={"Host": host.format(port=site.base_url.port)}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_page_of_another_site_reaches_nothing(site: httpx.Client, method: str, origin: str) -> None:
    response = site.request(method, "/api/v1/status", headers={"Origin": origin})
    assert response.status_code == 403
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_marimo_does_not_open_its_answers_to_every_site(site: httpx.Client, origin: Origin) -> None:
    response = site.get("/", headers=origin(site))
    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("access-control")]


@pytest.mark.parametrize("relation", ["cross-site", "same-site"])
def test_another_site_may_link_but_not_embed(site: httpx.Client, relation: str) -> None:
    embedded = {"Sec-Fetch-Site": relation, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    linked = {"Sec-Fetch-Site": relation, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert site.get("/api/v1/status", headers=embedded).status_code == 403
    assert site.get("/", headers=linked | HTML).status_code == 200


def test_a_state_change_of_marimo_needs_our_origin(site: httpx.Client, origin: Origin) -> None:
    assert site.post("/api/kernel/instantiate", json={}).status_code == 403
    assert site.post("/api/kernel/instantiate", json={}, headers=origin(site)).status_code != 403


def test_a_state_change_of_the_api_needs_the_token(site: httpx.Client, origin: Origin) -> None:
    body = {"text": "hi"}
    assert site.post("/api/v1/ask", json=body).status_code == 403
    assert site.post("/api/v1/ask", json=body, headers=origin(site)).status_code == 403
    token = site.get("/api/v1/token").json()
    assert token["login_required"] is False
    given = {token["header"]: token["token"]}
    assert site.post("/api/v1/ask", json=body, headers=given | {"Origin": "http://evil.example"}).status_code == 403
    assert site.post("/api/v1/ask", json=body, headers=given).status_code == 200


def test_the_token_belongs_to_one_login(locked: httpx.Client, log_in: LogIn, origin: Origin) -> None:
    log_in(locked)
    first = locked.get("/api/v1/token").json()["token"]
    log_in(locked)
    second = locked.get("/api/v1/token").json()["token"]
    sent = [
        locked.post("/api/v1/ask", json={"text": "hi"}, headers=origin(locked) | {"X-Timmy-Token": token}).status_code
        for token in (first, second)
    ]
    assert sent == [403, 200]


def test_the_password_as_bearer_needs_no_token(locked: httpx.Client) -> None:
    headers = {"Authorization": f"Bearer {PASSWORD}"}
    assert locked.post("/api/v1/ask", json={"text": "hi"}, headers=headers).status_code == 200


def test_logging_out_needs_the_page_and_ends_the_login(locked: httpx.Client, log_in: LogIn, origin: Origin) -> None:
    log_in(locked)
    cookies = dict(locked.cookies)
    assert locked.post("/logout", headers=origin(locked)).status_code == 403
    page = locked.get("/logout", headers=HTML).text
    token = page.partition('name="token" value="')[2].partition('"')[0]
    response = locked.post("/logout", data={"token": token}, headers=origin(locked))
    assert (response.status_code, response.headers["location"]) == (303, "/login")
    assert not locked.cookies
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    assert locked.get("/api/v1/status", headers={"Cookie": header}).status_code == 401, "the old cookie is void"


def test_a_body_that_is_too_large_is_refused_by_its_length(site: httpx.Client, origin: Origin) -> None:
    response = site.post("/api/v1/ask", content=b" " * 11 * 1024 * 1024, headers=origin(site))
    assert response.status_code == 413


def test_a_body_that_hides_its_length_is_refused_as_it_comes(site: httpx.Client, origin: Origin) -> None:
    token = {"X-Timmy-Token": site.get("/api/v1/token").json()["token"], "Content-Type": "application/json"}
    pieces = (b" " * 1024 * 1024 for _ in range(12))
    response = site.post("/api/v1/ask", content=pieces, headers=origin(site) | token)
    assert response.status_code == 413


def test_every_answer_carries_the_security_headers(site: httpx.Client) -> None:
    for path in ("/", "/api/v1/status", "/nowhere", "/healthz"):
        headers = site.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "http" not in policy.replace(f"ws://127.0.0.1:{site.base_url.port}", ""), (
            "no other host may be loaded from"
        )
