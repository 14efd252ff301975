"""The store: one SQLite file, one writer thread a process, and a doorbell that other processes hear."""
