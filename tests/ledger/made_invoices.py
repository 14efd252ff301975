"""Invoices that tests make and sign themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from coincurve import PrivateKey
from hypothesis import strategies as st

from timmy_core.ledger.bolt11 import Hop, encode

KEY = bytes.fromhex("11" * 32)
PAYEE = PrivateKey(KEY).public_key.format()
AT = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
PLAIN: dict[str, Any] = {
    "private_key": KEY,
    "payment_hash": bytes(range(32)),
    "payment_secret": bytes(range(32, 64)),
    "timestamp": AT,
    "description": "a cup of tea",
}


def invoice(**changes: Any) -> str:
    """Return a signed invoice: the plain one, with these changes."""
    return encode(**{**PLAIN, **changes})


def _programs(network: str) -> st.SearchStrategy[str]:
    from timmy_core.ledger.addresses import address_of

    kinds = st.one_of(
        st.tuples(st.sampled_from([0, 17, 18]), st.binary(min_size=20, max_size=20)),
        st.tuples(st.just(0), st.binary(min_size=32, max_size=32)),
        st.tuples(st.integers(1, 16), st.binary(min_size=2, max_size=40)),
    )
    return kinds.map(lambda kind: str(address_of(network, *kind)))  # type: ignore[arg-type]


HOPS = st.builds(
    Hop,
    node=st.binary(min_size=33, max_size=33),
    short_channel_id=st.integers(0, 2**64 - 1),
    fee_base_msat=st.integers(0, 2**32 - 1),
    fee_millionths=st.integers(0, 2**32 - 1),
    cltv_delta=st.integers(0, 2**16 - 1),
)
HASHES = st.binary(min_size=32, max_size=32)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw everything that an invoice can say."""
    network = draw(st.sampled_from(["bitcoin", "testnet", "signet", "regtest"]))
    hashed = draw(st.booleans())
    return {
        "network": network,
        "payment_hash": draw(HASHES),
        "payment_secret": draw(HASHES),
        "timestamp": datetime.fromtimestamp(draw(st.integers(0, 2**35 - 1)), UTC),
        "amount_msat": draw(st.none() | st.integers(1, 21_000_000 * 10**11)),
        "description": None if hashed else draw(st.text(max_size=150)),
        "description_hash": draw(HASHES) if hashed else None,
        "expiry_s": draw(st.integers(0, 2**64 - 1)),
        "min_final_cltv": draw(st.integers(0, 2**64 - 1)),
        "features": draw(st.frozensets(st.sampled_from([8, 9, 14, 15, 16, 17, 24, 25, 48, 49, 99, 101]))),
        "routes": draw(st.lists(st.lists(HOPS, min_size=1, max_size=12).map(tuple), max_size=2).map(tuple)),
        "fallbacks": draw(st.lists(_programs(network), max_size=3).map(tuple)),
        "metadata": draw(st.none() | st.binary(max_size=100)),
    }
