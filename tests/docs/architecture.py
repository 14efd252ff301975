"""Draw how the house is built, out of the code itself: `python -m tests.docs.architecture` writes it into the document.

Each drawing stands in `docs/architecture-v2.md` between `<!-- drawn: NAME -->` and `<!-- end -->`; what lies between is
made here and nowhere else. A test compares it with the code.
"""

from __future__ import annotations

import ast
import re
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from timmy_core.ledger.model import INVOICE_MOVES, PAYMENT_MOVES
from timmy_core.router.breaker import MOVES as CIRCUIT_MOVES
from timmy_core.server.pages import PAGES
from timmy_core.store.engine import Store
from timmy_core.swarm.model import TASK_MOVES
from timmy_core.upgrades.states import MOVES as PROPOSAL_MOVES
from timmy_core.upgrades.states import SHOWN as PEOPLE_SEE

from .documents import DOCS, ROOT
from .walks import walk_of_a_proposal, walk_of_a_question, walk_of_a_sat, walk_of_a_task

DOCUMENT: Final = DOCS / "architecture-v2.md"
PACKAGE: Final = ROOT / "timmy_core"
ROOMS: Final = ("router", "swarm", "ledger", "memory", "upgrades")

_DRAWN: Final = re.compile(r"<!-- drawn: (?P<name>[a-z-]+) -->\n(?P<body>.*?)<!-- end -->", re.DOTALL)


# Reading the code ------------------------------------------------------------------------------------------------


@cache
def modules() -> Mapping[str, ast.Module]:
    """Return every module below `timmy_core` by its name in the house, such as `router.breaker`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def first_line(name: str) -> str:
    """Return the first line of a module, as it stands in a cell of a table."""
    line = (ast.get_docstring(modules()[name]) or "").partition("\n")[0]
    assert line, f"{name} does not say in its first line what it is for"
    return line.replace("|", "\\|")


def imports(name: str) -> Iterator[str]:
    """Yield the modules of the house that a module imports, wherever it does."""
    for node in ast.walk(modules()[name]):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("timmy_core"):
            inside = (node.module or "").removeprefix("timmy_core").removeprefix(".")
            for alias in node.names:
                deeper = f"{inside}.{alias.name}".removeprefix(".")
                yield deeper if deeper in modules() else inside


def room(name: str) -> str:
    return name.partition(".")[0]


def layers() -> list[list[str]]:
    """Return the layers of the house from the top, as the check of the imports has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    house = next(contract for contract in contracts if contract["type"] == "layers")
    return [[name.strip() for name in re.split(r"[|:]", layer)] for layer in house["layers"]]


# Drawing ---------------------------------------------------------------------------------------------------------


def mermaid(lines: Iterable[str]) -> str:
    return "\n".join(("```mermaid", *lines, "```", ""))


def table(head: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> str:
    rows = [head, tuple("---" for _ in head), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def draw_layers() -> str:
    every = [["notebooks"], *layers()]
    boxes = [f'  layer{number}["{" · ".join(names)}"]' for number, names in enumerate(every)]
    return mermaid(["flowchart TB", *boxes, "  " + " --> ".join(f"layer{number}" for number in range(len(every)))])


def draw_rooms() -> str:
    top = [name for layer in layers() for name in layer]
    return table(("Module", "What it is for"), ((f"`{name}`", first_line(name)) for name in [*top, "testing"]))


def draw_imports() -> str:
    """Draw who imports whom between the larger parts; what everybody uses is left out."""
    parts = ["cli", "server", "timmy", *ROOMS, "events", "store"]
    edges = {(room(name), room(other)) for name in modules() for other in imports(name)}
    body = (
        (f"**{one}**", *("●" if (one, other) in edges and one != other else " " for other in parts)) for one in parts
    )
    return table(("imports", *parts), body)


def draw_wiring() -> str:
    """List what `timmy.py` takes out of each room: the faces that a room shows to the one who wires."""
    used = sorted({name for name in imports("timmy") if room(name) in (*ROOMS, "events", "store")})
    return table(("Face", "What it is for"), ((f"`{name}`", first_line(name)) for name in used))


def draw_protocols() -> str:
    """List the protocols of the rooms: what one asks of others without knowing who they are."""
    body = []
    for name, tree in modules().items():
        for node in tree.body:
            if room(name) in ROOMS and isinstance(node, ast.ClassDef) and asks_for_deeds(node):
                asks = (ast.get_docstring(node) or "").partition("\n")[0]
                body.append((f"`{name}`", f"`{node.name}`", asks.replace("|", "\\|")))
    return table(("Asked in", "Protocol", "What it stands for"), body)


def asks_for_deeds(node: ast.ClassDef) -> bool:
    """Whether it is a protocol with a method; one of properties alone only describes data."""
    methods = (inner for inner in node.body if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef))
    deeds = any("property" not in map(ast.unparse, method.decorator_list) for method in methods)
    return deeds and any(ast.unparse(base) == "Protocol" for base in node.bases)


def draw_threads() -> str:
    """List the threads and the processes that the code starts, with the module that starts them."""
    body = []
    for name, tree in modules().items():
        if room(name) == "testing":
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                given = {keyword.arg: keyword.value for keyword in node.keywords}
                if called.endswith("Thread") and isinstance(given.get("name"), ast.Constant):
                    body.append((f"thread `{ast.literal_eval(given['name'])}`", f"`{name}`", first_line(name)))
                elif called == "LoopThread":
                    body.append((f"thread `{ast.literal_eval(node.args[0])}`", f"`{name}`", first_line("loop")))
                elif called == "subprocess.Popen":
                    body.append(("a process", f"`{name}`", first_line(name)))
    return table(("What", "Started in", "Which is"), sorted(set(body)))


def states(moves: Iterable[tuple[str, str, str]], first: str) -> str:
    lines = ["stateDiagram-v2", f"  [*] --> {first}"]
    seen, leaves = [], set()
    for before, after, why in moves:
        lines.append(f"  {before} --> {after}{f': {why}' if why else ''}")
        seen.append(after)
        leaves.add(before)
    lines += [f"  {state} --> [*]" for state in dict.fromkeys(seen) if state not in leaves]
    return mermaid(lines)


def plain(moves: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, str, str]]:
    for before, after in moves.items():
        for state in in_order(after, moves):
            yield before, state, ""


