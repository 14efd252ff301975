"""The event log: append-only, hash-chained, and followed live."""
