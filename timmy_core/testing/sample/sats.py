"""The sample's sats: what was sold and bought on the play node, and how the book was compared with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from timmy_core.errors import BudgetExceededError
from timmy_core.ledger.nodes import open_node
from timmy_core.ledger.playing import HasNeighbour
from timmy_core.testing.sample import words

if TYPE_CHECKING:
    from timmy_core.ledger.model import Invoice
    from timmy_core.timmy import Timmy

Deed = Callable[[], object]

_UNPAID: Final = 0.14
_DEAR_DAY: Final = 11
_LEFT_OUT_DAY: Final = 28
_WEEK: Final = 7
SUNDAY_OF_START: Final = 3  # the fourth day is a Sunday


def of_day(timmy: Timmy, random: Random, day: int) -> Iterator[tuple[float, Deed]]:
    """Yield what is sold and bought on a day, with its hour."""
    if day % _WEEK != SUNDAY_OF_START:
        for _ in range(random.randint(1, 4)):
            hour = random.uniform(9.5, 17.5)
            made: list[Invoice] = []
            yield hour, partial(_sell, timmy, random, made)
            if random.random() > _UNPAID:
                yield hour + random.uniform(0.01, 0.4), partial(_paid, timmy, made)
    for _ in range(random.randint(0, 2)):
        yield random.uniform(10, 20), partial(_buy, timmy, random)
    if day == _DEAR_DAY:
        yield 16.0, partial(_too_dear, timmy)
    if day == _LEFT_OUT_DAY:
        yield 21.5, partial(_behind_the_book, timmy)
    yield 22.95, partial(timmy.payments.reconcile, dry_run=False, by="schedule")


def _sell(timmy: Timmy, random: Random, made: list[Invoice]) -> None:
    amount_msat = random.choice((1_500, 2_100, 3_800, 5_000, 900)) * 1000
    memo = random.choice(words.SOLD)
    made.append(timmy.payments.create_invoice(amount_msat=amount_msat, memo=memo, source="shop"))


def _paid(timmy: Timmy, made: list[Invoice]) -> None:
    timmy.payments.playing.pay(made[0].payment_hash)
    timmy.payments.check(made[0].payment_hash, direction="in")


def _buy(timmy: Timmy, random: Random) -> None:
    amount_msat = random.choice((60, 120, 210, 350)) * 1000
    bolt11 = timmy.payments.playing.invoice(amount_msat=amount_msat, memo=random.choice(words.BOUGHT))
    try:
        timmy.payments.pay(bolt11, agent_id=random.choice(("echo", "seer", "forge")))
    except BudgetExceededError:
        return  # the log says so, and that is what the sample wants to show


def _too_dear(timmy: Timmy) -> None:
    """Pay with so low a limit that no route is cheap enough: the payment fails, and nothing is lost."""
    bolt11 = timmy.payments.playing.invoice(amount_msat=9_000_000, memo="spare frame")
    timmy.payments.pay(bolt11, fee_limit_msat=0, agent_id="forge")


def _behind_the_book(timmy: Timmy) -> None:
    """Have an invoice paid that the book never heard of, as by a wallet on the same node; reconciling finds it."""

    async def elsewhere() -> None:
        node = open_node(timmy.settings.nodes[0], timmy.settings.home, timmy.clock)
        invoice = await node.create_invoice(amount_msat=1_200_000, memo="sold at the market", expiry_s=3600)
        if isinstance(node, HasNeighbour):
            await node.neighbour_pays(invoice.payment_hash)
        await node.close()

    asyncio.run(elsewhere())
