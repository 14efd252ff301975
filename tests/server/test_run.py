"""Serving a home: the lock, the port, the end; and the pages as they are served."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from timmy_core.errors import HomeInUseError, SettingsError
from timmy_core.server.pages import PAGES, Pages, check_notebooks, find_notebooks
from timmy_core.server.run import Serving, home_lock

Start = Callable[..., Serving]
PROGRAM = """
import sys
from pathlib import Path
from timmy_core.server.run import serve
from timmy_core.timmy import open_timmy

with open_timmy(sys.argv[1]) as timmy:
    signal = serve(
        timmy, host="127.0.0.1", port=0, password=None, notebooks=Path(sys.argv[2]),
        on_ready=lambda serving: print(serving.url, flush=True),
    )
print("ended by", signal, flush=True)
"""


@pytest.fixture
def other_process(home: Path, notebooks: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(home), str(notebooks)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def url_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line.startswith("http://127.0.0.1:"), line or process.communicate()[1]
    return line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_soon_and_cleanly_with_a_page_and_a_feed_open(
    other_process: subprocess.Popen[str], number: signal.Signals
) -> None:
    from websockets.sync.client import connect

    url = url_of(other_process)
    feed = url.replace("http", "ws") + "/ws/events"
    page = url.replace("http", "ws") + "/memory/ws?session_id=s_abcdef"
    with connect(feed, origin=url) as feed_socket, connect(page, origin=url) as page_socket:
        feed_socket.recv(5)
        page_socket.recv(10)
        began_s = time.monotonic()
        other_process.send_signal(number)
        out, err = other_process.communicate(timeout=20)
    assert time.monotonic() - began_s < 10
    assert (out.strip(), err, other_process.returncode) == (f"ended by {int(number)}", "", 0)


def test_a_second_server_on_one_home_says_who_has_it(
    other_process: subprocess.Popen[str], home: Path, start: Start
) -> None:
    url = url_of(other_process)
    with pytest.raises(HomeInUseError, match=re.escape(f"already served by process {other_process.pid} at {url}")):
        start()


def test_a_killed_server_leaves_the_home_free(other_process: subprocess.Popen[str], home: Path, start: Start) -> None:
    url_of(other_process)
    other_process.kill()
    other_process.wait()
    assert httpx.get(f"{start().url}/healthz").status_code == 200


def test_the_lock_names_process_and_address_and_is_empty_afterwards(home: Path) -> None:
    with home_lock(home) as note:
        note("http://127.0.0.1:1")
        assert json.loads((home / "serve.lock").read_text()) == {"pid": os.getpid(), "url": "http://127.0.0.1:1"}
        with pytest.raises(HomeInUseError, match=r"--home"), home_lock(home):
            pass
    assert (home / "serve.lock").read_text() == ""


def test_a_taken_port_says_what_to_do(start: Start, home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"port {port} on 127\.0\.0\.1 is taken .* --port 0"):
            start(port=port)
    assert start(port=port).port == port, "the refusal left the home and the port free"


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_says_so(start: Start, host: str) -> None:
    with pytest.raises(SettingsError, match=r"not (known on|an address of) this machine"):
        start(host=host, password="p")


def test_the_server_refuses_other_machines_without_a_password(start: Start, home: Path) -> None:
    with pytest.raises(SettingsError, match="TIMMY_PASSWORD"):
        start(host="0.0.0.0")


def test_it_serves_every_address_with_a_password(start: Start) -> None:
    serving = start(host="0.0.0.0", password="p")
    assert serving.url == f"http://127.0.0.1:{serving.port}"
    assert httpx.get(f"{serving.url}/healthz").status_code == 200


def test_the_login_survives_a_restart(start: Start) -> None:
    first = start(password="p")
    login = httpx.post(f"{first.url}/login", data={"password": "p"}, headers={"Origin": first.url})
    cookie = login.headers["set-cookie"].split(";")[0]
    first.stop()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            second = start(password="p", port=first.port)
            break
        except (HomeInUseError, SettingsError):
            time.sleep(0.05)
    assert httpx.get(f"{second.url}/api/v1/status", headers={"Cookie": cookie}).status_code == 200


@pytest.mark.parametrize("page", [page for page in PAGES if page.path != "/"])
def test_a_page_without_its_slash_is_led_to_it_with_its_query(site: httpx.Client, page: Any) -> None:
    response = site.get(page.path, params={"type": "a b", "x": "ä&"})
    assert response.status_code == 307
    assert response.headers["location"] == f"{page.path}/?type=a+b&x=%C3%A4%26"


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_served_with_the_shared_assets_and_without_its_code(site: httpx.Client, page: Any) -> None:
    import marimo

    response = site.get(page.path, follow_redirects=True)
    assert response.status_code == 200
    assert f'src="/-/marimo-{marimo.__version__}/assets/' in response.text
    assert f"page of {page.word}" not in response.text


def test_assets_are_packed_and_kept_for_good(site: httpx.Client) -> None:
    page = site.get("/").text
    address = page.partition('<script type="module" crossorigin src="')[2].partition('"')[0]
    for _ in range(2):
        response = site.get(address)
        assert response.status_code == 200
        assert response.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert response.headers["content-encoding"] == "gzip"
    plain = site.get(address, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == response.content
    assert site.post(address, headers={"Origin": str(site.base_url).rstrip("/")}).status_code == 405


@pytest.mark.parametrize(
    "path", ["index.htmlx", "../__init__.py", "assets/../../__init__.py", "%2e%2e/__init__.py", ""]
)
def test_assets_are_only_what_the_folder_holds(site: httpx.Client, path: str) -> None:
    import marimo

    request = site.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=f"/-/marimo-{marimo.__version__}/{path}".encode())
    assert site.send(request).status_code == 404


def test_a_person_gets_a_page_for_what_is_not_there(site: httpx.Client) -> None:
    for path in ("/nowhere", "/memory/nowhere", "/-/x"):
        response = site.get(path, headers={"Accept": "text/html"})
        assert response.status_code == 404
        assert "There is no such page" in response.text
        assert "http" not in response.text.replace("http-equiv", ""), "nothing is loaded from anywhere"


def test_what_it_names_is_escaped(site: httpx.Client) -> None:
    response = site.get("/<script>alert(1)</script>", headers={"Accept": "text/html"})
    assert "<script>" not in response.text
    assert "&lt;script&gt;" in response.text


def test_closing_ends_every_kernel(start: Start, timmy: Any) -> None:
    import threading

    from websockets.sync.client import connect

    serving = start()
    before = set(threading.enumerate())
    with connect(f"ws://127.0.0.1:{serving.port}/ws?session_id=s_abcdef", origin=serving.url) as page:
        page.recv(10)
        # Timmy's own threads and those of a loop's pool, which may begin meanwhile, are none of the page's.
        new = set(threading.enumerate()) - before
        kernels = [thread for thread in new if not thread.name.startswith(("timmy", "asyncio"))]
        assert kernels
        serving.stop()
        for thread in kernels:
            thread.join(5)
    assert [thread.name for thread in kernels if thread.is_alive()] == []


def test_missing_pages_are_named(tmp_path: Path) -> None:
    (tmp_path / "home.py").touch()
    with pytest.raises(SettingsError, match=r"lacks the pages live\.py, events\.py"):
        check_notebooks(tmp_path)


def test_the_checkout_has_every_page() -> None:
    assert {page.notebook for page in PAGES} <= {path.name for path in find_notebooks().iterdir()}


def test_a_newcomer_without_pytest_is_not_warned_of_it() -> None:
    Pages(find_notebooks())
    logger = logging.getLogger("marimo")
    expected = logging.makeLogRecord({"msg": "pytest is not installed, skipping assertion rewriting"})
    assert not logger.filter(expected)
    assert logger.filter(logging.makeLogRecord({"msg": "something else"}))
