"""Every document can be reached, and every link in one leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .documents import DOCS, ROOT, codes, without_code

DOCUMENTS = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "data" / "README.md"])

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def anchor(heading: str) -> str:
    """Return a heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=[str(path.relative_to(ROOT)) for path in DOCUMENTS])
def test_every_link_to_a_document_resolves(document: Path) -> None:
    for found in _LINK.finditer(without_code(document.read_text(encoding="utf-8"))):
        target, _, fragment = found["target"].partition("#")
        if ":" in target:
            continue
        path = (document.parent / target).resolve() if target else document
        assert path.exists(), f"{target} does not exist"
        if fragment:
            headings = re.findall(r"^#+ (.+)$", without_code(path.read_text(encoding="utf-8")), re.MULTILINE)
            assert fragment in {anchor(heading) for heading in headings}, f"{target} has no heading #{fragment}"


@pytest.mark.parametrize("name", ["IMPLEMENTATION_SUMMARY.md", "architecture-v2.md"])
def test_every_path_that_a_summary_names_is_there(name: str) -> None:
    text = without_code((DOCS / name).read_text(encoding="utf-8"))
    named = {path for path in codes(text) if path.split("/")[0] in ("timmy_core", "notebooks", "tests", "docs", ".ci")}
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_every_document_is_in_the_index() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    inside = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} - {"README.md"}
    assert {path for path in inside if f"({path})" not in index} == set()
