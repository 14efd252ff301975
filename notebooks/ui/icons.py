"""The inline SVG icons: 24 x 24, one stroke, drawn in the colour of the text around them."""

from __future__ import annotations

from ui import palette

PATHS: dict[str, str] = {
    # pages
    "home": "M4 11 12 4l8 7v9h-5v-6H9v6H4z",
    "live": "M3 12h4l2.5-7 5 14 2.5-7h4",
    "events": "M4 6h2M9 6h11M4 12h2M9 12h11M4 18h2M9 18h11",
    "ledger": "M13 3 5 14h6l-1 7 9-11h-6z",
    "memory": "M5 5h14v14H5zM9 9h6v6H9zM9 2v3M15 2v3M9 19v3M15 19v3M2 9h3M2 15h3M19 9h3M19 15h3",
    "router": "M5 5v4a3 3 0 0 0 3 3h8a3 3 0 0 1 3 3v4M5 12v7M3 17l2 2 2-2M17 17l2 2 2-2",
    "upgrades": "M12 20V5M6 11l6-6 6 6M5 20h14",
    "labs": "M9 3h6M10 3v6L4.500 19a1.500 1.500 0 0 0 1.300 2h12.400a1.500 1.500 0 0 0 1.300-2L14 9V3M7.500 15h9",
    "more": "M4 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0M11 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0M18 12a1 1 0 1 0 2 0 1 1 0 1 0-2 0",
    # states
    "ok": "M5 12.5 10 17 19 7",
    "wait": "M12 7v5l3 2M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
    "bad": "M6 6l12 12M18 6 6 18",
    "off": "M6 12h12",
    "info": "M12 11v6M12 7v.5M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
    "warn": "M12 4 3 20h18zM12 10v5M12 17v.5",
    "go": "M8 5h11v11M19 5 6 18",
    # event families
    "chat": "M4 5h16v11H10l-4 4v-4H4z",
    "llm": "M12 3l2 6 6 3-6 3-2 6-2-6-6-3 6-3z",
    "circuit": "M3 12h6M15 12h6M9 12l6-5",
    "provider": "M5 4h14v6H5zM5 14h14v6H5zM8 7h.5M8 17h.5",
    "task": "M5 5h14v14H5zM8.5 12l2.5 2.5 4.5-5",
    "agent": "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM5 21c0-4 3-6 7-6s7 2 7 6",
    "bid": "M12 4v16M16 7c-1-1-2-1.500-4-1.500-2.500 0-4 1-4 3s1.500 2.500 4 3 4 1 4 3-1.500 3-4 3c-2 0-3-.5-4-1.500",
    "auction": "M4 20h9M6 9l6 6M9 6l6 6M11 4l6 6M7 8l4-4M13 14l4-4M14 12l6 6",
    "tool": "M14 7a4 4 0 0 1 5-3l-3 3 1 2 2 1 3-3a4 4 0 0 1-5 5l-8 8-3-3z",
    "system": "M12 9a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM12 3v3M12 18v3M3 12h3M18 12h3M6 6l2 2M16 16l2 2M6 18l2-2M16 8l2-2",
    "invoice": "M12 4v14M6 12l6 6 6-6",
    "payment": "M12 20V6M6 12l6-6 6 6",
    "budget": "M4 7h16v12H4zM4 11h16M15 15h2",
    "upgrade": "M12 20V5M6 11l6-6 6 6",
    "alert": "M6 16v-5a6 6 0 0 1 12 0v5l2 2H4zM10 21h4",
    "log": "M6 3h9l4 4v14H6zM9 11h7M9 15h7",
}


def icon(name: str, *, size: int = 16) -> str:
    """Return the icon as SVG; an unknown name is drawn as a dot."""
    path = PATHS.get(name, "M12 10a2 2 0 1 0 0 4 2 2 0 0 0 0-4z")
    return (
        f'<svg class="tw-icon" width="{size}" height="{size}" viewBox="0 0 24 24" fill="none" stroke="currentColor" '
        f'stroke-width="1.75" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true"><path d="{path}"></path></svg>'
    )


def family_icon(family: str, *, size: int = 14) -> str:
    """Return the icon of an event family in the family's colour."""
    return f'<span class="tw-family" style="color:{palette.family_color(family)}">{icon(family, size=size)}</span>'
