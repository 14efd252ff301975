"""Every table as a file: CSV for a spreadsheet, Parquet for polars, DuckDB and others; the same words on every page."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, Final

import anywidget
import marimo as mo

from timmy_core import TimmyError
from timmy_core.memory import overview
from ui import filters, measures, parts
from ui.asking import CHUNK, FILES
from ui.entries import wanted as of_ledger
from ui.joined import joined

if TYPE_CHECKING:
    import polars as pl

    from timmy_core import Timmy

    Table = Callable[[], pl.DataFrame]

MOST: Final = 100_000  # rows of a file; as many as a frame has
_FORMULA: Final = (
    r"^[=+\-@\t\r\n\x{ff1d}\x{ff0b}\x{ff0d}\x{ff20}']"  # what a spreadsheet would compute, and what marks it
)
_PAGE: Final = 5_000
_FOUND: Final = 1_000  # as many as a search finds
_LEDGER = (
    "created_at", "id", "direction", "status", "shown", "node", "amount_msat", "received_msat", "fee_msat", "memo", "payee",
    "failure", "source", "agent_id", "task_id", "trace_id", "payment_hash", "settled_at", "expires_at",
)  # fmt: skip
_MEMORY = (
    "created_at", "seq", "id", "kind", "state", "scope", "agent_id", "session", "task_id", "trace_id", "source", "speaker",
    "subject", "text", "importance", "valid_from", "valid_to", "metadata",
)  # fmt: skip


class Saving(anywidget.AnyWidget):
    """Draws nothing; the buttons of `links` ask it for a table, wherever on the page they stand.

    Args:
        tables: what gives the rows of each table that the page has, the newest `MOST` of them.
    """

    _esm = joined("dom.js", "hands.js", "saving.js")
    _css = joined("hands.css")

    def __init__(self, **tables: Table) -> None:
        super().__init__()
        self._tables = tables
        self.on_msg(self._asked)

    def offer(self, name: str, rows: pl.DataFrame) -> None:
        """Have rows at hand that are shown already."""
        self._tables[name] = lambda: rows

    def _asked(self, _widget: object, content: Mapping[str, Any], _buffers: object) -> None:
        name, format_ = content.get("table"), content.get("format")
        if name in self._tables and format_ in ("csv", "parquet"):
            # On a thread of its own, so that the page goes on meanwhile; what it needs is handed over.
            arguments = (self.send, self._tables[name], name, format_)
            mo.Thread(target=send_table, args=arguments, daemon=True).start()


def links(name: str) -> str:
    """Return the two buttons that save a table. HTML."""
    made = [
        f'<button type="button" class="tw-save-as" data-save="{escape(json.dumps({"table": name, "format": format_}), quote=True)}" '
        f'title="save this table as {word}">{word}</button>'
        for format_, word in (("csv", "CSV"), ("parquet", "Parquet"))
    ]
    return f'<span class="tw-saves">Export {" ".join(made)}</span>'


def send_table(send: Callable[..., Any], table: Table, name: str, format_: str) -> None:
    """Send a table to the browser piece by piece, and what to say about it."""
    try:
        rows = table().head(MOST)
    except TimmyError as error:
        send({"kind": "said", "words": parts.sentence(str(error))})
        return
    data = written(rows, format_)
    for start in range(0, len(data), CHUNK):
        send({"kind": "chunk"}, [data[start : start + CHUNK]])
    cut = f": the newest {MOST:,}" if len(rows) == MOST else ""
    told = f"{parts.plural(len(rows), 'row')} saved as {name}.{format_}{cut}."
    send({"kind": "file", "name": f"{name}.{format_}", "type": FILES[format_][1], "words": told})


def written(rows: pl.DataFrame, format_: str) -> bytes:
    """Return rows as the bytes of a file; in CSV what is nested is JSON text, and what looks like a formula is none."""
    out = io.BytesIO()
    if format_ == "parquet":
        rows.write_parquet(out)
        return out.getvalue()
    import polars as pl

    nested = [name for name, kind in rows.schema.items() if kind.is_nested()]
    flat = [
        pl.Series(name, [json.dumps(value, default=str) for value in rows[name].to_list()], dtype=pl.String)
        for name in nested
    ]
    text = pl.col(pl.String)
    harmless = pl.when(text.str.contains(_FORMULA)).then("'" + text).otherwise(text)
    rows.with_columns(flat).with_columns(harmless.name.keep()).write_csv(out)
    return out.getvalue()


# The tables of the pages -------------------------------------------------------------------------------------


def attempts(timmy: Timmy, choice: Any) -> pl.DataFrame:
    """Return the attempts of the chosen time, newest first."""
    since, until = measures.span(choice.query, timmy.clock.now())
    only = {"provider": choice.query["provider"]} if choice.query.get("provider") else {}
    return timmy.frame("attempts", since=since, until=until, limit=MOST, **only).reverse()


def ledger(timmy: Timmy, sought: Any) -> pl.DataFrame:
    """Return the invoices and payments that the filters leave, newest first."""
    return _table(
        _LEDGER, _paged(lambda cursor: timmy.ledger.list(limit=_PAGE, cursor=cursor, **of_ledger(sought.query)))
    )


def memory(timmy: Timmy, sought: Any) -> pl.DataFrame:
    """Return the entries that are shown: the best with words, the newest without."""
    words = str(sought.query.get("text") or "").strip()
    where = filters.wanted(sought.query, timmy.clock.now())
    if words:
        # The owner looks everywhere, as in the list itself.
        scopes = overview.scopes(timmy.store) if {"agent_id", "session"} & set(where) else None
        found = timmy.memory.search(words, limit=_FOUND, scopes=scopes, **where)
        return _table(_MEMORY, [match.entry for match in found])
    return _table(
        _MEMORY, _paged(lambda cursor: timmy.memory.list(limit=_PAGE, cursor=cursor, state="stored", **where))
    )


def _paged(page: Callable[[Any], Any]) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while len(found) < MOST:
        some = page(cursor)
        found += some.entries
        cursor = some.cursor
        if cursor is None:
            break
    return found[:MOST]


def _table(names: Sequence[str], entries: Iterable[Any]) -> pl.DataFrame:
    import polars as pl

    rows = [[_plain(getattr(one, name, None)) for name in names] for one in entries]
    return pl.DataFrame(rows, schema=list(names), orient="row", infer_schema_length=None)


def _plain(value: Any) -> Any:
    return json.dumps(dict(value), default=str) if isinstance(value, Mapping) else value
