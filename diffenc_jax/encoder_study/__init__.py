"""What a trained encoder does: pictures and tables by γ, and what its path is worth in bits; see `__main__`."""
