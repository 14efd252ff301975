"""A real LNbits to test against: its environment, made once; servers of it, started, frozen, killed; wallets in it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from timmy_core.settings_ledger import NodeSettings

BUILD = Path(__file__).resolve().parents[2] / "build"
# It stands on pydantic 1, so it has an environment of its own; bitstring 5 lacks what its invoices are read with.
WANTED = ("lnbits==1.6.2", "bitstring<5")
START_S = 120


def lnbits_python() -> Path:
    """Return the interpreter of LNbits' environment, which the first call on a machine makes."""
    folder = BUILD / "lnbits"
    made = folder / "made-with"
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "lnbits.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.is_file() or made.read_text() != repr(WANTED):
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
            pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *WANTED]
            done = subprocess.run(pip, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"LNbits cannot be installed from the package index: {done.stderr}"
            made.write_text(repr(WANTED))
    return folder / "bin" / "python"


@dataclass(frozen=True)
class Wallet:
    """A wallet of an LNbits, with its keys."""

    id: str
    admin_key: str
    invoice_key: str


@dataclass
class LNbits:
    """A server on this machine; what it keeps lies in its folder, so it can be started again.

    Args:
        folder: for its data.
        behind: what pays for it: another server's address and the admin key of a wallet there; None: play money.
    """

    folder: Path
    behind: tuple[str, str] | None = None
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _token: str = ""
    _http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30, trust_env=False))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert self._process is None
        python = lnbits_python()
        package = next((python.parent.parent / "lib").glob("python*/site-packages/lnbits"))
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "lnbits").exists():
            (self.folder / "lnbits").symlink_to(package)  # it serves files relative to where it runs
        self.port = self.port or free_port()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(python.with_name("lnbits")), "--host", "127.0.0.1", "--port", str(self.port)],
                cwd=self.folder, env=self._environment(), stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                if self._http.get(f"{self.url}/api/v1/health").status_code in (200, 307):
                    break
            assert self._process.poll() is None, f"LNbits ended: {self.log()}"
            time.sleep(0.1)
        else:
            self.kill()
            pytest.fail(f"LNbits did not start: {self.log()}")
        if not self._token:
            body = {"username": "admin", "password": "secret1234", "password_repeat": "secret1234"}
            self._token = self._asked("PUT", "/api/v1/auth/first_install", body)["access_token"]

    def wallet(self, name: str, sats: int = 0) -> Wallet:
        """Return a new account's wallet with that much in it."""
        made = self._asked("POST", "/api/v1/account", {"name": name})
        if sats:
            self._asked("PUT", "/users/api/v1/balance", {"id": made["id"], "amount": sats})
        return Wallet(made["id"], made["adminkey"], made["inkey"])

    def configure(self, **settings: Any) -> None:
        """Change settings as its administrator."""
        self._asked("PATCH", "/admin/api/v1/settings", settings)

    def make_invoice(self, wallet: Wallet, sats: int, memo: str = "") -> dict[str, Any]:
        """Return a new invoice of a wallet, as LNbits shows it."""
        body = {"out": False, "amount": sats, "memo": memo}
        return self._asked("POST", "/api/v1/payments", body, {"x-api-key": wallet.invoice_key})

    def pay(self, wallet: Wallet, bolt11: str) -> dict[str, Any]:
        """Pay an invoice from a wallet."""
        body = {"out": True, "bolt11": bolt11}
        return self._asked("POST", "/api/v1/payments", body, {"x-api-key": wallet.admin_key})

    def show(self, wallet: Wallet, payment_hash: str) -> dict[str, Any]:
        """Return what the server itself shows of a payment."""
        return self._asked("GET", f"/api/v1/payments/{payment_hash}", None, {"x-api-key": wallet.admin_key})

    def freeze(self) -> None:
        """Stop it where it is: connections stay, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it as an administrator does."""
        if self._process is None:
            return
        self.thaw()
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait(15)
        self._process = None

    def kill(self) -> None:
        """End it in the middle of what it does."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait(15)
            self._process = None

    def close(self) -> None:
        """End it for good."""
        self.kill()
        self._http.close()

    def log(self) -> str:
        """Return the end of what it wrote."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _asked(self, method: str, path: str, body: Any, headers: dict[str, str] | None = None) -> Any:
        headers = headers or ({"authorization": f"Bearer {self._token}"} if self._token else {})
        reply = self._http.request(method, self.url + path, json=body, headers=headers)
        assert reply.is_success, f"{method} {path}: {reply.status_code} {reply.text}"
        return reply.json()

    def _environment(self) -> dict[str, str]:
        endpoint, key = self.behind or ("", "")
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LNBITS_BACKEND_WALLET_CLASS": "LNbitsWallet" if self.behind else "FakeWallet",
            "LNBITS_ENDPOINT": endpoint,
            "LNBITS_KEY": key,
            "FAKE_WALLET_SECRET": "test",
            "LNBITS_DATA_FOLDER": str(self.folder / "data"),
            "LNBITS_EXTENSIONS_PATH": str(self.folder / "ext"),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "FORWARDED_ALLOW_IPS": "127.0.0.1",
            "AUTH_HTTPS_ONLY": "false",
            "LNBITS_ADMIN_UI": "true",
            "LNBITS_RATE_LIMIT_NO": "1000000",
            "LNBITS_EXTENSIONS_MANIFESTS": "[]",
            "LNBITS_WASM_EXTENSIONS_MANIFESTS": "[]",
            "LNBITS_EXTENSIONS_DEFAULT_INSTALL": "[]",
            "LNBITS_EXCHANGE_RATE_PROVIDERS": "[]",
            "LNBITS_PRICE_AGGREGATOR_ENABLED": "false",
            "LNBITS_NOTIFICATION_SERVER_START_STOP": "false",
            "BUNDLE_ASSETS": "true",
            "DEBUG": "false",
        }


def node_settings(server: LNbits, wallet: Wallet, **more: Any) -> NodeSettings:
    """Return the `[[nodes]]` table of a wallet."""
    table: dict[str, Any] = {
        "name": "main",
        "kind": "lnbits",
        "url": server.url,
        "invoice_key": SecretStr(wallet.invoice_key),
        "admin_key": SecretStr(wallet.admin_key),
    }
    return NodeSettings.model_validate(table | more)


@contextlib.contextmanager
def running(server: LNbits) -> Iterator[LNbits]:
    """Start a server, and end it whatever happens."""
    server.start()
    try:
        yield server
    finally:
        server.close()


class Tunnel:
    """A line to a server, which can be told to pass no answers on, and can be cut."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._open = threading.Event()
        self._open.set()
        self._ended = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def hold(self) -> None:
        """Pass requests on, and keep their answers."""
        self._open.clear()

    def release(self) -> None:
        """Pass the answers on that were kept, and all others."""
        self._open.set()

    def cut(self) -> None:
        """End the connections that there are, so that the next request comes over a new one.

        A server that wakes up after it was frozen for long ends an old one before it looks what came over it.
        """
        sockets, self._sockets = self._sockets, []
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        """End it."""
        self._ended.set()
        self._open.set()
        self.cut()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.is_set():
                near, _ = self._listener.accept()
                far = socket.create_connection(self._to)
                self._sockets += [near, far]
                for source, target, is_answer in ((near, far, False), (far, near, True)):
                    thread = threading.Thread(target=self._pass, args=(source, target, is_answer), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if is_answer:
                    self._open.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])
