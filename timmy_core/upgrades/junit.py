"""Reads a report in JUnit's format, which comes from code that nobody trusts yet."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Verdict = Literal["passed", "skipped", "failed"]

MAX_TESTS: Final = 200_000
MAX_ID: Final = 400
_PIECE: Final = 1 << 16
_WORST: Final[Mapping[str, int]] = {"passed": 0, "skipped": 1, "failed": 2}
_OUTCOMES: Final[Mapping[str, Verdict]] = {"failure": "failed", "error": "failed", "skipped": "skipped"}


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict of each test by its id; `problem` says why there is none."""

    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    problem: str = ""

    def ids(self, *wanted: Verdict) -> frozenset[str]:
        """Return the tests with one of these verdicts."""
        return frozenset(id_ for id_, verdict in self.verdicts.items() if verdict in wanted)


def parse(content: bytes) -> Report:
    """Return what a report says; a test that stands in it more than once has the worst of its verdicts."""
    if not content:
        return Report(problem="the test command left no report")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Report(problem="the report is no JUnit file: it is not in UTF-8")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return Report(problem="the report defines words of its own, which no test runner does")
    verdicts: dict[str, Verdict] = {}
    try:
        for element in _test_cases(text):
            id_ = f"{element.get('classname', '')}::{element.get('name', '')}"
            if len(id_) > MAX_ID:
                id_ = id_[: MAX_ID - 1] + "…"
            verdict = _verdict(element)
            if _WORST[verdict] >= _WORST[verdicts.get(id_, "passed")]:
                verdicts[id_] = verdict
            if len(verdicts) > MAX_TESTS:
                return Report(problem=f"the report names more than {MAX_TESTS:,} tests")
    except (ET.ParseError, ValueError) as error:
        return Report(problem=f"the report is no JUnit file: {error}")
    return Report(verdicts)


def _test_cases(text: str) -> Iterator[ET.Element]:
    """Yield each test case once it is read whole; what was read is not kept."""
    # Text, not bytes: it cannot name another encoding. Without definitions of its own it cannot grow as it is read.
    reader: ET.XMLPullParser[ET.Element] = ET.XMLPullParser(("end",))
    for start in range(0, len(text), _PIECE):
        reader.feed(text[start : start + _PIECE])
        for _, *found in reader.read_events():
            element = found[0]
            if isinstance(element, ET.Element) and _name(element) == "testcase":
                yield element
                element.clear()
    reader.close()


def _verdict(element: ET.Element) -> Verdict:
    found = [_OUTCOMES[name] for name in map(_name, element) if name in _OUTCOMES]
    return max(found, key=_WORST.__getitem__, default="passed")


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
