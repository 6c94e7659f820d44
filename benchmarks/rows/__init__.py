"""The rows: one module a family of rows, each with its ``FAMILIES``."""
