"""Make the sample anew: `python data/make_sample.py`. It takes about half a minute and writes `data/sample.tar.xz`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from timmy_core.testing.sample.month import make_sample
from timmy_core.testing.sample.pack import NAME, pack

# Some of what is recorded says where the home was, so it is made at a place that says nothing about anybody.
FOLDER = Path("/tmp/timmy-sample")  # noqa: S108 - made here, and refused where it is there already

if __name__ == "__main__":
    target = Path(__file__).resolve().parent / NAME
    try:
        FOLDER.mkdir(mode=0o700)
    except FileExistsError:
        sys.exit(f"{FOLDER} is there already; remove it, if nobody else is making a sample")
    try:
        make_sample(FOLDER / "home", tell=print)
        print(f"{target}: {pack(FOLDER / 'home', target):,} bytes")
    finally:
        shutil.rmtree(FOLDER)
