"""Retrievers and strategies: which documents stand beside a positive (notebook 01)."""
