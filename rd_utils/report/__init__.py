"""What a study says: its sections, tables and charts, the page that holds them, and the files that they are written to."""
