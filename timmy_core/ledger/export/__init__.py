"""The book in the formats of other programs: streaming, the same file from the same book, and only what is posted."""
