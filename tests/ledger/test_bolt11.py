"""Invoices: what is written is read again, and nothing changed, made up or too new is taken for one."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from coincurve import PrivateKey
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from timmy_core.errors import Bolt11Error
from timmy_core.ledger import bech32
from timmy_core.ledger.bolt11 import Network, decode, problems

from .made_invoices import AT, KEY, PAYEE, PLAIN, contents, invoice

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@given(said=contents(), named=st.booleans(), key=st.binary(min_size=32, max_size=32))
@settings(max_examples=100, deadline=None)
def test_what_was_written_is_read_again(said: dict[str, Any], named: bool, key: bytes) -> None:
    assume(0 < int.from_bytes(key, "big") < ORDER)
    text = invoice(**said, private_key=key, name_payee=named)
    read = decode(text)
    assert {name: getattr(read, name) for name in said} == said
    assert (read.payee, read.named_payee, read.text) == (PrivateKey(key).public_key.format(), named, text)
    assert decode(f"  lightning:{text.upper()}\n") == read


@given(at=st.floats(0, 1, exclude_max=True), letter=st.sampled_from(bech32.LETTERS), named=st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_changed_letter_shows(at: float, letter: str, named: bool) -> None:
    text = invoice(amount_msat=21_000, name_payee=named)
    place = int(at * len(text))
    assume(text[place] != letter)
    with pytest.raises(Bolt11Error):
        decode(text[:place] + letter + text[place + 1 :])


@given(at=st.floats(0, 1, exclude_max=True), word=st.integers(0, 31), named=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_change_whose_checksum_was_made_right_is_never_signed_by_the_same_node(
    at: float, word: int, named: bool
) -> None:
    prefix, words = bech32.split(invoice(amount_msat=21_000, name_payee=named))
    # The last byte helps to recover the key; where the invoice names it, it says nothing.
    place = int(at * (len(words) - 2 * named))
    assume(words[place] != word)
    changed = bech32.join(prefix, words[:place] + bytes((word,)) + words[place + 1 :])
    try:
        read = decode(changed)
    except Bolt11Error:
        return
    assert read.payee != PAYEE


def test_another_amount_in_front_is_signed_by_nobody_we_know() -> None:
    prefix, words = bech32.split(invoice(amount_msat=21_000))
    assert prefix == "lnbc210n"
    assert decode(bech32.join("lnbc210n", words)).payee == PAYEE
    assert decode(bech32.join("lnbc2100n", words)).payee != PAYEE
    _, named = bech32.split(invoice(amount_msat=21_000, name_payee=True))
    with pytest.raises(Bolt11Error, match="not that of the node that the invoice names"):
        decode(bech32.join("lnbc2100n", named))


@given(text=st.text(max_size=400) | st.text(alphabet=bech32.LETTERS + "1lnbctr", max_size=400).map("lnbc".__add__))
@settings(max_examples=200, deadline=None)
def test_any_other_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(Bolt11Error, match=r"\w+"):
        decode(text)


@given(
    prefix=st.sampled_from(["lnbc", "lntb1m", "lnbcrt20u", "lntbs", "lnbc0", "lnbcm", "lnbc9999999999999999999"]),
    fields=st.binary(max_size=300),
    signature=st.binary(min_size=104, max_size=104),
)
@settings(max_examples=300, deadline=None)
def test_any_words_with_a_right_checksum_are_read_or_refused_in_words(
    prefix: str, fields: bytes, signature: bytes
) -> None:
    words = bytes(byte & 31 for byte in bytes(7) + fields + signature)
    try:
        read = decode(bech32.join(prefix, words))
    except Bolt11Error:
        return
    assert len(read.payment_hash) == 32


@pytest.mark.parametrize(
    ("amount_msat", "prefix"),
    [
        (None, "lnbc"), (1, "lnbc10p"), (99, "lnbc990p"), (100, "lnbc1n"), (21_000, "lnbc210n"), (100_000, "lnbc1u"),
        (250_000_000, "lnbc2500u"), (10**8, "lnbc1m"), (10**11, "lnbc1"), (21_000_000 * 10**11, "lnbc21000000"),
    ],
)  # fmt: skip
def test_an_amount_is_written_in_the_largest_unit_that_divides_it(amount_msat: int | None, prefix: str) -> None:
    text = invoice(amount_msat=amount_msat)
    assert text.rpartition("1")[0] == prefix
    assert decode(text).amount_msat == amount_msat


@pytest.mark.parametrize(
    "amount", ["0", "01m", "0m", "m", "1x", "1.5m", "-1m", "1 m", "1k", "11p", "21000001", "9" * 25, "1mm"]
)
def test_an_amount_that_is_none_is_refused(amount: str) -> None:
    _, words = bech32.split(invoice())
    with pytest.raises(Bolt11Error, match="amount"):
        decode(bech32.join(f"lnbc{amount}", words))


def test_an_unknown_feature_that_must_be_understood_is_refused_and_another_is_not() -> None:
    assert decode(invoice(features=(8, 14, 101))).features == {8, 14, 101}
    with pytest.raises(Bolt11Error, match=r"not known here: 18, 100;"):
        decode(invoice(features=(8, 14, 18, 100)))


def test_of_a_field_that_comes_twice_the_first_counts_and_one_of_another_length_is_passed_over() -> None:
    prefix, words = bech32.split(invoice())
    more = b"".join(
        bytes((bech32.LETTERS.index(tag), len(data) >> 5, len(data) & 31)) + data
        for tag, data in (("p", bytes(51)), ("p", bytes(52)), ("d", bytes(8)), ("s", bytes(53)), ("g", bytes(9)))
    )
    signed = words[:-104] + more
    digest = hashlib.sha256(prefix.encode() + bech32.padded_bytes_of(signed)).digest()
    signature = bech32.byte_words(PrivateKey(KEY).sign_recoverable(digest, None))
    read = decode(bech32.join(prefix, signed + signature))
    assert (read.payment_hash, read.payment_secret) == (PLAIN["payment_hash"], PLAIN["payment_secret"])
    assert (read.description, read.payee) == ("a cup of tea", PAYEE)


def test_the_other_form_of_a_signature_is_taken_only_where_the_key_is_recovered() -> None:
    def mirrored(text: str) -> str:
        prefix, words = bech32.split(text)
        signature = bech32.bytes_of(words[-104:])
        high = (ORDER - int.from_bytes(signature[32:64], "big")).to_bytes(32, "big")
        other = signature[:32] + high + bytes((signature[64] ^ 1,))
        return bech32.join(prefix, words[:-104] + bech32.byte_words(other))

    assert decode(mirrored(invoice())).payee == PAYEE
    with pytest.raises(Bolt11Error, match="signature"):
        decode(mirrored(invoice(name_payee=True)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"description": None}, "either a description or the hash"),
        ({"description_hash": bytes(32)}, "either a description or the hash"),
        ({"description": "x" * 700}, "the field d takes 1120 words"),
        ({"payment_hash": bytes(31)}, "payment_hash has 31 bytes; give 32"),
        ({"amount_msat": 0}, "1 to"),
        ({"amount_msat": 21_000_000 * 10**11 + 1}, "1 to"),
        ({"expiry_s": -1}, "expiry_s is -1"),
        ({"timestamp": AT.replace(year=1969)}, "does not fit an invoice"),
        ({"fallbacks": ["bc1qnothing"]}, "is not an address of the network bitcoin"),
    ],
)
def test_what_makes_no_invoice_is_refused_before_it_is_signed(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Bolt11Error, match=words):
        invoice(**changes)


def test_no_error_repeats_the_invoice() -> None:
    text = invoice()
    with pytest.raises(Bolt11Error) as caught:
        decode(text[:-1] + ("q" if text[-1] != "q" else "p"))
    assert text[4:40] not in str(caught.value)


def test_an_invoice_expires_at_its_second() -> None:
    text = invoice(expiry_s=60)
    assert decode(text, now=AT + timedelta(seconds=59.9)).expires_at == AT + timedelta(seconds=60)
    with pytest.raises(Bolt11Error, match=r"expired 0 s ago, at 2026-11-01 12:01:00 UTC"):
        decode(text, now=AT + timedelta(seconds=60))
    assert decode(invoice(expiry_s=2**64 - 1)).expires_at.year == 9999


def kinds(text: str, *, network: Network = "bitcoin", after_s: int = 0, amount_msat: int | None = None) -> list[str]:
    now = AT + timedelta(seconds=after_s)
    return [problem.kind for problem in problems(decode(text), network=network, now=now, amount_msat=amount_msat)]


def test_problems_name_the_network_the_expiry_and_the_amount() -> None:
    asked = invoice(amount_msat=21_000)
    assert kinds(asked) == kinds(asked, amount_msat=21_000) == []
    assert kinds(asked, network="regtest", after_s=3600, amount_msat=22_000) == ["network", "expired", "amount"]
    assert kinds(invoice()) == ["amount"]
    assert kinds(invoice(), amount_msat=5) == []
