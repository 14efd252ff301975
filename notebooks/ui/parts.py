"""Small parts of pages, as HTML text: pills, times, ids, numbers, facts and empty states.

Times and countdowns are written for the server's eye and then kept alive in the browser by the pulse widget,
which also puts them into the reader's own time zone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any, Literal

from ui import icons, present

State = Literal["good", "wait", "bad", "info", "off"]

_STATE_ICONS: dict[State, str] = {"good": "ok", "wait": "wait", "bad": "bad", "info": "info", "off": "off"}

# What an event is about, in words: the first three of these that its data holds. The live widget uses the same list.
SUMMARY_KEYS: tuple[str, ...] = (
    "provider",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "model",
    "error.type",
    "error_class",
    "message",
    "timmy.message",
    "reason",
    "title",
    "description",
    "tool",
    "name",
    "kind",
    "text",
    "memo",
    "status",
    "amount_msat",
    "latency_ms",
    "timmy.latency_ms",
    "failures",
    "session",
    "characters",
)
SUMMARY_PARTS = 3
_THOUSAND = 1000  # from here on the next unit reads better
SUMMARY_CHARS = 96


def pill(state: State, word: str, *, title: str = "") -> str:
    """Return a small status pill: an icon and a word, so colour is never alone."""
    hint = f' title="{escape(title, quote=True)}"' if title else ""
    return f'<span class="tw-pill tw-{state}"{hint}>{icons.icon(_STATE_ICONS[state], size=12)}{escape(word)}</span>'


def sentence(text: str) -> str:
    """Return words as a sentence: a capital first and a full stop last."""
    text = text.strip()
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '!', '?', '`')) else '.'}" if text else ""


def count(number: int) -> str:
    """Return a whole number with thousands apart: `1,204`."""
    return f"{number:,}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return `1 event` or `1,204 events`."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def latency(ms: float | None) -> str:
    """Return `412 ms`, `1.8 s`, or a dash where nothing was measured."""
    if ms is None:
        return "–"
    if ms < _THOUSAND:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.1f} s"


def size(octets: int) -> str:
    """Return `208 kB`, `1.4 MB`."""
    amount = float(octets)
    for unit in ("B", "kB", "MB"):
        if amount < _THOUSAND:
            return f"{amount:.0f} {unit}" if unit != "MB" else f"{amount:.1f} MB"
        amount /= 1000
    return f"{amount:.1f} GB"


def duration(seconds: float) -> str:
    """Return the largest unit that fits: `41 s`, `3 min`, `2 h`, `5 d`."""
    whole = max(0, round(seconds))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if whole >= length:
            return f"{whole // length} {unit}"
    return f"{whole} s"


def ago(moment: datetime | None, *, now: datetime | None = None) -> str:
    """Return a moment as `3 s ago`, with the whole time on hover; the browser keeps it counting."""
    if moment is None:
        return "never"
    words = f"{duration(((now or present.now()) - moment).total_seconds())} ago"
    return _time(moment, "ago", words)


def until(moment: datetime, *, now: datetime | None = None) -> str:
    """Return the time left to a probe as `in 41 s`, or that it is due; the browser keeps it counting down."""
    seconds = (moment - (now or present.now())).total_seconds()
    return _time(moment, "left", f"in {duration(seconds)}" if seconds > 0 else "with the next question")


def aged(moment: datetime, *, now: datetime | None = None) -> str:
    """Return how long ago a moment was as `3 min`; the browser keeps it counting."""
    return _time(moment, "age", duration(((now or present.now()) - moment).total_seconds()))


def ends(moment: datetime, *, now: datetime | None = None) -> str:
    """Return how long something goes on as `for 41 min`, or `no longer`; the browser keeps it counting down."""
    seconds = (moment - (now or present.now())).total_seconds()
    return _time(moment, "ends", f"for {duration(seconds)}" if seconds > 0 else "no longer")


def anew(moment: datetime, *, now: datetime | None = None) -> str:
    """Return when something begins as `in 6 h`; the browser keeps it counting down."""
    seconds = (moment - (now or present.now())).total_seconds()
    return _time(moment, "anew", f"in {duration(seconds)}" if seconds > 0 else "now")


def clock(moment: datetime) -> str:
    """Return a moment as `14:02`, in the reader's zone once the browser has seen it."""
    return _time(moment, "clock", f"{moment:%H:%M}")


