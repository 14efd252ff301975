"""Secrets never enter the log; ids, hashes and invoices are none."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
import uuid
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from mnemonic import Mnemonic

from timmy_core.errors import EventConflictError, EventDataError
from timmy_core.events.log import EventLog
from timmy_core.events.redactor import COUNT, Redactor, kind_of_name
from timmy_core.store.engine import Store

REDACTOR = Redactor()
HEX = "00112233445566778899aabbccddeeff" * 2
TOKEN = "Zx9" * 14


def pem(form: PrivateFormat) -> str:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, form, NoEncryption()).decode()


PHRASE = Mnemonic("english").to_mnemonic(bytes(range(16)))

SHAPES = {
    "pkcs8": (pem(PrivateFormat.PKCS8), "private key"),
    "openssh": (pem(PrivateFormat.OpenSSH), "private key"),
    "pem_cut": ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow", "private key"),
    "putty": ("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none", "private key"),
    "macaroon_hex": ("0201036c6e64" + HEX * 3, "macaroon"),
    "macaroon_upper": ("0201036C6E64" + HEX.upper() * 3, "macaroon"),
    "macaroon_base64": ("AgEDbG5k" + TOKEN * 3, "macaroon"),
    "macaroon_lnbits": ("AgEGbG5iaXRz" + TOKEN * 2, "macaroon"),
    "macaroon_1": ("MDAxY2xvY2F0aW9u" + TOKEN * 2, "macaroon"),
    "l402": ("LSAT " + TOKEN + ":" + HEX, "macaroon"),
    "bearer": ("Bearer " + TOKEN, "token"),
    "basic": ("Basic YW5uOmh1bnRlcjI=", "password"),
    "url": ("postgres://ann:hunter2@db.internal:5432/x", "password"),
    "redis": ("redis://:hunter2pass@localhost", "password"),
    "openai": ("sk-proj-" + TOKEN, "key"),
    "anthropic": ("sk-ant-api03-" + TOKEN, "key"),
    "stripe": ("sk_live_" + "a1B2" * 6, "key"),
    "github": ("ghp_" + "aB3d" * 9, "key"),
    "github_fine": ("github_pat_" + "aB3d" * 9, "key"),
    "gitlab": ("glpat-" + "aB3d" * 5, "key"),
    "google": ("AIza" + "aB3d5" * 7, "key"),
    "huggingface": ("hf_" + "aB3d" * 9, "key"),
    "nsec": ("nsec1" + "q2w3" * 14 + "q2", "key"),
    "age": ("AGE-SECRET-KEY-1" + "QPZR" * 14, "key"),
    "xprv": ("xprv" + "9s21" * 27, "key"),
    "wif": ("5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ", "key"),
    "cashu": ("cashuA" + TOKEN * 2, "ecash"),
    "jwt": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVPmB92K27uhbUJU1p1r", "token"),
    "aws": ("AKIAIOSFODNN7EXAMPLQ", "aws access key"),
    "slack": ("xoxb-123456789012-1234567890123-abcdef", "slack token"),
    "sendgrid": ("SG." + "aB3d5" * 4 + "ab." + "aB3d5" * 8 + "abc", "sendgrid api key"),
    "npm": ("npm_" + "aB3d" * 9, "key"),
    "twilio": ("SK" + "a1b2" * 8, "twilio api key"),
    "assigned": ("OPENAI_API_KEY=abcdefgh1234", "secret"),
    "query": ("https://host/path?api_key=abcdefgh1234&x=1", "secret"),
    "lndconnect": ("lndconnect://host:10009?cert=abc&macaroon=abcdefgh1234", "secret"),
    "dumped": (json.dumps({"password": "hunter2"}), "secret"),
    "dumped_twice": (json.dumps(json.dumps({"password": "hunter2"})), "secret"),
    "phrase_12": ("abandon " * 11 + "about", "seed phrase"),
    "phrase_24": (Mnemonic("english").to_mnemonic(bytes(range(32))), "seed phrase"),
    "phrase_upper": (PHRASE.upper(), "seed phrase"),
    "phrase_numbered": (
        "\n".join(f"{n}. {word}" for n, word in enumerate(PHRASE.split(), 1)),
        "seed phrase",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("around", ["{}", "I typed {} by mistake", "a={}", '"{}"', "see\n{}\nthere"])
def test_what_looks_like_a_secret_is_hidden_wherever_it_stands(name: str, around: str) -> None:
    secret, kind = SHAPES[name]
    text = around.format(secret)
    cleaned = REDACTOR.clean({"note": text, "deep": [{"inner": (text,)}]})
    assert cleaned[COUNT] >= 2
    assert "[redacted: " in cleaned["note"]
    if around == "{}":
        assert f"[redacted: {kind}]" in cleaned["note"]
    last = secret.split()[-1].split("=")[-1].split(":")[-1].strip('"}\\')
    if last and name not in ("url", "redis", "query", "dumped_twice"):
        assert last not in cleaned["note"]
    assert cleaned["deep"][0]["inner"][0] == cleaned["note"]
    for word in ("hunter2", "abcdefgh1234"):
        assert word not in json.dumps(cleaned)


@pytest.mark.parametrize(
    "name",
    [
        "password", "db_password", "userPassword", "PASSWORD", "passphrase", "api_key", "apiKey", "X-Api-Key",
        "openai.api_key", "openaiapikey", "adminkey", "admin_key", "inkey", "invoice_key", "access_token", "token",
        "authorization",
        "Proxy-Authorization", "Set-Cookie", "macaroon", "macaroon_hex", "lnd.macaroon", "rune", "preimage",
        "payment_preimage", "r_preimage", "seed", "mnemonic", "seed_phrase", "client_secret", "private_key", "privkey",
        "secret", "signing-key", "credentials", "nsec",
    ],
)  # fmt: skip
def test_what_is_named_like_a_secret_is_hidden_whatever_it_looks_like(name: str) -> None:
    cleaned = REDACTOR.clean(
        {name: "plainwords", "other": {name: ["plainwords"]}, "list": [{name: {"x": "plainwords"}}]}
    )
    assert cleaned[name].startswith("[redacted: ")
    assert cleaned["other"][name][0].startswith("[redacted: ") or cleaned["other"][name].startswith("[redacted: ")
    if kind_of_name(name) != "token":
        assert "plainwords" not in json.dumps(cleaned)


@pytest.mark.parametrize(
    "name",
    [
        "gen_ai.usage.input_tokens", "max_tokens", "first_token_ms", "token_count", "token_type", "public_key", "key",
        "keys", "payment_hash", "author", "session", "spin", "pinned", "password_set", "api_key_name", "trace_id",
        "next_token",
        "idempotency_key", "macaroon_path", "prune", "monkey", "secretary", "characters",
    ],
)  # fmt: skip
def test_names_that_only_resemble_one_are_not(name: str) -> None:
    data = {name: "plainwords"}
    assert REDACTOR.clean(data) is data


@pytest.mark.parametrize(
    "value", ["", "none", "***", "${KEY}", "<your key>", None, True, False, 12.5, "[redacted: key]", "$KEY"]
)
def test_where_there_is_no_secret_nothing_is_hidden(value: object) -> None:
    data = {"api_key": value, "password": value}
    assert REDACTOR.clean(data) is data


def test_more_places() -> None:
    assert REDACTOR.clean({"pin": 1234})["pin"] == "[redacted: password]"
    assert REDACTOR.clean({"seed": 42}) == {"seed": 42}
    assert REDACTOR.clean({"seed": "42"}) == {"seed": "42"}
    pair = REDACTOR.clean({"headers": [{"name": "Authorization", "value": "whatever"}]})
    assert pair["headers"][0]["value"] == "[redacted: token]"
    words = PHRASE.split()
    assert REDACTOR.clean({"words": words})["words"] == "[redacted: seed phrase]"
    assert REDACTOR.clean({"token": {"text": "the", "place": 3}}) == {"token": {"text": "the", "place": 3}}


def test_secrets_in_names_are_hidden_too() -> None:
    key = "sk-" + TOKEN
    cleaned = REDACTOR.clean({key: 1, f"{key}2": 2, "ok": 3})
    assert TOKEN not in json.dumps(cleaned)
    assert cleaned == {"[redacted: key]": 1, "[redacted: key] 2": 2, "ok": 3, COUNT: 2}
    assert key not in str(REDACTOR._known_names) + str(REDACTOR._harmless)


def test_a_phrase_with_a_wrong_checksum_is_prose() -> None:
    data = {"text": "abandon " * 12}
    assert REDACTOR.clean(data) is data


def test_the_kinds_are_counted() -> None:
    redactor = Redactor()
    cleaned = redactor.clean({"password": "x1", "a": f"Bearer {TOKEN}", COUNT: 2})
    assert cleaned[COUNT] == 4
    assert redactor.counts == {"password": 1, "token": 1}
    assert redactor.clean(cleaned) is cleaned  # what is clean stays as it is
    assert redactor.clean_text("sk-" + TOKEN) == "[redacted: key]"


# No false alarm --------------------------------------------------------------------------------------------------

HASH = st.binary(min_size=32, max_size=32).map(bytes.hex)
BECH32 = st.text("qpzry9x8gf2tvdw0s3jn54khce6mua7l", min_size=180, max_size=300)
PLAIN = st.one_of(
    HASH,
    st.binary(min_size=16, max_size=16).map(bytes.hex),
    st.binary(min_size=20, max_size=20).map(bytes.hex),  # a commit
    st.binary(min_size=64, max_size=64).map(bytes.hex),
    st.uuids().map(str),
    st.builds("lnbc{}n1p{}".format, st.integers(1, 9999), BECH32),
    st.builds("lntb{}u1p{}".format, st.integers(1, 9999), BECH32),
    st.sampled_from(
        (
            "gemma-3-270m-it-Q4_K_M.gguf", "claude-sonnet-4-5-20250929", "gpt-4o-mini-2024-07-18",
            "task-assessment-of-the-week-12",
            "http://127.0.0.1:8080/v1", "https://api.openai.com/v1/chat/completions", "2026-11-22T08:29:20.146242Z",
            "the provider did not answer within 20 s; is it running?", "HTTP 401: invalid token: expected a string",
            "notebooks/ui/parts.py", "sha256-" + "A" * 43 + "=", "refs/heads/feature/add-provider-breaker-12345",
            "Bearer authentication is needed", "basic arithmetic works", "a token: the smallest piece",
            "max_tokens=4096, top_p=0.95", "Please tell me about passwords and secrets; what is an API key?",
            "events-000000000001-000000500000.parquet", "archive/events-000000000001-000000500000.parquet",
        )
    ),
)  # fmt: skip
FIELDS = st.sampled_from(
    (
        "trace_id",
        "payment_hash",
        "digest",
        "bolt11",
        "commit",
        "base",
        "head",
        "model",
        "message",
        "hash",
        "gen_ai.request.model",
    )
)
EVENTS = st.dictionaries(FIELDS, PLAIN, max_size=6)


@settings(max_examples=500, deadline=None)
@given(EVENTS)
def test_our_own_fields_raise_no_alarm(data: dict[str, Any]) -> None:
    if any(str(value).startswith("0201") and len(str(value)) > 64 for value in data.values()):
        return  # one long hash in 65,536 begins as a macaroon does
    assert REDACTOR.clean(data) is data


def test_a_hash_that_begins_as_a_macaroon_does_is_a_hash() -> None:
    data = {"payment_hash": "0201" + "ab" * 30, "book": "t7h0201" + "ab" * 30}
    assert REDACTOR.clean(data) is data


JSON = st.recursive(
    st.one_of(st.text(max_size=60), st.integers(), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=20), inner, max_size=3)),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=20), JSON, max_size=4))
def test_cleaning_twice_is_cleaning_once(data: dict[str, Any]) -> None:
    once = REDACTOR.clean(data)
    assert REDACTOR.clean(once) == once


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "aB3",
        "password",
        "://",
        "-----BEGIN PRIVATE KEY",
        "eyJ",
        "bearer ",
        "abandon ",
        "x-",
        "AKC ",
        'secret: "',
        "token=>",
    ],
)
def test_no_text_takes_long(piece: str) -> None:
    started = time.perf_counter()
    REDACTOR.clean({"text": piece * (256 * 1024 // len(piece))})
    assert time.perf_counter() - started < 10


# In the log ------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(store: Store) -> EventLog:
    log = EventLog(store)
    log.clean = Redactor().clean
    return log


def test_nothing_of_a_secret_is_written(guarded: EventLog, store: Store) -> None:
    event = guarded.append("system.info", source="t", data={"note": "key sk-" + TOKEN, "password": "hunter2"})
    assert event.data == {"note": "key [redacted: key]", "password": "[redacted: password]", COUNT: 2}
    assert guarded.verify().ok
    for path in store.path.parent.glob("timmy.db*"):
        if path.suffix != ".db-shm":
            content = path.read_bytes() if path.name.endswith("-wal") else b""
            assert TOKEN.encode() not in content
            assert b"hunter2" not in content


def test_the_same_id_again_is_compared_after_redaction(guarded: EventLog) -> None:
    data = {"password": "hunter2"}
    first = guarded.append("system.info", source="t", id="same", data=data)
    assert guarded.append("system.info", source="t", id="same", data=data) == first
    assert guarded.append("system.info", source="t", id="same", data=first.data) == first
    with pytest.raises(EventConflictError):
        guarded.append("system.info", source="t", id="same", data={"password": "hunter2", "more": 1})


@pytest.mark.parametrize("data", [["list"], {1: "number"}, {"set": {1}}, {"text": "\ud800" * 20}])
def test_what_is_no_data_is_still_refused_with_its_reason(guarded: EventLog, data: Any) -> None:
    with pytest.raises(EventDataError):
        guarded.append("system.info", source="t", data=data)


def test_data_that_is_too_deep_is_still_refused(guarded: EventLog) -> None:
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"d": deep}
    with pytest.raises(EventDataError, match="nested deeper"):
        guarded.append("system.info", source="t", data=deep)


def test_an_ordinary_event_loads_none_of_the_rules() -> None:
    code = (
        "import sys\n"
        "from timmy_core.events.redactor import Redactor\n"
        "redactor = Redactor()\n"
        "redactor.clean({'session': 's1', 'model': 'offline', 'latency_ms': 1.5, 'trace': '0' * 32, 'text': 'a b'})\n"
        "assert not {'detect_secrets', 'requests', 'mnemonic', 'cryptography'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_the_package_still_has_the_rules_that_are_meant() -> None:
    from timmy_core.events.secret_shapes import _UNUSED, Shapes

    shapes = Shapes()
    shapes.load()
    from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class

    names = {kind.__name__ for kind in get_mapping_from_secret_type_to_class().values()}
    assert names >= _UNUSED
    assert len(shapes._service_rules()) >= 14


def test_an_ordinary_event_is_quick() -> None:
    data = {
        "gen_ai.provider.name": "local-llama", "gen_ai.request.model": "gemma-3-270m-it-q4_k_m",
        "gen_ai.usage.input_tokens": 123, "gen_ai.usage.output_tokens": 321, "timmy.latency_ms": 232.718,
        "timmy.attempt": 0, "session": "default",
        "message": "the provider did not answer within 20 s; is it running?", "digest": hashlib.sha256().hexdigest(),
        "id": str(uuid.uuid4()),
    }  # fmt: skip
    REDACTOR.clean(data)
    best = min(_timed(data) for _ in range(5))
    assert best < 100e-6  # measured: about 6 µs; the bound is for a busy machine


def _timed(data: dict[str, Any]) -> float:
    started = time.perf_counter()
    for _ in range(1_000):
        REDACTOR.clean(data)
    return (time.perf_counter() - started) / 1_000
