"""The Lightning ledger: every sat accounted for, in double entry, and compared with the node that holds it."""
