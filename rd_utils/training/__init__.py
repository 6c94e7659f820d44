"""Losses, augmentation and the loop that trains a student, in one process or several (notebooks 03 and 06)."""
