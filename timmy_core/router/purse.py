"""What a paid call may cost before it is made, and what it did cost: the words that cascade and budgets share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from timmy_core.router.chat import ChatRequest, Provider, Usage
from timmy_core.router.record import Origin


@dataclass(frozen=True, slots=True)
class Hold:
    """Money set aside for one call; it ends with the attempt's record (`hold_id`), or with `release`.

    Args:
        id: what names it; None where no budget applies, so that nothing was set aside and nothing has to be ended.
        microusd: the most that the call may cost, in millionths of a dollar.
    """

    id: str | None = None
    microusd: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """The call may not be made: it could cost more than is left, or nobody knows what it costs."""

    message: str
    advice: str


class Purse(Protocol):
    """Who keeps the budgets: `timmy_core.router.budget.Budgets`."""

    def applies(self, origin: Origin, provider: Provider) -> bool:
        """Return whether a budget holds for this call; False spares the wait for `reserve`."""
        ...

    async def reserve(self, origin: Origin, provider: Provider, model: str, request: ChatRequest) -> Hold | Refused:
        """Set aside what the call may cost at most; durable when it returns."""
        ...

    def release(self, hold: Hold) -> None:
        """Give a hold back whose call was never made; does not wait."""
        ...

    def cost(self, provider: Provider, model: str, usage: Usage) -> int | None:
        """Return what these tokens cost in millionths of a dollar; None where no price is known, 0 where it is free."""
        ...


_NOTHING = Hold()


class NoPurse:
    """Knows neither budgets nor prices."""

    def applies(self, origin: Origin, provider: Provider) -> bool:
        """No budget ever does."""
        del origin, provider
        return False

    async def reserve(self, origin: Origin, provider: Provider, model: str, request: ChatRequest) -> Hold | Refused:
        """Allow everything."""
        del origin, provider, model, request
        return _NOTHING

    def release(self, hold: Hold) -> None:
        """Nothing was held."""

    def cost(self, provider: Provider, model: str, usage: Usage) -> int | None:
        """Nothing on a machine of the owner's, unknown elsewhere."""
        del model, usage
        return 0 if provider.free else None
