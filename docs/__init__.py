"""The pages, the data behind their tables, and what writes both together."""
