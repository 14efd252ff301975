"""Print a command of the README, so that what is checked is what a newcomer copies: `readme.py start|test`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def command(name: str) -> str:
    """Return the one line of shell behind the README's marker `<!-- command: NAME -->`."""
    pattern = rf"<!-- command: {re.escape(name)} -->\s*```sh\n(?P<line>[^\n]+)\n```"
    found = re.findall(pattern, README.read_text(encoding="utf-8"))
    if len(found) != 1:
        message = f"the README has {len(found)} one-line commands marked {name!r}; expected one"
        raise SystemExit(message)
    return str(found[0])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(command(sys.argv[1]))
