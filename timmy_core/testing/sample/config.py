"""The configuration of the sample's home, and of a copy of it: the same, with another address and another time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

BEGAN: Final = datetime(2026, 10, 22, 6, 0, tzinfo=UTC)
DAYS: Final = 30
REPO: Final = "repo"  # in the home: what the demonstration's Timmy may propose changes to
NOWHERE: Final = "http://127.0.0.1:9"  # where nothing listens
PERSON: Final = "ann"
PIN: Final = "blue-heron-41"

_TABLES: Final = """\
[budget]
day_usd = 2
month_usd = 20

[memory]
recall_s = 10

[ledger]
reconcile_minutes = {reconcile}

[ledger.budgets.echo]
day_sats = 400
[ledger.budgets.timmy]
day_sats = 3_000

[upgrades]
repo = "{repo}"
expiry_h = 8000
history_days = 36500
test_s = 120
test_command = ["{{python}}", "check.py", "{{report}}"]

[swarm]
bidding_s = 5

[[nodes]]
name = "play"
kind = "play"
play_sats = 60_000

[[providers]]
name = "ollama"
kind = "ollama"
base_url = "{url}"
models = {{ default = "llama3.2", large = "qwen3:14b" }}
priority = 1

[[providers]]
name = "garage"
kind = "openai"
base_url = "{url}/v1"
api_key = "none"
local = true
models = {{ default = "gemma-3-12b" }}
priority = 2

[[providers]]
name = "claude"
kind = "anthropic"
base_url = "{url}"
api_key = "none"
local = false
models = {{ default = "claude-haiku-4-5" }}
price = {{ input = 1, output = 5 }}
priority = 10

[[providers]]
name = "openai"
kind = "openai"
base_url = "{url}/v1"
api_key = "none"
local = false
models = {{ default = "gpt-5.6-luna" }}
price = {{ input = 0.6, output = 3 }}
priority = 11
"""


def configuration(home: Path, *, url: str = NOWHERE, reconcile: float = 0) -> str:
    """Return the text of `timmy.toml`.

    Args:
        home: where the home is.
        url: where the providers are played.
        reconcile: after how many minutes the ledger is compared with its node; 0 for never.
    """
    return _TABLES.format(url=url, repo=home / REPO, reconcile=reconcile)
