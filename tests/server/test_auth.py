"""Keys, hosts, limiter and the key file, by themselves."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from timmy_core.errors import SettingsError
from timmy_core.server.auth import (
    SESSION_S,
    Hosts,
    Keys,
    LoginLimiter,
    check_exposure,
    is_loopback,
    load_key,
    safe_next,
)
from timmy_core.testing import FakeClock

KEY = bytes(32)


def test_a_cookie_is_good_until_it_is_over() -> None:
    keys = Keys(KEY, "p")
    cookie = keys.issue(1000)
    assert keys.read(cookie, 1000 + SESSION_S - 1) is not None
    assert keys.read(cookie, 1000 + SESSION_S) is None


def test_a_cookie_outlives_a_restart_but_not_a_new_password_or_key() -> None:
    cookie = Keys(KEY, "p").issue(1000)
    assert Keys(KEY, "p").read(cookie, 1000) is not None
    assert Keys(KEY, "q").read(cookie, 1000) is None
    assert Keys(b"\1" * 32, "p").read(cookie, 1000) is None


@pytest.mark.parametrize("cookie", ["", ".", "a.b", "é.é", "=" * 50, "A" * 5000, "%00.%00"])
def test_nonsense_is_no_cookie(cookie: str) -> None:
    assert Keys(KEY, "p").read(cookie, 0) is None


def test_a_cookie_is_no_token_and_a_token_no_cookie() -> None:
    keys = Keys(KEY, "p")
    session = keys.read(keys.issue(0), 0)
    assert session is not None
    assert keys.token_matches(session.id, keys.token(session.id))
    assert not keys.token_matches("other", keys.token(session.id))
    assert keys.read(keys.token(session.id), 0) is None


def test_without_a_password_none_matches() -> None:
    keys = Keys(KEY, None)
    assert not keys.login_required
    assert not keys.password_matches("")


def test_any_password_can_be_compared() -> None:
    assert Keys(KEY, "pässwörd 🔑").password_matches("pässwörd 🔑")
    assert not Keys(KEY, "p").password_matches("\udcff")


def test_the_limiter_lets_go_after_its_window() -> None:
    clock = FakeClock()
    limiter = LoginLimiter(clock, failures=2, window_s=60)
    limiter.failed("a")
    assert limiter.wait_s("a") == 0
    limiter.failed("a")
    assert limiter.wait_s("a") == pytest.approx(60)
    assert limiter.wait_s("b") == 0
    clock.advance(60)
    assert limiter.wait_s("a") == 0


def test_a_success_clears_the_failures() -> None:
    limiter = LoginLimiter(FakeClock(), failures=2)
    limiter.failed("a")
    limiter.succeeded("a")
    limiter.failed("a")
    assert limiter.wait_s("a") == 0


def test_one_ipv6_network_counts_as_one_address() -> None:
    limiter = LoginLimiter(FakeClock(), failures=2)
    limiter.failed("2001:db8::1")
    limiter.failed("2001:db8::2")
    assert limiter.wait_s("2001:db8::3") > 0
    assert limiter.wait_s("2001:db8:0:1::3") == 0


def test_the_limiter_remembers_a_bounded_number_of_addresses() -> None:
    limiter = LoginLimiter(FakeClock(), addresses=10)
    for number in range(1000):
        limiter.failed(f"10.0.{number // 256}.{number % 256}")
    assert len(limiter._failed_at) == 10


def test_a_server_on_every_address_answers_to_addresses_but_not_to_names() -> None:
    hosts = Hosts("0.0.0.0", 8765)
    assert hosts.allows("192.168.1.5:8765")
    assert hosts.allows("[fe80::1]:8765")
    assert not hosts.allows("192.168.1.5:1")
    assert not hosts.allows("evil.example:8765")
    assert not Hosts("127.0.0.1", 8765).allows("192.168.1.5:8765")


def test_the_default_port_need_not_be_named() -> None:
    assert Hosts("127.0.0.1", 80).allows("localhost")
    assert not Hosts("127.0.0.1", 8765).allows("localhost")


def test_a_proxy_name_can_be_allowed() -> None:
    assert Hosts("127.0.0.1", 8765, ["Timmy.example"]).allows("timmy.example")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "timmy.example", ""])
def test_serving_others_without_a_password_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="TIMMY_PASSWORD"):
        check_exposure(host, None)
    check_exposure(host, "p")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "LocalHost"])
def test_loopback_needs_no_password(host: str) -> None:
    assert is_loopback(host)
    check_exposure(host, None)


def test_the_key_is_made_once_and_is_its_owners_only(tmp_path: Path) -> None:
    key = load_key(tmp_path)
    path = tmp_path / "server.key"
    assert load_key(tmp_path) == key == path.read_bytes()
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["server.key"]


def test_a_broken_key_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "server.key").write_bytes(b"short")
    with pytest.raises(SettingsError, match=r"holds 5 bytes, expected 32; delete it"):
        load_key(tmp_path)


@pytest.mark.parametrize(
    ("target", "expected"),
    [("/memory/?q=1", "/memory/?q=1"), ("//evil", "/"), ("/\\evil", "/"), ("evil", "/"), ("/login?next=/x", "/")],
)
def test_the_way_back_stays_on_this_site(target: str, expected: str) -> None:
    assert safe_next(target) == expected
