"""Reading the documents: their sections, the tables in them, what stands in code."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"

_ROW = re.compile(r"^\| `(?P<name>[^`]+)` \|(?P<cells>.*)\|$", re.MULTILINE)


def reference(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return what stands below a heading, up to the next heading."""
    found = re.search(rf"^#+ {re.escape(heading)}$\n(?P<body>.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no heading {heading!r}"
    return without_code(found["body"])


def without_code(text: str) -> str:
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.MULTILINE | re.DOTALL)


def rows(text: str) -> dict[str, list[str]]:
    """Return the rows of tables whose first cell is one name in code: name -> the other cells."""
    return {row["name"]: [cell.strip() for cell in row["cells"].split(" | ")] for row in _ROW.finditer(text)}


def codes(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)
