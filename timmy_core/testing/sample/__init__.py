"""A month of a home, made by driving the real code with a clock that is moved: what demonstration, labs and tests show.

`data/make_sample.py` makes it and packs it into `data/sample.tar.xz`; `timmy demo` opens a copy of that.
"""
