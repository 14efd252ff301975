"""The frame that every page stands in: the rail, the title and the line that answers the page's question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import marimo as mo

from ui import present
from ui.icons import icon

if TYPE_CHECKING:
    from timmy_core import Timmy


@dataclass(frozen=True, slots=True)
class Page:
    """One place in the navigation; `bar` says that it also has a place at the foot of a phone's screen."""

    key: str
    word: str
    path: str
    bar: bool = True


PAGES: tuple[Page, ...] = (
    Page("home", "Home", "/"),
    Page("live", "Live", "/swarm/live"),
    Page("events", "Events", "/swarm/events"),
    Page("ledger", "Ledger", "/lightning/ledger", bar=False),
    Page("memory", "Memory", "/memory", bar=False),
    Page("router", "Router", "/router/status"),
    Page("upgrades", "Upgrades", "/self-modify/queue"),
    Page("labs", "Labs", "/labs/latency", bar=False),
)

_MARK = (
    '<svg width="22" height="22" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" '
    'stroke-linecap="round" aria-hidden="true"><path d="M5 6h14M12 6v12"></path><path d="M8 18h8"></path></svg>'
)


def rail(current: str, timmy: Timmy) -> mo.Html:
    """Return the navigation with the current page marked: a rail, or a bar at phone width; go by this home's clock."""
    present.follow(timmy)
    links = "".join(_link(page, current=page.key == current) for page in PAGES)
    mode = "edit" if mo.app_meta().mode == "edit" else "run"
    six = "" if any(page.bar for page in PAGES if page.key == current) else " tw-six"
    return mo.Html(
        f'<nav class="tw-rail tw-rail-{mode}{six}" aria-label="Pages"><a class="tw-mark" href="/" title="Timmy Workbench">{_MARK}</a>'
        f'{links}<span class="tw-connection" data-state="connecting" role="status" title="connecting to the live feed">'
        f'<i></i><span class="tw-word">connecting</span></span></nav>{_demonstration(timmy)}'
    )


def _demonstration(timmy: Timmy) -> str:
    """Say on every page of a demonstration that it is one; the browser's clock is moved by what stands beside it."""
    demo = timmy.settings.demo
    if demo is None:
        return ""
    return (
        f'<div class="tw-demo" role="note" data-moved-ms="{present.moved_ms(timmy)}"><b>Demonstration</b> '
        f"<span>a made-up workshop up to {demo.ends_at:%d %b %Y}; its models, its sats and its time are not real</span></div>"
    )


def query() -> Mapping[str, Any]:
    """Return what the page's address asks for; nothing where there is no address, as in Jupyter."""
    return mo.query_params() if mo.app_meta().mode in ("edit", "run", "script") else {}


def header(title: str, line: str, *, plain: str = "", more: str = "") -> mo.Html:
    """Return a page's title, the first line that answers its question, one line of plain words, and more (HTML)."""
    below = (f'<p class="tw-plain">{escape(plain)}</p>' if plain else "") + more
    return mo.Html(f'<header class="tw-header"><h1>{escape(title)}</h1><p class="tw-line">{line}</p>{below}</header>')


def _link(page: Page, *, current: bool) -> str:
    mark = ' aria-current="page"' if current else ""
    bar = "" if page.bar or current else " tw-wide-only"
    # How many proposals wait; the pulse fills it in, on every page.
    badge = '<b class="tw-badge" data-pending="" aria-hidden="true"> </b>' if page.key == "upgrades" else ""
    return (
        f'<a class="tw-nav{bar}" href="{page.path}"{mark}>{icon(page.key, size=20)}'
        f'<span class="tw-word">{page.word}</span>{badge}</a>'
    )
