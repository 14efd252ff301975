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
    """One place in the navigation; `bar` says that it has a place at the foot of a phone's screen, beside More."""

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

_REST = tuple(page for page in PAGES if not page.bar)

_MARK = (
    '<svg width="22" height="22" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" '
    'stroke-linecap="round" aria-hidden="true"><path d="M5 6h14M12 6v12"></path><path d="M8 18h8"></path></svg>'
)


def rail(current: str, timmy: Timmy) -> mo.Html:
    """Return the navigation with the current page marked: a rail, or a bar at phone width; go by this home's clock."""
    present.follow(timmy)
    links = "".join(_link(page, current=page.key == current) for page in PAGES) + _more(current)
    mode = "edit" if mo.app_meta().mode == "edit" else "run"
    return mo.Html(
        f'<nav class="tw-rail tw-rail-{mode}" aria-label="Pages"><a class="tw-mark" href="/" title="Timmy Workbench">{_MARK}</a>'
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
    # What has no place of its own on a phone stands above More there, the first of them at the top.
    bar = "" if page.bar else " tw-rest"
    place = "" if page.bar else f' style="--tw-place: {_REST[::-1].index(page)}"'
    # How many proposals wait; the pulse fills it in, on every page.
    badge = '<b class="tw-badge" data-pending="" aria-hidden="true"> </b>' if page.key == "upgrades" else ""
    return (
        f'<a class="tw-nav{bar}" href="{page.path}"{place}{mark}>{icon(page.key, size=20)}'
        f'<span class="tw-word">{page.word}</span>{badge}</a>'
    )


def _more(current: str) -> str:
    """Return the sixth place of a phone's bar, which opens the rest; marked while the current page is one of them."""
    here = next((page.word for page in _REST if page.key == current), "")
    told = f' data-current="" aria-label="More; this page is {here}"' if here else ""
    return (
        f'<details class="tw-others" style="--tw-rest: {len(_REST)}"><summary class="tw-nav"{told}>{icon("more", size=20)}'
        '<span class="tw-word">More</span></summary></details>'
    )
