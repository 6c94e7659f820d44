"""Runs ranked and measured (notebook 04)."""
