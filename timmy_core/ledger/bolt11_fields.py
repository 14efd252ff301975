"""What an invoice of BOLT #11 is made of: its parts as data, and the numbers that the specification gives them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from timmy_core.ledger.addresses import Network

CURRENCY_OF: Final[dict[Network, str]] = {"bitcoin": "bc", "testnet": "tb", "signet": "tbs", "regtest": "bcrt"}
# The longer one first where one begins like the other.
NETWORK_OF: Final[tuple[tuple[str, Network], ...]] = (
    ("bcrt", "regtest"),
    ("tbs", "signet"),
    ("bc", "bitcoin"),
    ("tb", "testnet"),
)
# An amount is counted in thousandths of a bitcoin and finer; a pico-bitcoin is a tenth of a msat.
PICO_OF: Final[dict[str, int]] = {"": 10**12, "m": 10**9, "u": 10**6, "n": 10**3, "p": 1}
PICO_PER_MSAT: Final = 10

MAX_LETTERS: Final = 7089  # what the largest QR code holds, and what the nodes take
TIMESTAMP_WORDS: Final = 7
SIGNATURE_WORDS: Final = 104
HASH_WORDS: Final = 52
KEY_WORDS: Final = 53
MAX_NUMBER_WORDS: Final = 13  # 64 bits and one

DEFAULT_EXPIRY_S: Final = 3600
DEFAULT_MIN_FINAL_CLTV: Final = 18

VARIABLE_ONION, PAYMENT_SECRET, MANY_PARTS, BLINDED_ROUTE, ATTRIBUTION, METADATA = 8, 14, 16, 24, 36, 48
KNOWN_FEATURES: Final = frozenset((VARIABLE_ONION, PAYMENT_SECRET, MANY_PARTS, BLINDED_ROUTE, ATTRIBUTION, METADATA))
DEFAULT_FEATURES: Final = frozenset((VARIABLE_ONION, PAYMENT_SECRET))

ProblemKind = Literal["network", "expired", "amount"]


@dataclass(frozen=True, slots=True)
class Hop:
    """One private channel on the way to who is paid."""

    node: bytes
    short_channel_id: int
    fee_base_msat: int
    fee_millionths: int
    cltv_delta: int


@dataclass(frozen=True, slots=True)
class Invoice11:
    """An invoice whose checksum and signature hold.

    `text` is in lower case. `amount_msat` is None where whoever pays chooses. `payee` is the public key (33 bytes)
    that signed; `named_payee` says whether the invoice names it, or it was recovered from the signature.
    """

    text: str
    network: Network
    amount_msat: int | None
    timestamp: datetime
    expires_at: datetime
    payment_hash: bytes
    payment_secret: bytes
    description: str | None
    description_hash: bytes | None
    payee: bytes
    named_payee: bool
    expiry_s: int
    min_final_cltv: int
    features: frozenset[int]
    routes: tuple[tuple[Hop, ...], ...]
    fallbacks: tuple[str, ...]
    metadata: bytes | None
    signature: bytes

    @property
    def fallback(self) -> str | None:
        """The first on-chain address of it, if it has any."""
        return self.fallbacks[0] if self.fallbacks else None

    def is_expired(self, now: datetime) -> bool:
        """Whether it may not be paid any more."""
        return now >= self.expires_at


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an invoice that was read may not be paid here and now."""

    kind: ProblemKind
    words: str
