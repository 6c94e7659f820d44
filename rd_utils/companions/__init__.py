"""What stands beside studies: theory (notebook 07), the published rules (08), and advice (09)."""
