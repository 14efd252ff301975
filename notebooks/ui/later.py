"""What a page shows whose room is not furnished yet: what will be there, and that it is not there now."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ui import icons, parts


def plan(items: Sequence[tuple[str, str]], *, now: str) -> str:
    """Return what will stand on a page, item by item.

    Args:
        items: name and meaning of each thing that will be there.
        now: what works today instead (HTML).
    """
    rows = "".join(
        f'<li><div class="tw-name"><b>{escape(name)}</b></div>{parts.pill("off", "not there yet")}'
        f'<div class="tw-more">{escape(meaning)}</div></li>'
        for name, meaning in items
    )
    today = f'<p class="tw-today">{icons.icon("info", size=15)}<span>{now}</span></p>'
    return parts.section("What will be here", f'<ul class="tw-list tw-plan">{rows}</ul>{today}')
