"""Significance over seeds: whether arms differ by more than the spread between seeds, and how many seeds are needed."""
