"""Teachers, the scores that are kept, and entropy (notebook 02)."""
