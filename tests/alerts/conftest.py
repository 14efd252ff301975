"""What the tests of the alerts share."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from timmy_core.settings import AgentSettings, Settings
from timmy_core.settings_alerts import AlertSettings
from timmy_core.testing import FakeClock, ScriptedProvider
from timmy_core.timmy import Timmy

from .alert_house import Build, House, Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    here = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if here.status == 200:
                here.got.append((dict(self.headers), body))
            self.send_response(here.status)
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    here.url = f"http://127.0.0.1:{server.server_address[1]}/hook/geheim"
    yield here
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def build(home: Path) -> Iterator[Build]:
    opened: list[Timmy] = []

    def make(**alerts: Any) -> House:
        clock = FakeClock()
        provider = ScriptedProvider("first")
        settings = Settings(home=home, providers=(), alerts=AlertSettings(**alerts), agent=AgentSettings())
        timmy = Timmy(settings, clock=clock, providers=[provider])
        opened.append(timmy)
        return House(timmy, clock, provider)

    yield make
    for timmy in opened:
        timmy.shutdown()
