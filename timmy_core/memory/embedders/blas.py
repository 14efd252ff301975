"""How many threads a matrix product takes: one, so that the server keeps the other processors.

Products over texts are too small for more: with two threads on two busy processors they took up to thirty times as
long here, because the threads wait for each other by spinning.
"""

from __future__ import annotations

import functools


@functools.cache
def one_thread() -> None:
    """Keep NumPy's matrix products to the thread that asks for them, in the whole process; once is enough."""
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=1, user_api="blas")
