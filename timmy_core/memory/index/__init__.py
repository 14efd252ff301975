"""Finds the nearest vectors: exactly where there are few, with a graph where there are many; always disposable."""
