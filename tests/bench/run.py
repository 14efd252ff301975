"""Run every benchmark, one after the other, and print their tables.

    python tests/bench/run.py [append feed router steady peers money invoices ledger screen crowd start
        remember memory log upgrades]

Takes about 40 minutes, with a log of a million events, and wants a machine that does nothing else; each part alone
takes `--rounds` and more.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PARTS = (
    "append", "feed", "router", "steady", "peers", "money", "invoices", "ledger", "screen", "crowd",
    "start", "remember", "memory", "log", "upgrades",
)  # fmt: skip


def main() -> int:
    wanted = sys.argv[1:] or PARTS
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        print(f"{', '.join(unknown)}: no such benchmark; expected some of {', '.join(PARTS)}", file=sys.stderr)
        return 2
    failed = 0
    for name in wanted:
        print(f"## {name}\n", flush=True)
        failed += subprocess.run([sys.executable, str(HERE / f"{name}.py")], check=False).returncode != 0
        print(flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
