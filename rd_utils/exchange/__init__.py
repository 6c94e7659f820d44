"""What comes in and goes out: a folder becomes a study, what others made a part of one, and what a study made files for others."""
