"""On-chain addresses of invoices: read, written, and refused on another network or with a letter changed."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from timmy_core.errors import Bolt11Error
from timmy_core.ledger import bech32
from timmy_core.ledger.addresses import Network, address_of, parse_address

# Addresses that BIP-173, BIP-350 and the specification of invoices show.
KNOWN: list[tuple[Network, str, int, str]] = [
    ("bitcoin", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", 0, "751e76e8199196d454941c45d1b3a323f1433bd6"),
    ("bitcoin", "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0", 1,
     "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"),
    ("testnet", "mk2QpYatsKicvFVuTAQLBryyccRXMUaGHP", 17, "3172b5654f6683c8fb146959d347ce303cae4ca7"),
    ("bitcoin", "3EktnHQD7RiAE6uzMj2ZifT9YgRrkSgzQX", 18, "8f55563b9a19f321c211e9b9f38cdf686ea07845"),
    ("bitcoin", "1111111111111111111114oLvT2", 17, "00" * 20),
]  # fmt: skip


@pytest.mark.parametrize(("network", "address", "version", "program"), KNOWN)
def test_known_addresses(network: Network, address: str, version: int, program: str) -> None:
    assert parse_address(network, address) == (version, bytes.fromhex(program))
    assert address_of(network, version, bytes.fromhex(program)) == address


@pytest.mark.parametrize("address", [known[1] for known in KNOWN])
def test_an_address_belongs_to_its_network(address: str) -> None:
    with pytest.raises(Bolt11Error, match="is not an address of the network regtest"):
        parse_address("regtest", address) if not address.startswith("mk") else parse_address("regtest", f"{address}1")


@given(place=st.integers(0, 41), letter=st.sampled_from(bech32.LETTERS + "1bio0OIl"))
@settings(deadline=None)
def test_a_changed_letter_shows(place: int, letter: str) -> None:
    address = KNOWN[0][1]
    assume(address[place] != letter)
    with pytest.raises(Bolt11Error):
        parse_address("bitcoin", address[:place] + letter + address[place + 1 :])


@given(text=st.text(max_size=60) | st.text("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz", max_size=60))
def test_any_other_text_is_refused_in_words(text: str) -> None:
    with pytest.raises(Bolt11Error, match="give one that"):
        parse_address("bitcoin", text)


@pytest.mark.parametrize(("version", "size"), [(0, 21), (1, 1), (1, 41), (17, 32), (18, 19), (19, 20), (31, 20)])
def test_a_version_or_a_length_that_nobody_knows_has_no_address(version: int, size: int) -> None:
    assert address_of("bitcoin", version, bytes(size)) is None


@given(data=st.binary(max_size=90))
def test_words_hold_bytes(data: bytes) -> None:
    assert bech32.bytes_of(bech32.byte_words(data)) == data
    assert bech32.words_of(bech32.letters_of(bech32.byte_words(data))) == bech32.byte_words(data)
