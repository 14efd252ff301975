"""A process of its own that works on a store's vectors: `index_child.py TASK DATABASE INDEX FIRST COUNT`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from timmy_core.memory.index.vectors import Vectors
from timmy_core.store.engine import Store

_made = importlib.util.spec_from_file_location("made_vectors", Path(__file__).with_name("made_vectors.py"))
assert _made is not None
assert _made.loader is not None
made = importlib.util.module_from_spec(_made)
_made.loader.exec_module(made)


def main() -> None:
    task, database, index = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    first, count = int(sys.argv[4]), int(sys.argv[5])
    store = Store.open(database)
    vectors = Vectors(store, index, model=made.MODEL, dimensions=made.WIDTH, exact_below=2_000, background=False)
    query = made.clustered(1)[0]
    print("ready", flush=True)
    if task == "write":
        sys.stdin.readline()
        made.put(store, range(first, first + count), made.clustered(count, seed=first))
        print("written", flush=True)
    if task == "build":
        # It ends by being killed: what it adds is more than a generation takes, and what it forgets is wiped.
        while True:
            made.put(store, range(first, first + count), made.clustered(count, seed=first))
            vectors.search(query, scopes=["shared"], limit=1)
            vectors.maintain()
            made.forget(store, range(first, first + 40))
            vectors.settle()
            first += count
            print(first, flush=True)
    if task == "once":
        sys.stdin.readline()
        vectors.search(query, scopes=["shared"], limit=1)
        print(vectors.maintain(), flush=True)
    sys.stdin.read()
    vectors.close()
    store.close()


if __name__ == "__main__":
    main()
