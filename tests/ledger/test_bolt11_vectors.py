"""The test vectors of the specification, where they are at hand: every valid one is read, every invalid one refused.

`TIMMY_BOLT11_VECTORS` names their file: {"valid": [[description, invoice], …], "invalid": […], "expected": [{…}, …]}.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from timmy_core.errors import Bolt11Error
from timmy_core.ledger.bolt11 import Invoice11, decode, encode

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "data" / "bolt11_vectors.json"
FILE = Path(os.environ.get("TIMMY_BOLT11_VECTORS") or BESIDE)
VECTORS: dict[str, list[Any]] = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
VALID, INVALID, EXPECTED = (VECTORS.get(name, []) for name in ("valid", "invalid", "expected"))

# The private key that the specification signs its examples with.
KEY = bytes.fromhex("e126f68f7eafcc8b74f54d269fe206be715000f94dac067d1c04a8ca3b2db734")

pytestmark = pytest.mark.skipif(not VECTORS, reason="the specification's vectors are not here; see the module's text")


def told(invoice: Invoice11) -> dict[str, Any]:
    """Return what was read, in the words of the vectors."""
    return {
        "amount_msat": invoice.amount_msat,
        "description": invoice.description,
        "description_hash": invoice.description_hash and invoice.description_hash.hex(),
        "expiry": invoice.expiry_s,
        "currency": {"bitcoin": "bc", "testnet": "tb", "signet": "tbs", "regtest": "bcrt"}[invoice.network],
        "date": int(invoice.timestamp.timestamp()),
        "payment_hash": invoice.payment_hash.hex(),
        "fallback": invoice.fallback,
        "hops": sum(map(len, invoice.routes)),
        "metadata": invoice.metadata and invoice.metadata.hex(),
        "payee": invoice.payee.hex(),
    }


def test_they_are_all_here() -> None:
    assert (len(VALID), len(EXPECTED), len(INVALID)) == (16, 16, 10)


@pytest.mark.parametrize(
    ("vector", "expected"), list(zip(VALID, EXPECTED, strict=True)), ids=[name for name, _ in VALID]
)
def test_a_valid_one_is_read_as_the_specification_says(vector: tuple[str, str], expected: dict[str, Any]) -> None:
    known = {name: value for name, value in expected.items() if name != "payee" or value is not None}
    found = told(decode(vector[1]))
    assert {name: found[name] for name in known} == known


@pytest.mark.parametrize("vector", INVALID, ids=[name for name, _ in INVALID])
def test_an_invalid_one_is_refused(vector: tuple[str, str]) -> None:
    with pytest.raises(Bolt11Error):
        decode(vector[1])


def test_signing_with_the_key_of_the_specification_gives_the_very_same_letters() -> None:
    """As long as the fields stand in the order in which they are written here."""
    same = [name for name, text in VALID if written_again(decode(text)) == text.lower()]
    assert len(same) >= 4, same


def written_again(read: Invoice11) -> str:
    names = (
        "payment_hash", "payment_secret", "timestamp", "network", "amount_msat", "description", "description_hash",
        "expiry_s", "min_final_cltv", "features", "routes", "fallbacks", "metadata",
    )  # fmt: skip
    return encode(private_key=KEY, name_payee=read.named_payee, **{name: getattr(read, name) for name in names})
