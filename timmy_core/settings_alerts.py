"""The section `[alerts]` of the settings."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Rule = Literal["provider_open", "budget_near", "payment_stuck", "reconcile_finding", "proposal_waiting", "chain_broken"]
RULES: tuple[Rule, ...] = (
    "provider_open", "budget_near", "payment_stuck", "reconcile_finding", "proposal_waiting", "chain_broken",
)  # fmt: skip
_Url = Annotated[str, Field(pattern=r"^(https?://[^\s/?#]+[^\s]*)?$", max_length=2000)]


class AlertSettings(BaseModel):
    """What is worth a person's eye, and whom to tell beside the pages."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[Rule, ...] = RULES
    every_s: float = Field(default=10.0, ge=1, le=3600)  # how often they are looked at
    provider_open_s: float = Field(default=60.0, ge=0, le=86_400)  # how long a provider may fail before
    budget_percent: float = Field(default=80.0, gt=0, le=100)  # of a budget, spent and set aside together
    payment_stuck_min: float = Field(default=10.0, ge=0, le=100_000)  # how long a payment may be under way
    proposal_waiting_min: float = Field(default=0.0, ge=0, le=100_000)  # how long a proposal may wait
    settle_s: float = Field(default=120.0, ge=0, le=86_400)  # how long a provider has to be well to count as well
    verify_h: float = Field(default=24.0, ge=0, le=8760)  # how often the whole chain is checked; 0: only by hand

    url: SecretStr | None = None  # a webhook, or a topic of ntfy; it may hold a secret
    kind: Literal["webhook", "ntfy"] = "webhook"
    token: SecretStr | None = None  # sent as `Authorization: Bearer`
    timeout_s: float = Field(default=10.0, gt=0, le=120)
    resolved: bool = True  # say also when it is over
    page_url: _Url = ""  # where people reach the pages, such as "https://timmy.lan"; for links

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for rule in self.rules:
            if self.rules.count(rule) > 1:
                text = f"rules names {rule!r} twice; name each once"
                raise ValueError(text)
        address = "" if self.url is None else self.url.get_secret_value()
        if address and not address.startswith(("https://", "http://")):
            # The address itself is not shown: it may hold a secret.
            text = (
                "url does not begin with https:// or http://; give the whole address of the webhook or the ntfy topic"
            )
            raise ValueError(text)
        return self
