"""The memory room: what Timmy remembers, finds again, and can say why."""
