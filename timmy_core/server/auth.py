"""Who may ask: the password, the signed cookie, the token for state changes, the hosts, the limit on guesses.

Decisions only, without any I/O but the key file; `gate` applies them to every request.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import os
import secrets
import socket
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from timmy_core.errors import SettingsError

if TYPE_CHECKING:
    from timmy_core.clock import Clock

SESSION_S = 14 * 24 * 3600
KEY_BYTES = 32
_ID_BYTES = 16
_TIME_BYTES = 8
_REVOKED_AT_MOST = 1000
_DEFAULT_PORTS = (80, 443)


@dataclass(frozen=True, slots=True)
class Session:
    """One login: what its cookie says."""

    id: str
    expires_at: int  # whole seconds since 1970


class Keys:
    """Signs and checks cookies and tokens; another key or another password makes all of them void."""

    def __init__(self, key: bytes, password: str | None) -> None:
        self._key = hmac.digest(key, b"timmy:" + (password or "").encode(), hashlib.sha256)
        self._password = self._mark(password) if password else None
        self._revoked: OrderedDict[str, None] = OrderedDict()

    @property
    def login_required(self) -> bool:
        """True if a password is set."""
        return self._password is not None

    def password_matches(self, given: str) -> bool:
        """Compare in a time that does not depend on where they differ; False if there is no password."""
        return self._password is not None and hmac.compare_digest(self._password, self._mark(given))

    def issue(self, now_s: float) -> str:
        """Return the cookie of a new login."""
        body = int(now_s + SESSION_S).to_bytes(_TIME_BYTES, "big") + secrets.token_bytes(_ID_BYTES)
        return _encode(body) + "." + _encode(self._sign(b"session", body))

    def read(self, cookie: str, now_s: float) -> Session | None:
        """Return the login that a cookie stands for, or None if it is forged, over or logged out."""
        body_text, _, signature = cookie.partition(".")
        body = _decode(body_text)
        if len(body) != _TIME_BYTES + _ID_BYTES or not hmac.compare_digest(
            self._sign(b"session", body), _decode(signature)
        ):
            return None
        session = Session(body[_TIME_BYTES:].hex(), int.from_bytes(body[:_TIME_BYTES], "big"))
        return session if session.expires_at > now_s and session.id not in self._revoked else None

    def revoke(self, session_id: str) -> None:
        """Log out: refuse this cookie from now on, for as long as this process lives."""
        self._revoked[session_id] = None
        while len(self._revoked) > _REVOKED_AT_MOST:
            self._revoked.popitem(last=False)

    def token(self, session_id: str) -> str:
        """Return the token that a same-origin page has to send with a state change."""
        return _encode(self._sign(b"token", session_id.encode()))

    def token_matches(self, session_id: str, given: str) -> bool:
        """Compare a token in constant time."""
        return hmac.compare_digest(self.token(session_id).encode(), given.encode())

    def _mark(self, password: str) -> bytes:
        return self._sign(b"password", password.encode("utf-8", "surrogateescape"))

    def _sign(self, purpose: bytes, body: bytes) -> bytes:
        return hmac.digest(self._key, purpose + b":" + body, hashlib.sha256)


class LoginLimiter:
    """Bounds the guesses of one address: so many failures within a window, then it has to wait.

    Memory is bounded too: the addresses that failed longest ago are forgotten first.
    """

    def __init__(self, clock: Clock, *, failures: int = 8, window_s: float = 60.0, addresses: int = 1024) -> None:
        self._clock, self._failures, self._window_s, self._addresses = clock, failures, window_s, addresses
        self._failed_at: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Return how long this address has to wait before its next guess; 0 if it may guess now."""
        times = self._failed_at.get(_network(address))
        if times is None or len(times) < self._failures:
            return 0.0
        return max(0.0, times[0] + self._window_s - self._clock.monotonic())

    def failed(self, address: str) -> None:
        """Count a wrong password."""
        network = _network(address)
        self._failed_at.setdefault(network, deque(maxlen=self._failures)).append(self._clock.monotonic())
        self._failed_at.move_to_end(network)
        while len(self._failed_at) > self._addresses:
            self._failed_at.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """Forget what this address got wrong."""
        self._failed_at.pop(_network(address), None)


class Hosts:
    """The names under which this server may be asked: a page of another name may not reach it (DNS rebinding)."""

    def __init__(self, host: str, port: int, more: Iterable[str] = ()) -> None:
        self._port = port
        names = {"127.0.0.1", "localhost", "[::1]", _bracketed(host)}
        self._any_address = is_wildcard(host)
        if self._any_address:
            machine = socket.gethostname()
            names |= {machine, f"{machine}.local"}
        self._allowed = {spelling for name in names for spelling in self._spellings(name.lower())}
        self._allowed |= {name.lower() for name in more}

    def allows(self, host: str) -> bool:
        """Say whether a `Host` header names this server."""
        host = host.lower()
        # An address cannot be rebound, only a name can; so a server on every address takes any of them.
        return host in self._allowed or (self._any_address and self._is_address(host))

    def _spellings(self, name: str) -> set[str]:
        spellings = {f"{name}:{self._port}"}
        return spellings | {name} if self._port in _DEFAULT_PORTS else spellings

    def _is_address(self, host: str) -> bool:
        name, _, port = host.rpartition(":")
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return port == str(self._port)


def check_exposure(host: str, password: str | None) -> None:
    """Refuse to serve other machines without a password.

    Raises:
        SettingsError: the address is not this machine's own loopback and no password is set.
    """
    if password or is_loopback(host):
        return
    message = (
        f"serving on {host} lets other machines in, and no password is set; "
        "set TIMMY_PASSWORD (or password in the [server] table of timmy.toml), or serve on 127.0.0.1"
    )
    raise SettingsError(message)


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach that address; a name other than localhost counts as reachable."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Say whether the address means every address of the machine."""
    try:
        return ipaddress.ip_address(host or "0.0.0.0").is_unspecified  # noqa: S104 - compared, never bound
    except ValueError:
        return False


def load_key(home: Path) -> bytes:
    """Return the home's signing key, made on first use and readable by its owner only.

    Raises:
        SettingsError: the file is there but is not such a key, or cannot be read or written.
    """
    path = home / "server.key"
    try:
        if not path.exists():
            _write_key(path)
        key = path.read_bytes()
        path.chmod(0o600)
    except OSError as error:
        message = f"{path} cannot be read or written ({error.strerror}); it holds the key that signs logins"
        raise SettingsError(message) from error
    if len(key) != KEY_BYTES:
        message = f"{path} holds {len(key)} bytes, expected {KEY_BYTES}; delete it and everybody logs in once more"
        raise SettingsError(message)
    return key


def safe_next(target: str) -> str:
    """Return a path of this site to go to after the login; anything else becomes the first page."""
    # Browsers read a backslash as a slash and drop control characters, so "/\evil" and "/\t/evil" leave the site.
    if not target.startswith("/") or target.startswith("//") or "\\" in target or any(c < " " for c in target):
        return "/"
    return "/" if target.partition("?")[0] in ("/login", "/logout") else target


def _write_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".server.key.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
    try:
        # A link either makes the whole file or fails because another process was first; both are right.
        os.link(scratch, path)
    except FileExistsError:
        pass
    finally:
        scratch.unlink()


def _network(address: str) -> str:
    """One IPv6 customer has 2^64 addresses, so they count as one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network(f"{address}/64", strict=False)) if parsed.version == 6 else address  # noqa: PLR2004


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
