"""The PyPI library `bolt11` in its own environment: reads invoices for `invoices.py`, one order a line."""

from __future__ import annotations

import json
import sys
import time

import bolt11

WARM_UP = 20


def rate(invoices: list[str]) -> float:
    for text in invoices[:WARM_UP]:
        bolt11.decode(text)
    began = time.process_time()
    for text in invoices:
        bolt11.decode(text)
    return len(invoices) / (time.process_time() - began)


def refused(text: str) -> bool:
    try:
        bolt11.decode(text)
    except Exception:  # noqa: BLE001 - whatever it raises, it did not read the invoice
        return True
    return False


for line in sys.stdin:
    what, given = json.loads(line)
    print(json.dumps(rate(given) if what == "rate" else [refused(text) for text in given]), flush=True)
