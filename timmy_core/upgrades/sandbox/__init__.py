"""Runs test commands of changes that nobody has approved yet, shut in as well as this machine can."""
