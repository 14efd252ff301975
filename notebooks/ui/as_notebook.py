"""A view of the log as a marimo notebook of its own: the same filters, ready to be explored further."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_TEMPLATE = """# /// script
# requires-python = ">=3.11"
# dependencies = ["marimo", "timmy-workbench"]
# ///

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="full", app_title="Events, explored")

with app.setup:
    import os

    import marimo as mo

    from timmy_core import Wanted, open_timmy

    # The home whose log this is about; TIMMY_HOME wins, so that the notebook works elsewhere too.
    HOME = os.environ.get("TIMMY_HOME", {home})


@app.cell
def question():
    wanted = Wanted.of({query})
    mo.md("# Events\\n\\n" + (", ".join(f"{{name}} `{{value}}`" for name, value in wanted.described().items()) or "all"))
    return (wanted,)


@app.cell
def core():
    timmy = open_timmy(HOME)
    return (timmy,)


@app.cell
def events(timmy, wanted):
    events = timmy.explorer.frame(wanted, limit=10_000)
    mo.ui.table(events, page_size=15)
    return (events,)


@app.cell
def by_type(events):
    counted = events.group_by("type").len("events").sort("events", descending=True)
    mo.ui.table(counted)
    return


{sql}if __name__ == "__main__":
    app.run()
"""


_SQL_CELL = '''@app.cell
def over_time(timmy):
    over_time = timmy.sql(
        """
{sql}
        """
    )
    mo.ui.table(over_time)
    return


'''


def notebook(wanted: Mapping[str, str], *, home: Path, sql: str) -> str:
    """Return the text of a marimo notebook that shows what the events page shows.

    Args:
        wanted: the filter, as `Wanted.described` gives it.
        home: the home that the page showed.
        sql: the query behind the chart; empty where there is none.
    """
    lines = "\n".join(f"        {line}" if line else "" for line in _escaped(sql).splitlines())
    cell = _SQL_CELL.format(sql=lines) if sql else ""
    return _TEMPLATE.format(home=_literal(str(home)), query=_mapping(wanted), sql=cell)


def _mapping(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{_literal(key)}: {_literal(value)}" for key, value in values.items()) + "}"


def _literal(text: str) -> str:
    """Return a text as Python writes it, in double quotes."""
    inner = repr('"' + text)[2:-1].replace("\\'", "'")
    return '"' + inner.replace('"', '\\"') + '"'


def _escaped(sql: str) -> str:
    """Return SQL for a string of three double quotes."""
    return sql.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
