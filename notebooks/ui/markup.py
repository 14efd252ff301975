"""Buttons as HTML: each carries the order that its page's hands carry out."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from json import dumps
from typing import Any


def act(words: str, order: Mapping[str, Any], *, style: str = "", title: str = "", carries: str = "keep") -> str:
    """Return a button that carries an order; `style` is `safe`, `danger` or nothing; `carries` says whose hands obey."""
    css = f"tw-act tw-act-{style}" if style else "tw-act"
    hint = f' title="{escape(title, quote=True)}"' if title else ""
    return f'<button type="button" class="{css}"{hint} data-{carries}="{escape(dumps(order), quote=True)}">{escape(words)}</button>'


def seek(query: Mapping[str, str], words: str) -> str:
    """Return a link that shows entries in the page's list."""
    return f'<a href="#" data-seek="{escape(dumps(query), quote=True)}">{escape(words)}</a>'
