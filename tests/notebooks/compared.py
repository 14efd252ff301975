"""Every page and lab as a Jupyter notebook: exported, executed on the sample, executed again by nbval, and compared.

`python -m tests.notebooks.compared [PAGE …]`. Both times there is one kernel for all of them, emptied between two
pages, so that the libraries are loaded twice and not eighteen times. The home is a copy of the sample in which time
stands still, so that a page that does not say the same twice has something in it that is left to chance.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from timmy_core.testing.sample.open import open_copy

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
CELL_S = 120
# What is made anew in every process and says nothing: ids of widgets and cells, names that altair gives.
SANITIZE = r"""
[ids]
regex: [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}
replace: AN-ID

[altair]
regex: altair-viz-[0-9a-f]+
replace: altair-viz-ID

[hexes]
regex: \b[0-9a-f]{32}\b
replace: AN-ID

[objects]
regex: object at 0x[0-9a-f]+
replace: object

[took]
regex: \b[0-9]+(\.[0-9]+)? (ms|µs)\b
replace: A-TIME
"""
# Kept: what belongs to the kernel itself, so that the next page begins with nothing but loaded libraries.
EMPTY = "get_ipython().run_line_magic('reset', '-f')"


def main(pages: Sequence[str]) -> None:
    """Export, execute and compare; ends with 1 and what differs where a page is not the same twice."""
    with tempfile.TemporaryDirectory(prefix="timmy-notebooks-") as name:
        folder = Path(name)
        open_copy(folder / "home", now=datetime.now(UTC), still=True)
        environment = {**os.environ, "TIMMY_HOME": str(folder / "home"), "PYTHONPATH": f"{NOTEBOOKS}:{ROOT}"}
        os.environ.update(environment)
        began_s = time.monotonic()
        book = together(folder, pages)
        print(f"{len(pages)} notebooks exported: {len(book.cells)} cells, {time.monotonic() - began_s:.1f} s")
        try:
            NotebookClient(book, timeout=CELL_S, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
        except CellExecutionError as error:
            sys.exit(f"a page does not run in Jupyter: {error}")
        shown = sum(bool(cell.get("outputs")) for cell in book.cells)
        print(f"executed: {shown} cells show something, {time.monotonic() - began_s:.1f} s")
        if shown < len(pages):
            sys.exit("fewer cells show something than there are pages, so there is nothing to compare")
        nbformat.write(book, folder / "pages.ipynb")
        (folder / "sanitize.cfg").write_text(SANITIZE, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "--nbval",
                   f"--nbval-cell-timeout={CELL_S}", "--rootdir", str(folder), "-c", os.devnull,
                   "--nbval-sanitize-with", str(folder / "sanitize.cfg"), str(folder / "pages.ipynb")]  # fmt: skip
        compared = subprocess.run(command, cwd=NOTEBOOKS, env=environment, check=False)
        print(f"executed again and compared: {time.monotonic() - began_s:.1f} s")
        sys.exit(compared.returncode)


def together(folder: Path, pages: Sequence[str]) -> Any:
    """Return one Jupyter notebook with the cells of all pages, each page beginning with nothing."""
    from marimo._cli.cli import main as marimo

    book = nbformat.v4.new_notebook()
    for page in pages:
        target = folder / f"{page}.ipynb"
        # In this process, because starting marimo takes longer than exporting.
        marimo(["export", "ipynb", str(NOTEBOOKS / f"{page}.py"), "-o", str(target)], standalone_mode=False)
        exported = nbformat.read(target, nbformat.NO_CONVERT)
        book.cells += [nbformat.v4.new_code_cell(EMPTY), *exported.cells]
        book.metadata |= exported.metadata
    for number, cell in enumerate(book.cells):
        cell["id"] = f"cell-{number}"
    return book


if __name__ == "__main__":
    main(sys.argv[1:] or [path.stem for path in sorted(NOTEBOOKS.glob("*.py"))])
