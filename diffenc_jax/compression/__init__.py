"""Lossless compression by trained runs: from images to a file and back."""
