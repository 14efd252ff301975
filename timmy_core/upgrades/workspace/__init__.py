"""The door to git: nothing else in the house runs it."""
