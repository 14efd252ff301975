"""The sections `[ledger]` and `[[nodes]]` of the settings."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

NodeKind = Literal["play", "lnbits", "lnd"]
Network = Literal["bitcoin", "testnet", "signet", "regtest"]
Sats = Annotated[int, Field(ge=0, le=21_000_000 * 100_000_000)]
AgentName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-.]{0,99}$")]

# Which keys belong to which kinds of node.
_OF_KINDS: Final[dict[str, tuple[NodeKind, ...]]] = {
    "url": ("lnbits", "lnd"),
    "network": ("lnbits", "lnd"),
    "invoice_key": ("lnbits",),
    "admin_key": ("lnbits",),
    "macaroon_path": ("lnd",),
    "tls_cert_path": ("lnd",),
    "play_sats": ("play",),
}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AgentSats(_Section):
    """How many sats one agent may spend in a calendar day, week and month of UTC; None is no limit."""

    day_sats: Sats | None = None
    week_sats: Sats | None = None
    month_sats: Sats | None = None

    @model_validator(mode="after")
    def _longer_times_hold_more(self) -> Self:
        limits = [(key, getattr(self, key)) for key in ("day_sats", "week_sats", "month_sats")]
        known = [(key, limit) for key, limit in limits if limit is not None]
        for (shorter, less), (longer, more) in itertools.pairwise(known):
            if less > more:
                text = (
                    f"{shorter} is {less}, more than {longer}, {more}, so it would never be reached; "
                    f"lower {shorter}, raise {longer}, or leave one out"
                )
                raise ValueError(text)
        return self


class LedgerSettings(_Section):
    """How sats are accounted for, and what a payment may cost where its caller does not say."""

    reconcile_minutes: float = Field(default=15.0, ge=0, le=10_080)  # 0: only by hand
    fee_percent: float = Field(default=1.0, ge=0, le=100)  # of the amount
    fee_floor_sats: int = Field(default=5, ge=0, le=1_000_000)  # and at least so many beside it
    invoice_expiry_s: int = Field(default=3600, ge=60, le=31_536_000)
    budgets: dict[AgentName, AgentSats] = Field(default_factory=dict)

    def fee_limit_msat(self, amount_msat: int) -> int:
        """Return what the route of a payment may cost where nobody says otherwise: the share and the floor together."""
        share = Decimal(str(self.fee_percent)) * amount_msat / 100
        return int(share.to_integral_value(rounding=ROUND_FLOOR)) + self.fee_floor_sats * 1000


class NodeSettings(_Section):
    """One `[[nodes]]` table: a Lightning node that moves sats, or plays that it does."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_\-]{0,39}$")
    kind: NodeKind
    url: str | None = Field(default=None, pattern=r"^https?://[^/?#]+")
    network: Network = "bitcoin"
    invoice_key: SecretStr | None = None  # of lnbits: reads, and makes invoices
    admin_key: SecretStr | None = None  # of lnbits: may pay as well
    macaroon_path: Path | None = None  # of lnd
    tls_cert_path: Path | None = None  # of lnd; None: the certificates of the system
    default: bool = False  # the one that is used where none is named
    timeout_s: float = Field(default=15.0, gt=0, le=600)  # how long one call may take, paying aside
    play_sats: Sats = 100_000  # of play: what it holds at first
    unset_variables: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _keys_fit_the_kind(self) -> Self:
        for key, kinds in _OF_KINDS.items():
            if self.kind not in kinds and key in self.model_fields_set:
                text = f"{key} is for kind = {' and '.join(map(repr, kinds))}, and this one is {self.kind!r}; remove it"
                raise ValueError(text)
        if self.kind == "play":
            # Its invoices say that they are of no network where sats are worth something.
            object.__setattr__(self, "network", "regtest")
        elif self.url is None and not self.unset_variables:
            text = f'a node of kind {self.kind!r} needs its address; add url = "https://…"'
            raise ValueError(text)
        return self


def default_nodes() -> tuple[NodeSettings, ...]:
    """Return what a home has until a node is configured: one that plays, with sats that are worth nothing."""
    return (NodeSettings(name="play", kind="play"),)


def default_node(nodes: Sequence[NodeSettings]) -> NodeSettings:
    """Return the node that is used where none is named: the one marked so, else the first."""
    return next((node for node in nodes if node.default), nodes[0])


def check_nodes(nodes: Sequence[NodeSettings]) -> None:
    """Refuse nodes that cannot stand side by side.

    Raises:
        ValueError: there is none, two have one name, or two are the default.
    """
    if not nodes:
        text = "nodes is empty, and the ledger needs one; add a [[nodes]] table, or remove the key to have a play node"
        raise ValueError(text)
    names = [node.name for node in nodes]
    for name in names:
        if names.count(name) > 1:
            text = f"two nodes are named {name!r}; every name has to differ"
            raise ValueError(text)
    marked = [node.name for node in nodes if node.default]
    if len(marked) > 1:
        text = f"{' and '.join(map(repr, marked))} are both the default node; leave default = true at one of them"
        raise ValueError(text)
