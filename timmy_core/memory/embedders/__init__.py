"""The ways to a text's vector; each imports what it needs when it is first used."""