def day(moment: datetime) -> str:
    """Return a moment's day as `22 Nov`, in the reader's zone once the browser has seen it."""
    return _time(moment, "day", f"{moment:%d %b}")


def moment(moment: datetime) -> str:
    """Return a moment with its day and milliseconds, in the reader's zone once the browser has seen it."""
    return _time(moment, "full", f"{moment:%d %b %Y %H:%M:%S}.{moment.microsecond // 1000:03d} UTC")


def minute(moment: datetime) -> str:
    """Return a moment with its day, to the minute, in the reader's zone once the browser has seen it."""
    return _time(moment, "minute", f"{moment:%d %b %Y %H:%M} UTC")


def ident(value: str | None, *, chars: int = 8) -> str:
    """Return an id shortened to its last characters; a click copies the whole of it."""
    if not value:
        return '<span class="tw-muted">–</span>'
    whole = escape(value, quote=True)
    short = escape(value if len(value) <= chars + 1 else "…" + value[-chars:])
    return f'<button type="button" class="tw-id" data-copy="{whole}" title="{whole} (click copies)">{short}</button>'


def command(text: str, *, copies: str = "") -> str:
    """Return a command to type, in one piece; a click copies it, or what it stands for."""
    whole = escape(copies or text, quote=True)
    return f'<button type="button" class="tw-command" data-copy="{whole}" title="click copies">{escape(text)}</button>'


def advice(text: str) -> str:
    """Return advice with every part in backticks as a command that can be copied."""
    pieces = text.split("`")
    return "".join(command(piece) if index % 2 else escape(piece) for index, piece in enumerate(pieces))


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return names and values side by side; the values are HTML already."""
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in pairs)
    return f'<dl class="tw-facts">{rows}</dl>'


def section(title: str, body: str, *, note: str = "") -> str:
    """Return a titled part of a page; the body is HTML already."""
    side = f'<span class="tw-muted">{note}</span>' if note else ""
    return f'<section class="tw-section"><h2>{escape(title)}{side}</h2>{body}</section>'


def empty(what: str, *, then: str = "") -> str:
    """Return what stands where nothing is yet: a sentence, and what to do next."""
    more = f"<p>{then}</p>" if then else ""
    return f'<div class="tw-empty"><p>{escape(what)}</p>{more}</div>'


def summary(data: Mapping[str, Any] | None) -> str:
    """Return an event's data in a few words; `redacted` where it was taken out."""
    if data is None:
        return "redacted"
    words = [_words(key, data[key]) for key in SUMMARY_KEYS if data.get(key) not in (None, "")]
    text = " · ".join(dict.fromkeys(words[:SUMMARY_PARTS])) or " · ".join(
        f"{key} {value}" for key, value in list(data.items())[:SUMMARY_PARTS] if isinstance(value, str | int | float)
    )
    return text if len(text) <= SUMMARY_CHARS else text[: SUMMARY_CHARS - 1] + "…"


def pretty(data: object) -> str:
    """Return JSON laid out for reading, escaped for HTML."""
    return f'<pre class="tw-json">{escape(json.dumps(data, indent=2, ensure_ascii=False, default=str))}</pre>'


def _words(key: str, value: object) -> str:
    if key.endswith("_ms") and isinstance(value, int | float):
        return latency(value)
    if key.endswith("_msat") and isinstance(value, int):
        return f"{value // 1000:,} sat"
    if key in ("failures", "characters"):
        return f"{value} {key}"
    if key == "session":
        return f"session {value}"
    return " ".join(str(value).split())


def _time(moment: datetime, style: str, words: str) -> str:
    iso = moment.astimezone(UTC).isoformat()
    return f'<time datetime="{iso}" data-style="{style}" title="{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC">{words}</time>'
