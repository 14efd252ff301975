"""sqlite-vec in a process of its own: it fills a scratch file, answers the questions, and prints answers and times.

Python's sqlite3 is often built without the loading of extensions, so this runs under whichever interpreter can; it
needs nothing but `pip install sqlite-vec` there.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def rows(path: Path, width: int) -> Iterator[tuple[int, bytes]]:
    """Yield the vectors of a file of float32 numbers, counted from 1."""
    with path.open("rb") as file:
        seq = 0
        while vector := file.read(4 * width):
            seq += 1
            yield seq, vector


def main() -> None:
    folder, width, top = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    import sqlite_vec

    connection = sqlite3.connect(folder / "vec.db")
    connection.enable_load_extension(True)
    sqlite_vec.load(connection)
    connection.execute(f"CREATE VIRTUAL TABLE near USING vec0 (vector float[{width}] distance_metric=cosine)")
    connection.executemany("INSERT INTO near (rowid, vector) VALUES (?, ?)", rows(folder / "vectors.f32", width))
    connection.commit()
    found, wall, cpu = [], [], []
    for _, question in rows(folder / "questions.f32", width):
        began, worked = time.perf_counter(), time.process_time()
        answer = connection.execute(
            "SELECT rowid FROM near WHERE vector MATCH ? AND k = ? ORDER BY distance", (question, top)
        ).fetchall()
        cpu.append((time.process_time() - worked) * 1000)
        wall.append((time.perf_counter() - began) * 1000)
        found.append([row[0] for row in answer])
    connection.close()
    print(json.dumps({"found": found, "wall": wall, "cpu": cpu}))


if __name__ == "__main__":
    main()
