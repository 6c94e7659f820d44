"""Collections, files of people, runs, and the embedded collection (notebook 00)."""
