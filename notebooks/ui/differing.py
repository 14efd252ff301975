"""A proposal's diff in the browser: a tree of its files, side by side or in one column, unchanged lines on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anywidget
import marimo as mo
import traitlets

from timmy_core import TimmyError
from ui import coloring, parts
from ui.joined import joined

if TYPE_CHECKING:
    from timmy_core import Timmy
    from timmy_core.upgrades.model import Diff, FileDiff, Hunk, Line, Proposal

Row = list[Any]  # sign, number before, number after, HTML
AT_ONCE = 1_500  # lines that come with the page; more come when a file is opened
GAP_AT_ONCE = 400


class Differing(anywidget.AnyWidget):
    """Draws a diff; files that are long, and lines that did not change, are asked for when somebody wants them.

    Args:
        timmy: whose proposals they are.
    """

    _esm = joined("dom.js", "differing.js")
    _css = joined("differing.css")

    shown = traitlets.Dict().tag(sync=True)

    def __init__(self, timmy: Timmy) -> None:
        super().__init__(shown={})
        self._timmy = timmy
        self._key = ""
        self._diff: Diff | None = None
        self.on_msg(self._asked)

    def show(self, proposal: Proposal | None) -> None:
        """Show a proposal's diff, or none; what is shown already stays as it is."""
        key = "" if proposal is None else f"{proposal.id} {proposal.candidate.sha if proposal.candidate else ''}"
        if key == self._key:
            return
        self._key, self._diff = key, None
        if proposal is None:
            self.shown = {}
            return
        try:
            self._diff = self._timmy.upgrades.diff(proposal.id)
        except TimmyError as error:
            self.shown = {"key": key, "problem": parts.sentence(str(error)), "files": []}
            return
        self.shown = {"key": key, "problem": "", "cut": self._diff.cut, "files": self._files(self._diff)}

    def _files(self, diff: Diff) -> list[dict[str, Any]]:
        left, files = AT_ONCE, []
        for number, file in enumerate(diff.files):
            lines = sum(len(hunk.lines) for hunk in file.hunks)
            described = _described(number, file, lines)
            if lines <= left:
                left -= lines
                described |= self._opened(file)
            files.append(described)
        return files

    def _opened(self, file: FileDiff) -> dict[str, Any]:
        """Return a file's hunks, and how many lines it has now, so that it is known what more can be shown."""
        old, new = self._colored(file)
        return {"hunks": [_hunk(hunk, old, new) for hunk in file.hunks], "end": _length(new)}

    def _colored(self, file: FileDiff) -> tuple[Sequence[Sequence[coloring.Piece]], ...]:
        """Return both sides of a file, coloured as wholes, so that what began far above a hunk counts."""
        path = file.change.path
        if self._diff is None:
            return (), ()
        before, after = self._timmy.upgrades.texts(self._diff.proposal_id, path)
        return tuple(() if text is None else coloring.colored(path, text) for text in (before, after))

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        mo.Thread(target=answer, args=(self.send, self, dict(content), parts.sentence), daemon=True).start()

    def reply(self, order: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what was asked for: a file's hunks, or lines that did not change."""
        number = order.get("file")
        if self._diff is None or order.get("key") != self._key or not isinstance(number, int):
            return None
        if not 0 <= number < len(self._diff.files):
            return None
        file = self._diff.files[number]
        if order.get("kind") == "file":
            return self._opened(file)
        return {"rows": self._gap(file, int(order["old"]), int(order["new"]), int(order["count"]))}

    def _gap(self, file: FileDiff, old: int, new: int, count: int) -> list[Row]:
        _, after = self._colored(file)
        begin = max(0, new - 1)
        found = after[begin : min(_length(after), begin + min(GAP_AT_ONCE, max(0, count)))]
        return [[" ", old + place, new + place, coloring.html(pieces)] for place, pieces in enumerate(found)]


def answer(
    send: Callable[[Any], None], widget: Differing, order: Mapping[str, Any], words: Callable[[str], str]
) -> None:
    """Send what a browser asked for, or why it cannot be had."""
    try:
        found = widget.reply(order)
    except TimmyError as error:
        found = {"problem": words(str(error))}
    if found is not None:
        send({"number": order.get("number"), **found})


def _length(lines: Sequence[Sequence[coloring.Piece]]) -> int:
    """Return how many lines a file has; the end of its last line begins no other."""
    return len(lines) - bool(lines and not lines[-1])


def _described(number: int, file: FileDiff, lines: int) -> dict[str, Any]:
    change = file.change
    mode = (
        f"{change.old_mode} → {change.new_mode}"
        if change.status == "changed" and change.old_mode != change.new_mode
        else ""
    )
    return {
        "number": number,
        "path": change.path,
        "status": change.status,
        "added": change.added,
        "removed": change.removed,
        "binary": change.binary,
        "mode": mode,
        "cut": file.cut,
        "lines": lines,
        "hunks": None,
        "end": 0,
    }


def _hunk(
    hunk: Hunk, old: Sequence[Sequence[coloring.Piece]], new: Sequence[Sequence[coloring.Piece]]
) -> dict[str, Any]:
    marks = _marks(hunk.lines)
    rows = [_row(line, old, new, marks.get(place, ())) for place, line in enumerate(hunk.lines)]
    return {"old": hunk.old_start, "new": hunk.new_start, "heading": hunk.heading, "rows": rows}


def _row(
    line: Line,
    old: Sequence[Sequence[coloring.Piece]],
    new: Sequence[Sequence[coloring.Piece]],
    marks: Sequence[coloring.Span],
) -> Row:
    side, number = (old, line.old) if line.sign == "-" else (new, line.new)
    pieces: Sequence[coloring.Piece] = ((line.text, ""),)
    if number is not None and number <= len(side):
        whole = side[number - 1]
        # A line that was cut, or that has characters no text has, stays as it came.
        pieces = whole if "".join(text for text, _ in whole) == line.text else pieces
    return [line.sign, line.old, line.new, coloring.html(pieces, marks)]


def _marks(lines: Sequence[Line]) -> dict[int, Sequence[coloring.Span]]:
    """Return the changed words of lines that stand for each other: the first removed and the first added, and so on."""
    found: dict[int, Sequence[coloring.Span]] = {}
    place = 0
    while place < len(lines):
        gone = _run(lines, place, "-")
        come = _run(lines, place + gone, "+")
        for step in range(min(gone, come)):
            before, after = place + step, place + gone + step
            found[before], found[after] = coloring.changed_words(lines[before].text, lines[after].text)
        place += max(1, gone + come)
    return found


def _run(lines: Sequence[Line], place: int, sign: str) -> int:
    count = 0
    while place + count < len(lines) and lines[place + count].sign == sign:
        count += 1
    return count
