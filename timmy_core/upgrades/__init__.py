"""The upgrade queue: Timmy proposes, a person decides, git applies, and nothing is ever half done."""
