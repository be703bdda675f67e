"""Densities of real data by several libraries, beside the truth where it is known."""