def in_order(some: Iterable[str], everything: Iterable[str]) -> list[str]:
    return sorted(some, key=list(everything).index)


def draw_circuit() -> str:
    return states(((before, after, cause) for (before, cause), after in CIRCUIT_MOVES.items()), "closed")


def draw_tables() -> str:
    """List the tables by the file that makes them, with what they point to."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "timmy.db")
        with store.read() as connection:
            query = "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"
            made = {name: sql for name, sql in connection.execute(query) if not name.startswith("memory_words_")}
            points = {
                name: sorted({row[2] for row in connection.execute(f"PRAGMA foreign_key_list({name})")})
                for name in made
            }
        store.close()
    body = []
    for name in modules():
        if name.startswith("store.schema_"):
            text = (PACKAGE / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")
            own = [table_name for table_name in made if re.search(rf"CREATE (VIRTUAL )?TABLE {table_name}\b", text)]
            body.append((f"`{name}`", ", ".join(f"`{one}`" for one in own)))
    return (
        table(("Migration in", "Tables"), body)
        + "\n"
        + mermaid(["flowchart LR", *(f"  {one} --> {other}" for one, others in points.items() for other in others)])
    )


def draw_proposal() -> str:
    body = (
        (f"`{state}`", PEOPLE_SEE[state], ", ".join(f"`{one}`" for one in in_order(after, PROPOSAL_MOVES)) or "–")
        for state, after in PROPOSAL_MOVES.items()
    )
    return table(("A proposal is", "People see", "It may become"), body)


def draw_pages() -> str:
    return table(("Path", "Notebook"), ((f"`{page.path}`", f"`notebooks/{page.notebook}`") for page in PAGES))


DRAWINGS: Final[Mapping[str, Callable[[], str]]] = {
    "layers": draw_layers,
    "rooms": draw_rooms,
    "imports": draw_imports,
    "wiring": draw_wiring,
    "protocols": draw_protocols,
    "threads": draw_threads,
    "circuit": draw_circuit,
    "invoice": lambda: states(plain(INVOICE_MOVES), "open"),
    "payment": lambda: states(plain(PAYMENT_MOVES), "initiated"),
    "proposal": draw_proposal,
    "task": lambda: states(plain(TASK_MOVES), "bidding"),
    "tables": draw_tables,
    "pages": draw_pages,
    "question": lambda: mermaid(walk_of_a_question()),
    "sat": lambda: mermaid(walk_of_a_sat()),
    "work": lambda: mermaid(walk_of_a_task()),
    "change": lambda: mermaid(walk_of_a_proposal()),
}


def drawn(text: str) -> dict[str, str]:
    """Return the drawings that stand in a document: name -> what lies between its two marks."""
    return {found["name"]: found["body"] for found in _DRAWN.finditer(text)}


def redraw(text: str) -> str:
    """Return the document with every drawing made anew."""
    return _DRAWN.sub(lambda found: f"<!-- drawn: {found['name']} -->\n{DRAWINGS[found['name']]()}<!-- end -->", text)


if __name__ == "__main__":
    DOCUMENT.write_text(redraw(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
